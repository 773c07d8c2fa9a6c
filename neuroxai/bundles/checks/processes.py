"""Checks of training in several processes: two on one machine, and two agents that stand for two nodes."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from neuroxai.bundles.checks.properties import open_workflow, quiet
from neuroxai.bundles.checks.runs import check_training
from neuroxai.bundles.checks.trial import Problem, Trial, as_options, config_files, finish, start
from neuroxai.io import read_json

OVERLAY = "multi_gpu_train.json"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
TOLERANCE = 1e-5
# a step so large that the loss soon rises, whereupon early stopping must end all processes
STOP = {"patience": 1, "min_epochs": 3, "max_epochs": 60}


def two_processes(trial: Trial) -> None:
    """Check that two processes train one network and write one checkpoint, measured as one process measures it."""
    bundle = _bundle(trial)
    command = [*TORCHRUN, "--standalone", "--nproc_per_node=2", *_training(trial, bundle, max_epochs=2)]
    finish([start(command, trial.elsewhere)])
    check_training(bundle, epochs=2)
    _same_figures(trial, bundle)


def two_nodes(trial: Trial) -> None:
    """Check that two agents that meet at an address resume that training, and that early stopping ends both."""
    bundle = _bundle(trial)
    if not (bundle / "models" / "last.pt").is_file():
        raise Problem("there is nothing to resume, because the training in two processes failed")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [
        *TORCHRUN, "--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint=localhost:{port}",
        "--rdzv_id=verify", *_training(trial, bundle, **STOP),
    ]  # fmt: skip
    printed = finish([start(command, trial.elsewhere) for _ in range(2)])
    if "resumed after epoch 2" not in "".join(printed):
        raise Problem("the second training began anew; expected it to resume after epoch 2")
    epochs = len(pd.read_csv(bundle / "models" / "history.tsv", sep="\t"))
    if not STOP["min_epochs"] <= epochs < STOP["max_epochs"]:
        raise Problem(f"early stopping did not fire: {epochs} epochs")
    check_training(bundle, epochs)
    _same_figures(trial, bundle)


def _bundle(trial: Trial) -> Path:
    if not (trial.bundle / "configs" / OVERLAY).is_file():
        raise Problem(f"no {OVERLAY}")
    bundle = trial.folder / "processes" / trial.source.name
    return bundle if bundle.is_dir() else trial.copy("processes")


def _training(trial: Trial, bundle: Path, **options: Any) -> list[str]:
    files = config_files(bundle, ["train.json", OVERLAY])
    options = {**trial.training_options, "bundle_root": bundle, "learning_rate": 0.01, **options}
    return ["-m", "monai.bundle", "run", "training", "--config_file", files, *as_options(options)]


def _same_figures(trial: Trial, bundle: Path) -> None:
    """Compare the checkpoint's validation figures, gathered from all processes, with those of one process.

    Processes that do not share gradients, buffers or scans have other figures together than the first has alone.
    """
    recorded = read_json(bundle / "models" / "model.json")["validation"]
    options = {**trial.training_options, "dataset_dir": str(trial.cohort), "output_dir": str(trial.folder / "measured")}
    with quiet():
        workflow = open_workflow(bundle, ["train", "evaluate"], "train", split="validation", **options)
        workflow.run()
    measured = workflow.evaluator.state.metrics
    for name, value in recorded.items():
        if value is not None and not abs(float(measured[name]) - value) <= TOLERANCE:
            raise Problem(f"{name} is {value:.6g} in the processes' record, {float(measured[name]):.6g} in one process")
