"""One run in a process of its own: ``python -m neuroxai.studies RUN_FOLDER``.

All that it needs stands in the folder's ``run.json``; what is finished is kept, and the training goes on from its last
epoch. It ends when whoever started it ends, so that a killed study leaves nothing behind that goes on writing.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.errors import InputError, ours, refused_by_the_system

RESULT = "result.json"
ERROR = "error.json"
LOG = "log.txt"


def main(folder: Path) -> int:
    """Train, predict and explain; returns the exit code."""
    _end_with(os.getppid())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    with only_one(folder):
        try:
            execute(folder)
        except Exception as error:
            known = ours(error) or refused_by_the_system(error)
            io.write_json(folder / ERROR, {"error": str(known or f"{type(error).__name__}: {error}")})
            if known is None:
                raise
            logging.getLogger("neuroxai").error("%s", known)
            return 2
    return 0


def execute(folder: Path) -> None:
    """Do what is left to do in a run's folder.

    Parameters
    ----------
    folder : pathlib.Path
        Holds ``run.json``; ``bundle`` (with its checkpoint), ``predictions_PART.tsv``, ``explained`` and
        ``result.json`` are written.
    """
    import torch

    from neuroxai.studies.outcome import write_result

    facts = io.read_object(folder / "run.json", "run of a study")
    torch.set_num_threads(facts["threads"])
    bundle = _own_bundle(Path(facts["bundle"]), folder / "bundle")
    if not (folder / RESULT).is_file():
        (folder / ERROR).unlink(missing_ok=True)
        if not facts["train"]:
            _untrained(bundle, facts)
        elif facts["processes"] > 1:
            _train_several(bundle, facts)
        else:
            _train(bundle, facts)
        write_result(folder, bundle, facts)
        # the state to resume from is three times the weights, and nothing is left to resume
        (bundle / "models" / "last.pt").unlink(missing_ok=True)
    elif not all((folder / f"predictions_{part}.tsv").is_file() for part in facts["parts"]):
        write_result(folder, bundle, facts)  # a part was asked for that an earlier call did not want
    if facts["explain"]:
        from neuroxai.studies.explaining import explain_run

        begun = time.perf_counter()
        explain_run(folder, bundle, facts)
        io.write_json(folder / "seconds.json", {"explaining": time.perf_counter() - begun})


def _own_bundle(sources: Path, target: Path) -> Path:
    """Copy a bundle's sources, without what was trained in it."""
    if not target.is_dir():
        new = target.with_name("bundle.new")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(sources, new, ignore=shutil.ignore_patterns("models", "eval"))
        new.rename(target)
    return target


def _overrides(bundle: Path, facts: dict[str, Any]) -> dict[str, Any]:
    from neuroxai.components.opening import literal

    values = {
        "bundle_root": literal(str(bundle)),
        "dataset_dir": literal(facts["cohort"]),
        "datalist": literal(facts["datalist"]),
        "tensorboard": False,
        **facts["settings"],
    }
    return values | ({"pretrained": literal(facts["pretrained"])} if facts["pretrained"] else {})


def _workflow(bundle: Path, facts: dict[str, Any]) -> Any:
    from monai.bundle import ConfigWorkflow

    logging.getLogger("ignite").setLevel(logging.WARNING)
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "train.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        **_overrides(bundle, facts),
    )
    workflow.initialize()
    return workflow


def _train(bundle: Path, facts: dict[str, Any]) -> None:
    _workflow(bundle, facts).run()


def _train_several(bundle: Path, facts: dict[str, Any]) -> None:
    """Train by torchrun; the settings stand in a file, which the command line could not carry as they are."""
    settings = io.write_json(bundle / "configs" / "run_settings.json", _overrides(bundle, facts))
    files = [str(bundle / "configs" / name) for name in ("train.json", "multi_gpu_train.json")] + [str(settings)]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={facts['processes']}",
        "-m", "monai.bundle", "run", "training", "--config_file", str(files),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(facts["threads"])}
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        raise InputError(f"torchrun ended with code {code}; its messages stand in {LOG} of the run's folder")


def _untrained(bundle: Path, facts: dict[str, Any]) -> None:
    """Save the weights that a training would begin with, and their record."""
    import torch

    from neuroxai._version import __version__
    from neuroxai.components.weights import save_weights

    parser = _workflow(bundle, facts).parser
    network = parser.get_parsed_content("network")
    weights = bundle / "models" / "model.pt"
    save_weights(weights, network)
    record = {
        "checkpoint_sha256": io.sha256(weights),
        "space": parser.get_parsed_content("space").to_dict(),
        "classes": parser.get_parsed_content("classes"),
        "epoch": 0,
        "settings": parser.get_parsed_content("settings"),
        "training_participants": [],
        "versions": {"neuroxai": __version__, "torch": torch.__version__},
    }
    io.write_json(bundle / "models" / "model.json", record)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Wait until no other process works in this folder; the system frees the lock of a process that dies."""
    import fcntl

    with open(folder / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _end_with(parent: int) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if os.getpgrp() == os.getpid():  # only where it was started as a group of its own
        threading.Thread(target=watch, daemon=True).start()
