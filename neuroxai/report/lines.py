"""Charts of pages that are HTML: one line per region, readable at any width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroxai.compare.controls import AgainstControls
from neuroxai.compare.scores import Region
from neuroxai.report.values import RegionMeans
from neuroxai.statistics.effects import Effect

REACH = 6.0
"""Standard deviations of the controls at the ends of the axis."""
_BARS, _BEYOND = 10, 0.4
_TICKS = 6  # of an axis, at most one more


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


@dataclass(frozen=True)
class GroupLine:
    """Bars of several groups below each other: group, value, start and length of each, in percent of the axis."""

    name: str
    bars: Sequence[tuple[str, float | None, float, float]]
    zero: float


def group_lines(regions: Sequence[RegionMeans], groups: Sequence[str]) -> list[GroupLine]:
    """Return bars of the mean sums of the first regions, of all patients and all controls."""
    drawn = [group for group in groups if group in ("patients", "controls", "all")]
    sums = [[region.sums[group] for group in drawn] for region in regions[:_BARS]]
    known = [value or 0.0 for values in sums for value in values]
    low, high = min([0.0, *known]), max([0.0, *known])
    scale = 100 / ((high - low) or 1.0)
    lines = []
    for region, values in zip(regions, sums, strict=False):
        ends = [(value, -low * scale + min(value or 0.0, 0.0) * scale, abs(value or 0.0) * scale) for value in values]
        lines.append(GroupLine(region.name, [(g, *end) for g, end in zip(drawn, ends, strict=True)], -low * scale))
    return lines


@dataclass(frozen=True)
class EffectLine:
    """An effect with its interval: where the interval starts, how long it is, where the effect and zero lie."""

    name: str
    effect: Effect
    start: float
    length: float
    place: float
    zero: float


def effect_lines(effects: Mapping[str, Effect]) -> tuple[list[EffectLine], list[tuple[float, float]]]:
    """Return a line for each effect, on one axis that has zero, and the axis's ticks: value and place."""
    low = min([0.0, *(one.low for one in effects.values())])
    high = max([0.0, *(one.high for one in effects.values())])
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return 100 * (value - low) / span

    lines = [
        EffectLine(name, one, at(one.low), at(one.high) - at(one.low), at(one.g), at(0.0))
        for name, one in effects.items()
    ]
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(power * times for times in (1, 2, 5, 10) if span / (power * times) <= _TICKS)
    ticks = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return lines, [(tick, at(tick)) for tick in ticks]


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
