"""Runs at work, each in a process of its own, here (one GPU per run) or on a Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.derivatives.model_card import MODEL_CARD, without_section
from neuroxai.derivatives.study_runs import ERROR, LOG, RESULT, RunRecord, read_run, write_error
from neuroxai.errors import InputError, ours, refused_by_the_system
from neuroxai.processes import submitted


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    folder : pathlib.Path
        The run's.
    error : str
        Empty where it ended well.
    """

    folder: Path
    error: str = ""


def start(
    folder: str, environment: dict[str, str] | None = None, children: set[subprocess.Popen[bytes]] | None = None
) -> Outcome:
    """Work on one run in a child process; its messages go to the folder's log.

    Parameters
    ----------
    folder : str
        With its ``run.json``; on a cluster one that all machines share.
    environment : dict, optional
        Variables for the child, beside those of this process.
    children : set, optional
        The child stands in it as long as it lives, so that whoever is interrupted can end it.
    """
    place = Path(folder)
    error = place / ERROR
    error.unlink(missing_ok=True)
    threads = str(read_run(place).threads)
    with open(place / LOG, "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "neuroxai.studies", str(place)],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, **(environment or {})},
        )  # fmt: skip
        own = set() if children is None else children
        own.add(child)
        try:
            code = child.wait()
        finally:
            end(child)
            own.discard(child)
    if code == 0:
        return Outcome(place)
    if not error.is_file():
        # killed from outside: nobody was left to say why
        text = f"its process was ended by signal {-code}" if code < 0 else f"its process ended with code {code}"
        io.write_json(error, {"error": f"{text}, perhaps for lack of memory; see {LOG}"})
    return Outcome(place, io.read_object(error, "record of a failure", {"error": str})["error"])


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child with all that it started; nothing where it has ended by itself."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def run_all(
    folders: Sequence[Path], jobs: int, gpus: Sequence[str] = (), processes: int = 1, client: Any = None
) -> Iterator[Outcome]:
    """Work on runs and hand their outcomes on as they come.

    Parameters
    ----------
    folders : sequence of Path
        The runs.
    jobs : int
        Runs at a time on this machine; with GPUs at most as many as there are GPUs for.
    gpus : sequence of str
        Numbers of this machine's GPUs that runs may use, `processes` of them each; empty for the CPU, or on a cluster,
        whose workers are started each with its own.
    processes : int
        Of each run.
    client : distributed.Client, optional
        Send the runs there instead.
    """
    if client is not None:
        for folder, outcome, reason in submitted(client, start, [str(folder) for folder in folders]):
            yield Outcome(Path(folder), reason) if reason else outcome
        return
    from joblib import Parallel, delayed

    free: queue.Queue[str] = queue.Queue()
    for first in range(0, len(gpus) - processes + 1, processes):
        free.put(",".join(gpus[first : first + processes]))
    if gpus:
        jobs = free.qsize()
        if not jobs:
            raise InputError(
                f"a run takes {processes} GPUs, there are {len(gpus)}; use --gpus none, or fewer processes"
            )
    else:
        jobs = jobs if jobs > 0 else (os.cpu_count() or 1)
    stopped = threading.Event()
    children: set[subprocess.Popen[bytes]] = set()

    def one(folder: Path) -> Outcome:
        if stopped.is_set():
            return Outcome(folder, "not begun")
        if not gpus:
            return start(str(folder), None, children)
        mine = free.get()
        try:
            return start(str(folder), {"CUDA_VISIBLE_DEVICES": mine}, children)
        finally:
            free.put(mine)

    # threads are enough: each waits for its child
    several = Parallel(n_jobs=jobs, prefer="threads", return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)
    try:
        yield from several(delayed(one)(folder) for folder in folders)
    finally:
        stopped.set()
        # none is left but after an interruption, which would wait for them to the end of their trainings
        for child in list(children):
            end(child)


