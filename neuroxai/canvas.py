"""The canvas that every figure is drawn on, and the colours of relevance; same values, same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

# blue against orange: told apart with any common colour blindness; both ends are lighter, so size reads as lightness
_STOPS = ("#a6e3ff", "#3f97f0", "#1b4fbf", "#6b6b6b", "#b8440c", "#f28a1c", "#ffe37a")
COLOURS = "blue (against) to orange and yellow (for), dark near zero; weak relevance lets the scan show through"
FOR, AGAINST, PATIENTS, CONTROLS = "#b8440c", "#1b4fbf", "#b8440c", "#1b4fbf"


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
