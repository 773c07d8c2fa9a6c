"""The only place that draws. Every function returns PNG bytes; same values, same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import SpaceError
from neuroxai.evaluation import RocCurve
from neuroxai.evaluation.calibration import Bin
from neuroxai.report import slices
from neuroxai.space import Volume

# blue against orange: told apart with any common colour blindness; both ends are lighter, so size reads as lightness
_STOPS = ("#a6e3ff", "#3f97f0", "#1b4fbf", "#6b6b6b", "#b8440c", "#f28a1c", "#ffe37a")
FEWEST_DRAWN = 5  # scans in a bin of the calibration figure
COLOURS = "blue (against) to orange and yellow (for), dark near zero; weak relevance lets the scan show through"
FOR, AGAINST, PATIENTS, CONTROLS = "#b8440c", "#1b4fbf", "#b8440c", "#1b4fbf"


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
        _plain(axes)
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
        _plain(axes)
        return output()


def region_bars(names: Sequence[str], groups: Mapping[str, Sequence[float | None]], axis_label: str) -> bytes:
    """Horizontal bars, one line a region; with two groups, two bars a line; missing values are left out.

    Parameters
    ----------
    names : sequence of str
        Regions, the first on top.
    groups : mapping of str to sequence of float or None
        One value a region for each group; one group alone is coloured by sign.
    axis_label : str
        Below the axis.
    """
    lines = np.arange(len(names))
    thickness = 0.8 / max(len(groups), 1)
    height = 0.9 + 0.3 * max(len(names), 1)
    with figure_of(8.6, height) as (figure, output):
        axes = figure.add_axes((0.40, 0.62 / height, 0.57, 0.97 - 0.62 / height))
        for number, (group, values) in enumerate(groups.items()):
            lengths = [0.0 if v is None else v for v in values]
            place = lines + (number - (len(groups) - 1) / 2) * thickness
            if len(groups) == 1:
                axes.barh(place, lengths, thickness, color=[FOR if v >= 0 else AGAINST for v in lengths])
            else:
                axes.barh(place, lengths, thickness, color=(PATIENTS, CONTROLS, "#767676")[number % 3], label=group)
        axes.set_yticks(lines, [_short(n) for n in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlabel(axis_label)
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        if len(groups) > 1:
            axes.legend(loc="best", frameon=False)
        _plain(axes)
        return output()


def colour_map() -> Any:
    """Return the diverging colour map of all heatmaps (a matplotlib colour map over 0 to 1, zero at .5)."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("relevance", _STOPS, N=511)


def blend(relevance: NDArray[Any], grey: NDArray[Any], limit: float) -> NDArray[np.float64]:
    """RGB picture: relevance over grey, the more opaque the larger."""
    scaled = np.clip(np.asarray(relevance, np.float64) / limit, -1, 1) if limit > 0 else np.zeros(relevance.shape)
    colour = colour_map()(scaled / 2 + 0.5)[..., :3]
    alpha = np.clip(1.3 * np.abs(scaled), 0, 0.95)[..., None]
    base = np.repeat(np.asarray(grey, np.float64)[..., None], 3, axis=-1) * 0.85
    return np.asarray(alpha * colour + (1 - alpha) * base)


def grey_of(data: NDArray[Any]) -> NDArray[np.float64]:
    """Scale a scan to 0 to 1: from its minimum to the 99.5th percentile of what lies above the minimum."""
    values = np.asarray(data, np.float64) - float(data.min())
    bright = values[values > 0]
    top = float(np.percentile(bright, 99.5)) if bright.size else 1.0
    return np.asarray(np.clip(values / top, 0, 1))


def _colour_bar(figure: Any, limit: float, total: float, ends: tuple[str, str]) -> None:
    axes = figure.add_axes((0.3, 0.36 / total, 0.4, 0.12 / total))
    ramp = np.linspace(-limit, limit, 256)[None]
    axes.imshow(blend(ramp, np.zeros(ramp.shape), limit), aspect="auto", extent=(-1, 1, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([-1, 0, 1], [f"{-limit:.2g} {ends[0]}".strip(), "0", f"{ends[1]} {limit:.2g}".strip()])
    axes.tick_params(colors="white", labelsize=8, length=2)
    for spine in axes.spines.values():
        spine.set_color("white")


def _plain(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(name: str, length: int = 44) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


@contextmanager
def figure_of(width: float, height: float) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    """Open a figure of its own (no global state) in matplotlib's default style, with a function that gives its PNG."""
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # the user's matplotlibrc must not change a report, and a dollar sign in a region's name is no formula
    with matplotlib.style.context(["default", {"text.parse_math": False, "axes.formatter.use_mathtext": False}]):
        figure = Figure(figsize=(width, height), dpi=100)
        FigureCanvasAgg(figure)

        def output() -> bytes:
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", metadata={"Software": None})
            return buffer.getvalue()

        yield figure, output
