"""Scales on which scores are compared with controls: as they are, or their logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, one_of

Scale = Literal["linear", "log"]
SCALES: tuple[Scale, ...] = ("linear", "log")


def scaled(scores: NDArray[np.float64], scale: Scale, ids: Sequence[str]) -> NDArray[np.float64]:
    """Bring scores to a scale; NaN stays NaN.

    Parameters
    ----------
    scores : ndarray, shape (people, regions)
    scale : {"linear", "log"}
    ids : sequence of str
        People, for messages.

    Raises
    ------
    InputError
        If the scale is unknown, or it is ``"log"`` and a score is zero or negative.
    """
    if scale not in SCALES:
        raise one_of("scale", scale, SCALES)
    if scale == "linear":
        return scores
    wrong = np.argwhere(scores <= 0)
    if wrong.size:
        who, value = ids[int(wrong[0, 0])], float(scores[tuple(wrong[0])])
        raise InputError(
            f"{who}: a region's score is {value:g}, and the scale 'log' wants all above 0; use the scale 'linear', or "
            "a measure without negative values"
        )
    return np.asarray(np.log(scores))


def fitting_scale(scores: NDArray[np.float64]) -> Scale:
    """Return "log" where all known scores are above 0, "linear" otherwise."""
    known = scores[~np.isnan(scores)]
    return "log" if known.size and bool((known > 0).all()) else "linear"


def unscaled(values: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """Bring values back from a scale."""
    return np.asarray(np.exp(values)) if scale == "log" else values
