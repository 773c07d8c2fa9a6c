"""Figures of studies, each as PNG and SVG; same values, same bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.canvas import CONTROLS, colour_map, figure_of, plain, short
from neuroxai.report.plots.maps import mosaic
from neuroxai.space import Volume

if TYPE_CHECKING:
    import pandas as pd

Drawing = dict[str, bytes]
"""``{"png": ..., "svg": ...}``."""

Panel = tuple[str, "pd.DataFrame", Mapping[str, Sequence[float]]]
"""Label of the axis, rows (group, value, low, high), and single values by group."""

REACH = 4.0
"""Standard deviations that have the end colours of fingerprints."""

COLOURS = ("#1b4fbf", "#b8440c", "#3f7f3f", "#8a4fb0", "#767676", "#c49a00")
"""Told apart with any common colour blindness when markers differ, too."""
MARKERS = "osD^vP"


@contextmanager
def drawing(width: float, height: float) -> Iterator[tuple[Any, Callable[[], Drawing]]]:
    """Open a figure of its own in matplotlib's default style, with a function that gives it as PNG and SVG."""
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # ids in an SVG are random unless salted; text stays text
    settings = {"text.parse_math": False, "axes.formatter.use_mathtext": False, "svg.hashsalt": "neuroxai",
                "svg.fonttype": "none"}  # fmt: skip
    with matplotlib.style.context(["default", settings]):
        figure = Figure(figsize=(width, height), dpi=100)
        FigureCanvasAgg(figure)

        def output() -> Drawing:
            png, svg = io.BytesIO(), io.BytesIO()
            figure.savefig(png, format="png", metadata={"Software": None})
            figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
            return {"png": png.getvalue(), "svg": svg.getvalue()}

        yield figure, output


def intervals(rows: pd.DataFrame, axis_label: str, points: Mapping[str, Sequence[float]] | None = None) -> Drawing:
    """Means with intervals, a line a group; single runs as small points where they are given.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns group, value, low, high (NaN or None where there is no interval).
    axis_label : str
        Below the axis, with the unit.
    points : mapping of str to sequence of float, optional
        Values of the runs by group.
    """
    lines, height = np.arange(len(rows)), 1.0 + 0.36 * max(len(rows), 1)
    with drawing(8.0, height) as (figure, output):
        axes = figure.add_axes((0.34, 0.60 / height, 0.63, (height - 0.75) / height))
        for line, row in zip(lines, rows.to_dict("records"), strict=True):
            for value in (points or {}).get(row["group"], ()):
                axes.plot(value, line, ".", color="#9a9a9a", markersize=4, zorder=1)
            if row["low"] is not None and row["low"] == row["low"]:
                axes.hlines(line, row["low"], row["high"], color=CONTROLS, linewidth=2, zorder=2)
            axes.plot(row["value"], line, "o", color=CONTROLS, markersize=6, zorder=3)
        axes.set_yticks(lines, [short(str(name)) for name in rows["group"]])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(axis_label)
        plain(axes)
        return output()


def scatter(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], across: str, up: str, line: bool = False
) -> Drawing:
    """Points of groups; with `line` a least-squares line through all of them, to guide the eye."""
    with drawing(6.4, 4.6) as (figure, output):
        axes = figure.add_axes((0.14, 0.13, 0.82, 0.83))
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
        return output()


def curves(groups: Mapping[str, tuple[Any, Any, Any]], across: str, up: str, diagonal: bool = False) -> Drawing:
    """Lines of groups, (x, y, half-width of a band or None); with `diagonal` that of chance, as for ROC curves."""
    with drawing(7.6, 5.0) as (figure, output):
        axes = figure.add_axes((0.10, 0.12, 0.62, 0.85))
        if diagonal:
            axes.plot([0, 1], [0, 1], color="#767676", linestyle="--", linewidth=1, label="chance")
        for number, (name, (x, y, half)) in enumerate(groups.items()):
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(x, y, color=colour, linewidth=2, linestyle=("-", "--", ":", "-.")[number % 4], label=name)
            if half is not None:
                low, high = np.asarray(y) - np.asarray(half), np.asarray(y) + np.asarray(half)
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel=across, ylabel=up)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
        plain(axes)
        return output()


def matrix(table: pd.DataFrame, label: str, low: float | None = None, high: float | None = None) -> Drawing:
    """Coloured table, rows by columns, with its numbers written in."""
    height = 1.3 + 0.36 * len(table)
    with drawing(2.6 + 0.95 * table.shape[1], height) as (figure, output):
        axes = figure.add_axes((2.0 / (2.6 + 0.95 * table.shape[1]), 0.75 / height, 0.62, (height - 1.0) / height))
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
        return output()


