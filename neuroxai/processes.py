"""Worker processes: how many, and none that outlives who started it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar
from urllib.parse import parse_qsl, urlsplit

from neuroxai.errors import InputError, one_of

P = ParamSpec("P")
R = TypeVar("R")

A_CORE = 8  # processes at most
FEWEST = 64  # processes that may be asked for on any machine
_PAUSE = 0.5  # seconds
ANSWER = "5s"  # a Dask scheduler is waited for
AHEAD = 2048  # items that a cluster is given at once: more than most have workers


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
            _end_with(self.maker)
        return self.function(*args, **kwargs)


@cache
def _end_with(maker: int) -> None:
    def watch() -> None:
        # the maker's number, not today's parent: it may have been killed before this worker had a first task
        while os.getppid() == maker:
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

    # not a whole cohort at once, all of which scheduler and client would keep
    rest = iter(items)
    waiting: dict[Any, Any] = {}
    running = as_completed([])

    def submit(count: int) -> None:
        for item in islice(rest, count):
            future = client.submit(function, item, pure=False)
            waiting[future] = item
            running.add(future)

    submit(AHEAD)
    for future in running:
        submit(1)
        item = waiting.pop(future)
        if future.cancelled():
            raise InputError("the Dask scheduler has gone; start it and run the same command again to go on")
        error = future.exception()  # the workers that held it died several times
        yield (item, future.result(), "") if error is None else (
            item, None, f"ended on the cluster ({type(error).__name__})")  # fmt: skip


#: Queueing systems by the names that `--scheduler` knows: dask-jobqueue's class, and the command that submits a job.
QUEUES = {
    "slurm": ("SLURMCluster", "sbatch"),
    "pbs": ("PBSCluster", "qsub"),
    "lsf": ("LSFCluster", "bsub"),
    "sge": ("SGECluster", "qsub"),
}
_ASK = "such as slurm://QUEUE?jobs=16&cores=4&memory=16GB&walltime=04:00:00"
_FILE = "a YAML file with system, jobs, queue, cores and memory"


# by itself Dask keeps where each of a worker's seconds went, for an hour: 100 MiB and more
UNPROFILED = "export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False"


@contextmanager
def cluster(scheduler: str | None) -> Iterator[Any]:
    """Connect to a Dask cluster, one that runs or one of jobs that a queueing system starts; None without.

    Parameters
    ----------
    scheduler : str or None
        Address of a Dask scheduler (``tcp://HOST:8786``); or a queueing system of `QUEUES`, with how many jobs and what
        each is given (``slurm://QUEUE?jobs=16&cores=4&memory=16GB``); or a YAML file with ``system``, ``jobs``,
        ``queue`` and the same. Anything else that dask-jobqueue's class takes may stand there. Each core of a job is a
        worker of one thread. Jobs that end early are replaced, and all end with the block.

    Raises
    ------
    InputError
        If Dask or dask-jobqueue is not installed, no scheduler answers, or the queueing system cannot be used so.
    """
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise InputError("Dask is not installed; run `pip install 'neuroxai[cluster]'`, or use --jobs") from None

    settings = queue_settings(scheduler)
    if settings is not None:
        with _jobs(scheduler, settings) as jobs, Client(jobs) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout=ANSWER)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler!r} ({type(error).__name__}); start one with `dask scheduler` and "
            f"give its address, such as tcp://127.0.0.1:8786, or name a queueing system, {_ASK}"
        ) from None
    with client:
        yield client


def queue_settings(scheduler: str) -> dict[str, Any] | None:
    """Read a queueing system and what its jobs are given from an address or a YAML file; None for another address.

    Raises
    ------
    InputError
        If the file cannot be read, names no system of `QUEUES`, or the number of jobs is none.
    """
    address = urlsplit(scheduler)
    if scheduler.endswith((".yaml", ".yml")):
        settings = _read_yaml(Path(scheduler))
    elif address.scheme in QUEUES:
        pairs = parse_qsl(address.query, strict_parsing=bool(address.query))
        settings = {"system": address.scheme, **{name: int(v) if v.isdecimal() else v for name, v in pairs}}
        if address.netloc:
            settings["queue"] = address.netloc
    else:
        return None
    if settings.get("system") not in QUEUES:
        raise one_of("queueing system", settings.get("system"), QUEUES, f"Name it in {scheduler} as `system: slurm`.")
    jobs = settings.setdefault("jobs", 1)
    if not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"{scheduler}: jobs is {jobs!r}, expected a whole number from 1 up, {_ASK}")
    return settings


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{file}: cannot be read ({type(error).__name__}); give a YAML file with system, jobs, cores "
                         "and memory") from None  # fmt: skip
    if not isinstance(found, dict):
        raise InputError(
            f"{file}: holds {type(found).__name__}, expected names and values: system, jobs, cores, memory"
        )
    return found


def _prologue(settings: Mapping[str, Any]) -> list[str]:
    """Return the lines that a job's script begins with, from the settings or from Dask's own configuration."""
    import dask

    own = dask.config.get(f"jobqueue.{settings['system']}.job-script-prologue", None)
    return list(settings.get("job_script_prologue", own) or ())


def _jobs(scheduler: str, settings: Mapping[str, Any]) -> Any:
    """Have a queueing system start jobs, each with a worker of one thread for each of its cores."""
    try:
        import dask_jobqueue
    except ImportError:
        raise InputError(
            "dask-jobqueue is not installed, which asks queueing systems for jobs; run `pip install "
            "'neuroxai[cluster]'`, or start a Dask scheduler and give its address"
        ) from None
    kind, submit = QUEUES[settings["system"]]
    if shutil.which(submit) is None:
        raise InputError(
            f"{scheduler}: there is no {submit!r} here, which {settings['system']} takes jobs by; run this where jobs "
            "are submitted"
        )
    given = {"cores": 1, "memory": "4GB", **{k: v for k, v in settings.items() if k not in ("system", "jobs")}}
    given["job_script_prologue"] = [UNPROFILED, *_prologue(settings)]
    try:
        made = getattr(dask_jobqueue, kind)(**{"processes": given["cores"], **given})
    except (TypeError, ValueError) as error:
        raise InputError(f"{scheduler}: dask-jobqueue's {kind} refuses it ({error}); {_ASK}") from None
    made.adapt(minimum_jobs=settings["jobs"], maximum_jobs=settings["jobs"])  # replaces those that end before the work
    return made
