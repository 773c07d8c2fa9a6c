"""Permutation tests: correlations, and differences between groups with family-wise and false-discovery control.

Two-sided, seeded, and exact: with ``b`` of ``n`` random rearrangements at least as extreme as the data,
``p = (b + 1) / (n + 1)`` (Phipson & Smyth 2010), never zero. `scipy.stats.permutation_test` knows one statistic at a
time; here all regions share each rearrangement, as the family-wise p-value demands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError
from neuroxai.statistics.regions import table

# numbers held at a time, so that memory stays at some 64 MB whatever the number of rearrangements
_BLOCK = 4_000_000
# two sums of the same numbers in another order may differ in their last bits; they are ties
_TIE = 1 - 1e-9


@dataclass(frozen=True, eq=False)
class Correlation:
    """Pearson's r and its two-sided permutation p-value, one of each a column; NaN where a column is constant."""

    r: NDArray[np.float64]
    p: NDArray[np.float64]
    n: int
    permutations: int


@dataclass(frozen=True, eq=False)
class GroupDifference:
    """Differences between two groups; every array has shape (regions,), NaN where a region has no values.

    Parameters
    ----------
    difference : ndarray
        Mean of the first group minus mean of the second.
    t : ndarray
        Welch's t.
    p : ndarray
        Permutation p-value of each region by itself.
    p_family : ndarray
        Family-wise corrected: against the largest absolute t over all regions (Westfall & Young 1993; Nichols & Holmes
        2002).
    q : ndarray
        False discovery rate (Benjamini & Hochberg 1995) of `p`.
    permutations : int
        Rearrangements drawn.
    """

    difference: NDArray[np.float64]
    t: NDArray[np.float64]
    p: NDArray[np.float64]
    p_family: NDArray[np.float64]
    q: NDArray[np.float64]
    permutations: int


def correlation(measure: ArrayLike, relevance: ArrayLike, permutations: int = 9999, seed: int = 0) -> Correlation:
    """Correlate a measured quantity with relevance, each column of relevance tested against its own null.

    Parameters
    ----------
    measure : array_like, shape (subjects,)
        A volume, a lesion count. Ranks (`scipy.stats.rankdata`) of both give Spearman's coefficient.
    relevance : array_like, shape (subjects,) or (subjects, columns)
        One row per subject (scans of one subject are not exchangeable: average them first), one column per region,
        method or setting.
    permutations, seed : int
        Random rearrangements of `measure`.

    Raises
    ------
    InputError
        If there are fewer than three subjects, lengths differ, a value is not finite, or `measure` is constant.

    Examples
    --------
    >>> found = correlation([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0], permutations=99)
    >>> round(float(found.r), 6)
    -1.0
    """
    x, y = np.asarray(measure, dtype=np.float64), np.asarray(relevance, dtype=np.float64)
    columns = y[:, None] if y.ndim == 1 else y
    if x.ndim != 1 or columns.ndim != 2 or len(x) != len(columns):
        raise InputError(f"a measure of shape {x.shape} for relevance of shape {y.shape}; give one value per subject")
    if len(x) < 3:
        raise InputError(f"a correlation needs three subjects or more, got {len(x)}")
    if not (np.isfinite(x).all() and np.isfinite(columns).all()):
        raise InputError("a value is NaN or infinite; leave such subjects out")
    _positive(permutations)
    one, many = _standardised(x[:, None]), _standardised(columns)
    if np.isnan(one).any():
        raise InputError("the measure is the same in all subjects; nothing can correlate with it")
    r = one[:, 0] @ many / len(x)
    beyond = np.zeros(r.shape, dtype=np.int64)
    for rows in _rearranged(one[:, 0], permutations, seed, many.shape[1]):
        beyond += (np.abs(rows @ many / len(x)) >= np.abs(r) * _TIE).sum(axis=0)
    p = np.where(np.isnan(r), np.nan, (beyond + 1) / (permutations + 1))
    return Correlation(np.clip(r, -1, 1).reshape(y.shape[1:]), p.reshape(y.shape[1:]), len(x), permutations)


