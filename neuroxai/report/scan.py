"""One scan: read its files, draw it, fill its page's values."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroxai.compare.explained import Failure, Item
from neuroxai.compare.figures import region_bars
from neuroxai.compare.scores import Region, read_regions
from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import outside_share
from neuroxai.io import read_object, read_volume
from neuroxai.report import figures
from neuroxai.report.cohort import top_regions
from neuroxai.report.context import Context
from neuroxai.report.strength import strength
from neuroxai.report.values import ScanValues
from neuroxai.space import Volume


def scan_values(
    item: Item, source: Path | None, failures: list[Failure], context: Context | None = None
) -> tuple[ScanValues, Volume, Volume | None, list[Region]]:
    """Read one scan's files and draw them; `context` is what is known beside them, for the whole cohort.

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
    heatmap = read_volume(item.heatmap)
    notes: list[str] = []
    sidecar = read_object(item.sidecar, "heatmap's sidecar")
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
    shown, under = drawn(item, heatmap, scan)
    failures.extend(Failure(item.title, note) for note in notes)
    strong = strength(heatmap.data, None if context is None else context.scale)
    largest = sorted(regions, key=lambda r: (-abs(r.sum), r.name))[:10]
    target = str(sidecar.get("target") or "the class explained")
    more: dict[str, Any] = {}
    if context is not None:
        more, told = context.of_scan(item, source, heatmap, scan, regions, strong)
        notes.extend(told)
    values = ScanValues(
        title=item.title,
        probabilities=item.probabilities,
        predicted=item.predicted,
        true=item.true,
        target=target,
        score=item.score,
        start=str(sidecar.get("start") or "logit"),
        mosaic=figures.mosaic(shown, under, strong.limit),
        stretched=figures.mosaic(shown, under, strong.own) if strong.faint else None,
        strength=strong,
        mosaic_space=shown.space.describe(),
        limit=strong.limit,
        regions=top_regions(regions),
        bars=region_bars([r.name for r in largest], {target: [r.sum for r in largest]}, "sum of relevance")
        if largest
        else None,
        provenance=[*provenance(sidecar), *(context.listed if context is not None else ())],
        notes=notes,
        outside=outside_brain(heatmap, scan),
        method=str(sidecar.get("method") or ""),
        fit=item.fit,
        unlike=item.unlike,
        **more,
    )
    return values, heatmap, scan, regions


def drawn(item: Item, heatmap: Volume, scan: Volume | None) -> tuple[Volume, Volume | None]:
    """Return heatmap and scan to draw: on the scan's own grid where both are there, else on the network's."""
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
    return heatmap, scan if scan.space.matches(heatmap.space) else scan.resampled_to(heatmap.space)


def outside_brain(heatmap: Volume, scan: Volume | None) -> float | None:
    """Return the share of the relevance's magnitude where the scan, on the heatmap's grid, is 0 (Tinauer 2022)."""
    if scan is None:
        return None
    under = scan if scan.space.matches(heatmap.space) else scan.resampled_to(heatmap.space)
    brain = under.data != 0
    share = outside_share(heatmap.data, brain) if brain.any() else float("nan")
    return None if math.isnan(share) else share


def provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts of a sidecar or run record as label and text, those that are there."""
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
