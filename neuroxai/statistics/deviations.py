"""Deviations from a reference: t of one that was left out, ranks among the controls' own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError

# what writing to a file takes from a number, relative to the largest deviation of its region
_TIE, _SAME = 1e-6, 1e-5


def left_out_t(error: Any, leverage: Any, sd: NDArray[np.float64], df: int) -> NDArray[np.float64]:
    """Return the deviation of a control from the regression of all others, t with ``df - 1`` degrees of freedom.

    The externally studentised residual (Belsley 1980): the closed form of fitting anew without that control.

    Parameters
    ----------
    error : ndarray, shape (..., regions)
        Residuals in the regression of all.
    leverage : float or ndarray
        The control's diagonal of the hat matrix.
    sd, df
        Residual standard deviation of all and its degrees of freedom.
    """
    rest = np.maximum(df * sd**2 - error**2 / (1 - leverage), 0.0) / (df - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(error / np.sqrt(rest * (1 - leverage)))


def two_sided(t: NDArray[np.float64], df: int) -> NDArray[np.float64]:
    """Two-sided p-value of Student's t."""
    from scipy.stats import t as student

    return np.asarray(2 * student.sf(np.abs(t), df))


def percentiles(ordered: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of a deviation among the controls' in percent, ``100 (below + ties / 2 + 1/2) / (controls + 1)``.

    Parameters
    ----------
    ordered : ndarray, shape (controls, regions)
    own : ndarray, shape (regions,)
    """
    tie = np.abs(ordered - own) <= _TIE * np.abs(ordered).max(axis=0)
    below = (ordered < own) & ~tie
    return np.asarray(100 * (below.sum(axis=0) + tie.sum(axis=0) / 2 + 0.5) / (len(ordered) + 1))


def without(ordered: NDArray[np.float64], own: NDArray[np.float64], who: str) -> NDArray[np.float64]:
    """Take one control's deviations out of the sorted ones, shape (controls - 1, regions).

    Raises
    ------
    InputError
        If they are not among them.
    """
    nearest = np.abs(ordered - own).argmin(axis=0)[None]
    gap = np.abs(np.take_along_axis(ordered, nearest, 0)[0] - own)
    if (gap > _SAME * np.abs(ordered).max(axis=0)).any():
        raise InputError(
            f"{who}: scores, age or sex are not those that the reference was made from; leave-one-out needs the same"
        )
    keep = np.ones(ordered.shape, dtype=bool)
    np.put_along_axis(keep, nearest, False, 0)
    return np.asarray(ordered.T[keep.T].reshape(ordered.shape[1], -1).T)
