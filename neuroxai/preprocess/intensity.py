"""A scan's intensities: its bias field, and a common scale for each scan by itself, background 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.preprocess.options import SCALINGS
from neuroxai.space import Volume


def scale(
    data: NDArray[Any],
    brain: NDArray[Any] | None,
    method: str,
    percentiles: tuple[float, float] = (1.0, 99.0),
) -> NDArray[np.float32]:
    """Scale the intensities inside the brain; outside it the result is 0.

    Parameters
    ----------
    data : ndarray
        A scan, any shape.
    brain : ndarray or None
        Brain mask of the same shape, what is not 0 counts; None takes the voxels of `data` that are not 0.
    method : {"minmax", "maximum", "zscore", "robust", "none"}
        "minmax": (x - low) / (high - low) over the brain-extracted image, background included, so that low is 0
        wherever there is background and nothing is negative (Boehle 2019, Eitel 2019). "maximum": x / high (Eitel
        2021). "zscore": mean 0 and standard deviation 1 (n - 1 in the denominator) inside the brain. "robust": the
        two percentiles of the brain's intensities go to 0 and 1, what lies beyond is clipped. "none": as it is.
    percentiles : tuple of float
        Low and high, in percent, for "robust".

    Returns
    -------
    ndarray of float32, the shape of `data`
        0 outside the brain.

    Raises
    ------
    InputError
        If the method is unknown, a value inside the brain is not finite, the brain is empty or has no contrast, its
        maximum is not above 0 ("maximum"), or the percentiles do not rise within 0 to 100.
    SpaceError
        If scan and brain mask differ in shape.
    """
    if method not in SCALINGS:
        raise one_of("scaling", method, SCALINGS)
    values = np.asarray(data)
    inside = values != 0 if brain is None else np.asarray(brain) != 0
    if inside.shape != values.shape:
        raise SpaceError(f"the brain mask has shape {inside.shape}, the scan {values.shape}; expected the same grid")
    if not inside.any():
        raise InputError("the brain mask is empty, so there is nothing to scale; check the brain extraction")
    picked = values[inside].astype(np.float64)
    if not np.isfinite(picked).all():
        bad = int((~np.isfinite(picked)).sum())
        raise InputError(f"{bad} of {picked.size} voxels of the brain are NaN or infinite; mask or repair them first")
    if method == "none":
        return _placed(picked, inside)
    low, high = float(picked.min()), float(picked.max())
    if not high > low:
        raise InputError(f"every voxel of the brain has the value {low:g}; the scan has no contrast to scale")
    if method == "maximum":
        if high <= 0:
            raise InputError(
                f"the brain's maximum is {high:g}, expected above 0; choose another scaling than 'maximum'"
            )
        return _placed(picked / high, inside)
    if method == "zscore":
        return _placed((picked - picked.mean()) / picked.std(ddof=1), inside)
    if method == "minmax":
        if not inside.all():
            low, high = min(low, 0.0), max(high, 0.0)
    else:
        first, last = percentiles
        if not 0 <= first < last <= 100:
            raise InputError(f"percentiles {percentiles} are no rising pair within 0 to 100; give for example (1, 99)")
        low, high = (float(p) for p in np.percentile(picked, percentiles))
        if not high > low:
            raise InputError(
                f"the {first:g}th and {last:g}th percentile of the brain are both {low:g}; widen the percentiles or "
                "choose another scaling"
            )
    return _placed(np.clip((picked - low) / (high - low), 0.0, 1.0), inside)


def _placed(picked: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    result = np.zeros(inside.shape, dtype=np.float32)
    result[inside] = picked
    return result


Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
# On four IXI heads grey and white matter overlap (coefficient of joint variation by DLMUSE labels) .84 to 1.01 as they
# came, .66 to .71 with these; .81 to .95 with blocks of 6 mm, which mix tissues, and up to 1.18 with a fourth level.
BLOCK = 4.0  # mm
LEVELS = (
    50,
    50,
    50,
)  # most steps of N4 with 1, 2 and 4 spline pieces along each axis of the brain: down to about 45 mm
TOLERANCE = 1e-3  # where a level ends; 1e-6 takes half as long again for the same overlap
# N4 (Tustison 2010): values, mask and spacing of a small picture -> its multiplicative field
Estimator = Callable[[Array, Mask, tuple[float, float, float]], Array]


def bias_field(scan: Volume, where: Mask, estimate: Estimator) -> Array:
    """Estimate a scan's multiplicative bias field on a coarse copy.

    Parameters
    ----------
    scan : Volume
        The picture; dividing by the field corrects it.
    where : ndarray of bool, shape of the scan
        The tissue that the field is estimated from.
    estimate : callable
        Takes a coarse picture, its mask and its spacing (mm), returns the coarse field.

    Returns
    -------
    ndarray of float32, shape of the scan
        Positive, smooth, of mean 1 inside `where`.

    Raises
    ------
    SpaceError
        If `where` has another shape than the scan.
    InputError
        If fewer than 100 ml of positive tissue are left.
    """
    from scipy import ndimage

    if where.shape != scan.data.shape:
        raise SpaceError(f"where has shape {where.shape}, the scan {scan.data.shape}; give one truth value per voxel")
    tissue = where & (scan.data > 0)
    if tissue.sum() * scan.space.voxel_volume < 1e5:
        raise InputError(
            f"{tissue.sum() * scan.space.voxel_volume / 1000:.0f} ml of positive voxels inside the mask, expected 100 "
            "ml or more for a bias field; check mask and intensities"
        )
    factors = [max(1, int(BLOCK / s + 0.25)) for s in scan.space.spacing]
    share = _block_mean(tissue.astype(np.float32), factors)
    # the mean of the tissue alone: air at the rim does not darken its block
    values = _block_mean(np.where(tissue, scan.data, 0).astype(np.float32), factors) / np.maximum(share, 1e-6)
    coarse = share >= 0.5
    spacing = tuple(f * s for f, s in zip(factors, scan.space.spacing, strict=True))
    # the box around the tissue alone: a third of the time, and the splines' knots do not depend on the field of view
    box = ndimage.find_objects(coarse.astype(np.int8))[0] if coarse.any() else (slice(None),) * 3
    coarse = np.ascontiguousarray(coarse[box])
    tissue_mean: Array = np.where(coarse, values[box], 0).astype(np.float32)
    logarithm = np.log(np.maximum(estimate(tissue_mean, coarse, (spacing[0], spacing[1], spacing[2])), 1e-3))
    for axis, (factor, n) in enumerate(zip(factors, scan.data.shape, strict=True)):
        weights = _weights(range(box[axis].start or 0, (box[axis].start or 0) + logarithm.shape[axis]), n, factor)
        logarithm = np.moveaxis(np.tensordot(weights, logarithm, (1, axis)), 0, axis)
    fine = np.exp(logarithm)
    return np.asarray(fine / fine[where].mean(dtype=np.float64), dtype=np.float32)


def _block_mean(values: Array, factors: list[int]) -> Array:
    """Mean over blocks of voxels; the last block of an axis is filled up with its border."""
    padding = [(0, -n % f) for n, f in zip(values.shape, factors, strict=True)]
    padded = np.pad(values, padding, mode="edge")
    split = [m for n, f in zip(padded.shape, factors, strict=True) for m in (n // f, f)]
    return np.asarray(padded.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32))


def _weights(blocks: range, fine: int, factor: int) -> Array:
    """Cubic spline from block centres to voxels as a matrix; constant beyond the outermost centres."""
    from scipy.interpolate import CubicSpline

    if len(blocks) == 1:
        return np.ones((fine, 1), dtype=np.float32)
    centres = factor * np.array(blocks) + (factor - 1) / 2
    at = np.clip(np.arange(fine), centres[0], centres[-1])
    return np.asarray(CubicSpline(centres, np.eye(len(blocks)), bc_type="natural")(at), dtype=np.float32)


UNIFORM = 0.95  # share of the border's voxels that hold the background's value


TRACE = 1e-3  # of the range of values: as good as equal to the background


SMALLEST, LARGEST = 300.0, 2500.0  # ml; brains in MNI space come up to 2,320 ml, heads start at about 2,570 ml


def is_skull_stripped(scan: Volume) -> bool:
    """Tell whether everything but the brain has been set to one value.

    A heuristic of two conditions. The faces of the field of view hold one value almost everywhere (at least 95 % of
    their voxels): a head leaves through the neck or is cut by the slices, and air carries noise. And the voxels of
    any other value form one piece of 300 to 2,500 ml: a head with its air set to 0 is larger. On the scans it was
    tried on, brains have 100 % and 1,530 to 2,320 ml, heads at most 91 % and at least 2,570 ml. What it cannot
    tell: a brain cropped so tightly that it touches its field of view over more than 5 % (taken for a head), or the
    head of a newborn with air set to 0 (taken for a brain).

    Parameters
    ----------
    scan : Volume
        As acquired or prepared; any orientation.

    Returns
    -------
    bool
    """
    from scipy import ndimage

    background, trace = _background(scan)
    # of a head, which is told by its faces, nothing else is looked at
    if 1 - (np.abs(_faces(scan.data) - background) > trace).mean() < UNIFORM:
        return False
    labels, _ = ndimage.label(foreground(scan))
    sizes = np.bincount(labels.ravel())[1:]
    volume = float(sizes.max(initial=0)) * scan.space.voxel_volume / 1000
    return SMALLEST <= volume <= LARGEST


def foreground(scan: Volume) -> NDArray[np.bool_]:
    """Where a scan differs from its background, the commonest value on the faces of its field of view."""
    background, trace = _background(scan)
    return np.asarray(np.abs(scan.data - background) > trace)


def _background(scan: Volume) -> tuple[float, float]:
    """Return the background's value, and how far from it a voxel may be and still belong to it."""
    values, counts = np.unique(_faces(scan.data), return_counts=True)
    # splines leave traces around a brain when it is resampled
    return float(values[counts.argmax()]), TRACE * float(scan.data.max() - scan.data.min())


def _faces(data: NDArray[Any]) -> NDArray[Any]:
    # not by np.take, which is a hundred times slower where the array is not in C order
    return np.concatenate([np.moveaxis(data, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)])
