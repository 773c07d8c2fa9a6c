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


@cache
def _table() -> NDArray[np.float32]:
    """Return the colours of relevance from -limit to limit in 511 steps."""
    return np.asarray(colour_map()(np.arange(511))[:, :3], np.float32)


def blend(relevance: NDArray[Any], grey: NDArray[Any], limit: float) -> NDArray[np.float32]:
    """RGB picture: relevance over grey, the more opaque the larger."""
    values = np.asarray(relevance, np.float32)
    share = np.clip(values / limit, -1, 1) if limit > 0 else np.zeros_like(values)
    colour = _table()[np.minimum(255.5 * share + 255.5, 510).astype(np.int16)]
    alpha = np.clip(1.3 * np.abs(share), 0, 0.95)[..., None]
    base = 0.85 * np.asarray(grey, np.float32)[..., None]
    return np.asarray(alpha * colour + (1 - alpha) * base)


def grey_of(data: NDArray[Any]) -> NDArray[np.float32]:
    """Scale a scan to 0 to 1: from its minimum to the 99.5th percentile of what lies above the minimum."""
    values = np.asarray(data, np.float32) - np.float32(data.min())
    bright = values[values > 0]
    top = np.float32(np.percentile(bright, 99.5)) if bright.size else np.float32(1)
    return np.clip(values / top, 0, 1, out=values)


@cache
def font(points: float, bold: bool = False) -> Any:
    """Return a font for `PIL.ImageDraw`, of a picture with a hundred pixels an inch."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", points * 100 / 72)


def png_of(picture: Any) -> bytes:
    """Write a `PIL.Image` as PNG."""
    buffer = io.BytesIO()
    # pixels of scans hardly shrink more on higher levels, which take three times as long
    picture.convert("RGB").save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


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
            if form == "png":  # savefig would draw everything twice
                canvas.draw()
                return png_of(Image.fromarray(np.asarray(canvas.buffer_rgba())))
            buffer = io.BytesIO()
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
