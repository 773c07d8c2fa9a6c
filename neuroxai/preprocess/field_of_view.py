"""What a field of view cuts off: faces of the grid that the brain touches, tissue that lies beyond."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement, to_voxels
from neuroxai.space import Space, Volume

FACES = {"L": "left", "R": "right", "P": "posterior", "A": "anterior", "I": "inferior", "S": "superior"}
"""Names of a grid's faces by the direction in which they look."""

_OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "I": "S", "S": "I"}
_MOST_POINTS = 200_000


def cut_faces(brain: Volume) -> dict[str, float]:
    """Share of the brain's surface that lies on each face of the grid, where the scan ends in the midst of the brain.

    Parameters
    ----------
    brain : Volume
        Mask, in any orientation.

    Returns
    -------
    dict of str to float
        For each name of `FACES`, area on that face over the whole surface (both counted in voxel faces, mm^2). 0
        where the brain keeps clear of the face, or the mask is empty.
    """
    mask = np.asarray(brain.data) != 0
    spacing = np.array(brain.space.spacing)
    touching: dict[str, float] = {}
    surface = 0.0
    for axis, code in enumerate(brain.space.orientation):
        area = float(np.prod(np.delete(spacing, axis)))
        first, last = (float(np.take(mask, index, axis=axis).sum()) for index in (0, -1))
        touching[FACES[_OPPOSITE[code]]] = first * area
        touching[FACES[code]] = last * area
        steps = float((np.diff(mask, axis=axis)).sum())
        surface += (first + last + steps) * area
    return {face: touching[face] / surface if surface else 0.0 for face in FACES.values()}


def outside_scan(
    template_brain: Volume, scan: Space, affine: NDArray[np.float64], warp: Displacement | None = None
) -> float:
    """Share of the template's brain that falls outside the scan's field of view.

    Parameters
    ----------
    template_brain : Volume
        Mask in the prepared world.
    scan : Space
        The native grid.
    affine : ndarray, shape (4, 4)
        Prepared world to native world.
    warp : Displacement, optional
        Applied before the affine.
    """
    points = _points(template_brain)
    if warp is not None:
        points = warp(points)
    return _outside(scan, affine[:3, :3] @ points + affine[:3, 3:])


def outside_grid(
    brain: Volume, grid: Space, affine: NDArray[np.float64], inverse_warp: Displacement | None = None
) -> float:
    """Share of the native brain that the output grid leaves out.

    Parameters
    ----------
    brain : Volume
        Mask on the native grid.
    grid : Space
        The output grid.
    affine : ndarray, shape (4, 4)
        Prepared world to native world.
    inverse_warp : Displacement, optional
        Applied after the affine's inverse, in the prepared world; without it a warp's few millimetres are ignored.
    """
    inverse = np.linalg.inv(affine)
    points = inverse[:3, :3] @ _points(brain) + inverse[:3, 3:]
    if inverse_warp is not None:
        points = inverse_warp(points)
    return _outside(grid, points)


def _points(mask: Volume) -> NDArray[np.float64]:
    """World points of a mask's voxels, shape (3, n), thinned evenly where there are very many."""
    found = np.argwhere(np.asarray(mask.data) != 0)
    step = max(1, len(found) // _MOST_POINTS)
    return np.ascontiguousarray(mask.space.world(found[::step]).T)


def _outside(space: Space, points: NDArray[np.float64]) -> float:
    if not points.shape[1]:
        return 0.0
    voxels = to_voxels(space, points)
    size = np.array(space.shape)[:, None]
    return float(((voxels < -0.5 - 1e-6) | (voxels > size - 0.5 + 1e-6)).any(axis=0).mean())
