"""Scales on which scores are compared with controls: as they are, or their logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, one_of

Scale = Literal["linear", "log"]
SCALES: tuple[Scale, ...] = ("linear", "log")


def scaled(scores: NDArray[np.float64], logs: NDArray[np.bool_], ids: Sequence[str]) -> NDArray[np.float64]:
    """Bring scores to their scales; NaN stays NaN.

    Parameters
    ----------
    scores : ndarray, shape (people, regions)
    logs : ndarray of bool, shape (regions,)
        Where logarithms are compared.
    ids : sequence of str
        People, for messages.

    Raises
    ------
    InputError
        If a score is zero or negative where logarithms are compared.
    """
    wrong = np.argwhere((scores <= 0) & logs)
    if wrong.size:
        who, value = ids[int(wrong[0, 0])], float(scores[tuple(wrong[0])])
        raise InputError(
            f"{who}: a region's score is {value:g}, and the scale 'log' wants all above 0; use the scale 'linear', or "
            "a measure without negative values"
        )
    made = np.array(scores, dtype=np.float64)
    made[:, logs] = np.log(made[:, logs])
    return made


def logs_of(scores: NDArray[np.float64], scale: Scale | None) -> NDArray[np.bool_]:
    """Tell in which regions logarithms are compared.

    Without a scale that is where all known scores are above 0; nowhere if a score is negative, as a measure of both
    signs has no logarithm, and a region without a negative score is so by chance.

    Raises
    ------
    InputError
        If the scale is unknown.
    """
    if scale is None:
        return np.asarray(((scores > 0) | np.isnan(scores)).all(axis=0) & ~(scores < 0).any())
    if scale not in SCALES:
        raise one_of("scale", scale, SCALES)
    return np.full(scores.shape[1], scale == "log")


def unscaled(values: NDArray[np.float64], logs: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Bring values of each region back from its scale."""
    made = np.array(values, dtype=np.float64)
    made[logs] = np.exp(made[logs])
    return made