def bars(names: Sequence[str], groups: Mapping[str, Sequence[float]], axis_label: str) -> Drawing:
    """Horizontal bars, a line a name, a bar a group."""
    lines, thickness = np.arange(len(names)), 0.8 / max(len(groups), 1)
    height = 0.9 + max(0.3, 0.14 * len(groups)) * max(len(names), 1)
    with drawing(8.6, height) as (figure, output):
        axes = figure.add_axes((0.34, 0.62 / height, 0.50, 0.97 - 0.62 / height))
        for number, (group, values) in enumerate(groups.items()):
            place = lines + (number - (len(groups) - 1) / 2) * thickness
            axes.barh(place, values, thickness, color=COLOURS[number % len(COLOURS)], label=group)
        axes.set_yticks(lines, [short(n) for n in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlabel(axis_label)
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        if len(groups) > 1:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        plain(axes)
        return output()


def strips(groups: Mapping[str, Sequence[float]], up: str) -> Drawing:
    """Values of groups side by side as points, with their median."""
    with drawing(1.6 + 1.3 * len(groups), 4.2) as (figure, output):
        axes = figure.add_axes((0.2, 0.14, 0.77, 0.82))
        for number, (_, values) in enumerate(groups.items()):
            spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
            axes.plot(number + spread, values, MARKERS[number % 6], color=COLOURS[number % 6], markersize=5)
            axes.hlines(np.median(values), number - 0.25, number + 0.25, color="black", linewidth=1.5)
        axes.set_xticks(range(len(groups)), [short(g, 18) for g in groups])
        axes.set_ylabel(up)
        axes.set_xlim(-0.6, len(groups) - 0.4)
        plain(axes)
        return output()


def maps(
    heatmap: Volume,
    scan: Volume | None,
    limit: float,
    count: int = 7,
    ends: tuple[str, str] = ("against", "for"),
) -> Drawing:
    """Heatmap over a scan in slices, `neuroxai.report.figures.mosaic`; the SVG holds the picture as it is.

    The scan may be as a network takes it, standardised with a background of 0, which is then shown black.
    """
    if scan is not None and scan.data.min() < 0:
        scan = Volume(np.where(scan.data == 0, scan.data.min(), scan.data), scan.space)
    png = mosaic(heatmap, scan, limit, planes=("axial", "coronal"), count=count, ends=ends)
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    data = base64.b64encode(png).decode("ascii")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{data}"/></svg>\n'
    )
    return {"png": png, "svg": svg.encode()}


def interval_panels(panels: Sequence[Panel], reference: float | None = None) -> Drawing:
    """Means with intervals and single values, a panel a quantity over the same lines; a dashed line at `reference`."""
    names = list(dict.fromkeys(name for _, rows, _ in panels for name in rows["group"]))
    height, width = 1.0 + 0.42 * max(len(names), 1), 3.0 + 3.0 * len(panels)
    with drawing(width, height) as (figure, output):
        left, gap = 2.1 / width, 0.25 / width
        wide = (1 - left - 0.02) / len(panels) - gap
        for number, (label, rows, points) in enumerate(panels):
            axes = figure.add_axes((left + number * (wide + gap), 0.60 / height, wide, (height - 0.75) / height))
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
            axes.set_yticks(range(len(names)), [short(str(n)) for n in names] if number == 0 else [""] * len(names))
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.set_xlabel(label)
            plain(axes)
        return output()


def map_rows(found: Mapping[str, Volume], scan: Volume | None, count: int = 7) -> Drawing:
    """Axial slices of several maps over one scan, a row a map with its title; the same slices in all rows.

    Colours of a row run to half of its largest value.
    """
    import matplotlib.image

    like = Volume(np.max([np.abs(m.data) for m in found.values()], axis=0), next(iter(found.values())).space)
    strips = {}
    for name, heatmap in found.items():
        limit = float(np.abs(heatmap.data).max()) / 2 or 1.0
        png = mosaic(heatmap, scan, limit, planes=("axial",), count=count, like=like)
        strips[name] = matplotlib.image.imread(io.BytesIO(png), format="png")
    high, wide = next(iter(strips.values())).shape[:2]
    # a hundred pixels an inch, as `drawing` has: the strips' small print is drawn as it is
    width, each = wide / 100 + 1.2, high / 100 + 0.12
    height = each * len(strips) + 0.1
    with drawing(width, height) as (figure, output):
        for number, (name, strip) in enumerate(strips.items()):
            top, tall = 1 - (0.05 + each * number) / height, (each - 0.12) / height
            axes = figure.add_axes((1.2 / width, top - tall, wide / 100 / width, tall))
            axes.imshow(strip, interpolation="none", aspect="auto")
            axes.set_axis_off()
            figure.text(0.1 / width, top - each / 2 / height, short(name, 16), va="center", fontsize=10)
        return output()


def fingerprints(scores: NDArray[np.float64], names: Sequence[str], cells: Sequence[str]) -> bytes:
    """Draw scans (rows) by regions (columns), in standard deviations of the controls; `cells` group the rows."""
    count = len(scores)
    height = float(np.clip(2.9 + 0.02 * count, 4.2, 9.0))
    width = float(np.clip(2.2 + 0.17 * len(names), 6.0, 12.0))
    with figure_of(width, height) as (figure, output):
        bottom = 2.15 / height
        axes = figure.add_axes((0.9 / width, bottom, 1 - 1.9 / width, 1 - bottom - 0.25 / height))
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
        bar = figure.colorbar(
            image, cax=figure.add_axes((1 - 0.85 / width, bottom, 0.16 / width, 1 - bottom - 0.25 / height))
        )
        bar.ax.tick_params(labelsize=8)
        return output()
