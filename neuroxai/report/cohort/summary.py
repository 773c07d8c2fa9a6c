"""The cohort's page and metrics.json from what was gathered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from neuroxai.bands import limit_of
from neuroxai.derivatives.explain_folder import ExplainFolder, Item
from neuroxai.derivatives.explained import Failure
from neuroxai.derivatives.predictions import FAR
from neuroxai.derivatives.prepared import PreparedRecord
from neuroxai.derivatives.records import to_json
from neuroxai.evaluation import Estimate, classification_metrics, roc_points
from neuroxai.evaluation.calibration import brier, reliability
from neuroxai.pictures import maps
from neuroxai.pictures.anatomy import beneath_means
from neuroxai.pictures.text import number
from neuroxai.report.cohort.averages import GROUP_NAMES, Averages, Fingerprints
from neuroxai.report.cohort.methods import methods_text
from neuroxai.report.plots import charts
from neuroxai.report.scan.pages import Shown, provenance
from neuroxai.report.values import CohortValues, GroupMap, ScanLink
from neuroxai.space import Volume

_SURE = 5.0  # t that has the end colours, unless it goes further
_DRAWN = 16  # regions of the forest plot


@dataclass(frozen=True)
class Gathered:
    """What a cohort's scans leave for its page, gathered while they stream by.

    Parameters
    ----------
    averages : Averages
    fingerprints : Fingerprints
    links : dict of str to ScanLink
        By title, in the order of the table.
    flagged : dict of str to str
        Quality flags by title, of the scans that have some.
    failures : list of Failure
    """

    averages: Averages
    fingerprints: Fingerprints = field(default_factory=Fingerprints)
    links: dict[str, ScanLink] = field(default_factory=dict)
    flagged: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def add(self, item: Item, shown: Shown, groups: Sequence[str]) -> bool:
        """Add what a scan's page left, but for its link; False where there is no page.

        Raises
        ------
        InputError
            If heatmap and scan cannot be averaged.
        """
        self.failures.extend(shown.failures)
        if shown.heatmap is None:
            return False
        self.fingerprints.add(item.title, shown.regions)
        if shown.flags:
            self.flagged[item.title] = "; ".join(shown.flags)
        self.averages.add(shown.heatmap, shown.scan, shown.regions, groups)
        return True


def cohort_values(
    folder: ExplainFolder,
    gathered: Gathered,
    truth: Mapping[str, Any],
    held_out: str = "",
    in_mni: bool = False,
    prepared: Iterable[PreparedRecord | None] = (),
) -> CohortValues:
    """Fill the cohort's page from what was gathered; draws the group maps and the ROC curve.

    Parameters
    ----------
    folder : ExplainFolder
    gathered : Gathered
    truth : mapping
        Known-truth figures (`neuroxai.report.cohort.truth`), empty where there are no masks.
    held_out : str
        How well the network does on unseen scans, in words.
    in_mni : bool
        Whether the network's grid is known to lie in MNI152 space: means are then drawn over the template, if the mean
        scan looks like it.
    prepared : iterable of PreparedRecord or None
        How each scan was prepared, where that is recorded.
    """
    averages, links = gathered.averages, gathered.links
    cells: dict[str, list[ScanLink]] = {cell: [] for cell in ("TP", "FP", "TN", "FN")}
    for link in links.values():
        if link.cell:
            cells[link.cell].append(link)
    labelled = sum(len(cell) for cell in cells.values())
    shown = [g for g in GROUP_NAMES if g != "all"] if labelled else ["all"]
    twins = averages.heatmaps_shown_before(shown)
    anatomy, over = _anatomy(averages, in_mni)
    limit = max((limit_of(mean) for g in shown if (mean := averages.heatmaps.mean(g)) is not None), default=0.0)
    comparison = _comparison(averages, limit, anatomy) if anatomy is not None else None
    compared = () if comparison is None else ("patients", "controls")
    groups = _group_maps(averages, [g for g in shown if g not in compared], limit, twins, anatomy)
    region_groups = ["patients", "controls", "TP", "FN", "TN", "FP"] if labelled else ["all"]
    region_groups = [g for g in region_groups if averages.heatmaps.count(g) and g not in twins] or ["all"]
    regions = averages.region_means(region_groups)
    known = [item for item in folder.items if links[item.title].cell]
    who = [item.participant_id for item in known]
    true = [item.true == folder.patients for item in known]
    probability = [item.probabilities[folder.patients] for item in known]
    predicted = [item.predicted == folder.patients for item in known]
    metrics = classification_metrics(true, probability, predicted, who) if known else {}
    curve = reliability(true, probability) if known else []
    points = sum(one.n >= charts.FEWEST_DRAWN for one in curve)
    prints, shown_regions = gathered.fingerprints.figure(list(links.values()))
    effects = dict(islice(gathered.fingerprints.effects(list(links.values())).items(), _DRAWN))
    text = methods_text(folder, prepared, metrics, len(regions), bool(effects))
    before = [Failure(scan, f"not explained: {error}") for scan, error in folder.failed]
    return CohortValues(
        classes=folder.classes,
        positive=folder.patients,
        controls=folder.groups[0],
        explained=folder.positive,
        held_out=held_out,
        trust=folder.record.trust or "",
        scans=len(folder.items),
        participants=len({item.participant_id for item in folder.items}),
        labelled=labelled,
        metrics=metrics,
        confusion=cells,
        roc=_roc(true, probability, metrics) if known else None,
        groups=groups,
        limit=limit,
        anatomy=over,
        comparison=comparison,
        effects=effects,
        methods=text.paragraphs,
        references=text.references,
        regions=regions,
        region_groups=region_groups,
        truth=truth,
        links=list(links.values()),
        outside=outside_brain(list(links.values())),
        failures=[*before, *gathered.failures],
        provenance=provenance(to_json(folder.record)),
        notes=_notes(folder, averages),
        reliability=curve,
        reliability_figure=charts.reliability_figure(curve, probability, true) if points > 1 else None,
        brier=brier(true, probability) if known else None,
        fingerprints=prints,
        fingerprint_regions=shown_regions,
        highest={name: links[title] for name, title in gathered.fingerprints.highest().items()},
        flagged=[(links[title], text) for title, text in sorted(gathered.flagged.items())],
    )


def _anatomy(averages: Averages, in_mni: bool) -> tuple[Volume | None, str]:
    """Return what mean maps are drawn over, and its name."""
    mean = averages.scans.mean("all")
    if mean is None:
        return None, ""
    return beneath_means(Volume(mean, averages.space), in_mni)


def _group_maps(
    averages: Averages, shown: Sequence[str], limit: float, twins: Mapping[str, str], anatomy: Volume | None
) -> list[GroupMap]:
    """Draw the groups' mean heatmaps on one scale."""
    groups = []
    for name in shown:
        figure, mean = None, averages.heatmaps.mean(name)
        if mean is not None and name not in twins:
            volume = Volume(mean, averages.space)
            figure = maps.over_anatomy({"": (volume, limit)}, anatomy or Volume(np.zeros_like(mean), averages.space))
        same_as = GROUP_NAMES[twins[name]] if name in twins else ""
        groups.append(GroupMap(GROUP_NAMES[name], averages.heatmaps.count(name), figure, same_as))
    return groups