def group_difference(values: ArrayLike, first: ArrayLike, permutations: int = 9999, seed: int = 0) -> GroupDifference:
    """Test each region for a difference between two groups by exchanging group labels.

    Parameters
    ----------
    values : array_like, shape (subjects, regions)
        One row per subject. A region that is NaN in every row (it has no voxel) stays NaN.
    first : array_like of bool, shape (subjects,)
        Who belongs to the first group (the patients).
    permutations, seed : int
        Random rearrangements of the labels.

    Raises
    ------
    InputError
        If a group has fewer than two subjects, lengths differ, or a region is NaN in some rows only.
    """
    data, member = table(values, "values"), np.asarray(first, dtype=bool)
    if member.shape != (len(data),):
        raise InputError(f"{len(data)} subjects, but groups of shape {member.shape}; give one label per subject")
    if min(member.sum(), (~member).sum()) < 2:
        raise InputError(f"a group needs two subjects or more, got {member.sum()} and {(~member).sum()}")
    _positive(permutations)
    known = np.asarray(~np.isnan(data).all(axis=0))
    if not np.isfinite(data[:, known]).all():
        raise InputError("a region is NaN or infinite in some subjects only; score them with one atlas")
    # t knows no scale; standardised columns keep the sums of squares accurate. A constant column carries no evidence.
    z = np.nan_to_num(_standardised(data[:, known]))
    squares = z * z
    t = _welch(member[None].astype(np.float64), z, squares)[0]
    beyond, beyond_all = np.zeros(t.shape, dtype=np.int64), np.zeros(t.shape, dtype=np.int64)
    for rows in _rearranged(member.astype(np.float64), permutations, seed, z.shape[1]):
        drawn = np.abs(_welch(rows, z, squares))
        beyond += (drawn >= np.abs(t) * _TIE).sum(axis=0)
        largest = np.sort(drawn.max(axis=1))
        beyond_all += len(largest) - np.searchsorted(largest, np.abs(t) * _TIE, side="left")
    p = _spread((beyond + 1) / (permutations + 1), known)
    return GroupDifference(
        difference=_spread(data[member][:, known].mean(axis=0) - data[~member][:, known].mean(axis=0), known),
        t=_spread(t, known),
        p=p,
        p_family=_spread((beyond_all + 1) / (permutations + 1), known),
        q=false_discovery(p),
        permutations=permutations,
    )


def false_discovery(p: ArrayLike) -> NDArray[np.float64]:
    """Benjamini-Hochberg q-values of each row of p-values; NaN stays NaN and is no test.

    Parameters
    ----------
    p : array_like, shape (..., tests)
        Each row is a family of its own.
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p, dtype=np.float64)
    result = np.full(values.shape, np.nan)
    for row in np.ndindex(values.shape[:-1]):
        known = ~np.isnan(values[row])
        if known.any():
            result[row][known] = false_discovery_control(values[row][known])
    return result


def _welch(rows: NDArray[Any], z: NDArray[Any], squares: NDArray[Any]) -> NDArray[np.float64]:
    """Welch's t for each row of group memberships, shape (rows, regions); columns of `z` are standardised."""
    n = len(z)
    m = rows[0].sum()
    one, one_squared = rows @ z, rows @ squares
    two, two_squared = z.sum(axis=0) - one, squares.sum(axis=0) - one_squared
    error = 0.0
    for size, total, total_squared in ((m, one, one_squared), (n - m, two, two_squared)):
        # a group may be constant: the floor, far below any spread of standardised values, keeps t finite
        variance = np.maximum((total_squared - total * total / size) / (size - 1), 1e-12)
        error = error + variance / size
    return np.asarray((one / m - two / (n - m)) / np.sqrt(error))


def _standardised(values: NDArray[Any]) -> NDArray[np.float64]:
    """Columns with mean 0 and standard deviation 1 (over n); NaN where a column is constant."""
    centred = values - values.mean(axis=0)
    size = np.abs(values).max(axis=0)
    spread = centred.std(axis=0)
    # what rounding leaves of a constant column is no spread
    return np.asarray(centred / np.where(spread > 1e-12 * size, spread, np.nan))


def _rearranged(values: NDArray[Any], permutations: int, seed: int, columns: int) -> Iterator[NDArray[np.float64]]:
    """Random rearrangements of the values, a block of rows at a time."""
    rng = np.random.default_rng(seed)
    block = max(_BLOCK // max(len(values), columns), 1)
    for start in range(0, permutations, block):
        yield rng.permuted(np.tile(values, (min(block, permutations - start), 1)), axis=1)


def _spread(values: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    result = np.full(known.shape, np.nan)
    result[known] = values
    return result


def _positive(permutations: int) -> None:
    if permutations < 1:
        raise InputError(f"{permutations} permutations asked for; choose 999 or more")
