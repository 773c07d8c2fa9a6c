"""Sampling an array on another grid."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray


def sampled(data: NDArray[Any], matrix: NDArray[np.float64], shape: tuple[int, int, int], order: int) -> NDArray[Any]:
    """Sample `data` at ``matrix @ voxel`` for every voxel of a grid of `shape`; 0 outside.

    Parameters
    ----------
    data : ndarray, three-dimensional
        What is sampled.
    matrix : ndarray, shape (4, 4)
        From the new grid's voxel indices to those of `data`.
    shape : tuple of int
        The new grid's shape.
    order : {1, 3}
        Spline order. Labels are brought over by `neuroxai.majority`.
    """
    from scipy import ndimage

    linear, offset = matrix[:3, :3], matrix[:3, 3]
    source_axes = np.abs(linear).argmax(axis=0)
    aligned = np.count_nonzero(linear) == 3 and sorted(source_axes) == [0, 1, 2]
    if not aligned:
        oblique: NDArray[Any] = ndimage.affine_transform(
            data, linear, offset, output_shape=shape, order=order, mode="grid-constant", cval=0.0
        )
        return oblique
    # axis by axis: several times faster, and whole-voxel steps need no interpolation at all
    data = data.transpose(source_axes)
    step, offset = linear[source_axes, range(3)], offset[source_axes]
    backwards = np.flatnonzero(step < 0)
    offset = np.where(step < 0, np.array(data.shape) - 1 - offset, offset)
    data, step = np.flip(data, tuple(backwards.tolist())), np.abs(step)
    if (step == 1).all() and (offset == np.rint(offset)).all():
        result = np.zeros(shape, data.dtype)
        low = [max(0, int(-o)) for o in offset]
        high = [max(a, min(n, m - int(o))) for a, n, m, o in zip(low, shape, data.shape, offset, strict=True)]
        result[tuple(map(slice, low, high))] = data[
            tuple(slice(a + int(o), b + int(o)) for a, b, o in zip(low, high, offset, strict=True))
        ]
        return result
    with warnings.catch_warnings():
        # before 1.16 scipy tells at each call that in 2016 one-dimensional matrices came to mean something else
        warnings.filterwarnings("ignore", "The behavior of affine_transform with a 1-D array", UserWarning)
        scaled: NDArray[Any] = ndimage.affine_transform(
            data, step, offset, output_shape=shape, order=order, mode="grid-constant", cval=0.0
        )
    return scaled


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
