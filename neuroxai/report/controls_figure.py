"""Controls' distributions, one line a region, with one person's place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.report.figures import AGAINST, FOR, figure_of

_MOST_DOTS = 150


def controls_figure(names: Sequence[str], controls: Sequence[NDArray[Any]], person: Sequence[float]) -> bytes:
    """Draw controls as dots, the person as a diamond, in standard deviations of the controls; returns PNG.

    Parameters
    ----------
    names : sequence of str
        Regions, the first on top.
    controls : sequence of ndarray
        Deviations of the controls, for each region.
    person : sequence of float
        The person's deviation in each region; drawn at the edge where it is far out.
    """
    height = 0.75 + 0.34 * max(len(names), 1)
    reach = 6.0
    with figure_of(8.6, height) as (figure, output):
        axes = figure.add_axes((0.40, 0.58 / height, 0.57, 0.97 - 0.58 / height))
        for line, (values, own) in enumerate(zip(controls, person, strict=True)):
            dots = np.asarray(values, dtype=np.float64)
            if len(dots) > _MOST_DOTS:
                dots = np.quantile(dots, np.linspace(0, 1, _MOST_DOTS))
            # spread over the line by a fixed pattern, so that the same values give the same picture
            lift = 0.24 * np.sin(np.arange(len(dots)) * 2.399963)
            axes.plot(dots, line + lift, "o", markersize=3, color="#767676", alpha=0.6, linewidth=0)
            far = abs(own) > reach
            place = float(np.clip(own, -reach, reach))
            mark = (">" if own > 0 else "<") if far else "D"
            axes.plot([place], [line], mark, markersize=8, color=FOR if own > 0 else AGAINST, markeredgecolor="black")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlim(-reach - 0.4, reach + 0.4)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), [name if len(name) < 45 else name[:43] + "…" for name in names])
        axes.set_xlabel("standard deviations of the controls")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        return output()
