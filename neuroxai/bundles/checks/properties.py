"""Checks of what a bundle declares: metadata, required properties, the network's inputs and outputs, loading."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from neuroxai._version import __version__
from neuroxai.bundles.checks.phantoms import SPACING
from neuroxai.bundles.checks.trial import Problem, Trial
from neuroxai.errors import ours
from neuroxai.io import read_json

SCHEMA = Path(__file__).with_name("metadata_schema.json")
# spec of a zoo bundle: what other tools look up by name
TRAINING = (
    *("bundle_root", "device", "dataset_dir", "output_dir", "network_def", "val_interval"),
    *(f"train#{key}" for key in ("trainer", "dataset", "inferer", "handlers")),
    *(f"train#{key}" for key in ("preprocessing", "postprocessing", "key_metric")),
    *(f"validate#{key}" for key in ("evaluator", "dataset", "inferer", "handlers")),
    *(f"validate#{key}" for key in ("preprocessing", "postprocessing", "key_metric")),
)
INFERENCE = (
    *("bundle_root", "device", "dataset_dir", "output_dir", "network_def"),
    *("dataset", "evaluator", "inferer", "preprocessing", "postprocessing", "handlers"),
)


def metadata(trial: Trial) -> None:
    """Check that the metadata follow the rules of meta_schema_20240725 and name this version of neuroxai."""
    # an existing file skips the download; a copy, because MONAI may write there
    schema = trial.folder / "schema.json"
    shutil.copyfile(SCHEMA, schema)
    path = trial.bundle / "configs" / "metadata.json"
    trial.monai("verify_metadata", meta_file=path, filepath=schema, cwd=trial.elsewhere)
    found = read_json(path)
    if found["version"] not in found["changelog"]:
        raise Problem(f"version {found['version']} is not in the changelog")
    if found["required_packages_version"]["neuroxai"] != __version__:
        raise Problem(f"needs neuroxai {found['required_packages_version']['neuroxai']}, this is {__version__}")
    for kind in ("inputs", "outputs"):
        for name, tensor in found["network_data_format"][kind].items():
            if set(tensor["channel_def"]) != {str(n) for n in range(tensor["num_channels"])}:
                raise Problem(f"{name}: channel_def names {sorted(tensor['channel_def'])} of {tensor['num_channels']}")


def required_properties(trial: Trial) -> None:
    """Check that ``train.json`` and ``inference.json`` alone have what MONAI and the tools of a zoo look up."""
    trial.model  # noqa: B018 - inference opens the weights; says so where there are none
    for name, kind, expected in (("train", "train", TRAINING), ("inference", "infer", INFERENCE)):
        options = {"spacing": SPACING} if name == "train" else {}
        with quiet():
            workflow = open_workflow(trial.bundle, [name], kind, dataset_dir=str(trial.cohort), **options)
            problems = [f"no {key}" for key in expected if key not in workflow.parser]
            try:
                problems += [f"check_properties names {key}" for key in workflow.check_properties()]
            except Exception as error:  # it raises almost anything where a key is absent or of another form
                problems.append(f"check_properties raises {type(error).__name__}: {ours(error) or error}")
        if problems:
            raise Problem(f"{name}.json: {'; '.join(problems)}")


def network_data(trial: Trial) -> None:
    """Check that the network takes and gives what the metadata say: shapes, types, channels, ranges of values."""
    # a copy without weights: its grid is the one that the metadata name
    bundle = trial.copy("untrained")
    trial.run(
        "verify_net_in_out", configs=["inference.json"], bundle=bundle, net_id="network_def",
        meta_file=bundle / "configs" / "metadata.json", device="cpu",
    )  # fmt: skip
    facts = read_json(bundle / "configs" / "metadata.json")["network_data_format"]
    image, pred = facts["inputs"]["image"], facts["outputs"]["pred"]
    with quiet(), torch.no_grad():
        workflow = open_workflow(bundle, ["inference"], "infer", dataset_dir=str(trial.cohort))
        scan = workflow.dataset[0]["image"]
        # large values: an untrained network's own are near nought and would fit any range
        logits = workflow.network_def.eval()(1e3 * torch.randn(4, *scan.shape, generator=_generator()))
    if list(scan.shape) != [image["num_channels"], *image["spatial_shape"]]:
        raise Problem(f"preprocessing gives {list(scan.shape)}, metadata say {image['spatial_shape']}")
    for name, values, declared in (("image", scan, image["value_range"]), ("pred", logits, pred["value_range"])):
        low, high = float(values.min()), float(values.max())
        if pred["type"] == "probabilities" and name == "pred" and not (low >= 0 and high <= 1):
            raise Problem(f"pred runs from {low:.3g} to {high:.3g}, metadata say probabilities; logits are 'tuples'")
        if declared and not (declared[0] - 1e-6 <= low and high <= declared[1] + 1e-6):
            raise Problem(f"{name} runs from {low:.3g} to {high:.3g}, metadata say {declared}")


def load_without_data(trial: Trial) -> None:
    """Check that ``monai.bundle.load`` gives the trained network where no scan is at hand."""
    import monai.bundle

    state = torch.load(trial.model, weights_only=True)
    bundle = trial.copy("load")
    shutil.copytree(trial.bundle / "models", bundle / "models")
    with quiet(), inside(bundle):
        network: torch.nn.Module = monai.bundle.load(
            bundle.name, bundle_dir=str(bundle.parent), workflow_type="inference", device="cpu"
        )
    loaded = network.state_dict()
    # MONAI passes over tensors of another shape without a word
    different = [name for name in {*state, *loaded} if name not in loaded or not same(loaded[name], state.get(name))]
    if different:
        raise Problem(f"load gives a network with other {sorted(different)[0]} than models/model.pt")


def same(first: torch.Tensor, second: torch.Tensor | None) -> bool:
    """Whether two tensors are equal, shape and all."""
    return second is not None and first.shape == second.shape and torch.equal(first.cpu(), second.cpu())


def open_workflow(bundle: Path, names: list[str], kind: str, **options: Any) -> Any:
    """Open configurations of a bundle as a library would, initialised."""
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / f"{name}.json") for name in names],
        logging_file=False,
        workflow_type=kind,
        **{"bundle_root": str(bundle), **options},
    )
    workflow.initialize()
    return workflow


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep MONAI's notes off the table."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
