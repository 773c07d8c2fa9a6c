"""A scan's bias field: N4 (Tustison 2010) on a coarse copy.

N4 as ITK computes it. Its spline fit visits every voxel's 64 control points; on a full grid the sums of that fit are
separable, one small matrix an axis, and the same field takes a small part of the time (`docs/performance.md`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError
from neuroxai.space import Volume

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Exact = NDArray[np.float64]
# On four IXI heads grey and white matter overlap (coefficient of joint variation by DLMUSE labels) .84 to 1.01 as they
# came, .66 to .71 with these; .81 to .95 with blocks of 6 mm, which mix tissues, and up to 1.18 with a fourth level.
BLOCK = 4.0  # mm
PIECES = (1, 2, 4)  # spline pieces along each axis of the brain, by level: down to about 45 mm
STEPS = 50  # at most, a level
TOLERANCE = 1e-3  # where a level ends; 1e-6 takes half as long again for the same overlap
# of the histogram that is sharpened, as N4 has them by default
BINS, PADDED = 200, 512
WIDTH = 0.15  # of the blur by the field: full width at half maximum, of log intensities
NOISE = 0.01  # of the Wiener filter


def bias_field(scan: Volume, where: Mask) -> Array:
    """Estimate a scan's multiplicative bias field on a coarse copy.

    Parameters
    ----------
    scan : Volume
        The picture; dividing by the field corrects it.
    where : ndarray of bool, shape of the scan
        The tissue that the field is estimated from; voxels that are not positive numbers do not take part.

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
    tissue = where & (scan.data > 0) & np.isfinite(scan.data)
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
    # the box around the tissue alone: the splines' knots do not depend on the field of view
    box = ndimage.find_objects(coarse.astype(np.int8))[0] if coarse.any() else (slice(None),) * 3
    logarithm: Array = n4(values[box].astype(np.float32), coarse[box]).astype(np.float32)
    for axis, (factor, n) in enumerate(zip(factors, scan.data.shape, strict=True)):
        weights = _weights(range(box[axis].start or 0, (box[axis].start or 0) + logarithm.shape[axis]), n, factor)
        logarithm = np.moveaxis(np.tensordot(weights, logarithm, (1, axis)), 0, axis)
    fine = np.exp(logarithm)
    return np.asarray(fine / fine[where].mean(dtype=np.float64), dtype=np.float32)


def n4(values: Array, where: Mask) -> Exact:
    """Estimate the logarithm of a small picture's bias field.

    Parameters
    ----------
    values : ndarray of float32
        The picture; positive in `where`.
    where : ndarray of bool, shape of `values`
        The tissue; where there is none, the field is 0.

    Returns
    -------
    ndarray of float64, shape of `values`
    """
    field, placed = np.zeros(values.shape), np.zeros(values.shape)
    left = np.log(values[where].astype(np.float64))  # what no field explains
    for pieces in PIECES if where.any() else ():
        weights = [_splines(n, pieces) for n in values.shape]
        squares, cubes = ([each**power for each in weights] for power in (2, 3))
        # a voxel's share of its control points, and what each of those has in all (Lee 1997)
        x, y, z = (each.sum(axis=1) for each in squares)
        own = (x[:, None, None] * y[:, None] * z)[where]
        all_weight = _along(squares, where.astype(np.float64))
        for _ in range(STEPS):
            placed[where] = (left - _sharpened(left)) / own
            fitted = _along(cubes, placed)
            fitted = np.divide(fitted, all_weight, out=np.zeros_like(fitted), where=all_weight > 0)
            step = _along([each.T for each in weights], fitted)
            field += step
            moved = step[where]
            left -= moved
            change = np.exp(-moved)
            if change.std() <= TOLERANCE * change.mean():
                break
    return field


def _splines(voxels: int, pieces: int) -> Exact:
    """Return the weight of each control point of a uniform cubic spline at each voxel of an axis."""
    at = np.arange(voxels) * pieces / max(voxels - 1, 1)
    first = np.minimum(at.astype(int), pieces - 1)
    t = at - first
    weights = np.zeros((voxels, pieces + 3))
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, part in enumerate(basis):
        weights[np.arange(voxels), first + offset] = part / 6
    return weights


def _along(weights: list[Exact], values: Exact) -> Exact:
    """Sum over each axis with weights of shape (axis, result's axis)."""
    for axis, each in enumerate(weights):
        values = np.moveaxis(np.tensordot(each, values, (0, axis)), 0, axis)
    return values


def _sharpened(values: Exact) -> Exact:
    """Return what each log intensity is expected to be without the blur that a smooth field gives their histogram."""
    low, high = values.min(), values.max()
    if low == high:
        return values
    width = (high - low) / (BINS - 1)
    at = (values - low) / width
    first = np.minimum(at.astype(int), BINS - 2)
    part = at - first
    histogram = np.bincount(first, 1 - part, BINS) + np.bincount(first + 1, part, BINS)
    rim = (PADDED - BINS) // 2
    steps = np.arange(PADDED)
    blur = np.exp(-4 * np.log(2) * (np.minimum(steps, PADDED - steps) * width / WIDTH) ** 2)
    blurring = np.fft.fft(blur * 2 * np.sqrt(np.log(2) / np.pi) * width / WIDTH)
    deblurring = (blurring.conj() / (abs(blurring) ** 2 + NOISE)).real
    sharp = np.maximum(np.fft.ifft(np.fft.fft(np.pad(histogram, (rim, PADDED - BINS - rim))) * deblurring).real, 0)
    means = (low + (steps - rim) * width) * sharp
    above, below = (np.fft.ifft(np.fft.fft(each) * blurring).real for each in (means, sharp))
    expected = np.divide(above, below, out=np.zeros(PADDED), where=below != 0)[rim : rim + BINS]
    return np.asarray(expected[first] + (expected[first + 1] - expected[first]) * part)


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