def gpus_of(choice: str) -> list[str]:
    """Return the GPUs that ``auto``, ``none`` or a list of numbers stands for.

    Raises
    ------
    InputError
        For anything else.
    """
    if choice == "none":
        return []
    if choice == "auto":
        import torch

        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        count = torch.cuda.device_count()
        return visible.split(",")[:count] if visible else [str(n) for n in range(count)]
    numbers = [part.strip() for part in choice.split(",")]
    if not all(number.isdigit() for number in numbers):
        raise InputError(f"--gpus is {choice!r}, expected auto, none, or numbers such as 0,1")
    return numbers


def main(folder: Path) -> int:
    """Train, predict and explain; returns the exit code."""
    _end_with(os.getppid())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    with only_one(folder):
        try:
            execute(folder)
        except Exception as error:
            known = ours(error) or refused_by_the_system(error)
            write_error(folder, str(known or f"{type(error).__name__}: {error}"))
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

    from neuroxai.studies.trained import predict_run

    run = read_run(folder)
    torch.set_num_threads(run.threads)
    bundle = _own_bundle(Path(run.bundle), folder / "bundle")
    if not (folder / RESULT).is_file():
        (folder / ERROR).unlink(missing_ok=True)
        if not run.train:
            _untrained(bundle, run)
        elif run.processes > 1:
            _train_several(bundle, run)
        else:
            _train(bundle, run)
        predict_run(folder, bundle, run)
        # the state to resume from is three times the weights, and nothing is left to resume
        (bundle / "models" / "last.pt").unlink(missing_ok=True)
    elif not all((folder / f"predictions_{part}.tsv").is_file() for part in run.parts):
        predict_run(folder, bundle, run)  # a part was asked for that an earlier call did not ask for
    if run.explain:
        from neuroxai.studies.trained import explain_run

        begun = time.perf_counter()
        explain_run(folder, bundle, run)
        io.write_json(folder / "seconds.json", {"explaining": time.perf_counter() - begun})


def _own_bundle(sources: Path, target: Path) -> Path:
    """Copy a bundle's sources, without what was trained in it and what is told of that."""
    if not target.is_dir():
        new = target.with_name("bundle.new")
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(sources, new, ignore=shutil.ignore_patterns("models", "eval"))
        card = new / MODEL_CARD
        told = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        if (rest := without_section(told)) != told:
            io.write_text(card, rest)
        new.rename(target)
    return target


def _overrides(bundle: Path, run: RunRecord) -> dict[str, Any]:
    from neuroxai.explain.bundle import literal

    values = {
        "bundle_root": literal(str(bundle)),
        "dataset_dir": literal(run.cohort),
        "datalist": literal(run.datalist),
        "tensorboard": False,
        "operating_point": "half",  # as the studies decided
        **run.settings,
    }
    return values | ({"pretrained": literal(run.pretrained)} if run.pretrained else {})


def _workflow(bundle: Path, run: RunRecord) -> Any:
    from monai.bundle import ConfigWorkflow

    logging.getLogger("ignite").setLevel(logging.WARNING)
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "train.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        **_overrides(bundle, run),
    )
    workflow.initialize()
    return workflow


def _train(bundle: Path, run: RunRecord) -> None:
    _workflow(bundle, run).run()


def _train_several(bundle: Path, run: RunRecord) -> None:
    """Train by torchrun; the settings stand in a file, which the command line could not carry as they are."""
    settings = io.write_json(bundle / "configs" / "run_settings.json", _overrides(bundle, run))
    files = [str(bundle / "configs" / name) for name in ("train.json", "multi_gpu_train.json")] + [str(settings)]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={run.processes}",
        "-m", "monai.bundle", "run", "training", "--config_file", str(files),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(run.threads)}
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        raise InputError(f"torchrun ended with code {code}; its messages stand in {LOG} of the run's folder")


def _untrained(bundle: Path, run: RunRecord) -> None:
    """Save the weights that a training would begin with, and their record."""
    import torch

    from neuroxai._version import __version__
    from neuroxai.explain.weights import save_weights

    parser = _workflow(bundle, run).parser
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
