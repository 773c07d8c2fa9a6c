"""Does the relevance lie where the truth is known to be? All sums in float64.

Every measure takes the true mask as it is; `with_tolerance` widens it by some millimetres first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError
from neuroxai.statistics import lesion_relevance
from neuroxai.statistics.maps import voxels


def positive_density_ratio(heatmap: NDArray[Any], mask: NDArray[Any], brain: NDArray[Any]) -> float:
    """Mean positive relevance per voxel inside the true effect, over that in the rest of the brain.

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
        1 is the uninformative baseline. Infinite where the rest holds no positive relevance, NaN where
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


def localisation_metrics(
    heatmap: NDArray[Any],
    mask: NDArray[Any],
    brain: NDArray[Any],
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    tolerance: float = 0.0,
    top: int | None = None,
) -> dict[str, float]:
    """Compute all measures of one heatmap against its true mask, within the brain.

    Relevance in the brain and in the mask counts, whatever lies outside the brain does not (`outside_share` looks at
    that). With a tolerance, mass, ratio, pointing game and intersection count what lies within so many mm of the truth
    as found; the areas leave these voxels out, so that a map that marks the truth and nothing else has an area of 1.

    Parameters
    ----------
    heatmap : ndarray, shape (x, y, z)
        Relevance for the class whose sign the mask shows; finite.
    mask : ndarray of bool, same shape
        The true effect.
    brain : ndarray of bool, same shape
        The brain, for example ``scan != 0``.
    spacing : sequence of float
        Voxel edge lengths in mm.
    tolerance : float
        In mm.
    top : int, optional
        Voxels of `top_intersection`; by default as many as the mask has.

    Returns
    -------
    dict of str to float
        ``relevance_mass``, ``density_ratio``, ``roc_auc``, ``pr_auc`` (average precision), ``pointing`` (1 where the
        greatest value is a hit) and ``top_intersection``.

    Raises
    ------
    InputError
        If the mask or the rest of the brain has no voxel, or the heatmap is not finite.
    SpaceError
        If shapes differ.
    """
    _positive(heatmap, mask)
    wide = with_tolerance(mask, spacing, tolerance)
    density = positive_density_ratio(heatmap, wide, brain)  # refuses what does not fit
    truth = np.asarray(mask, dtype=bool)
    looked_at = np.asarray(brain, dtype=bool) | wide
    values, found = np.asarray(heatmap, dtype=np.float64)[looked_at], wide[looked_at]
    clear = (truth | ~wide)[looked_at]
    roc, precision = voxel_areas(values[clear], truth[looked_at][clear])
    return {
        "relevance_mass": relevance_mass(values, found),
        "density_ratio": density,
        "roc_auc": roc,
        "pr_auc": precision,
        "pointing": pointing_game(values, found),
        "top_intersection": top_intersection(values, found, int(truth.sum()) if top is None else top),
    }


def chance_level(
    mask: NDArray[Any],
    brain: NDArray[Any],
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    tolerance: float = 0.0,
) -> dict[str, float]:
    """Return what `localisation_metrics` gives on average for an uninformative map: constant, or noise."""
    wide, truth = with_tolerance(mask, spacing, tolerance), np.asarray(mask, dtype=bool)
    looked_at = np.asarray(brain, dtype=bool) | wide
    share = float(wide.sum() / looked_at.sum())
    return {
        "relevance_mass": share,
        "density_ratio": 1.0,
        "roc_auc": 0.5,
        "pr_auc": float(truth.sum() / (looked_at & (truth | ~wide)).sum()),
        "pointing": share,
        "top_intersection": share,
    }


def voxel_areas(heatmap: NDArray[Any], mask: NDArray[Any]) -> tuple[float, float]:
    """Areas under the ROC and the precision-recall curve of voxels; ties count one half, or together.

    Returns
    -------
    (float, float)
        ROC area (chance .5) and average precision (chance: the mask's share of the voxels). Signed values are ranked as
        they are: relevance against the class comes last.

    Raises
    ------
    InputError
        If the mask holds no voxel or all of them.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    _positive(heatmap, mask)
    inside, values = np.ravel(mask).astype(bool), np.ravel(heatmap).astype(np.float64)
    if not inside.any() or inside.all():
        raise InputError(f"the mask holds {int(inside.sum())} of {inside.size} voxels, expected some, not all")
    return float(roc_auc_score(inside, values)), float(average_precision_score(inside, values))


def pointing_game(heatmap: NDArray[Any], mask: NDArray[Any]) -> float:
    """Whether the greatest value lies in the mask (Zhang 2018): 1 or 0; of several greatest, the share that does."""
    _positive(heatmap, mask)
    values = np.asarray(heatmap)
    return float(np.asarray(mask, dtype=bool)[values == values.max()].mean())


def top_intersection(heatmap: NDArray[Any], mask: NDArray[Any], top: int) -> float:
    """Share of the `top` voxels of greatest value that lie in the mask; voxels tied for the last places share them.

    Raises
    ------
    InputError
        If `top` is not from 1 to the number of voxels.
    """
    _positive(heatmap, mask)
    values, inside = np.ravel(heatmap), np.ravel(mask).astype(bool)
    if not 1 <= top <= values.size:
        raise InputError(f"top is {top}, expected 1 to {values.size}, the number of voxels")
    last = np.partition(values, values.size - top)[values.size - top]
    above, tied = values > last, values == last
    hits = inside[above].sum() + (top - above.sum()) * inside[tied].mean()
    return float(hits / top)


def with_tolerance(mask: NDArray[Any], spacing: Sequence[float], tolerance: float) -> NDArray[np.bool_]:
    """Widen a mask by all voxels whose centre lies within `tolerance` mm of the centre of one of its own.

    Raises
    ------
    InputError
        If the tolerance is negative, or spacing does not fit the mask.
    """
    from scipy.ndimage import distance_transform_edt

    inside = np.asarray(mask, dtype=bool)
    if not (np.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"tolerance is {tolerance}, expected 0 or a number of mm")
    if len(spacing) != inside.ndim or not all(s > 0 for s in spacing):
        raise InputError(f"spacing {tuple(spacing)} does not fit a mask of {inside.ndim} axes; give one length an axis")
    if tolerance == 0 or not inside.any():
        return inside
    # rounding must not decide about voxels at exactly that distance
    return np.asarray(distance_transform_edt(~inside, sampling=tuple(spacing)) <= tolerance * (1 + 1e-9))


def _positive(heatmap: NDArray[Any], mask: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    relevance, inside = voxels(heatmap, mask)
    return np.maximum(relevance, 0.0), inside


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
