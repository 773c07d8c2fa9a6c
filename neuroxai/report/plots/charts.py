"""Charts of cohorts (PNG or SVG) and of studies (both); same values, same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.canvas import CONTROLS, PATIENTS, colour_map, draw_bars, figure_of, name_lines, plain, short
from neuroxai.evaluation import RocCurve
from neuroxai.evaluation.calibration import Bin
from neuroxai.pictures.maps import Drawing

if TYPE_CHECKING:
    import pandas as pd

Panel = tuple[str, "pd.DataFrame", Mapping[str, Sequence[float]]]
"""Label of the axis, rows (group, value, low, high), and single values by group."""

FEWEST_DRAWN = 5
"""Scans in a bin of the calibration figure."""

REACH = 4.0
"""Standard deviations that have the end colours of fingerprints."""

COLOURS = ("#1b4fbf", "#b8440c", "#3f7f3f", "#8a4fb0", "#767676", "#c49a00")
"""Distinct with any common colour blindness when markers differ, too."""
MARKERS = "osD^vP"


def both(output: Callable[[str], bytes]) -> Drawing:
    """Return a figure as PNG and as SVG."""
    return {"png": output("png"), "svg": output("svg")}


def intervals(rows: pd.DataFrame, axis_label: str, points: Mapping[str, Sequence[float]] | None = None) -> Drawing:
    """Means with intervals, one line per group; single runs as small points where they are given.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns group, value, low, high (NaN or None where there is no interval).
    axis_label : str
        Below the axis, with the unit.
    points : mapping of str to sequence of float, optional
        Values of the runs by group.
    """
    return interval_panels([(axis_label, rows, points or {})])


def scatter(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], across: str, up: str, line: bool = False
) -> Drawing:
    """Points of groups; with `line` a least-squares line through all of them, to guide the eye."""
    with figure_of(6.4, 4.6) as (figure, output):
        axes = figure.add_subplot()
        for number, (name, (x, y)) in enumerate(groups.items()):
            mark = MARKERS[number % len(MARKERS)]
            axes.plot(x, y, mark, color=COLOURS[number % len(COLOURS)], markersize=5, label=name)
        at, values = (np.concatenate([np.asarray(pair[n], float) for pair in groups.values()]) for n in (0, 1))
        if line and len(at) > 1 and np.ptp(at) > 0:
            slope, start = np.polyfit(at, values, 1)
            ends = np.array([at.min(), at.max()])
            axes.plot(ends, start + slope * ends, color="black", linewidth=1)
        axes.set(xlabel=across, ylabel=up)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
        if len(groups) > 1:
            axes.legend(frameon=False)
        plain(axes)
        return both(output)


def curves(groups: Mapping[str, tuple[Any, Any, Any]], across: str, up: str, diagonal: bool = False) -> Drawing:
    """Lines of groups, (x, y, half-width of a band or None); with `diagonal` that of chance, as for ROC curves."""
    with figure_of(7.6, 5.0) as (figure, output):
        axes = figure.add_subplot()
        if diagonal:
            axes.plot([0, 1], [0, 1], color="#767676", linestyle="--", linewidth=1, label="chance")
        for number, (name, (x, y, half)) in enumerate(groups.items()):
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(x, y, color=colour, linewidth=2, linestyle=("-", "--", ":", "-.")[number % 4], label=name)
            if half is not None:
                low, high = np.asarray(y) - np.asarray(half), np.asarray(y) + np.asarray(half)
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel=across, ylabel=up)
        figure.legend(frameon=False, loc="outside right upper")
        plain(axes)
        return both(output)


def matrix(table: pd.DataFrame, label: str, low: float | None = None, high: float | None = None) -> Drawing:
    """Coloured table, rows by columns, with its numbers written in."""
    with figure_of(2.6 + 0.95 * table.shape[1], 1.3 + 0.36 * len(table)) as (figure, output):
        axes = figure.add_subplot()
        values = table.to_numpy(dtype=float)
        picture = axes.imshow(values, cmap="viridis", vmin=low, vmax=high, aspect="auto")
        middle = np.nanmean([picture.norm.vmin, picture.norm.vmax])
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "black" if value > middle else "white"
                axes.text(column, row, f"{value:.3g}", ha="center", va="center", color=colour, fontsize=9)
        axes.set_xticks(range(table.shape[1]), [short(str(c), 14) for c in table.columns], rotation=20, ha="right")
        axes.set_yticks(range(len(table)), [short(str(r), 24) for r in table.index])
        axes.set_title(label, fontsize=9, loc="left")
        return both(output)


def bars(names: Sequence[str], groups: Mapping[str, Sequence[float]], axis_label: str) -> Drawing:
    """Horizontal bars, one line per name, one bar per group."""
    height = 0.9 + max(0.3, 0.14 * len(groups)) * max(len(names), 1)
    with figure_of(8.6, height) as (figure, output):
        axes = figure.add_subplot()
        # patients and controls have one colour each, whatever their order, here and on other pages
        known = {"patients": PATIENTS, "controls": CONTROLS}
        draw_bars(axes, names, groups, [known[group] for group in groups] if {*groups} <= {*known} else COLOURS)
        name_lines(axes, names, axis_label)
        if len(groups) > 1:
            figure.legend(frameon=False, loc="outside right upper")
        return both(output)


def strips(groups: Mapping[str, Sequence[float]], up: str) -> Drawing:
    """Values of groups side by side as points, with their median."""
    with figure_of(1.6 + 1.3 * len(groups), 4.2) as (figure, output):
        axes = figure.add_subplot()
        for number, (_, values) in enumerate(groups.items()):
            spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
            axes.plot(number + spread, values, MARKERS[number % 6], color=COLOURS[number % 6], markersize=5)
            axes.hlines(np.median(values), number - 0.25, number + 0.25, color="black", linewidth=1.5)
        axes.set_xticks(range(len(groups)), [short(g, 18) for g in groups])
        axes.set_ylabel(up)
        axes.set_xlim(-0.6, len(groups) - 0.4)
        plain(axes)
        return both(output)


def interval_panels(panels: Sequence[Panel], reference: float | None = None) -> Drawing:
    """Means with intervals and single values, one panel per quantity over the same lines; dashed: `reference`."""
    names = list(dict.fromkeys(name for _, rows, _ in panels for name in rows["group"]))
    width = 3.0 + max(5.0, 3.0 * len(panels))
    with figure_of(width, 1.0 + 0.42 * max(len(names), 1)) as (figure, output):
        drawn = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (label, rows, points) in zip(drawn, panels, strict=True):
            for row in rows.to_dict("records"):
                line = names.index(row["group"])
                own = np.asarray(points.get(row["group"], ()), dtype=float)
                # equal values beside each other, not upon each other
                place = line + np.linspace(-0.18, 0.18, len(own)) if len(own) > 1 else np.full(len(own), float(line))
                axes.plot(own, place, ".", color="#9a9a9a", markersize=5, zorder=1)
                if row["low"] is not None and row["low"] == row["low"]:
                    axes.hlines(line, row["low"], row["high"], color=CONTROLS, linewidth=2, zorder=2)
                axes.plot(row["value"], line, "o", color=CONTROLS, markersize=6, zorder=3)
            if reference is not None:
                axes.axvline(reference, color="black", linestyle="--", linewidth=1)
            name_lines(axes, [str(name) for name in names], label)
        return both(output)


@contextmanager
def _square(across: str, up: str, diagonal: str, legend: str) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    """Open a chart of shares against shares, with its diagonal; SVG."""
    with figure_of(4.4, 4.2) as (figure, output):
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#767676", linestyle="--", linewidth=1, label=diagonal)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=across, ylabel=up)
        plain(axes)

        def finished() -> bytes:
            axes.legend(loc=legend, frameon=False)
            return output("svg")

        yield axes, finished


def roc_figure(curve: RocCurve, label: str) -> bytes:
    """ROC curve with the diagonal of chance."""
    with _square("1 - specificity", "sensitivity", "chance", "lower right") as (axes, output):
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=CONTROLS, linewidth=2, label=label)
        return output()


def reliability_figure(curve: Sequence[Bin], probability: Sequence[float], true: Sequence[bool]) -> bytes:
    """Share of positives against mean probability, with 95 % intervals and the diagonal of perfect calibration.

    Bins of fewer than `FEWEST_DRAWN` scans are left out: their interval spans most of the axis. Each scan is a mark, at
    the upper edge a positive, at the lower one a negative.
    """
    bins = [one for one in curve if one.n >= FEWEST_DRAWN]
    around = [[one.observed - one.low for one in bins], [one.high - one.observed for one in bins]]
    labels = ("probability, mean of the bin", "share of positives", "perfect calibration", "upper left")
    with _square(*labels) as (axes, output):
        style = {"fmt": "o-", "color": CONTROLS, "linewidth": 1.5, "capsize": 3, "label": "observed"}
        axes.errorbar([one.predicted for one in bins], [one.observed for one in bins], yerr=around, **style)
        for positive, place, colour in ((True, 1.0, PATIENTS), (False, 0.0, CONTROLS)):
            own = [value for value, is_true in zip(probability, true, strict=True) if bool(is_true) == positive]
            axes.plot(own, [place] * len(own), "|", color=colour, markersize=9, alpha=0.6)
        return output()


def fingerprints(scores: NDArray[np.float64], names: Sequence[str], cells: Sequence[str]) -> bytes:
    """Draw scans (rows) by regions (columns), in standard deviations of the controls; `cells` group the rows."""
    count = len(scores)
    height = float(np.clip(2.9 + 0.02 * count, 4.2, 9.0))
    width = float(np.clip(2.2 + 0.17 * len(names), 6.0, 12.0))
    with figure_of(width, height) as (figure, output):
        axes = figure.add_subplot()
        image = axes.imshow(scores, aspect="auto", cmap=colour_map(), vmin=-REACH, vmax=REACH, interpolation="nearest")
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
        figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01).ax.tick_params(labelsize=8)
        return output()
