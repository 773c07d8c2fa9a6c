"""How well what maps add up to agrees with what their methods say that they do."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

SUMS = ("map_sum", "map_claim")
"""Columns of what maps add up to, and of what they claim to."""


def conservation(sums: ArrayLike, claims: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """Return how well sums of maps agree with what they claim to add up to; 1 is exact, 0 is no agreement at all.

    Over scans n, of the map's sum s and the claim c (a logit, a probability, a difference of scores)::

        1 - sum_n(|s_n - c_n|) / sum_n(|s_n| + |c_n|)

    which is the Bray-Curtis similarity where signs agree, and no agreement where they do not. It is bounded,
    for c may be anywhere near 0 where s, by what biases take, is not: a mean of s / c is that of the scan whose logit
    happens to be the smallest, and a ratio of sums is as large where all logits are small. Too much of one scan does
    not make up for too little of another. A share k of what is claimed gives 1 - |k - 1| / (k + 1).

    Parameters
    ----------
    sums, claims : array_like
        Of the scans, along `axis`.
    axis : int
        The scans'.

    References
    ----------
    Bray & Curtis (1957), Ecological Monographs 27: 325-349.
    """
    sums, claims = np.asarray(sums, np.float64), np.asarray(claims, np.float64)
    whole = (np.abs(sums) + np.abs(claims)).sum(axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - np.abs(sums - claims).sum(axis=axis) / whole)
