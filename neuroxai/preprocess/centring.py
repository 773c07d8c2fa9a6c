"""Placing a scan on a grid without registration: axes in order, padding and cropping."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroxai.space import Space


def centring(native: Space, grid: Space, brain: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Return the rigid matrix that takes the grid's world points to the scan's, middle onto middle.

    The grid's axes follow the scan's own, so that an oblique scan is not turned and nothing is interpolated but for the
    voxel size; where that is the same along an axis, the shift is a whole number of voxels.

    Parameters
    ----------
    native : Space
        The scan's grid.
    grid : Space
        The grid wanted, axes along the world's (RAS).
    brain : ndarray of bool, shape ``native.shape``, optional
        What comes into the middle: its bounding box; without it the field of view.

    Returns
    -------
    ndarray, shape (4, 4)
    """
    ordered = native.reoriented("RAS")
    centre = (np.array(ordered.shape) - 1) / 2
    if brain is not None:
        from neuroxai.space import Volume

        voxels = np.argwhere(Volume(brain, native).reoriented("RAS").data)
        centre = (voxels.min(0) + voxels.max(0)) / 2
    middle = (np.array(grid.shape) - 1) / 2
    same = np.abs(np.array(ordered.spacing) - grid.spacing) < 1e-3
    centre = np.where(same, middle + np.rint(centre - middle), centre)
    turn = ordered.affine[:3, :3] / ordered.spacing
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = ordered.world(centre) - turn @ grid.world(middle)
    return matrix
