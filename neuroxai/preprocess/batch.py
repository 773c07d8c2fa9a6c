"""A cohort of scans: in parallel, resumable; one bad scan, or one process that dies, takes no other along."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from neuroxai.cohort import LeftOut
from neuroxai.derivatives.dataset import TEMPLATE, complete
from neuroxai.derivatives.prepared import light, write_tables
from neuroxai.errors import InputError
from neuroxai.io import sha256
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.outputs import Job, Result, work
from neuroxai.preprocess.records import claim, output_files
from neuroxai.preprocess.sources import SingleScan, Source, find_sources, keep_apart
from neuroxai.processes import Bound, check_jobs, cluster, settled_jobs, submitted

Failures = list[dict[str, str]]


@dataclass(frozen=True)
class PrepareSummary:
    """What `prepare_cohort` did.

    Parameters
    ----------
    folder : str
        The folder of prepared scans.
    scans, made, kept : int
        Scans asked for, prepared now, and found finished.
    flagged : dict of str to list of str
        Scans with quality flags, by participant and session.
    dropped : list of str
        Those left out for their flags.
    failed : list of dict
        ``participant_id``, ``session_id`` and ``error`` of those that failed.
    """

    folder: str
    scans: int
    made: int
    kept: int
    flagged: dict[str, list[str]]
    dropped: list[str]
    failed: Failures

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class BatchOptions:
    """How a run goes about its scans; a scan comes out the same whatever is chosen, but for the template.

    Parameters
    ----------
    template, template_mask : path_like, optional
        Another template in MNI152 space than nilearn's.
    jobs : int
        Processes of one thread each; -1 for one per core.
    scheduler : str, optional
        Address of a Dask scheduler whose workers see the same folders; replaces `jobs`.
    drop_flagged : bool
        Write no scan that has a quality flag; it stays listed.
    participants : pathlib.Path, optional
        A folder whose participants.tsv is taken along.
    draw : callable, optional
        Draws a scan's quality figure, `neuroxai.report.quality_figure`.
    draw_filling : callable, optional
        Draws a scan before and after its lesions were filled, `neuroxai.report.filling_figure`.
    """

    template: str | os.PathLike[str] | None = None
    template_mask: str | os.PathLike[str] | None = None
    jobs: int = 1
    scheduler: str | None = None
    drop_flagged: bool = False
    participants: Path | None = None
    draw: Callable[..., Any] | None = None
    draw_filling: Callable[..., Any] | None = None


def prepare_cohort(
    out: str | os.PathLike[str],
    sources: Sequence[Source],
    options: PrepareOptions,
    left_out: Sequence[LeftOut] = (),
    batch: BatchOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PrepareSummary:
    """Prepare scans into a folder of BIDS derivatives.

    A scan whose inputs (by checksum) and choices are those of a finished result is kept. Each scan's record is written
    last, so that a killed run is gone on with. ``quality.tsv`` lists every scan of the folder, those of earlier calls
    too; ``failed.tsv`` lists what failed in this call.

    Parameters
    ----------
    out : path_like
        New, empty, or of an earlier call with the same options.
    sources : sequence of Source
        From `neuroxai.preprocess.find_sources`.
    options : PrepareOptions
        The choices.
    left_out : sequence of LeftOut
        Scans that could not be found; they count as failed.
    batch : BatchOptions, optional
        Template, processes, figures.
    progress : callable, optional
        Called with (finished, all) after each scan.

    Raises
    ------
    InputError
        If the folder or an option cannot be used, or an input could be overwritten. What is wrong with a single scan is
        reported in the summary.
    """
    from neuroxai.preprocess.registration import create
    from neuroxai.preprocess.template import load_template

    batch = batch or BatchOptions()
    check_jobs(batch.jobs)
    engine = create(options.engine)
    if options.arm == "nonlinear" and engine.name != "ants":
        raise InputError(
            f"the non-linear registration needs ANTs, the engine is {engine.name!r}; run `pip install "
            "'neuroxai[prepare]'`, or choose --arm linear"
        )
    _once(sources)
    chosen = load_template(batch.template, batch.template_mask)
    folder = Path(out).resolve()
    paths = _absolute(batch.template), _absolute(batch.template_mask)
    keep_apart(folder, sources, batch.participants, paths)
    choices = {**options.to_dict(), "engine": engine.name, "template": chosen.name}
    # another template may have the same name
    choices |= {f"{role}_sha256": sha256(p) for role, p in zip(("template", "template_mask"), paths, strict=True) if p}
    job = Job(folder, options, engine.name, paths, batch.drop_flagged, batch.draw, batch.draw_filling)
    failed: Failures = [
        {"participant_id": one.participant_id, "session_id": one.session_id or "", "error": one.reason}
        for one in left_out
    ]
    records, kept = {}, 0
    with cluster(batch.scheduler) as client:
        # not before a scheduler has answered: a run that cannot begin leaves nothing
        claim(folder, choices, batch.participants)
        for number, result in enumerate(run(job, sources, batch.jobs, client), start=1):
            key = (result.participant_id, result.session_id or "")
            if result.record is None:
                failed.append({"participant_id": key[0], "session_id": key[1], "error": result.error})
            else:
                records[key] = light(result.record)
                kept += result.kept
            if progress is not None:
                progress(number, len(sources))
    failed.sort(key=lambda item: (item["participant_id"], item["session_id"]))
    write_tables(folder, records, failed, batch.participants)
    complete(folder, TEMPLATE if batch.template is None else chosen.name)
    flagged = {" ".join(filter(None, key)): list(r.flags) for key, r in sorted(records.items()) if r.flags}
    dropped = [" ".join(filter(None, key)) for key, r in sorted(records.items()) if r.dropped]
    return PrepareSummary(
        os.fspath(folder), len(sources) + len(left_out), len(records) - kept, kept, flagged, dropped, failed
    )


def _once(sources: Sequence[Source]) -> None:
    seen: dict[str, Path] = {}
    for source in sources:
        if source.title in seen:
            raise InputError(f"{source.title} stands for {seen[source.title]} and {source.scan}; rename one")
        seen[source.title] = source.scan


def _absolute(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def run(job: Job, sources: Sequence[Source], jobs: int, cluster: Any = None) -> Iterator[Result]:
    """Work on scans in other processes and hand the results on as they come.

    If a process dies (out of memory, a crash inside a library), the scans that were under way are worked on again, one
    at a time; the one whose process dies then is reported as failed, and the others go on.

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
    warnings.filterwarnings("ignore", category=UserWarning, module=r"joblib\.externals\.loky\.process_executor")
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


