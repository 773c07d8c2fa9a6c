"""Displacement fields: how points of one world are moved to another.

A displacement field `u` on a `Space` moves the world point x to x + u(x); its components are millimetres along world
x, y, z, whatever the directions of the grid. Shapes are (3, x, y, z).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuroxai.space import Space

Field = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Displacement:
    """A displacement field on a grid.

    Parameters
    ----------
    field : ndarray of float32, shape (3, x, y, z)
        Millimetres.
    space : Space
        The grid that the field is sampled on.
    """

    field: Field
    space: Space

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move world points, shape (3, n); beyond the grid the border's displacement holds."""
        voxels = to_voxels(self.space, points)
        return points + np.stack([sample(component, voxels, mode="nearest") for component in self.field])


def jacobian_determinant(displacement: Displacement) -> NDArray[np.float32]:
    """Compute the Jacobian determinant of x + u(x) by central differences, for a grid of any orientation.

    Returns
    -------
    ndarray of float32, shape ``displacement.space.shape``
        Local volume change; 0 or less where the map folds.
    """
    # along voxel axes first; the inverse affine turns that into derivatives along world axes
    slopes = np.stack([np.stack(np.gradient(component)) for component in displacement.field])
    inverse = np.linalg.inv(displacement.space.affine[:3, :3]).astype(slopes.dtype)
    j = np.einsum("cvxyz,vw->cwxyz", slopes, inverse)
    for axis in range(3):
        j[axis, axis] += 1.0
    (a, b, c), (d, e, f), (g, h, i) = j
    return np.asarray(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g), dtype=np.float32)


def sample(values: NDArray[np.float32], voxels: NDArray[np.float64], mode: str = "constant") -> NDArray[np.float32]:
    """Linear interpolation at voxel positions, shape (3, n); outside the grid 0, or the border with ``"nearest"``."""
    from scipy import ndimage

    return np.asarray(ndimage.map_coordinates(values, voxels, order=1, mode=mode, output=np.float32))


def field_space(space: Space, spacing: float) -> Space:
    """Make a RAS grid of the given isotropic spacing over the same field of view as `space`."""
    world = space.corners()
    low, high = world.min(0), world.max(0)
    shape = np.ceil((high - low) / spacing).astype(int)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (low + high) / 2 - (shape - 1) * spacing / 2
    return Space(shape.tolist(), affine)


def grid_points(space: Space) -> NDArray[np.float64]:
    """World coordinates of all voxel centres, shape (3, n), C order."""
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in space.shape], indexing="ij")).reshape(3, -1)
    return np.asarray(space.affine[:3, :3] @ voxels + space.affine[:3, 3:])


def to_voxels(space: Space, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel positions of world points, both of shape (3, n)."""
    inverse = np.linalg.inv(space.affine)
    return inverse[:3, :3] @ points + inverse[:3, 3:]
