"""Confidence intervals of proportions and their means (Wilson, Newcombe), and subjects drawn with replacement.

Wilson's is scipy's. The mean of two proportions has its interval in no library that we depend on, nor have draws of
subjects that keep every class.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A figure with its confidence interval, or the reason why there is none.

    Parameters
    ----------
    value, low, high : float or None
        Point value and limits of the interval; None where undefined.
    method : str
        How the interval was made.
    n : int
        Scans that the figure rests on.
    level : float
        Coverage aimed at.
    reason : str
        Why the value is undefined; empty otherwise.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    n: int
    level: float = 0.95
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def critical_value(level: float) -> float:
    """Two-sided quantile of the normal distribution: 1.96 for a level of .95.

    Raises
    ------
    InputError
        If the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"confidence level {level} is out of range; choose one between 0 and 1, for example 0.95")
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927); honest for small samples and for 0 or n successes.

    Raises
    ------
    InputError
        If there are no trials, or more successes than trials.
    """
    from scipy.stats import binomtest

    if n < 1 or not 0 <= successes <= n:
        raise InputError(f"a proportion needs 0 <= successes <= n and n >= 1, got {successes} of {n}")
    critical_value(level)
    found = binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def mean_of_proportions(first: tuple[int, int], second: tuple[int, int], level: float = 0.95) -> Interval:
    """Interval of the mean of two independent proportions from their Wilson limits.

    Square-and-add (method of variance estimates recovery: Newcombe 1998, method 10; Zou and Donner 2008). Unlike a
    bootstrap it does not shrink to nothing when both proportions are 1.

    Parameters
    ----------
    first, second : (int, int)
        Successes and trials, for example (TP, patients) and (TN, controls) for balanced accuracy.
    """
    p, q = first[0] / first[1], second[0] / second[1]
    (p_low, p_high), (q_low, q_high) = wilson(*first, level), wilson(*second, level)
    value = (p + q) / 2
    low = value - 0.5 * float(np.hypot(p - p_low, q - q_low))
    high = value + 0.5 * float(np.hypot(p_high - p, q_high - q))
    return max(low, 0.0), min(high, 1.0)


def subject_weights(clusters: NDArray[Any], true: NDArray[np.bool_], replicates: int, seed: int) -> NDArray[np.float64]:
    """How often each scan is drawn when subjects are drawn with replacement, shape (replicates, scans).

    Strata are the subjects with the same classes (patients, controls, those with both), so that no replicate loses a
    class. All scans of a subject come along (Field and Welsh 2007, cluster bootstrap).
    """
    rng = np.random.default_rng(seed)
    _, subject = np.unique(clusters, return_inverse=True)
    count = int(subject.max()) + 1
    stratum = np.zeros(count, dtype=int)
    np.bitwise_or.at(stratum, subject, np.where(true, 1, 2))
    drawn = np.zeros((replicates, count))
    for kind in np.unique(stratum):
        members = np.flatnonzero(stratum == kind)
        drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=replicates)
    return np.asarray(drawn[:, subject])
