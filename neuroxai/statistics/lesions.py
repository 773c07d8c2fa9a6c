"""How much of the relevance lies in lesions (Eitel 2019). All sums in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from neuroxai.errors import InputError, SpaceError
from neuroxai.statistics.arrays import voxels


def lesion_relevance(heatmap: ArrayLike, mask: ArrayLike) -> float:
    """Share of the positive relevance that lies inside the lesions (Eitel 2019, eq. 2).

    Parameters
    ----------
    heatmap : array_like, shape (x, y, z)
        Relevance; negative values count as zero.
    mask : array_like, same shape
        The lesions; any value but 0 is inside.

    Returns
    -------
    float
        ``sum(mask * R+) / sum(R+)``, 0 to 1; NaN where there is no positive relevance.

    Raises
    ------
    SpaceError
        If shapes differ.
    InputError
        If the heatmap is not finite.
    """
    relevance, inside = voxels(heatmap, mask)
    positive = np.maximum(relevance, 0.0)
    total = float(positive.sum())
    return float(positive[inside].sum()) / total if total > 0 else float("nan")


def lesion_coverage(mask: ArrayLike, brain: ArrayLike) -> float:
    """Share of the brain's voxels that are lesion: the relevance that a map which knows nothing would give them.

    Parameters
    ----------
    mask, brain : array_like, shape (x, y, z)
        Any value but 0 is inside. Lesion voxels outside the brain do not count.

    Raises
    ------
    SpaceError
        If shapes differ.
    InputError
        If the brain has no voxel.
    """
    inside, whole = np.asarray(mask, dtype=bool), np.asarray(brain, dtype=bool)
    if inside.shape != whole.shape:
        raise SpaceError(f"lesion mask of shape {inside.shape} does not fit a brain of shape {whole.shape}")
    if not whole.any():
        raise InputError("the brain mask has no voxel; give the mask of the same grid")
    return float((inside & whole).sum() / whole.sum())
