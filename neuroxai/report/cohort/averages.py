"""Gather a cohort's averages while its scans stream by: constant memory, float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from neuroxai.compare.scores import Region
from neuroxai.derivatives.explain_folder import Item
from neuroxai.evaluation import GroupMeans, TableMeans
from neuroxai.report.plots.charts import fingerprints
from neuroxai.report.values import RegionMeans, ScanLink
from neuroxai.space import Space, Volume
from neuroxai.statistics import group_gain
from neuroxai.statistics.effects import Effect, hedges_g
from neuroxai.statistics.regions import ERRORS, gains_are_scores

MOST_REGIONS = 60  # of a cohort's fingerprints
_FEWEST = 3  # controls from which a spread is taken
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
        # of each scan's own total, so that sure decisions do not differ everywhere
        self.shares, self.squares = GroupMeans(space.shape), GroupMeans(space.shape)
        self.sums = TableMeans()
        self.densities = TableMeans()

    def add(self, heatmap: Volume, scan: Volume | None, regions: Sequence[Region], groups: Sequence[str]) -> None:
        """Add one scan; `scan` in its own space or None."""
        self.heatmaps.add(heatmap.data, groups)
        share = heatmap.data.astype(np.float64) / (np.abs(heatmap.data).sum(dtype=np.float64) or 1.0)
        compared = [group for group in groups if group in ("patients", "controls")]
        self.shares.add(share, compared)
        self.squares.add(share**2, compared)
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

    def pattern_difference(self) -> NDArray[np.float64] | None:
        """Welch's t of patients against controls, voxel by voxel, of shares of each scan's absolute relevance.

        None where a group has fewer than `_FEWEST` scans; 0 where nothing varies.
        """
        counts = [self.shares.count(group) for group in ("patients", "controls")]
        if min(counts) < _FEWEST:
            return None
        means = [np.asarray(self.shares.mean(group)) for group in ("patients", "controls")]
        squares = [np.asarray(self.squares.mean(group)) for group in ("patients", "controls")]
        spread = np.zeros(self.space.shape)
        for square, mean, count in zip(squares, means, counts, strict=True):
            variance = square - mean**2
            # what rounding leaves of equal values is no spread
            spread += np.where(variance > 1e-10 * square, variance, 0) / (count - 1)
        t = np.zeros(self.space.shape)
        np.divide(means[0] - means[1], np.sqrt(spread), out=t, where=spread > 0)
        return t

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


class Fingerprints:
    """Region densities of every scan, gathered while scans stream by."""

    def __init__(self) -> None:
        self._densities: dict[str, Mapping[str, float]] = {}
        self._totals: dict[str, float] = {}

    def add(self, title: str, regions: Sequence[Region]) -> None:
        """Add one scan's."""
        if regions:
            self._densities[title] = {region.name: region.density for region in regions}
            self._totals[title] = sum(abs(region.sum) for region in regions) or 1.0

    def _shares(self, title: str) -> dict[str, float]:
        """Return one scan's densities as shares of its absolute relevance in all regions."""
        return {name: value / self._totals[title] for name, value in self._densities[title].items()}

    def highest(self) -> dict[str, str]:
        """Return for each region the scan in which its density is highest; the first of equal ones."""
        found: dict[str, tuple[float, str]] = {}
        for title, densities in self._densities.items():
            for name, value in densities.items():
                if name not in found or value > found[name][0]:
                    found[name] = (value, title)
        return {name: title for name, (_, title) in found.items()}

    def effects(self, links: Sequence[ScanLink]) -> dict[str, Effect]:
        """Return how far patients and controls differ in each region, the largest differences first.

        Compared are densities as shares of a scan's absolute relevance in all regions.
        """
        patients, controls = (
            [self._shares(link.title) for link in links if link.cell in cells and link.title in self._densities]
            for cells in (("TP", "FN"), ("TN", "FP"))
        )
        names = list(patients[0]) if patients else []
        found = {
            name: effect
            for name in names
            if all(name in table for table in (*patients, *controls))
            and (effect := hedges_g(*([table[name] for table in group] for group in (patients, controls))))
        }
        return dict(sorted(found.items(), key=lambda pair: -abs(pair[1].g)))

    def figure(self, links: Sequence[ScanLink]) -> tuple[bytes | None, int]:
        """Draw scans (rows: controls, patients, unknown, each by probability) by regions; PNG and number of regions.

        As in `effects`, densities are shares of a scan's relevance: else the score alone would colour whole rows.
        Regions are those that all scans have, the most varied if there are more than `MOST_REGIONS`, in the order of
        the atlas. None for fewer than three scans.
        """
        rows = [link for link in links if link.title in self._densities]
        if len(rows) < _FEWEST:
            return None, 0
        group = {"TN": 0, "FP": 0, "TP": 1, "FN": 1}
        rows.sort(key=lambda link: (group.get(link.cell, 2), link.probability, link.title))
        tables = [self._shares(link.title) for link in rows]
        names = [name for name in tables[0] if all(name in table for table in tables)]
        values = np.array([[table[name] for name in names] for table in tables])
        controls = np.array([group.get(link.cell) == 0 for link in rows])
        base = values[controls] if controls.sum() >= _FEWEST else values
        spread = base.std(axis=0, ddof=1)
        usable = spread > 0
        if not usable.any():
            return None, 0
        scores = (values[:, usable] - base.mean(axis=0)[usable]) / spread[usable]
        kept = np.sort(np.argsort(-scores.var(axis=0), kind="stable")[:MOST_REGIONS])
        shown = [name for name, use in zip(names, usable, strict=True) if use]
        return fingerprints(scores[:, kept], [shown[n] for n in kept], [link.cell for link in rows]), len(kept)


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
