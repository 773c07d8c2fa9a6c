"""Charts of a scan's page that are HTML: one line per region, readable at any width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroxai.compare.controls import AgainstControls
from neuroxai.compare.scores import Region

REACH = 6.0
"""Standard deviations of the controls at the ends of the axis."""
_BARS, _BEYOND = 10, 0.4


@dataclass(frozen=True)
class BarLine:
    """A bar from zero: where it starts and how long it is, in percent of the axis, as zero's place is."""

    name: str
    value: float
    start: float
    length: float
    zero: float


@dataclass(frozen=True)
class DotLine:
    """Controls as dots and the person as a mark.

    Parameters
    ----------
    name : str
        The region.
    path : str
        The dots, as data of an SVG path in a box of 100 by 100.
    place : float
        Of the person, in percent of the axis.
    value : float
        The person's deviation.
    far : bool
        It lies beyond the axis, and the mark at its end.
    """

    name: str
    path: str
    place: float
    value: float
    far: bool


def bar_lines(regions: Mapping[str, Sequence[Region]]) -> list[BarLine]:
    """Return bars of the regions with the largest absolute sums, out of a page's lists."""
    every = [*regions.get("sum for", ()), *regions.get("sum against", ())]
    largest = sorted(every, key=lambda region: (-abs(region.sum), region.name))[:_BARS]
    low, high = min([0.0, *(one.sum for one in largest)]), max([0.0, *(one.sum for one in largest)])
    scale = 100 / ((high - low) or 1.0)
    zero = -low * scale
    return [BarLine(one.name, one.sum, zero + min(one.sum, 0.0) * scale, abs(one.sum) * scale, zero) for one in largest]


def dot_lines(found: AgainstControls) -> list[DotLine]:
    """Return a line for each region whose controls are shown."""
    return [_dot_line(row, controls) for row, controls in zip(found.rows, found.deviations, strict=False)]


def _dot_line(row: Mapping[str, Any], controls: Sequence[float]) -> DotLine:
    # spread over the line by a fixed pattern, so that the same values give the same picture
    heights = 50 + 34 * np.sin(np.arange(len(controls)) * 2.399963)
    dots = [f"M{place(x):.1f} {y:.0f}h0" for x, y in zip(controls, heights, strict=True) if abs(x) <= REACH + _BEYOND]
    value = float(row["z"])
    return DotLine(str(row["region"]), "".join(dots), place(np.clip(value, -REACH, REACH)), value, abs(value) > REACH)


def place(deviation: float) -> float:
    """Return where a deviation lies on the axis, in percent."""
    return float(50 + 50 * deviation / (REACH + _BEYOND))
