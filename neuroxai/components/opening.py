"""Opening a trained bundle for prediction and explanation."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from neuroxai.errors import InputError


def open_bundle(bundle: Path, configs: Sequence[str], **overrides: Any) -> Any:
    """Open a bundle's configuration for inference, quietly.

    Values reach the configuration as objects or absolute paths, never as text that could be taken for an expression.

    Returns
    -------
    monai.bundle.ConfigWorkflow
        Initialised.
    """
    files = [bundle / "configs" / name for name in configs]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such file; {bundle} is no bundle with {', '.join(configs)}")
    if "checkpoint" not in overrides and not (bundle / "models" / "model.pt").is_file():
        raise InputError(
            f"{bundle}/models/model.pt: no such checkpoint; train the bundle first (see its docs/README.md)"
        )
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # the notice that configurations run code stands in the help text and the README
        warnings.simplefilter("ignore")
        workflow = ConfigWorkflow(
            config_file=[str(f) for f in files],
            meta_file=str(bundle / "configs" / "metadata.json"),
            logging_file=False,
            workflow_type="infer",
            bundle_root=str(bundle.resolve()),
            **overrides,
        )
        workflow.initialize()
    return workflow
