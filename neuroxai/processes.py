"""Worker processes: how many, and none that outlives who started it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Generic, ParamSpec, TypeVar

from neuroxai.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

A_CORE = 8  # processes at most
FEWEST = 64  # processes that may be asked for on any machine
_PAUSE = 0.5  # seconds


def check_jobs(jobs: int) -> None:
    """Refuse a number of processes that is neither 1 or more nor -1 (one per core), or far more than there are cores.

    Raises
    ------
    InputError
        Naming it.
    """
    most = max(FEWEST, A_CORE * _cores())
    if jobs == 0 or jobs < -1 or jobs > most:
        raise InputError(f"jobs is {jobs}, expected 1 to {most} ({_cores()} cores are here), or -1 for one per core")


def settled_jobs(jobs: int, items: int) -> int:
    """Return how many processes to start: never more than there are items; -1 is one per core.

    Raises
    ------
    InputError
        See `check_jobs`.
    """
    check_jobs(jobs)
    return max(1, min(_cores() if jobs < 0 else jobs, items))


class Bound(Generic[P, R]):
    """A function for worker processes, which end when the process ends that made it, killed or not."""

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self.maker = os.getpid()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        if os.getpid() != self.maker:
            _end_with_parent()
        return self.function(*args, **kwargs)


@cache
def _end_with_parent() -> None:
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PAUSE)
        os._exit(1)  # files are written whole or not at all

    threading.Thread(target=watch, daemon=True).start()


def _cores() -> int:
    return os.cpu_count() or 1


def submitted(client: Any, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[Any, Any, str]]:
    """Let a Dask cluster work on items; yield each with its result, or with why it has none, as they come.

    Raises
    ------
    InputError
        If the scheduler goes away.
    """
    # not by way of joblib, which waits for ever for what a dead worker had
    from distributed import as_completed

    waiting = {client.submit(function, item, pure=False): item for item in items}
    for future in as_completed(list(waiting)):
        item = waiting.pop(future)
        if future.cancelled():
            raise InputError("the Dask scheduler has gone; start it and run the same command again to go on")
        error = future.exception()  # the workers that held it died several times
        yield (item, future.result(), "") if error is None else (
            item, None, f"ended on the cluster ({type(error).__name__})")  # fmt: skip


@contextmanager
def cluster(scheduler: str | None) -> Iterator[Any]:
    """Connect to a Dask cluster; None without an address.

    Raises
    ------
    InputError
        If Dask is not installed, or no scheduler answers.
    """
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise InputError("Dask is not installed; run `pip install 'neuroxai[cluster]'`, or use --jobs") from None

    try:
        client = Client(scheduler, timeout="5s")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler!r} ({type(error).__name__}); start one with `dask scheduler` and "
            "give its address, such as tcp://127.0.0.1:8786"
        ) from None
    with client:
        yield client
