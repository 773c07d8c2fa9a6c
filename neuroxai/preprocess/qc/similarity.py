"""How alike a prepared scan and the template are: correlation, mutual information, overlap, tissue contrast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError

BINS = 48
"""Bins of each image's histogram in `normalised_mutual_information`."""


def pearson(image: NDArray[Any], other: NDArray[Any], where: NDArray[np.bool_]) -> float | None:
    """Pearson's correlation of two images inside a mask; None where one of them is constant there."""
    a, b = _inside(image, other, where)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else None


def normalised_mutual_information(image: NDArray[Any], other: NDArray[Any], where: NDArray[np.bool_]) -> float | None:
    """(H(a) + H(b)) / H(a, b) inside a mask, 1 for unrelated and 2 for identical images (Studholme 1999).

    Intensities are clipped to their 0.5th and 99.5th percentile. None where one image is constant.
    """
    a, b = _inside(image, other, where)
    ranges = [np.percentile(x, (0.5, 99.5)) for x in (a, b)]
    if any(low == high for low, high in ranges):
        return None
    clipped = [np.clip(x, *limits) for x, limits in zip((a, b), ranges, strict=True)]
    joint = np.histogram2d(clipped[0], clipped[1], bins=BINS)[0] / a.size
    both = _entropy(joint)
    return (_entropy(joint.sum(1)) + _entropy(joint.sum(0))) / both if both > 0 else None


def dice(mask: NDArray[Any], other: NDArray[Any]) -> float:
    """2 |a and b| / (|a| + |b|); 0 for two empty masks.

    Raises
    ------
    SpaceError
        If the shapes differ.
    """
    a, b = np.asarray(mask) != 0, np.asarray(other) != 0
    if a.shape != b.shape:
        raise SpaceError(f"masks of shape {a.shape} and {b.shape} cannot overlap; bring them onto one grid first")
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else 0.0


def tissue_contrast(image: NDArray[Any], template: NDArray[Any], where: NDArray[np.bool_]) -> float | None:
    """How much brighter white matter is than grey, as a share of the brain's median.

    Where they lie is taken from the T1w template: its brightest third inside the mask is mostly white matter, the
    third below mostly grey. Voxels below half of the median are fluid, which is dark in both kinds of scan: in an
    atrophied brain it fills much of the template's grey matter, and would make a FLAIR scan look like T1w. T1w scans
    are clearly positive, FLAIR and T2w scans about 0 or negative; None where the median is not positive.
    """
    values, reference = _inside(image, template, where)
    low, high = np.quantile(reference, (1 / 3, 2 / 3))
    middle = float(np.median(values))
    if middle <= 0:
        return None
    tissue = values > 0.5 * middle
    white, grey = values[tissue & (reference > high)], values[tissue & (reference > low) & (reference <= high)]
    return (float(np.median(white)) - float(np.median(grey))) / middle if white.size and grey.size else None


def noise(data: NDArray[Any], where: NDArray[np.bool_]) -> float | None:
    """Estimate the standard deviation of voxel-wise noise as a share of the brain's median, from second differences.

    For white noise x[i-1] - 2 x[i] + x[i+1] has 6 times the noise's variance; its spread is measured robustly
    (median absolute deviation) along each axis inside the mask, and the smallest axis counts, since anatomy adds to
    it. Interpolated scans look cleaner than they were. None where the brain's median is not positive, or no axis has
    three voxels in a row.
    """
    values = np.asarray(data, dtype=np.float64)
    middle = float(np.median(values[where])) if where.any() else 0.0
    if middle <= 0:
        return None
    found = []
    for axis in range(values.ndim):
        if values.shape[axis] < 3:
            continue
        first, mid, last = (_cut(values, axis, k) for k in range(3))
        inside = _cut(where, axis, 0) & _cut(where, axis, 1) & _cut(where, axis, 2)
        difference = (first - 2 * mid + last)[inside]
        if difference.size:
            found.append(1.4826 * float(np.median(np.abs(difference))) / np.sqrt(6))
    return min(found) / middle if found else None


def _cut(values: NDArray[Any], axis: int, start: int) -> NDArray[Any]:
    """All but two planes along an axis, beginning with plane `start`."""
    return values[(slice(None),) * axis + (slice(start, values.shape[axis] - 2 + start),)]


def _entropy(share: NDArray[np.float64]) -> float:
    present = share[share > 0]
    return float(-(present * np.log(present)).sum())


def _inside(
    image: NDArray[Any], other: NDArray[Any], where: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not image.shape == other.shape == where.shape:
        raise SpaceError(
            f"shapes {image.shape}, {other.shape} and {where.shape} differ; bring them onto one grid first"
        )
    if not where.any():
        raise InputError("the template's brain mask is empty; choose another template or mask")
    return np.asarray(image[where], dtype=np.float64), np.asarray(other[where], dtype=np.float64)
