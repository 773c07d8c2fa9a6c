"""How a head lies in the scanner: a known rigid pose and a head size, and the grid that covers it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.space import Space

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class RandomPose:
    """How far poses go.

    Parameters
    ----------
    degrees : float
        Largest rotation, about any axis, 0 to 90.
    millimetres : float
        Largest shift, in any direction, 0 to 100.
    head_size : float
        Largest change of the head's size, as a share of 1, 0 to 0.3.

    Raises
    ------
    InputError
        If a limit is out of range.
    """

    degrees: float = 20.0
    millimetres: float = 20.0
    head_size: float = 0.08

    def __post_init__(self) -> None:
        limits = (
            ("degrees", self.degrees, 90.0),
            ("mm", self.millimetres, 100.0),
            ("of head size", self.head_size, 0.3),
        )
        for unit, value, most in limits:
            if not 0 <= value <= most:
                raise InputError(f"a pose of up to {value:g} {unit} cannot be, expected 0 to {most:g} {unit}")


@dataclass(frozen=True, eq=False)
class Pose:
    """Where one head lies.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4)
        From MNI152 millimetres to the scan's millimetres: the brain's centre goes to the shift.
    columns : dict of str to float
        The same as numbers for participants.tsv.
    """

    matrix: Matrix
    columns: dict[str, float]


def draw_pose(rng: np.random.Generator, limits: RandomPose, centre: Matrix) -> Pose:
    """Draw an axis, an angle, a direction, a length and a size, each uniform within its limits.

    Parameters
    ----------
    rng : numpy.random.Generator
        The subject's stream for its pose.
    limits : RandomPose
        How far poses go.
    centre : ndarray, shape (3,)
        The point in MNI152 millimetres about which the head turns.
    """
    axis, direction = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    turn = axis * rng.uniform(0.0, limits.degrees)
    shift = direction * rng.uniform(0.0, limits.millimetres)
    size = rng.uniform(1.0 - limits.head_size, 1.0 + limits.head_size)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(turn) * size
    matrix[:3, 3] = shift - matrix[:3, :3] @ centre
    columns = {f"pose_rotation_{a}_degrees": float(v) for a, v in zip("xyz", turn, strict=True)}
    columns.update({f"pose_shift_{a}_mm": float(v) for a, v in zip("xyz", shift, strict=True)})
    return Pose(matrix, {**columns, "head_size": float(size)})


def rotation(vector: Matrix) -> Matrix:
    """Rotation matrix of a rotation vector: its direction is the axis, its length the angle in degrees."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vector, degrees=True).as_matrix(), dtype=np.float64)


def posed_grid(reach: Space, matrix: Matrix, spacing: tuple[float, float, float], margin: float) -> Space:
    """Make the scanner's grid, axes along the scanner's, that covers a box carried along by a pose.

    Parameters
    ----------
    reach : Space
        The box, in MNI152 millimetres.
    matrix : ndarray, shape (4, 4)
        The pose.
    spacing : tuple of float
        Voxel size in mm.
    margin : float
        Millimetres around the box.
    """
    points = reach.corners() @ matrix[:3, :3].T + matrix[:3, 3]
    low, high = points.min(0) - margin, points.max(0) + margin
    size = np.asarray(spacing)
    shape = np.ceil((high - low) / size).astype(int)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (low + high) / 2 - (shape - 1) * size / 2
    return Space(shape.tolist(), affine)
