"""Heatmaps beside other maps: a reference such as a meta-analysis, and the brain, the only place for relevance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation.localisation import voxel_areas, with_tolerance


def reference_agreement(
    heatmap: NDArray[Any], reference: NDArray[Any], brain: NDArray[Any], threshold: float | None = None
) -> dict[str, float]:
    """Compare a heatmap with a continuous map on the same grid, such as a meta-analysis of atrophy (Wang 2023).

    Parameters
    ----------
    heatmap, reference : ndarray, shape (x, y, z)
        Bring the reference onto the heatmap's grid with `Volume.resampled_to`.
    brain : ndarray of bool, same shape
        Voxels to compare.
    threshold : float, optional
        For the areas, voxels of the reference above this count as true; without it, there are no areas.

    Returns
    -------
    dict of str to float
        ``pearson`` and ``spearman`` correlation over the voxels, NaN where a map is constant; with a threshold
        ``roc_auc``, ``pr_auc`` and ``share``, the voxels above it, which is the chance level of ``pr_auc``.

    Raises
    ------
    InputError
        If the brain has less than two voxels, a map is not finite there, or the threshold leaves no voxel on one side.
    SpaceError
        If shapes differ.
    """
    from scipy.stats import rankdata

    a, b = _inside(heatmap, brain, "heatmap"), _inside(reference, brain, "reference")
    result = {"pearson": _correlation(a, b), "spearman": _correlation(rankdata(a), rankdata(b))}
    if threshold is not None:
        roc, precision = voxel_areas(a, b > threshold)
        result |= {"roc_auc": roc, "pr_auc": precision, "share": float((b > threshold).mean())}
    return result


def outside_share(
    heatmap: NDArray[Any],
    brain: NDArray[Any],
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    tolerance: float = 0.0,
) -> float:
    """Share of the relevance, regardless of sign, that lies outside the brain: a detector of shortcuts (Tinauer 2022).

    A network that was shown skull-stripped scans can still read the outline of the mask, the field of view or the
    registration's border. Values here near the share of voxels outside say that the map does not know of a brain.

    Parameters
    ----------
    heatmap : ndarray, shape (x, y, z)
        Any heatmap, finite.
    brain : ndarray of bool, same shape
        The brain mask of its scan: ``scan != 0`` where the scan is skull-stripped.
    spacing : sequence of float
        Voxel edge lengths in mm.
    tolerance : float
        Relevance within so many mm of the brain counts as inside: filters and interpolation reach beyond its border.

    Returns
    -------
    float
        ``sum(|R| outside) / sum(|R|)``, 0 to 1; NaN where there is no relevance.

    Raises
    ------
    InputError
        If the brain has no voxel or the heatmap is not finite.
    SpaceError
        If shapes differ.
    """
    everywhere = np.abs(_inside(heatmap, np.ones(np.shape(heatmap), dtype=bool), "heatmap"))
    inside = np.asarray(brain, dtype=bool)
    if inside.shape != np.shape(heatmap):
        raise SpaceError(f"brain of shape {inside.shape} does not fit a heatmap of shape {np.shape(heatmap)}")
    if not inside.any():
        raise InputError("the brain has no voxel: is the scan empty?")
    outside = ~with_tolerance(inside, spacing, tolerance)
    total = float(everywhere.sum())
    return float(everywhere[outside.ravel()].sum()) / total if total > 0 else float("nan")


def _inside(values: NDArray[Any], brain: NDArray[Any], what: str) -> NDArray[np.float64]:
    kept = np.asarray(brain, dtype=bool)
    if np.shape(values) != kept.shape:
        raise SpaceError(f"brain of shape {kept.shape} does not fit a {what} of shape {np.shape(values)}")
    found: NDArray[np.float64] = np.asarray(values, dtype=np.float64)[kept]
    if found.size < 2:
        raise InputError(f"the brain holds {found.size} voxels: there is nothing to compare")
    if not np.isfinite(found).all():
        raise InputError(f"the {what} holds NaN or infinite values inside the brain; mask or repair it first")
    return found


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else float("nan")
