"""Pages of scans: read a scan's files, draw it, fill its page, in this process or in several."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neuroxai.compare.scores import Region, read_regions
from neuroxai.derivatives.explain_folder import Item
from neuroxai.derivatives.explained import Failure
from neuroxai.derivatives.heatmaps import read_sidecar
from neuroxai.derivatives.records import to_json
from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import outside_share
from neuroxai.io import read_volume, write_text
from neuroxai.pictures import maps
from neuroxai.pictures.anatomy import unprepared
from neuroxai.pictures.viewer import Unprepared
from neuroxai.processes import Bound, settled_jobs
from neuroxai.report.inputs import Context, strength
from neuroxai.report.page import scan_page
from neuroxai.report.values import ScanValues
from neuroxai.space import Volume


def scan_values(
    item: Item,
    source: Path | None,
    failures: list[Failure],
    context: Context | None = None,
    heatmap: Volume | None = None,
) -> tuple[ScanValues, Volume, Volume | None, list[Region]]:
    """Read one scan's files and draw them; `context` is what is known beside them, for the whole cohort.

    `heatmap` is that of the scan where it has been read already.

    Returns
    -------
    (ScanValues, Volume, Volume or None, list of Region)
        The page's values, the heatmap on the network's grid, the scan as stored and the region scores.

    Raises
    ------
    InputError
        If the heatmap or its sidecar cannot be used. A scan or a table of regions that cannot be read is noted on the
        page and in `failures`.
    """
    heatmap = read_volume(item.heatmap) if heatmap is None else heatmap
    notes: list[str] = []
    sidecar = read_sidecar(item.sidecar)
    scan, regions = None, []
    try:
        if source is None:
            raise InputError(f"{item.sidecar}: names no source")
        scan = read_volume(source)
    except InputError as error:
        notes.append(f"The scan cannot be shown beneath the heatmap: {error}")
    try:
        if item.regions.is_file():
            regions = read_regions(item.regions)
    except InputError as error:
        notes.append(f"Region scores cannot be shown: {error}")
    before = unprepared(source, heatmap.space, lambda modality: _written(item.files.heatmap(modality)))
    shown, under = drawn(item, heatmap, scan, before)
    pictures = maps.HeatmapPictures(shown, under)
    failures.extend(Failure(item.title, note) for note in notes)
    strong = strength(heatmap.data, None if context is None else context.scale)
    target = sidecar.target or "the class explained"
    more: dict[str, Any] = {}
    if context is not None:
        more, doubts = context.of_scan(item, source, heatmap, scan, regions, strong, before)
        notes.extend(doubts)
    values = ScanValues(
        title=item.title,
        probabilities=item.probabilities,
        predicted=item.predicted,
        true=item.true,
        target=target,
        score=item.score,
        start=sidecar.start or "logit",
        mosaic=pictures.mosaic(strong.limit, form="jpeg"),
        stretched=pictures.mosaic(strong.own, form="jpeg") if strong.faint else None,
        strength=strong,
        thumbnail=pictures.thumbnail(strong.limit),
        mosaic_space=shown.space.describe(),
        limit=strong.limit,
        regions=top_regions(regions),
        provenance=[*provenance(to_json(sidecar)), *(context.listed if context is not None else ())],
        notes=notes,
        outside=outside_brain(heatmap, scan),
        method=sidecar.method,
        fit=item.fit,
        unlike=item.unlike,
        **more,
    )
    return values, heatmap, scan, regions


def top_regions(regions: Sequence[Region], count: int = 10) -> dict[str, list[Region]]:
    """Return the regions that speak most for and against the class, by sum, and by density for their size."""
    if not regions:
        return {}
    result = {}
    for measure in ("sum", "density"):
        # of densities, small regions lead by noise alone: they are ranked in standard errors
        rank = "contrast" if measure == "density" else measure
        ordered = sorted(regions, key=lambda r: (-getattr(r, rank), r.name))
        result[f"{measure} for"] = [r for r in ordered if getattr(r, measure) > 0][:count]
        result[f"{measure} against"] = [r for r in reversed(ordered) if getattr(r, measure) < 0][:count]
    return result


def _written(path: Path) -> Volume | None:
    return read_volume(path) if path.is_file() else None


def drawn(item: Item, heatmap: Volume, scan: Volume | None, before: Unprepared | None) -> tuple[Volume, Volume | None]:
    """Return heatmap and scan to draw, on the scan's own grid; the heatmap as written for it, else interpolated.

    Raises
    ------
    SpaceError
        If the heatmap that was written for the scan lies on another grid.
    """
    if before is not None:
        return before.heatmap, before.scan
    if scan is None:
        return heatmap, None
    if item.native_heatmap.is_file():
        native = read_volume(item.native_heatmap)
        if not native.space.matches(scan.space):
            raise SpaceError(
                f"{item.native_heatmap} ({native.space.describe()}) is on another grid than its scan "
                f"({scan.space.describe()}); explain the scan again"
            )
        return native, scan
    return heatmap if scan.space.matches(heatmap.space) else heatmap.resampled_to(scan.space, antialias=False), scan


def outside_brain(heatmap: Volume, scan: Volume | None) -> float | None:
    """Return the share of the relevance's magnitude where the scan, on the heatmap's grid, is 0 (Tinauer 2022)."""
    if scan is None:
        return None
    under = scan if scan.space.matches(heatmap.space) else scan.resampled_to(heatmap.space)
    brain = under.data != 0
    share = outside_share(heatmap.data, brain) if brain.any() else float("nan")
    return None if math.isnan(share) else share


def provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the provenance that a sidecar or run record gives, as label and text, those that are there."""
    labels = {
        "method": "Method",
        "options": "Options",
        "start": "Start",
        "target": "Class explained",
        "bundle": "Bundle",
        "checkpoint_sha256": "Checkpoint, SHA-256",
        "source": "Scan",
        "datalist": "Datalist",
        "part": "Part",
        "atlas": "Atlas",
        "versions": "Versions",
    }
    rows = []
    for key, label in labels.items():
        value = record.get(key)
        if value is None or value == "":
            continue
        if isinstance(value, Mapping):
            value = ", ".join(f"{k} = {v}" if key == "options" else f"{k} {v}" for k, v in value.items()) or "defaults"
        rows.append((label, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    if record.get("method"):
        rows.append(("Command", command_of(record)))
    return rows


def command_of(record: Mapping[str, Any]) -> str:
    """Return the command that explains so again, from what a sidecar or a run record notes."""
    words = ["neuroxai explain BUNDLE", str(record.get("source") or "COHORT"), f"--method {record['method']}"]
    words += [f"--option {key}={json.dumps(value)}" for key, value in (record.get("options") or {}).items()]
    words += [f"--start {record['start']}"] if record.get("start") else []
    words += [f"--{key} {shlex.quote(str(record[key]))}" for key in ("datalist", "part") if record.get("datalist")]
    if isinstance(record.get("target"), str):
        words.append(f"--target {record['target']}")
    atlas = record.get("atlas")
    if isinstance(atlas, Mapping):
        words.append(f"--atlas {atlas.get('name') or atlas.get('file')}")
    return " ".join([*words, "--out OUT"])


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
    thumbnail : bytes
        Small JPEG.
    """

    failures: Sequence[Failure]
    heatmap: Volume | None = None
    scan: Volume | None = None
    regions: Sequence[Region] = ()
    outside: float | None = None
    flags: Sequence[str] = ()
    thumbnail: bytes = b""


def show(item: Item, source: Path | None, context: Context, folder: Path, heatmap: Volume | None = None) -> Shown:
    """Write one scan's page into a folder; the heatmap may have been read already."""
    failures: list[Failure] = []
    try:
        values, heatmap, scan, regions = scan_values(item, source, failures, context, heatmap)
    except InputError as error:
        return Shown([*failures, Failure(item.title, str(error))])
    write_text(folder / item.page, scan_page(values))
    return Shown(failures, heatmap, scan, regions, values.outside, values.flags or (), values.thumbnail)


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

    # each heatmap read already goes with its own page alone
    read, context = context.read, replace(context, read={})
    # a few at a time, so that finished ones do not pile up in memory before they are asked for
    jobs = settled_jobs(jobs, len(items))
    at_once = 1 if jobs == 1 else 2 * jobs
    try:
        with Parallel(n_jobs=jobs, batch_size=1, return_as="generator") as work:
            for start in range(0, len(items), at_once):
                some = items[start : start + at_once]
                yield from work(
                    delayed(Bound(show))(item, sources[item.title], context, folder, read.pop(item.title, None))
                    for item in some
                )
    except TerminatedWorkerError:
        raise InputError(
            "a process that drew pages was ended by the system, most likely for want of memory; use fewer --jobs"
        ) from None
