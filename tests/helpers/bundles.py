"""Train bundles on small grids."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
AD = REPOSITORY / "bundles" / "brain_t1w_alzheimers_classification"
MS = REPOSITORY / "bundles" / "brain_flair_ms_classification"
SEX = REPOSITORY / "bundles" / "brain_t1w_sex_pif_classification"


def copy_of(bundle: Path, folder: Path) -> Path:
    """A bundle's sources alone, without what training wrote."""
    shutil.copytree(bundle, folder, ignore=shutil.ignore_patterns("models", "eval"))
    return folder


def train(bundle: Path, cohort: Path, overlay: str | None = None, **overrides):
    """Run a bundle's training in this process, at 5 mm; returns the workflow."""
    from monai.bundle import ConfigWorkflow

    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    workflow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in ("train.json", overlay) if name],
        logging_file=False,
        workflow_type="train",
        bundle_root=str(bundle),
        dataset_dir=str(cohort),
        **{"spacing": 5, "max_epochs": 2, "batch_size": 6, **overrides},
    )
    workflow.initialize()
    workflow.run()
    return workflow


def infer(bundle: Path, files: list[str], **overrides):
    """Run evaluation, inference or explanation in this process; returns the workflow."""
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in files],
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(bundle),
        **overrides,
    )
    workflow.initialize()
    workflow.run()
    return workflow
