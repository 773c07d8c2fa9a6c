"""Differences within pairs: interval, Wilcoxon's test, and the least p-value that so many pairs can give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neuroxai.errors import InputError
from neuroxai.statistics.bootstrap import mean_interval


@dataclass(frozen=True)
class Paired:
    """What `paired_difference` found.

    Parameters
    ----------
    difference : float
        Mean of first minus second.
    low, high : float or None
        Its interval; None for a single pair, or where all differences are alike.
    p : float
        Two-sided, Wilcoxon's signed-rank test; 1 where no pair differs.
    effect : float
        Rank-biserial r of pairs (Kerby 2014): share of ranks for a positive difference minus the share against, -1 to
        1; 0 where no pair differs.
    n : int
        Pairs.
    least_p : float
        Smallest p that so many pairs can give: above .05 the test cannot find anything.
    """

    difference: float
    low: float | None
    high: float | None
    p: float
    effect: float
    n: int
    least_p: float

    def caveat(self, what: str) -> str:
        """Say that the test could not have found anything, where that is so; `what` is a pair, in the plural."""
        return f"{self.n} {what} cannot give a p below {self.least_p:.2g}" if self.least_p > 0.05 else ""


def paired_difference(first: ArrayLike, second: ArrayLike, **options: Any) -> Paired:
    """Compare two values of each subject, split or repetition.

    Parameters
    ----------
    first, second : array_like, shape (pairs,)
        A pair of which one is NaN is left out.
    **options
        Of `neuroxai.statistics.bootstrap`: level, replicates, seed.

    Raises
    ------
    InputError
        If lengths differ or no pair is left.

    Examples
    --------
    >>> found = paired_difference([3.0, 5.0, 9.0], [2.0, 3.0, 5.0])
    >>> round(found.difference, 3), found.effect, found.p, found.least_p
    (2.333, 1.0, 0.25, 0.25)
    """
    from scipy.stats import rankdata, wilcoxon

    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise InputError(f"pairs of shapes {one.shape} and {two.shape}; give one value of each for every pair")
    differences = (one - two)[~np.isnan(one - two)]
    if not len(differences):
        raise InputError(f"none of {len(one)} pairs has two numbers; a difference needs one pair at least")
    low = high = None
    if len(differences) > 1:
        interval = mean_interval(differences, **options)
        low, high = (float(v) if np.isfinite(v) else None for v in (interval.low, interval.high))
    moved = differences[differences != 0]
    p, effect = 1.0, 0.0
    if len(moved):
        ranks = rankdata(np.abs(moved))
        effect = float((ranks[moved > 0].sum() - ranks[moved < 0].sum()) / ranks.sum())
        p = float(wilcoxon(moved).pvalue)
    least = min(1.0, 2.0 ** (1 - len(differences)))
    return Paired(float(differences.mean()), low, high, p, effect, len(differences), least)
