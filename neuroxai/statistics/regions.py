"""Relevance by region: against size and healthy controls, the regions that lead, and how patterns of scans differ."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError


def table(values: ArrayLike, what: str, least: int = 1) -> NDArray[np.float64]:
    """Return values of shape (scans, regions) as float64, or say what is wrong with them."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise InputError(f"{what} have shape {array.shape}, expected (scans, regions); give one row per scan")
    if len(array) < least:
        raise InputError(f"{what}: {len(array)} scans, expected {least} or more")
    return array


def same_columns(first: NDArray[Any], second: NDArray[Any]) -> None:
    """Refuse two tables of different regions."""
    if first.shape[-1] != second.shape[-1]:
        raise InputError(
            f"{first.shape[-1]} regions against {second.shape[-1]}; score both with one atlas, in one order"
        )


#: Standard errors that the controls' mean has to be above zero: below, a confidence interval of the ratio has no end
#: (Fieller 1954, at about 95 %).
ERRORS = 2.0
#: Share of the patients' relevance in all regions that the controls need to have: below, every gain is the ratio of the
#: class scores.
SCORES = 0.01


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
        meaning. `gain_is_known` tells where it may as well vanish.

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


def gain_is_known(controls: ArrayLike) -> NDArray[np.bool_]:
    """Tell in which regions the controls' mean is above zero by `ERRORS` standard errors, shape (regions,).

    Elsewhere it may as well be zero, as where relevance has both signs, or one control of many has all of it: gain is
    then as large as chance will have it, and tables leave it out. Of a single control no error is known.
    """
    healthy = table(controls, "controls")
    mean = healthy.mean(axis=0)
    error = healthy.std(axis=0, ddof=1) / np.sqrt(len(healthy)) if len(healthy) > 1 else np.zeros_like(mean)
    # a hair, so that rounding does not decide
    return np.asarray((mean > 0) & (mean * (1 + 1e-9) >= ERRORS * error))


def gains_are_scores(patients: float, controls: float) -> str:
    """Say why gains tell nothing but the class scores: controls have next to no relevance; empty where they have some.

    Parameters
    ----------
    patients, controls : float
        Mean relevance in all regions together of each group.
    """
    if not 0 <= controls < SCORES * patients:
        return ""
    return (
        f"gain is left out: the regions of a control hold {controls:.2g} together, of a patient {patients:.2g}, so "
        "that the gain of every region would be the ratio of the class scores; compare shares instead"
    )


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


class Pair(NamedTuple):
    """Two scans by their places, and the cosine distance of their region densities."""

    first: int
    second: int
    distance: float


def cosine_distances(densities: ArrayLike) -> NDArray[np.float64]:
    """Cosine distance between every two scans, shape (scans, scans): 0 for the same pattern, 1 for unrelated ones.

    Parameters
    ----------
    densities : array_like, shape (scans, regions)
        Relevance per voxel of each region. A region that is NaN in every scan (it has no voxel) is left out.

    Raises
    ------
    InputError
        If a region is NaN in some scans only, or a scan has no relevance in any region.
    """
    from scipy.spatial.distance import pdist, squareform

    values = table(densities, "densities")
    values = values[:, ~np.isnan(values).all(axis=0)]
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(f"density of region {column} in scan {row} is {values[row, column]}; score it again")
    empty = np.flatnonzero(~values.any(axis=1))
    if empty.size:
        raise InputError(f"scan {empty[0]} has no relevance in any region: a pattern of zeros has no direction")
    # the cosine knows no scale, but squares of tiny densities would vanish
    unit = values / np.abs(values).max(axis=1, keepdims=True)
    return np.asarray(np.clip(squareform(pdist(unit, "cosine")), 0.0, 2.0))


def pairs(densities: ArrayLike) -> list[Pair]:
    """All pairs of scans, the most different first; of equal distances the first rows lead."""
    distances = cosine_distances(densities)
    first, second = np.triu_indices(len(distances), 1)
    order = np.argsort(-distances[first, second], kind="stable")
    return [Pair(int(first[n]), int(second[n]), float(distances[first[n], second[n]])) for n in order]


def most_different(densities: ArrayLike, scores: ArrayLike, above: float = 0.9) -> Pair:
    """Return the two scans of largest cosine distance among those whose class score is above a threshold.

    Parameters
    ----------
    densities : array_like, shape (scans, regions)
        Relevance per voxel of each region.
    scores : array_like, shape (scans,)
        Probability of the class explained; Boehle (2019) takes patients above .90.
    above : float
        The threshold.

    Raises
    ------
    InputError
        If fewer than two scans are above it, or lengths differ.
    """
    values, chances = table(densities, "densities"), np.asarray(scores, dtype=np.float64)
    if chances.shape != (len(values),):
        raise InputError(f"{len(values)} scans, but scores of shape {chances.shape}; give one score per scan")
    sure = np.flatnonzero(chances > above)
    if len(sure) < 2:
        raise InputError(f"{len(sure)} scans have a score above {above:g}, expected two or more; lower the threshold")
    first, second, distance = pairs(values[sure])[0]
    return Pair(int(sure[first]), int(sure[second]), distance)
