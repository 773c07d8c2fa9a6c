"""Pages of scans, drawn in this process or in several, and handed on in the order of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuroxai.compare.explained import Failure, Item
from neuroxai.compare.scores import Region
from neuroxai.errors import InputError
from neuroxai.io import write_text
from neuroxai.processes import Bound, settled_jobs
from neuroxai.report.context import Context
from neuroxai.report.page import scan_page
from neuroxai.report.scan import scan_values
from neuroxai.space import Volume


@dataclass(frozen=True)
class Shown:
    """What a scan's page leaves for the cohort's.

    Parameters
    ----------
    failures : sequence of Failure
        What the page could not show, or why there is none.
    heatmap : Volume, optional
        On the network's grid; None where there is no page.
    scan : Volume, optional
        As stored; None where it could not be read.
    regions : sequence of Region
    outside : float, optional
        Share of relevance outside the brain.
    flags : sequence of str
        Of its quality.
    """

    failures: Sequence[Failure]
    heatmap: Volume | None = None
    scan: Volume | None = None
    regions: Sequence[Region] = ()
    outside: float | None = None
    flags: Sequence[str] = ()


def show(item: Item, source: Path | None, context: Context, folder: Path) -> Shown:
    """Write one scan's page into a folder."""
    failures: list[Failure] = []
    try:
        values, heatmap, scan, regions = scan_values(item, source, failures, context)
    except InputError as error:
        return Shown([*failures, Failure(item.title, str(error))])
    write_text(folder / item.page, scan_page(values))
    return Shown(failures, heatmap, scan, regions, values.outside, values.flags or ())


def show_all(
    items: Sequence[Item], sources: Mapping[str, Path | None], context: Context, folder: Path, jobs: int
) -> Iterator[Shown]:
    """Write the pages of many scans, and yield what each left, in order.

    Parameters
    ----------
    items : sequence of Item
    sources : mapping of str to path or None
        The scan of each, by title.
    context : Context
        What all pages share.
    folder : pathlib.Path
        Where to write.
    jobs : int
        Processes; -1 for one per core. With 1 everything happens in this process.

    Raises
    ------
    InputError
        If the system ends one of the processes. Pages that are written stay.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    # a few at a time, so that finished ones do not pile up in memory before they are asked for
    jobs = settled_jobs(jobs, len(items))
    at_once = 1 if jobs == 1 else 2 * jobs
    try:
        with Parallel(n_jobs=jobs, batch_size=1, return_as="generator") as work:
            for start in range(0, len(items), at_once):
                some = items[start : start + at_once]
                yield from work(delayed(Bound(show))(item, sources[item.title], context, folder) for item in some)
    except TerminatedWorkerError:
        raise InputError(
            "a process that drew pages was ended by the system, most likely for want of memory; use fewer --jobs"
        ) from None
