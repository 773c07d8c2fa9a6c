"""The canvas that every figure is drawn on, and the colours of relevance; same values, same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# blue against orange: distinct with any common colour blindness; both ends are lighter, so size reads as lightness
_STOPS = ("#a6e3ff", "#3f97f0", "#1b4fbf", "#6b6b6b", "#b8440c", "#f28a1c", "#ffe37a")
COLOURS = "blue (against) to orange and yellow (for), dark near zero; weak relevance lets the scan show through"
FOR, AGAINST, PATIENTS, CONTROLS = "#b8440c", "#1b4fbf", "#b8440c", "#1b4fbf"


@cache
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


def plain(axes: Any) -> None:
    """Leave out the frame's upper and right side."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def short(name: str, length: int = 44) -> str:
    """Cut a name that would not fit beside its line."""
    return name if len(name) <= length else name[: length - 1] + "…"


def name_lines(axes: Any, names: Sequence[str], axis_label: str) -> None:
    """Name the lines of a chart, the first on top, and the axis below them."""
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(axis_label)
    plain(axes)


def draw_bars(
    axes: Any, names: Sequence[str], groups: Mapping[str, Sequence[float | None]], colours: Sequence[str]
) -> None:
    """Draw horizontal bars, one line per name and one bar per group; one group without colours is coloured by sign."""
    thickness = 0.8 / max(len(groups), 1)
    for number, (group, values) in enumerate(groups.items()):
        lengths = [0.0 if value is None else value for value in values]
        place = np.arange(len(names)) + (number - (len(groups) - 1) / 2) * thickness
        colour = colours[number % len(colours)] if colours else [FOR if value >= 0 else AGAINST for value in lengths]
        axes.barh(place, lengths, thickness, color=colour, label=group)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))


@contextmanager
def figure_of(width: float, height: float, dark: bool = False) -> Iterator[tuple[Any, Callable[..., bytes]]]:
    """Open a figure of its own (no global state) in matplotlib's default style, laid out by its constraints.

    Parameters
    ----------
    width, height : float
        Inches, of a hundred pixels each.
    dark : bool
        Black, without room between what is drawn: for pictures of scans.

    Yields
    ------
    (matplotlib.figure.Figure, callable)
        The callable gives the figure's bytes, as ``"png"`` by default or as ``"svg"``.
    """
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from PIL import Image

    tight: dict[str, Any] = {"w_pad": 0.02, "h_pad": 0.04, "wspace": 0.0, "hspace": 0.0} if dark else {}
    # the user's matplotlibrc must not change a report, and a dollar sign in a region's name is no formula;
    # ids in an SVG are random unless salted, and its text stays text
    settings: dict[str, Any] = {"text.parse_math": False, "axes.formatter.use_mathtext": False}
    settings |= {"svg.hashsalt": "neuroxai", "svg.fonttype": "none"}
    with matplotlib.style.context(["default", settings]):
        figure = Figure(figsize=(width, height), dpi=100, layout=ConstrainedLayoutEngine(**tight))
        canvas = FigureCanvasAgg(figure)
        if dark:
            figure.patch.set_facecolor("black")

        def output(form: str = "png") -> bytes:
            _settle(figure)
            buffer = io.BytesIO()
            if form == "png":  # savefig would draw everything twice
                canvas.draw()
                Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "PNG")
            else:
                figure.savefig(buffer, format=form, metadata={"Date": None, "Creator": None})
            return buffer.getvalue()

        yield figure, output


def _settle(figure: Any) -> None:
    """Lay a figure out once and round what came of it.

    The last bits of what the constraints' solver finds depend on where objects lie in memory, and can move an edge by a
    pixel: the same input would not give the same bytes.
    """
    from matplotlib.layout_engine import PlaceHolderLayoutEngine

    engine = figure.get_layout_engine()
    if isinstance(engine, PlaceHolderLayoutEngine):
        return  # settled before
    if figure.axes:
        engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(np.round(axes.get_position(original=True).bounds, 6), which="original")
    for text in figure.texts:
        text.set_position(np.round(text.get_position(), 6))
