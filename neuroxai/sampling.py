"""Sampling an array on another grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sampled(
    data: NDArray[Any],
    matrix: NDArray[np.float64],
    shape: tuple[int, int, int],
    order: int,
    sigma: NDArray[np.float64] | None = None,
) -> NDArray[Any]:
    """Sample `data` at ``matrix @ voxel`` for every voxel of a grid of `shape`; 0 outside.

    Parameters
    ----------
    data : ndarray of floating type, three-dimensional
        What is sampled.
    matrix : ndarray, shape (4, 4)
        From the new grid's voxel indices to those of `data`.
    shape : tuple of int
        The new grid's shape.
    order : {1, 3}
        Spline order. Labels are brought over by `neuroxai.majority`.
    sigma : ndarray, shape (3,), optional
        Gaussian by which `data` is smoothed first, along each of its axes, in its voxels (`smoothing`).
    """
    from scipy import ndimage

    linear, offset = matrix[:3, :3], matrix[:3, 3]
    sigma = np.zeros(3) if sigma is None else sigma
    axes = np.abs(linear).argmax(axis=0)
    aligned = np.count_nonzero(linear) == 3 and sorted(axes) == [0, 1, 2]
    step, start = linear[axes, range(3)], offset[axes]
    if aligned and not sigma.any() and (np.abs(step) == 1).all() and (start == np.rint(start)).all():
        return _copied(data.transpose(axes), step.astype(int), start.astype(int), shape)
    # a sum is no number as soon as one voxel is none, which would spread along the axes
    if aligned and order == 1 and np.isfinite(data.sum()):
        along = [
            _along_an_axis(n, m, float(a), float(b), float(c))
            for n, m, a, b, c in zip(shape, np.array(data.shape)[axes], step, start, sigma[axes], strict=True)
        ]
        return _by_axes(data.transpose(axes), along)
    if sigma.any():
        data = ndimage.gaussian_filter(data, sigma, mode="constant")
    result = np.zeros(shape, data.dtype)
    box = _reached(data, matrix, shape, order)
    if all(part.stop > part.start for part in box):
        ndimage.affine_transform(
            data,
            linear,
            offset + linear @ [part.start for part in box],
            output=(view := np.empty([part.stop - part.start for part in box], data.dtype)),
            output_shape=view.shape,
            order=order,
            mode="grid-constant",
            cval=0.0,
        )
        result[box] = view
    return result


def _copied(
    data: NDArray[Any], step: NDArray[np.int_], start: NDArray[np.int_], shape: tuple[int, int, int]
) -> NDArray[Any]:
    """Copy voxels to a grid that differs by flips and whole-voxel steps."""
    backwards = np.flatnonzero(step < 0)
    start = np.where(step < 0, np.array(data.shape) - 1 - start, start)
    data = np.flip(data, tuple(backwards.tolist()))
    result = np.zeros(shape, data.dtype)
    low = [max(0, int(-o)) for o in start]
    high = [max(a, min(n, m - int(o))) for a, n, m, o in zip(low, shape, data.shape, start, strict=True)]
    result[tuple(map(slice, low, high))] = data[
        tuple(slice(a + int(o), b + int(o)) for a, b, o in zip(low, high, start, strict=True))
    ]
    return result


def _along_an_axis(new: int, old: int, step: float, start: float, sigma: float) -> NDArray[np.float64]:
    """Return the matrix (new, old) that smooths along one axis and interpolates linearly between voxels."""
    places = start + step * np.arange(new)
    weights = np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(old)))
    if sigma > 0:
        # as scipy.ndimage.gaussian_filter: cut off at four sigma, zeros outside
        distance = np.abs(np.subtract.outer(np.arange(old), np.arange(old)))
        radius = int(4 * sigma + 0.5)
        kernel = np.where(distance <= radius, np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
        weights = weights @ (kernel / np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).sum())
    return np.asarray(weights)


def _by_axes(data: NDArray[Any], matrices: list[NDArray[np.float64]]) -> NDArray[Any]:
    """Multiply each axis by its matrix: many times faster than a sum over eight neighbours for each voxel.

    The products are sparse, and of this thread alone: BLAS would wait for its others where several threads resample.
    """
    from scipy.sparse import csr_array

    # as images lie in files: the first axis fastest, so that nothing large is turned round on the way in and out
    data = np.ascontiguousarray(data.T)
    z, y, x = (csr_array(weights.astype(data.dtype)) for weights in reversed(matrices))
    if x.shape[0] > x.shape[1]:
        data = _last(data, x)
    data = (z @ data.reshape(len(data), -1)).reshape(-1, *data.shape[1:])
    data = np.stack([y @ plane for plane in data])
    if x.shape[0] <= x.shape[1]:
        data = _last(data, x)
    return data.T


def _last(data: NDArray[Any], weights: Any) -> NDArray[Any]:
    """Multiply the last axis, which takes turning it to the front and back, where the array is small."""
    flat = weights @ np.ascontiguousarray(data.reshape(-1, data.shape[2]).T)
    return np.ascontiguousarray(flat.T).reshape(*data.shape[:2], -1)


def _reached(
    data: NDArray[Any], matrix: NDArray[np.float64], shape: tuple[int, int, int], order: int
) -> tuple[slice, slice, slice]:
    """Return the part of the new grid that what is not 0 in `data` reaches: of a heatmap the brain, not the air."""
    x, y, z = (slice(0, n) for n in shape)
    if order != 1:  # splines ring further
        return x, y, z
    filled = data != 0
    corners = []
    for axis in range(3):
        there = np.flatnonzero(filled.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(there):
            return slice(0, 0), y, z
        corners.append((there[0] - 1.0, there[-1] + 1.0))
    ends = np.array(np.meshgrid(*corners, indexing="ij")).reshape(3, -1)
    places = np.linalg.solve(matrix[:3, :3], ends - matrix[:3, 3:])
    low = np.clip(np.floor(places.min(1)).astype(int) - 1, 0, shape)
    high = np.clip(np.ceil(places.max(1)).astype(int) + 2, 0, shape)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def smoothing(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Gaussian's sigma along each old axis, in old voxels, before resampling to a coarser grid.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4)
        From the new grid's voxel indices to the old one's (`neuroxai.space.Space.to_voxels_of`).

    Returns
    -------
    ndarray, shape (3,)
        0 along axes that do not become coarser.
    """
    # sizes of the new voxels measured along the old axes, in old voxels
    ratio = np.linalg.norm(matrix[:3, :3], axis=1)
    sigma: NDArray[np.float64] = np.sqrt(np.maximum(ratio**2 - 1.0, 0.0)) / 2.3548
    sigma[ratio < 1.05] = 0.0
    return sigma
