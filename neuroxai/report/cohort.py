"""Gather a cohort's averages while its scans stream by: constant memory, float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from neuroxai.compare.explained import Item
from neuroxai.compare.scores import Region
from neuroxai.evaluation import GroupMeans, TableMeans
from neuroxai.report.values import RegionMeans
from neuroxai.space import Space, Volume
from neuroxai.statistics import group_gain
from neuroxai.statistics.regions import ERRORS, gains_are_scores

GROUP_NAMES = {
    "patients": "All patients",
    "controls": "All controls",
    "TP": "True positives",
    "FN": "False negatives",
    "TN": "True negatives",
    "FP": "False positives",
    "all": "All scans",
}


def cell_of(item: Item, classes: Sequence[str], patients: str) -> str:
    """Return ``TP``, ``FP``, ``TN`` or ``FN`` of the patients' class; empty where the true class is unknown."""
    return cell(item.true, item.predicted, patients) if item.true in classes else ""


def cell(true: str, predicted: str, patients: str) -> str:
    """Return ``TP``, ``FP``, ``TN`` or ``FN``: positive is the class of the patients, whichever class is explained."""
    said = predicted == patients
    return ("T" if said == (true == patients) else "F") + ("P" if said else "N")


def groups_of(cell: str, other: bool = False) -> list[str]:
    """Return the groups that a scan of this cell belongs to; `other`: it is neither a patient's nor a control's."""
    if not cell:
        return ["all"]
    group = "patients" if cell in ("TP", "FN") else "controls"
    return ["all", cell] if other else ["all", cell, group]


class Averages:
    """Mean heatmaps, mean scan and mean region scores of the groups.

    Parameters
    ----------
    space : Space
        The network's grid.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.heatmaps = GroupMeans(space.shape)
        self.scans = GroupMeans(space.shape)
        self.presence = GroupMeans(space.shape)
        self.sums = TableMeans()
        self.densities = TableMeans()

    def add(self, heatmap: Volume, scan: Volume | None, regions: Sequence[Region], groups: Sequence[str]) -> None:
        """Add one scan; `scan` in its own space or None."""
        self.heatmaps.add(heatmap.data, groups)
        if scan is not None:
            scaled = scaled_scan(scan)
            if not scaled.space.matches(self.space):
                scaled = scaled.resampled_to(self.space)
            self.scans.add(scaled.data, ["all"])
            self.presence.add(scaled.data > 0, ["all"])
        self.sums.add({r.name: r.sum for r in regions}, groups)
        self.densities.add({r.name: r.density for r in regions}, groups)

    def heatmaps_shown_before(self, groups: Sequence[str]) -> dict[str, str]:
        """Return each group that holds the scans of a wider one before it, with that one's name.

        Where nobody is missed, the true positives are all patients: their picture would stand there twice.
        """
        wider = {"TP": "patients", "FN": "patients", "TN": "controls", "FP": "controls"}
        found = {}
        for group, whole in wider.items():
            count = self.heatmaps.count(group)
            if group in groups and whole in groups and count and count == self.heatmaps.count(whole):
                found[group] = whole
        return found

    def brain(self) -> NDArray[np.bool_] | None:
        """Voxels where the mean of the min-max scaled scans is above zero; scans are skull-stripped."""
        mean = self.scans.mean("all")
        return None if mean is None else mean > 0

    def core_brain(self) -> NDArray[np.bool_] | None:
        """Voxels that at least half of the scans have above their minimum."""
        share = self.presence.mean("all")
        return None if share is None else share >= 0.5

    def region_means(self, groups: Sequence[str]) -> list[RegionMeans]:
        """Means of all regions, by the first group's mean sum, largest first."""
        rows = []
        for name in self.sums.names:
            sums = {g: self.sums.mean(g, name) for g in groups}
            densities = {g: self.densities.mean(g, name) for g in groups}
            ratio = None if self.no_gains() else gain(sums, self.sums.error("controls", name))
            rows.append(RegionMeans(name, sums, densities, ratio))
        lead = groups[0]
        return sorted(rows, key=lambda r: -(v if (v := r.sums[lead]) is not None else float("-inf")))

    def no_gains(self) -> str:
        """Say why no region has a gain, see `neuroxai.statistics.regions`; empty where they may have one."""
        totals = [sum(self.sums.mean(g, name) or 0.0 for name in self.sums.names) for g in ("patients", "controls")]
        known = all(self.heatmaps.count(g) for g in ("patients", "controls"))
        return gains_are_scores(*totals) if known and self.sums.names else ""


def scaled_scan(scan: Volume) -> Volume:
    """Scale a scan's values to 0 to 1 (minimum and maximum)."""
    values = scan.data.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    return Volume((values - low) / (high - low), scan.space)


def gain(sums: Mapping[str, float | None], error: float = 0.0) -> float | None:
    """Mean sum over patients over mean sum over all controls (Boehle 2019).

    None where a group is empty or the controls' mean is not above zero by `ERRORS` of its standard errors: a ratio to a
    negative or vanishing sum has no meaning.
    """
    patients, controls = sums.get("patients"), sums.get("controls")
    if patients is None or controls is None or controls * (1 + 1e-9) < ERRORS * error:
        return None
    ratio = float(group_gain([[patients]], [[controls]])[0])
    return ratio if np.isfinite(ratio) else None


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
