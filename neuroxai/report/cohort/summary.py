"""The cohort's page and metrics.json from what was gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuroxai.bands import limit_of
from neuroxai.compare import figures
from neuroxai.derivatives.explained import ExplainFolder, Failure
from neuroxai.derivatives.predictions import FAR
from neuroxai.derivatives.records import to_json
from neuroxai.evaluation import Estimate, RocCurve
from neuroxai.evaluation.calibration import brier, reliability
from neuroxai.report.cohort.averages import GROUP_NAMES, Averages, Fingerprints
from neuroxai.report.page import number
from neuroxai.report.plots import charts, maps
from neuroxai.report.scan.pages import provenance
from neuroxai.report.values import CohortValues, GroupMap, RegionMeans, ScanLink
from neuroxai.space import Volume


def cohort_values(
    folder: ExplainFolder,
    averages: Averages,
    links: Mapping[str, ScanLink],
    estimates: dict[str, Estimate],
    roc: RocCurve | None,
    truth: dict[str, Any],
    failures: Sequence[Failure],
    calibration: tuple[Sequence[bool], Sequence[float]] = ((), ()),
    fingerprints: Fingerprints | None = None,
    flagged: Mapping[str, str] | None = None,
    held_out: str = "",
) -> CohortValues:
    """Fill the cohort's page from what was gathered; draws the group maps, the ROC curve and the bars."""
    cells: dict[str, list[ScanLink]] = {cell: [] for cell in ("TP", "FP", "TN", "FN")}
    for link in links.values():
        if link.cell:
            cells[link.cell].append(link)
    labelled = sum(len(cell) for cell in cells.values())
    shown = [g for g in GROUP_NAMES if g != "all"] if labelled else ["all"]
    means = {g: averages.heatmaps.mean(g) for g in shown}
    limits = [limit_of(mean) for mean in means.values() if mean is not None]
    limit = max(limits, default=0.0)
    mean_scan = averages.scans.mean("all")
    under = None if mean_scan is None else Volume(mean_scan, averages.space)
    twins = averages.heatmaps_shown_before(shown)
    volumes = {g: None if mean is None else Volume(mean, averages.space) for g, mean in means.items()}
    like = next((v for v in volumes.values() if v is not None), None)
    groups = [
        GroupMap(
            GROUP_NAMES[g],
            averages.heatmaps.count(g),
            None if v is None or g in twins else maps.mosaic(v, under, limit, ("axial", "coronal"), count=8, like=like),
            GROUP_NAMES[twins[g]] if g in twins else "",
        )
        for g, v in volumes.items()
    ]
    region_groups = ["patients", "controls", "TP", "FN", "TN", "FP"] if labelled else ["all"]
    region_groups = [g for g in region_groups if averages.heatmaps.count(g) and g not in twins] or ["all"]
    regions = averages.region_means(region_groups)
    notes = [f"{why[0].upper()}{why[1:]}."] if (why := averages.no_gains()) else []
    if folder.mixed:
        notes.append(f"Not all heatmaps explain {folder.positive}: the averages mix maps of different classes.")
    strange = sorted({item.true for item in folder.items if item.true and item.true not in folder.classes})
    if strange:
        notes.append(f"True labels that are no class of the network were taken as unknown: {', '.join(strange)}.")
    unfit = [item.title for item in folder.items if item.fit == FAR]
    if unfit:
        notes.append(f"Scans that do not fit the network, whose decisions say nothing: {', '.join(unfit)}.")
    curve = reliability(*calibration) if calibration[0] else []
    points = sum(one.n >= charts.FEWEST_DRAWN for one in curve)
    prints, shown_regions = (None, 0) if fingerprints is None else fingerprints.figure(list(links.values()))
    area = estimates.get("roc_auc")
    label = f"area {number(area.value)}" if area is not None and area.value is not None else "ROC"
    return CohortValues(
        classes=folder.classes,
        positive=folder.patients,
        controls=folder.groups[0],
        explained=folder.positive,
        held_out=held_out,
        scans=len(folder.items),
        participants=len({item.participant_id for item in folder.items}),
        labelled=labelled,
        metrics=estimates,
        confusion=cells,
        roc=charts.roc_figure(roc, label) if roc is not None else None,
        groups=groups,
        limit=limit,
        regions=regions,
        region_groups=region_groups,
        bars=_bars(regions, region_groups),
        truth=truth,
        links=list(links.values()),
        outside=outside_brain(list(links.values())),
        failures=failures,
        provenance=provenance(to_json(folder.record)),
        notes=notes,
        reliability=curve,
        reliability_figure=charts.reliability_figure(curve) if points > 1 else None,
        brier=brier(*calibration) if calibration[0] else None,
        fingerprints=prints,
        fingerprint_regions=shown_regions,
        highest={} if fingerprints is None else {name: links[title] for name, title in fingerprints.highest().items()},
        flagged=[(links[title], text) for title, text in sorted((flagged or {}).items())],
    )


def _bars(regions: Sequence[RegionMeans], groups: Sequence[str]) -> bytes | None:
    if not regions:
        return None
    drawn = [g for g in groups if g in ("patients", "controls", "all")]
    # the measure that the table is in the order of
    lengths = {g: [r.sums[g] for r in regions[:10]] for g in drawn}
    return figures.region_bars([r.name for r in regions[:10]], lengths, "mean sum of relevance")


def outside_brain(links: Sequence[ScanLink]) -> dict[str, Any] | None:
    """Return mean and highest share of relevance outside the brain over the scans where it is known."""
    known = [(link.outside, link.title) for link in links if link.outside is not None]
    if not known:
        return None
    highest, scan = max(known)
    return {"mean": sum(share for share, _ in known) / len(known), "highest": highest, "scan": scan, "n": len(known)}


def metrics_record(values: CohortValues, averages: Averages) -> dict[str, Any]:
    """All figures of the report as plain values."""
    return {
        "classes": list(values.classes),
        "positive": values.positive,
        "controls": values.controls,
        "explained": values.explained,
        "held_out": values.held_out,
        "scans": values.scans,
        "participants": values.participants,
        "labelled": values.labelled,
        "classification": {name: estimate.to_dict() for name, estimate in values.metrics.items()},
        "confusion": {cell: [link.title for link in members] for cell, members in values.confusion.items()},
        "groups": {g: averages.heatmaps.count(g) for g in GROUP_NAMES},
        "known_truth": dict(values.truth) or None,
        "regions": [
            {"name": r.name, "gain": r.gain, "sum": dict(r.sums), "density": dict(r.densities)} for r in values.regions
        ],
        "brier": values.brier,
        "reliability": [vars(one) for one in values.reliability],
        "flagged": {link.title: text for link, text in values.flagged},
        "fit": {link.title: link.fit for link in values.links if link.fit} or None,
        "outside_brain": outside_brain(values.links),
        "failures": [{"scan": f.title, "error": f.error} for f in values.failures],
        "notes": list(values.notes),
        "research_use": values.research_use,
    }
