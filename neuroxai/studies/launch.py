"""Starting runs: each in a process of its own, here (one GPU a run) or on a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.preprocess.run import submitted
from neuroxai.studies.execute import ERROR, LOG


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
    threads = str(io.read_object(place / "run.json", "run of a study", {"threads": int})["threads"])
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
        io.write_json(error, {"error": f"{text}, for want of memory perhaps; see {LOG}"})
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
        raise InputError(f"--gpus is {choice!r}, wanted auto, none, or numbers such as 0,1")
    return numbers
