"""Figures of studies with several panels: intervals side by side, mean maps of networks below each other."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuroxai.canvas import CONTROLS, plain, short
from neuroxai.report.figures import mosaic
from neuroxai.report.study_figures import Drawing, drawing
from neuroxai.space import Volume

if TYPE_CHECKING:
    import pandas as pd

Panel = tuple[str, "pd.DataFrame", Mapping[str, Sequence[float]]]
"""Label of the axis, rows (group, value, low, high), and single values by group."""


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
