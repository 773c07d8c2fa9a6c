"""Heatmaps over scans, and curves of a cohort. Every function returns PNG bytes; same values, same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuroxai.canvas import CONTROLS, blend, figure_of, grey_of, plain
from neuroxai.errors import SpaceError
from neuroxai.evaluation import RocCurve
from neuroxai.evaluation.calibration import Bin
from neuroxai.report.plots import slices
from neuroxai.space import Volume

FEWEST_DRAWN = 5  # scans in a bin of the calibration figure


def mosaic(
    heatmap: Volume,
    scan: Volume | None,
    limit: float,
    planes: Sequence[str] = ("axial", "coronal", "sagittal"),
    count: int = 7,
    like: Volume | None = None,
    ends: tuple[str, str] = ("against", "for"),
) -> bytes:
    """Heatmap over the scan, one strip of slices a plane, left and right marked on every slice.

    Parameters
    ----------
    heatmap : Volume
        Relevance.
    scan : Volume or None
        On the same grid; None draws the heatmap alone.
    limit : float
        Colours run from -limit to limit.
    planes : sequence of str
        Of ``"axial"``, ``"coronal"``, ``"sagittal"``.
    count : int
        Slices a plane, spread over the brain; the one through the largest relevance is always among them.
    like : Volume, optional
        Heatmap on the same grid whose slices are shown, so that pictures can be compared; `heatmap` by default.
    ends : (str, str)
        What the two ends of the colour scale mean.

    Raises
    ------
    SpaceError
        If scan and heatmap lie on different grids.
    """
    if scan is not None and not scan.space.matches(heatmap.space):
        raise SpaceError(f"the scan ({scan.space.describe()}) and the heatmap ({heatmap.space.describe()}) differ")
    heat = heatmap.reoriented("RAS")
    size = np.abs(heat.data if like is None else like.reoriented("RAS").data)
    grey = None if scan is None else Volume(grey_of(scan.data), scan.space).reoriented("RAS")
    shown = size > 0.05 * limit
    box = slices.bounding_box(shown if grey is None else shown | (grey.data > 0.02))
    peak = np.unravel_index(int(size.argmax()), size.shape)
    strips = []
    for name in planes:
        cut = slices.PLANES[name]
        chosen = slices.choose(*box[cut.normal], count, int(peak[cut.normal]))
        relevance = slices.strip(heat, name, chosen, box)
        under = np.zeros(relevance.shape) if grey is None else slices.strip(grey, name, chosen, box)
        strips.append((cut, chosen, blend(relevance, under, limit)))
    spacing = heat.space.spacing
    width = 11.0
    heights = [
        width * picture.shape[0] * spacing[cut.up] / (picture.shape[1] * spacing[cut.across])
        for cut, _, picture in strips
    ]
    gap, bar = 0.24, 0.62
    total = sum(heights) + gap * len(strips) + bar
    with figure_of(width, total) as (figure, output):
        figure.patch.set_facecolor("black")
        top = total
        for (cut, chosen, picture), height in zip(strips, heights, strict=True):
            top -= height + gap
            axes = figure.add_axes((0, top / total, 1, height / total))
            axes.imshow(picture, aspect=spacing[cut.up] / spacing[cut.across], interpolation="nearest")
            axes.set_axis_off()
            tile = picture.shape[1] / len(chosen)
            for number, index in enumerate(chosen):
                at = {"y": 1.015, "transform": axes.get_xaxis_transform(), "color": "white", "va": "bottom"}
                left = number * tile - 0.5
                place = f"{cut.axis_name} = {slices.coordinate(heat.space, cut.name, index):.0f} mm"
                if number:
                    axes.axvline(left, color="#5a5a5a", linewidth=0.8, ymax=1 + gap / height, clip_on=False)
                axes.text(left + 0.04 * tile, s=cut.left, ha="left", fontsize=9, fontweight="bold", **at)
                axes.text(left + 0.50 * tile, s=place, ha="center", fontsize=7.5, **at)
                axes.text(left + 0.96 * tile, s=cut.right, ha="right", fontsize=9, fontweight="bold", **at)
        _colour_bar(figure, limit, total, ends)
        return output()


def roc_figure(curve: RocCurve, label: str) -> bytes:
    """ROC curve with the diagonal of chance."""
    with figure_of(4.4, 4.2) as (figure, output):
        axes = figure.add_axes((0.14, 0.13, 0.82, 0.83))
        axes.plot([0, 1], [0, 1], color="#767676", linestyle="--", linewidth=1, label="chance")
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=CONTROLS, linewidth=2, label=label)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xlabel("1 - specificity")
        axes.set_ylabel("sensitivity")
        axes.legend(loc="lower right", frameon=False)
        plain(axes)
        return output()


def reliability_figure(curve: Sequence[Bin]) -> bytes:
    """Share of positives against mean probability, with 95 % intervals and the diagonal of perfect calibration.

    Bins of fewer than `FEWEST_DRAWN` scans are left out: their interval spans most of the axis.
    """
    curve = [one for one in curve if one.n >= FEWEST_DRAWN]
    with figure_of(4.4, 4.2) as (figure, output):
        axes = figure.add_axes((0.14, 0.13, 0.82, 0.83))
        axes.plot([0, 1], [0, 1], color="#767676", linestyle="--", linewidth=1, label="perfect calibration")
        middle = [one.predicted for one in curve]
        seen = [one.observed for one in curve]
        below, above = [one.observed - one.low for one in curve], [one.high - one.observed for one in curve]
        axes.errorbar(
            middle, seen, yerr=[below, above], fmt="o-", color=CONTROLS, linewidth=1.5, capsize=3, label="observed"
        )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xlabel("probability, mean of the bin")
        axes.set_ylabel("share of positives")
        axes.legend(loc="upper left", frameon=False)
        plain(axes)
        return output()


def _colour_bar(figure: Any, limit: float, total: float, ends: tuple[str, str]) -> None:
    axes = figure.add_axes((0.3, 0.36 / total, 0.4, 0.12 / total))
    ramp = np.linspace(-limit, limit, 256)[None]
    axes.imshow(blend(ramp, np.zeros(ramp.shape), limit), aspect="auto", extent=(-1, 1, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([-1, 0, 1], [f"{-limit:.2g} {ends[0]}".strip(), "0", f"{ends[1]} {limit:.2g}".strip()])
    axes.tick_params(colors="white", labelsize=8, length=2)
    for spine in axes.spines.values():
        spine.set_color("white")
