"""Fingerprints: how different two scans' relevance is spread over the regions (Boehle 2019)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError
from neuroxai.statistics.arrays import table


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
        Relevance a voxel of each region. A region that is NaN in every scan (it has no voxel) is left out.

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
        Relevance a voxel of each region.
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
        raise InputError(f"{len(values)} scans, but scores of shape {chances.shape}; give one score a scan")
    sure = np.flatnonzero(chances > above)
    if len(sure) < 2:
        raise InputError(f"{len(sure)} scans have a score above {above:g}, wanted two or more; lower the threshold")
    first, second, distance = pairs(values[sure])[0]
    return Pair(int(sure[first]), int(sure[second]), distance)
