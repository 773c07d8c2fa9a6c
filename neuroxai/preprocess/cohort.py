"""A cohort of scans: in parallel, resumable, one bad scan stops nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neuroxai.cohort import LeftOut
from neuroxai.errors import InputError
from neuroxai.io import sha256
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.places import keep_apart
from neuroxai.preprocess.records import claim
from neuroxai.preprocess.run import cluster, run
from neuroxai.preprocess.sources import Source
from neuroxai.preprocess.tables import write_tables
from neuroxai.preprocess.work import Job
from neuroxai.processes import check_jobs

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


def prepare_cohort(
    out: str | os.PathLike[str],
    sources: Sequence[Source],
    options: PrepareOptions,
    left_out: Sequence[LeftOut] = (),
    template: str | os.PathLike[str] | None = None,
    template_mask: str | os.PathLike[str] | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    drop_flagged: bool = False,
    participants: Path | None = None,
    draw: Callable[..., Any] | None = None,
    draw_filling: Callable[..., Any] | None = None,
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
    template, template_mask : path_like, optional
        Another template in MNI152 space than nilearn's.
    jobs : int
        Processes of one thread each; -1 for one per core.
    scheduler : str, optional
        Address of a Dask scheduler whose workers see the same folders; replaces `jobs`.
    drop_flagged : bool
        Write no scan that has a quality flag; it stays listed.
    participants : pathlib.Path, optional
        A participants.tsv to take along.
    draw : callable, optional
        Draws a scan's quality figure, `neuroxai.report.quality_figure`.
    draw_filling : callable, optional
        Draws a scan before and after its lesions were filled, `neuroxai.report.filling_figure`.
    progress : callable, optional
        Called with (finished, all) after each scan.

    Raises
    ------
    InputError
        If the folder or an option cannot be used, or an input could be overwritten. What is wrong with a single scan is
        told in the summary.
    """
    from neuroxai.preprocess.engine import create
    from neuroxai.preprocess.template import load_template

    check_jobs(jobs)
    engine = create(options.engine)
    if options.arm == "nonlinear" and engine.name != "ants":
        raise InputError(
            f"the non-linear arm needs ANTs, the engine is {engine.name!r}; run `pip install 'neuroxai[prepare]'`, or "
            "choose --arm linear"
        )
    _once(sources)
    chosen = load_template(template, template_mask)
    folder = Path(out).resolve()
    paths = _absolute(template), _absolute(template_mask)
    keep_apart(folder, sources, participants, paths)
    facts = {**options.to_dict(), "engine": engine.name, "template": chosen.name}
    # another template may have the same name
    facts |= {f"{role}_sha256": sha256(p) for role, p in zip(("template", "template_mask"), paths, strict=True) if p}
    job = Job(folder, options, engine.name, paths, drop_flagged, draw, draw_filling)
    failed: Failures = [
        {"participant_id": one.participant_id, "session_id": one.session_id or "", "error": one.reason}
        for one in left_out
    ]
    records, kept = {}, 0
    with cluster(scheduler) as client:
        claim(folder, facts)  # not before a scheduler has answered: a run that cannot begin leaves nothing
        for number, result in enumerate(run(job, sources, jobs, client), start=1):
            key = (result.participant_id, result.session_id or "")
            if result.record is None:
                failed.append({"participant_id": key[0], "session_id": key[1], "error": result.error})
            else:
                records[key] = result.record
                kept += result.kept
            if progress is not None:
                progress(number, len(sources))
    failed.sort(key=lambda item: (item["participant_id"], item["session_id"]))
    write_tables(folder, records, failed, participants)
    flagged = {" ".join(filter(None, key)): r["Flags"] for key, r in sorted(records.items()) if r["Flags"]}
    dropped = [" ".join(filter(None, key)) for key, r in sorted(records.items()) if r["Dropped"]]
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
