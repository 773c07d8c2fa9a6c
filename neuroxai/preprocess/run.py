"""Sharing scans out to processes or a cluster, so that one whose process dies takes no other along."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from neuroxai.errors import InputError
from neuroxai.preprocess.sources import Source
from neuroxai.preprocess.work import Job, Result, work
from neuroxai.processes import Bound, settled_jobs


def run(job: Job, sources: Sequence[Source], jobs: int, cluster: Any = None) -> Iterator[Result]:
    """Work on scans in other processes and hand the results on as they come.

    If a process dies (out of memory, a crash inside a library), the scans that were under way are worked on again, one
    at a time; the one whose process dies then is told as failed, and the others go on.

    Parameters
    ----------
    job : Job
        What is the same for all.
    sources : sequence of Source
        The scans.
    jobs : int
        Processes, -1 for one per core.
    cluster : distributed.Client, optional
        Send the scans there instead; what dies there the cluster restarts, several times.
    """
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if cluster is not None:
        yield from _on_cluster(job, sources, cluster)
        return
    jobs = settled_jobs(jobs, len(sources))
    waiting = list(sources)
    while waiting:
        done: set[str] = set()
        try:
            for result in _parallel(job, waiting, jobs):
                done.add(_title(result))
                yield result
        except TerminatedWorkerError:
            waiting = [source for source in waiting if source.title not in done]
            for source in waiting[:jobs]:
                yield _alone(job, source)
            waiting = waiting[jobs:]
        else:
            return


def _parallel(job: Job, sources: Sequence[Source], jobs: int) -> Iterator[Result]:
    from joblib import Parallel, delayed

    # loky starts a process anew whose memory has grown, as ITK's and ANTs' does; nothing is lost by it
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
    # never fewer than two, as joblib would then work in this process, which a crash would end; as many scans are under
    # way as was asked for
    several = Parallel(
        n_jobs=max(jobs, 2),
        pre_dispatch=jobs,
        batch_size=1,
        return_as="generator_unordered",
    )
    yield from several(delayed(Bound(work))(job, source) for source in sources)


def _alone(job: Job, source: Source) -> Result:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        (result,) = _parallel(job, [source], 1)
    except TerminatedWorkerError:
        reason = (
            "its process was ended by the system, most likely for want of memory (1.5 GiB at 1 mm); use fewer --jobs"
        )
        return Result(source.participant_id, source.session_id, error=reason)
    return result


def _on_cluster(job: Job, sources: Sequence[Source], client: Any) -> Iterator[Result]:
    for source, result, reason in submitted(client, partial(work, job), sources):
        if reason:
            reason += ", most likely for want of memory (1.5 GiB at 1 mm)"
            yield Result(source.participant_id, source.session_id, error=reason)
        else:
            yield result


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


def _title(result: Result) -> str:
    return " ".join(filter(None, (result.participant_id, result.session_id)))


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
