"""Area under the ROC curve: DeLong's variance and interval, and two scores on the same scans compared.

scikit-learn has the area, but neither DeLong's variance nor an interval, and no area of a thousand weightings at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError
from neuroxai.statistics.intervals import Estimate, Interval, critical_value


@dataclass(frozen=True)
class AreaComparison:
    """Two areas under the ROC curve on the same scans (DeLong 1988).

    Parameters
    ----------
    first, second : float
        The areas.
    difference, low, high : float
        ``first - second`` with its interval.
    z, p : float
        Test statistic and two-sided p-value; NaN where the difference has no variance but is not zero.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    z: float
    p: float


def roc_area(true: ArrayLike, score: ArrayLike, level: float = 0.95) -> Estimate:
    """Area under the ROC curve with an interval; one scan a subject.

    Parameters
    ----------
    true : array_like of bool, shape (scans,)
        Whether a scan belongs to the positive class.
    score : array_like, shape (scans,)
        The larger, the more positive: a probability, a logit, a region's density.

    Raises
    ------
    InputError
        If lengths differ, a score is not finite, or a class is absent.

    Examples
    --------
    >>> roc_area([False, False, True, True], [0.1, 0.4, 0.35, 0.8]).value
    0.75
    """
    y, (values,) = _checked(true, score)
    interval, method = roc_area_interval(values[y], values[~y], level)
    return Estimate(delong(values[y], values[~y])[0], *interval, method, len(y), level)


def compare_areas(true: ArrayLike, first: ArrayLike, second: ArrayLike, level: float = 0.95) -> AreaComparison:
    """Test whether two scores of the same scans have the same area, as DeLong (1988) does; one scan a subject.

    Parameters
    ----------
    true : array_like of bool, shape (scans,)
        Whether a scan belongs to the positive class.
    first, second : array_like, shape (scans,)
        Two scores of each scan, for example of two networks.

    Raises
    ------
    InputError
        If lengths differ, a score is not finite, or a class has fewer than two scans.
    """
    from scipy.stats import norm

    y, (one, two) = _checked(true, first, second)
    if min(y.sum(), (~y).sum()) < 2:
        raise InputError(f"comparing areas needs two scans of each class, got {y.sum()} positive and {(~y).sum()}")
    # each patient's share of controls below (and each control's of patients above): the areas are their means
    above = np.stack([_share_below(s[y], s[~y]) for s in (one, two)])
    below = np.stack([1 - _share_below(s[~y], s[y]) for s in (one, two)])
    areas = above.mean(axis=1)
    contrast = np.array([1.0, -1.0])
    covariance = np.cov(above) / y.sum() + np.cov(below) / (~y).sum()
    difference, error = float(contrast @ areas), float(np.sqrt(max(contrast @ covariance @ contrast, 0.0)))
    half = critical_value(level) * error
    if error < 1e-12:
        z, p = (0.0, 1.0) if abs(difference) < 1e-12 else (float("nan"), float("nan"))
    else:
        z = difference / error
        p = float(2 * norm.sf(abs(z)))
    return AreaComparison(float(areas[0]), float(areas[1]), difference, difference - half, difference + half, z, p)


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


def _checked(true: ArrayLike, *scores: ArrayLike) -> tuple[NDArray[np.bool_], list[NDArray[np.float64]]]:
    y, values = np.asarray(true, dtype=bool), [np.asarray(s, dtype=np.float64) for s in scores]
    for value in values:
        if value.shape != y.shape or y.ndim != 1:
            raise InputError(f"lengths differ: {y.shape} labels, {value.shape} scores; give one score per scan")
        if not np.isfinite(value).all():
            raise InputError("a score is NaN or infinite; leave such scans out")
    return y, values
