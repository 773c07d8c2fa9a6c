"""ITK's world and ours: its x runs to the left and its y to the back (LPS), ours to the right and the front (RAS)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import SpaceError
from neuroxai.space import Space

Matrix = NDArray[np.float64]
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def flipped(matrix: Matrix) -> Matrix:
    """Turn a map between RAS worlds into the same map between LPS worlds, or back; 4 x 4."""
    return np.asarray(_FLIP @ matrix @ _FLIP)


def geometry(space: Space) -> tuple[list[float], list[float], Matrix]:
    """Origin (mm, LPS), spacing (mm) and direction cosines (columns) of a grid.

    Raises
    ------
    SpaceError
        If the axes are not at right angles: ITK knows no sheared grids.
    """
    world = _FLIP @ space.affine
    spacing = np.array(space.spacing)
    direction = world[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-4:
        raise SpaceError(
            f"the grid of {space.describe()} is sheared, which registration cannot take; resample the picture to a "
            "grid with axes at right angles"
        )
    # float32 headers leave errors of 1e-7 that ITK would refuse: the nearest rotation
    left, _, right = np.linalg.svd(direction)
    return world[:3, 3].tolist(), spacing.tolist(), np.asarray(left @ right)


def about(matrix: Matrix, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift of a map written as ``linear @ (x - centre) + shift + centre``, as ITK parametrises it; shape (3,)."""
    return np.asarray(matrix[:3, :3] @ centre + matrix[:3, 3] - centre)


def from_centred(linear: NDArray[np.float64], shift: NDArray[np.float64], centre: NDArray[np.float64]) -> Matrix:
    """Undo `about`: the 4 x 4 matrix."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = shift + centre - linear @ centre
    return matrix


def nearest_rigid(matrix: Matrix, at: NDArray[np.float64]) -> Matrix:
    """Replace the linear part by the nearest rotation, keeping the image of the point `at`."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    result = np.eye(4)
    result[:3, :3] = rotation
    result[:3, 3] = matrix[:3, :3] @ at + matrix[:3, 3] - rotation @ at
    return result
