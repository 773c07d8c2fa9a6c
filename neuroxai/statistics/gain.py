"""Relevance a region, set against its size and against healthy controls; the regions that lead, and their overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError
from neuroxai.statistics.arrays import same_columns, table


def density(sums: ArrayLike, voxels: ArrayLike) -> NDArray[np.float64]:
    """Size-normalised relevance: sum over voxel count (Boehle 2019).

    Parameters
    ----------
    sums : array_like, shape (..., regions)
        Relevance of each region; of absolute values for the measure of Eitel & Ritter 2019.
    voxels : array_like, shape (regions,)
        Size of each region in voxels.

    Returns
    -------
    ndarray, shape (..., regions)
        NaN where a region has no voxel.
    """
    size = np.asarray(voxels, dtype=np.float64)
    return np.asarray(sums, dtype=np.float64) / np.where(size > 0, size, np.nan)


def gain(sums: ArrayLike, controls: ArrayLike) -> NDArray[np.float64]:
    """Relevance over the mean relevance of ALL controls, right and wrong decisions alike (Boehle 2019).

    Parameters
    ----------
    sums : array_like, shape (..., regions)
        One patient, several, or the mean of a group.
    controls : array_like, shape (controls, regions)
        The same measure of every control.

    Returns
    -------
    ndarray, shape (..., regions)
        1 is the controls' mean. NaN where that mean is not above zero: a ratio to a negative or vanishing sum has no
        meaning.

    Raises
    ------
    InputError
        If there is no control, or the regions differ in number.

    Examples
    --------
    >>> gain([[3.0, 1.0], [1.0, 4.0]], controls=[[1.0, 0.0], [3.0, -1.0]]).tolist()
    [[1.5, nan], [0.5, nan]]
    """
    values, healthy = np.asarray(sums, dtype=np.float64), table(controls, "controls")
    same_columns(values, healthy)
    mean = healthy.mean(axis=0)
    with np.errstate(over="ignore"):
        return np.asarray(values / np.where(mean > 0, mean, np.nan))


def group_gain(patients: ArrayLike, controls: ArrayLike) -> NDArray[np.float64]:
    """Mean relevance of the patients over that of all controls, shape (regions,); see `gain`."""
    return gain(table(patients, "patients").mean(axis=0), controls)


def top_regions(values: ArrayLike, k: int = 10) -> list[int]:
    """Places of the `k` largest values, largest first; of equal values the first one leads. NaN never leads.

    Raises
    ------
    InputError
        If fewer than `k` values are numbers.
    """
    array = np.asarray(values, dtype=np.float64)
    known = int((~np.isnan(array)).sum())
    if not 1 <= k <= known:
        raise InputError(f"top {k} of {known} regions asked for; choose k between 1 and {known}")
    # NaN sorts last
    return [int(i) for i in np.argsort(-array, kind="stable")[:k]]


def overlap(first: ArrayLike, second: ArrayLike, k: int = 10) -> float:
    """Share of the `k` leading regions that two settings or runs have in common, whatever their order.

    ``|intersection| / k`` (Boehle 2019; Eitel & Ritter 2019). Two random orders of `n` regions share `k / n`.

    Parameters
    ----------
    first, second : array_like, shape (regions,)
        The same regions in the same order.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    same_columns(one, two)
    return len(set(top_regions(one, k)) & set(top_regions(two, k))) / k


def overlaps(runs: ArrayLike, k: int = 10) -> NDArray[np.float64]:
    """Overlap of the `k` leading regions between every two runs, shape (runs, runs).

    The mean overlap of Eitel & Ritter (2019, Table 2) is that of the pairs: ``overlaps(runs)[np.triu_indices(n, 1)]``.

    Parameters
    ----------
    runs : array_like, shape (runs, regions)
        One measure of each region in each run.
    """
    leading = [set(top_regions(row, k)) for row in table(runs, "runs", least=2)]
    return np.array([[len(a & b) / k for b in leading] for a in leading])
