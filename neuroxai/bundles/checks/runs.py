"""Checks that run a bundle as a user does: train, resume, evaluate, infer, explain."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pandas as pd

from neuroxai.bundles.checks.phantoms import TEST
from neuroxai.bundles.checks.trial import MONAI, TIMEOUT, Problem, Trial, as_options, config_files, finish, start, stop
from neuroxai.io import read_json, sha256

WRITTEN = ("model.pt", "model.json", "last.pt", "history.tsv")


def training(trial: Trial) -> None:
    """Check that ``run training`` from the bundle's root trains to the end."""
    trial.run_inside("run", "training", configs=["train.json"], **trial.training_options)
    check_training(trial.bundle, epochs=2)


def check_training(bundle: Path, epochs: int) -> None:
    """Check that what a training of so many epochs leaves behind is there and belongs together."""
    models = bundle / "models"
    for name in WRITTEN:
        if not (models / name).is_file() or not (models / name).stat().st_size:
            raise Problem(f"training left no models/{name}")
    left = [path.name for path in models.iterdir() if ".tmp." in path.name]
    if left:
        raise Problem(f"training left {left[0]}")
    if read_json(models / "model.json").get("checkpoint_sha256") != sha256(models / "model.pt"):
        raise Problem("model.json belongs to another checkpoint than model.pt")
    found = pd.read_csv(models / "history.tsv", sep="\t")["epoch"].tolist()
    if found != list(range(1, epochs + 1)):
        raise Problem(f"history.tsv names the epochs {found}, expected 1 to {epochs}")


def second_call(trial: Trial) -> None:
    """Check that a plain ``run`` of the finished training, from a foreign working directory, changes nothing."""
    before = _fingerprints(trial.model.parent)
    printed = trial.run("run", configs=["train.json"], **trial.training_options)
    if _fingerprints(trial.model.parent) != before:
        raise Problem("a second call of a finished training writes other files")
    if "nothing is left to train" not in printed:
        raise Problem("a second call of a finished training does not say that nothing is left to train")


def killed_run(trial: Trial) -> None:
    """Check that a training that is killed resumes after its last whole epoch."""
    bundle, epochs = trial.copy("killed"), 30
    options = {**trial.training_options, "max_epochs": epochs, "min_epochs": epochs}
    words = ["run", "training", "--config_file", config_files(bundle, ["train.json"]), "--bundle_root", str(bundle)]
    process = start([*MONAI, *words, *as_options(options)], trial.elsewhere)
    last, deadline = bundle / "models" / "last.pt", time.monotonic() + TIMEOUT
    try:
        while not last.exists():
            if process.poll() is not None:
                finish([process])
                raise Problem("the training ended before it could be killed")
            if time.monotonic() > deadline:
                raise Problem(f"no models/last.pt after {TIMEOUT:.0f} s")
            time.sleep(0.02)
    finally:
        stop(process)
    done = len(pd.read_csv(bundle / "models" / "history.tsv", sep="\t"))
    options["max_epochs"] = options["min_epochs"] = done + 2
    printed = trial.run("run", "training", configs=["train.json"], bundle=bundle, **options)
    if "resumed after epoch" not in printed:
        raise Problem("the second call began anew; expected it to resume from models/last.pt")
    check_training(bundle, epochs=done + 2)


def evaluate(trial: Trial) -> None:
    """Check that a plain ``run`` of the evaluation from the bundle's root writes predictions and figures."""
    trial.model  # noqa: B018 - says so where there is none
    options = {**trial.training_options, "output_dir": trial.folder / "evaluated"}
    trial.run_inside("run", configs=["train.json", "evaluate.json"], **options)
    predictions(trial, trial.folder / "evaluated")
    file = trial.folder / "evaluated" / "metrics_test.json"
    if not file.is_file():
        raise Problem("the evaluation wrote no metrics_test.json")
    figures = read_json(file)
    if figures.get("checkpoint_sha256") != sha256(trial.model):
        raise Problem("metrics_test.json names another checkpoint")
    for name in ("balanced_accuracy", "roc_auc", "sensitivity", "specificity"):
        if figures.get(name) is None or not 0 <= figures[name] <= 1:
            raise Problem(f"metrics_test.json: {name} is {figures.get(name)}")


def inference(trial: Trial) -> None:
    """Check that ``run inference``, from a foreign working directory, writes the probabilities of the evaluation."""
    trial.model  # noqa: B018
    output = trial.folder / "inferred"
    trial.run("run", "inference", configs=["inference.json"], dataset_dir=trial.cohort, output_dir=output)
    found = predictions(trial, output)
    evaluated = trial.folder / "evaluated" / "predictions.tsv"
    if evaluated.is_file():
        columns = [name for name in found if str(name).startswith("probability_")]
        expected = pd.read_csv(evaluated, sep="\t")
        largest = float(np.abs(found[columns].to_numpy() - expected[columns].to_numpy()).max())
        if not largest <= 1e-5:
            raise Problem(f"inference and evaluation differ by {largest:.2g} in probability")


def explain(trial: Trial) -> None:
    """Check that the explanation, from a foreign working directory, writes heatmaps with sidecars and scores."""
    trial.model  # noqa: B018
    output = trial.folder / "explained"
    files = ["inference.json", "explain.json"]
    trial.run("run", "explaining", configs=files, dataset_dir=trial.cohort, output_dir=output)
    predictions(trial, output)
    for ending in ("space-network_*_heatmap.nii.gz", "space-network_*_heatmap.json", "_regions.tsv"):
        found = [path for path in output.rglob(f"*{ending}") if path.stat().st_size]
        if len(found) != TEST:
            raise Problem(f"{len(found)} files *{ending}, expected {TEST}")
    for path in output.rglob("*space-network_*_heatmap.json"):
        if not np.isfinite(read_json(path).get("relevance_sum", np.nan)):
            raise Problem(f"{path.name}: relevance_sum is no number")


def predictions(trial: Trial, folder: Path) -> pd.DataFrame:
    """Read the predictions of the test scans; columns fit classes and network, rows are probabilities."""
    path = folder / "predictions.tsv"
    if not path.is_file():
        raise Problem("no predictions.tsv")
    table = pd.read_csv(path, sep="\t")
    record = read_json(trial.model.with_suffix(".json"))
    outputs = read_json(trial.bundle / "configs" / "metadata.json")["network_data_format"]["outputs"]
    expected = [f"probability_{name}" for name in record["classes"]]
    columns = [name for name in table if str(name).startswith("probability_")]
    channels = outputs["pred"]["num_channels"]
    if columns != expected or len(columns) != max(channels, 2):
        raise Problem(f"predictions.tsv has {columns}, expected {expected} of {channels} channel(s)")
    shares = table[columns].to_numpy()
    if len(table) != TEST or not ((shares >= 0) & (shares <= 1)).all() or np.abs(shares.sum(axis=1) - 1).max() > 1e-6:
        raise Problem(f"predictions.tsv: {len(table)} rows, expected {TEST} of probabilities that sum to 1")
    return table


def _fingerprints(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}
