"""Confidence intervals: Wilson, Newcombe's for sums of proportions and for the ROC area, DeLong, subject bootstrap."""

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
    if n < 1 or not 0 <= successes <= n:
        raise InputError(f"a proportion needs 0 <= successes <= n and n >= 1, got {successes} of {n}")
    z = critical_value(level)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return low, high


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


def delong(positive: NDArray[Any], negative: NDArray[Any]) -> tuple[float, float]:
    """Area under the ROC curve and its variance (DeLong 1988, eq. 1 to 6), in O(n log n).

    Parameters
    ----------
    positive, negative : ndarray, shape (m,), (n,)
        Scores of patients and of controls; ties count one half.

    Returns
    -------
    (float, float)
        The area and its variance; the variance is NaN where a class has a single member.
    """
    x, y = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    if not len(x) or not len(y):
        raise InputError(f"the ROC area needs both classes, got {len(x)} positive and {len(y)} negative scores")
    v10, v01 = _share_below(x, y), 1 - _share_below(y, x)
    area = float(v10.mean())
    if len(x) < 2 or len(y) < 2:
        return area, float("nan")
    return area, float(v10.var(ddof=1) / len(x) + v01.var(ddof=1) / len(y))


def _share_below(values: NDArray[np.float64], rivals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of rivals below each value, ties half."""
    ordered = np.sort(rivals)
    below, below_or_tied = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((below + below_or_tied) / (2 * len(rivals)))


def roc_area_interval(positive: NDArray[Any], negative: NDArray[Any], level: float = 0.95) -> tuple[Interval, str]:
    """Interval of the ROC area and the name of the method.

    DeLong's variance on the logit scale, which keeps the limits inside 0 to 1 (Pepe 2003, section 5.2.4). Where that
    variance vanishes or does not exist (perfect separation, all tied, one member), Newcombe's interval.
    """
    area, variance = delong(positive, negative)
    if not variance > 0 or not 0 < area < 1:
        return newcombe_area(area, len(positive), len(negative), level), "Newcombe 2006"
    logit, error = np.log(area / (1 - area)), np.sqrt(variance) / (area * (1 - area))
    limits = 1 / (1 + np.exp(-(logit + critical_value(level) * error * np.array([-1.0, 1.0]))))
    return (float(limits[0]), float(limits[1])), "DeLong, logit scale"


def newcombe_area(area: float, positives: int, negatives: int, level: float = 0.95) -> Interval:
    """Score-type interval of the ROC area (Newcombe 2006, Statistics in Medicine 25:559, method 5).

    Solves ``|area - t| = z sqrt(V(t))`` with the exponential-model variance of Hanley and McNeil (1982), both class
    sizes there replaced by their mean; defined for areas of 0 and 1 too.
    """
    from scipy.optimize import brentq

    z, extra = critical_value(level), (positives + negatives) / 2 - 1

    def excess(t: float) -> float:
        variance = t * (1 - t) * (1 + extra * ((1 - t) / (2 - t) + t / (1 + t))) / (positives * negatives)
        return float((area - t) ** 2 - z * z * variance)

    # at the area itself the excess is not above zero, at 0 and 1 it is not below: one root on either side
    edge = 1e-12
    low = 0.0 if area <= edge else float(brentq(excess, 0.0, min(area, 1 - edge)))
    high = 1.0 if area >= 1 - edge else float(brentq(excess, max(area, edge), 1.0))
    return low, high


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


def weighted_areas(
    true: NDArray[np.bool_], score: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """ROC area of each row of weights, shape (replicates,); ties count one half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    positive = np.add.reduceat(weights[:, order] * true[order], starts, axis=1)
    negative = np.add.reduceat(weights[:, order] * ~true[order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    return np.asarray((positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1)))
