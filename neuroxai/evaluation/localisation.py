"""Does the relevance lie where the truth is known to be? All sums in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError
from neuroxai.space import Space, Volume
from neuroxai.statistics import lesion_relevance
from neuroxai.statistics.arrays import voxels


def positive_density_ratio(heatmap: NDArray[Any], mask: NDArray[Any], brain: NDArray[Any]) -> float:
    """Mean positive relevance a voxel inside the true effect, over that in the rest of the brain.

    Parameters
    ----------
    heatmap : ndarray, shape (x, y, z)
        Relevance; negative values count as zero.
    mask : ndarray of bool, same shape
        The true effect. Voxels of it outside the brain count, too.
    brain : ndarray of bool, same shape
        The brain; the rest is ``brain & ~mask``.

    Returns
    -------
    float
        1 is the value of a map that knows nothing. Infinite where the rest holds no positive relevance, NaN where
        neither part does.

    Raises
    ------
    InputError
        If the mask, or the brain outside it, has no voxel, or the heatmap is not finite.
    SpaceError
        If shapes differ.
    """
    positive, inside = _positive(heatmap, mask)
    rest = np.asarray(brain, dtype=bool) & ~inside if np.shape(brain) == positive.shape else None
    if rest is None:
        raise SpaceError(f"brain of shape {np.shape(brain)} does not fit a heatmap of shape {positive.shape}")
    if not inside.any():
        raise InputError("the mask of the true effect has no voxel on the heatmap's grid")
    if not rest.any():
        raise InputError("no voxel of the brain lies outside the true effect: there is nothing to compare with")
    above, below = float(positive[inside].mean()), float(positive[rest].mean())
    if below == 0:
        return float("inf") if above > 0 else float("nan")
    return above / below


def relevance_mass(heatmap: NDArray[Any], mask: NDArray[Any]) -> float:
    """Share of the positive relevance that lies inside the mask (Eitel 2019, eq. 2, lesion relevance).

    Returns
    -------
    float
        ``sum(mask * R+) / sum(R+)``, 0 to 1; NaN where there is no positive relevance.
    """
    return lesion_relevance(heatmap, mask)


def mask_in_space(mask: Volume, space: Space) -> NDArray[np.bool_]:
    """Bring a mask onto another grid by nearest neighbour; any value but 0 is inside."""
    inside = Volume((mask.data != 0).astype(np.uint8), mask.space)
    if inside.space.matches(space):
        return np.asarray(inside.data, dtype=bool)
    return np.asarray(inside.resampled_to(space, order=0).data, dtype=bool)


def _positive(heatmap: NDArray[Any], mask: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    relevance, inside = voxels(heatmap, mask)
    return np.maximum(relevance, 0.0), inside