def _title(result: Result) -> str:
    return " ".join(filter(None, (result.participant_id, result.session_id)))


@dataclass(frozen=True)
class PreparedScan:
    """A prepared scan.

    Parameters
    ----------
    path : Path
        The NIfTI file; `neuroxai.preprocess.native_of` finds the way back from it to the scan as the scanner gave it.
    flags : list of str
        What the quality checks found.
    """

    path: Path
    flags: list[str]


def prepare_one(
    source: str | Path,
    folder: str | Path,
    options: PrepareOptions | None = None,
    participant: str | None = None,
    series: str | None = None,
) -> PreparedScan:
    """Prepare one scan as ``neuroxai prepare`` would; one that is finished in the folder is kept.

    Parameters
    ----------
    source : path_like
        A NIfTI file, a folder with the DICOM files of one series, or one enhanced DICOM file.
    folder : path_like
        For the result: new, or of an earlier call with the same options.
    options : PrepareOptions, optional
        The choices; default linear registration to MNI152 at 2 mm.
    participant : str, optional
        Identifier; default from the file's name.
    series : str, optional
        Which series, where the folder holds several.

    Raises
    ------
    InputError
        If the scan cannot be prepared: the reason.
    """
    chosen = options or PrepareOptions()
    sources, left_out = find_sources(Path(source), chosen.modality, single=SingleScan(participant, None, series))
    if len(sources) + len(left_out) != 1:
        raise InputError(f"{source}: holds {len(sources)} scans, expected one; run neuroxai prepare on a cohort")
    summary = prepare_cohort(folder, sources, chosen, left_out)
    if summary.failed:
        raise InputError(summary.failed[0]["error"])
    path = output_files(Path(folder).resolve(), sources[0], chosen)["scan"]
    return PreparedScan(path, [flag for flags in summary.flagged.values() for flag in flags])
