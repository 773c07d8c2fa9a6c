"""Fingerprints of a cohort: scans by regions, in standard deviations of the controls (Boehle 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from neuroxai.canvas import colour_map, figure_of
from neuroxai.compare.scores import Region
from neuroxai.report.values import ScanLink

MOST_REGIONS = 60
_REACH = 4.0  # standard deviations that have the end colours
_FEWEST = 3  # controls from which a spread is taken


class Fingerprints:
    """Region densities of every scan, gathered while scans stream by."""

    def __init__(self) -> None:
        self._densities: dict[str, Mapping[str, float]] = {}

    def add(self, title: str, regions: Sequence[Region]) -> None:
        """Add one scan's."""
        if regions:
            self._densities[title] = {region.name: region.density for region in regions}

    def highest(self) -> dict[str, str]:
        """Return for each region the scan in which its density is highest; the first of equal ones."""
        found: dict[str, tuple[float, str]] = {}
        for title, densities in self._densities.items():
            for name, value in densities.items():
                if name not in found or value > found[name][0]:
                    found[name] = (value, title)
        return {name: title for name, (_, title) in found.items()}

    def figure(self, links: Sequence[ScanLink]) -> tuple[bytes | None, int]:
        """Draw scans (rows: controls, patients, unknown, each by probability) by regions; PNG and number of regions.

        Regions are those that all scans have, the most varied if there are more than `MOST_REGIONS`, in the order of
        the atlas. None for fewer than three scans.
        """
        rows = [link for link in links if link.title in self._densities]
        if len(rows) < _FEWEST:
            return None, 0
        group = {"TN": 0, "FP": 0, "TP": 1, "FN": 1}
        rows.sort(key=lambda link: (group.get(link.cell, 2), link.probability, link.title))
        tables = [self._densities[link.title] for link in rows]
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
        return _draw(scores[:, kept], [shown[n] for n in kept], [link.cell for link in rows]), len(kept)


def _draw(scores: NDArray[np.float64], names: Sequence[str], cells: Sequence[str]) -> bytes:
    count = len(scores)
    height = float(np.clip(2.9 + 0.02 * count, 4.2, 9.0))
    width = float(np.clip(2.2 + 0.17 * len(names), 6.0, 12.0))
    with figure_of(width, height) as (figure, output):
        bottom = 2.15 / height
        axes = figure.add_axes((0.9 / width, bottom, 1 - 1.9 / width, 1 - bottom - 0.25 / height))
        image = axes.imshow(
            scores, aspect="auto", cmap=colour_map(), vmin=-_REACH, vmax=_REACH, interpolation="nearest"
        )
        axes.set_xticks(range(len(names)), [n if len(n) < 30 else n[:28] + "…" for n in names], rotation=90, fontsize=7)
        known = {"TN": "controls", "FP": "controls", "TP": "patients", "FN": "patients"}
        groups = [known.get(cell, "scans") for cell in cells]
        ticks, labels = [], []
        for name in dict.fromkeys(groups):
            places = [n for n, one in enumerate(groups) if one == name]
            ticks.append((places[0] + places[-1]) / 2)
            labels.append(f"{name}\n({len(places)})")
            if places[0]:
                axes.axhline(places[0] - 0.5, color="black", linewidth=1)
        axes.set_yticks(ticks, labels, fontsize=8)
        bar = figure.colorbar(
            image, cax=figure.add_axes((1 - 0.85 / width, bottom, 0.16 / width, 1 - bottom - 0.25 / height))
        )
        bar.ax.tick_params(labelsize=8)
        return output()
