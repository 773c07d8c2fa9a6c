"""A grid of small pictures, one axial slice each, over the mean scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.canvas import blend, figure_of, grey_of
from neuroxai.report import slices
from neuroxai.space import Volume

_TITLE, _BAR = 0.36, 0.6  # inches above each panel; below all of them


@dataclass(frozen=True)
class Panel:
    """One picture.

    Parameters
    ----------
    title : str
        Above it.
    relevance : ndarray, shape (rows, columns)
        An axial slice of a RAS grid, as `slices.slice_image` cuts it.
    index : int
        Which slice.
    limit : float
        Colours run from -limit to limit.
    """

    title: str
    relevance: NDArray[Any]
    index: int
    limit: float


def panel_grid(columns: Sequence[Sequence[Panel]], scan: Volume, heading: str, across: int) -> bytes:
    """Draw columns of panels side by side, in as many bands as are needed; left and right marked on every panel.

    Parameters
    ----------
    columns : sequence of sequence of Panel
        Panels that belong together stand in one column.
    scan : Volume
        What lies beneath, in RAS.
    heading : str
        On top.
    across : int
        Columns in one band, at most.

    Returns
    -------
    bytes
        PNG.
    """
    grey = Volume(grey_of(scan.data), scan.space)
    (x0, x1), (y0, y1), _ = slices.bounding_box(grey.data > 0.02)
    spacing, rows = scan.space.spacing, scan.space.shape[1]
    window = (slice(rows - y1, rows - y0), slice(x0, x1))
    across = math.ceil(len(columns) / math.ceil(len(columns) / across))  # bands as equal as can be
    bands = [columns[start : start + across] for start in range(0, len(columns), across)]
    width = max(1.5, 6.0 / across)
    height = width * (y1 - y0) * spacing[1] / ((x1 - x0) * spacing[0])
    total = sum((height + _TITLE) * max(len(column) for column in band) for band in bands) + _BAR + 0.35
    with figure_of(width * across, total) as (figure, output):
        figure.patch.set_facecolor("black")
        figure.text(0.5, 1 - 0.2 / total, heading, ha="center", va="center", color="white", fontsize=8.5)
        top = total - 0.35
        for band in bands:
            for number, column in enumerate(band):
                for row, panel in enumerate(column):
                    base = top - (row + 1) * (height + _TITLE)
                    axes = figure.add_axes((number / across, base / total, 0.97 / across, height / total))
                    under = slices.slice_image(grey, "axial", panel.index)[window]
                    picture = blend(panel.relevance[window], under, panel.limit)
                    axes.imshow(picture, aspect=spacing[1] / spacing[0], interpolation="nearest")
                    axes.set_axis_off()
                    at = {"transform": axes.transAxes, "color": "white"}
                    place = f"z = {slices.coordinate(scan.space, 'axial', panel.index):.0f} mm, \u00b1{panel.limit:.1e}"
                    axes.text(0.5, 1.12, panel.title, ha="center", va="bottom", fontsize=6.5, **at)
                    axes.text(0.5, 1.02, place, ha="center", va="bottom", fontsize=6, **at)
                    axes.text(0.03, 0.97, "L", ha="left", va="top", fontsize=7, fontweight="bold", **at)
                    axes.text(0.97, 0.97, "R", ha="right", va="top", fontsize=7, fontweight="bold", **at)
            top -= (height + _TITLE) * max(len(column) for column in band)
        axes = figure.add_axes((0.3, 0.36 / total, 0.4, 0.12 / total))
        ramp = np.linspace(-1, 1, 256)[None]
        axes.imshow(blend(ramp, np.zeros(ramp.shape), 1.0), aspect="auto", extent=(-1, 1, 0, 1))
        axes.set_yticks([])
        axes.set_xticks([-1, 0, 1], ["-limit: lowers the filter's output", "0", "raises it: limit of the panel"])
        axes.tick_params(colors="white", labelsize=7, length=2)
        return output()