def _comparison(averages: Averages, limit: float, anatomy: Volume) -> bytes | None:
    """Draw the means of patients and controls, their difference, and where their patterns differ, below each other."""
    found = averages.pattern_difference()
    if found is None:
        return None
    patients, controls = (np.asarray(averages.heatmaps.mean(group)) for group in ("patients", "controls"))
    rows = {
        f"patients, {averages.heatmaps.count('patients')}": (patients, limit),
        f"controls, {averages.heatmaps.count('controls')}": (controls, limit),
        "difference": (patients - controls, limit),
        "pattern, t": (found, max(_SURE, limit_of(found))),
    }
    volumes = {name: (Volume(data, averages.space), end) for name, (data, end) in rows.items()}
    return maps.over_anatomy(volumes, anatomy)


def _notes(folder: ExplainFolder, averages: Averages) -> list[str]:
    """Say what a reader must know of the cohort."""
    notes = [f"{why[0].upper()}{why[1:]}."] if (why := averages.no_gains()) else []
    if folder.mixed:
        notes.append(f"Not all heatmaps explain {folder.positive}: the averages mix maps of different classes.")
    strange = sorted({item.true for item in folder.items if item.true and item.true not in folder.classes})
    if strange:
        notes.append(f"True labels that are no class of the network were taken as unknown: {', '.join(strange)}.")
    unfit = [item.title for item in folder.items if item.fit == FAR]
    if unfit:
        notes.append(f"Scans that do not fit the network, whose decisions say nothing: {', '.join(unfit)}.")
    return notes


def _roc(true: Sequence[bool], probability: Sequence[float], metrics: Mapping[str, Estimate]) -> bytes | None:
    curve, area = roc_points(true, probability), metrics["roc_auc"].value
    return None if curve is None else charts.roc_figure(curve, "ROC" if area is None else f"area {number(area)}")


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
