"""Where a linear registration starts: poses tried at low resolution by mutual information.

Gradient descent on mutual information finds the pose from about 15 degrees and 15 mm. So that scans turned or shifted
further, or with a neck in view, still register, whole poses are scored on an 8 mm grid first and the best are refined
without gradients (Powell 1964). Both engines begin from the same pose.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import grid_points, to_voxels
from neuroxai.preprocess.pair import Pair, isotropic
from neuroxai.space import Space

Matrix = NDArray[np.float64]
COARSE = 8.0  # mm
BINS = 32
_PITCH = (-40.0, -20.0, 0.0, 20.0, 40.0)  # nodding is the widest movement of a head
_TURN = (-20.0, 0.0, 20.0)
_REFINED = 4  # poses


def start(both: Pair, scale: bool) -> Matrix:
    """Return the pose, fixed world to moving world, with the highest normalised mutual information at 8 mm.

    Parameters
    ----------
    both : Pair
        The pictures.
    scale : bool
        Let the size differ (for an affine); one factor.

    Returns
    -------
    ndarray, shape (4, 4)
        A rotation, a shift and, with `scale`, a factor.
    """
    from scipy import optimize

    score = similarity(both)
    trials = [
        np.array([*np.radians(turns), *(centre - both.fixed_centre), 0.0])
        for centre in both.moving_centres
        for turns in product(_PITCH, _TURN, _TURN)
    ]

    def cost(parameters: NDArray[np.float64]) -> float:
        return -score(pose(parameters, both.fixed_centre))

    costs = [cost(trial) for trial in trials]
    best, lowest = trials[0], np.inf
    # a unit of every parameter moves the brain's rim by about 20 mm
    units = np.array([0.3, 0.3, 0.3, 20.0, 20.0, 20.0, 0.3])[: 7 if scale else 6]
    for index in np.argsort(costs, kind="stable")[:_REFINED]:
        first = trials[index]

        def refined(step: NDArray[np.float64], first: NDArray[np.float64] = first) -> float:
            return cost(first + np.pad(step * units, (0, 7 - len(step))))

        found = optimize.minimize(
            refined, np.zeros(len(units)), method="Powell",
            options={"xtol": 0.02, "ftol": 1e-4, "maxiter": 4, "direc": 0.5 * np.eye(len(units))},
        )  # fmt: skip
        if found.fun < lowest:
            best, lowest = first + np.pad(found.x * units, (0, 7 - len(units))), float(found.fun)
    return pose(best, both.fixed_centre)


def pose(parameters: NDArray[np.float64], centre: NDArray[np.float64]) -> Matrix:
    """Three angles (rad), three shifts (mm) and the logarithm of a factor, about a centre, as a matrix."""
    from scipy.spatial.transform import Rotation

    linear = np.exp(parameters[6]) * Rotation.from_euler("xyz", parameters[:3]).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + parameters[3:6] - linear @ centre
    return matrix


def similarity(both: Pair, spacing: float = COARSE) -> Callable[[Matrix], float]:
    """Return the function that gives a pose's normalised mutual information, from 1 to 2 (Studholme 1999).

    Points beyond the moving picture's field of view do not count; a pose that leaves less than half scores 0.
    """
    from scipy import ndimage

    fixed = isotropic(both.fixed, spacing)
    moving = isotropic(both.moving, spacing / 2)
    # as blurred as the coarse fixed picture, though sampled more finely for a smooth cost
    blurred = ndimage.gaussian_filter(moving.data, 2.0 / 2.3548 * np.sqrt(0.75))
    points = grid_points(fixed.space)
    values = _bins(fixed.data.ravel())
    if both.fixed_where is not None:
        where = _inside(both.fixed_where, both.fixed.space, points)
        points, values = points[:, where], values[where]
    # half the fixed brain, or of a head its brighter half, must be seen
    least = 0.5 * (values > 0).sum()
    size = np.array(moving.space.shape)[:, None] - 0.5

    def score(matrix: Matrix) -> float:
        voxels = to_voxels(moving.space, matrix[:3, :3] @ points + matrix[:3, 3:])
        seen = ((voxels >= -0.5) & (voxels <= size)).all(0)
        if both.moving_where is not None:
            seen &= _inside(both.moving_where, both.moving.space, matrix[:3, :3] @ points + matrix[:3, 3:])
        if seen.sum() < least:
            return 0.0
        there = ndimage.map_coordinates(blurred, voxels[:, seen], order=1, mode="nearest")
        return normalised_mutual_information(values[seen], _bins(there))

    return score


def _inside(where: NDArray[np.bool_], space: Space, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Look truth values up at world points, shape (3, n); false beyond the grid."""
    voxels = np.rint(to_voxels(space, points)).astype(int)
    inside = ((voxels >= 0) & (voxels < np.array(space.shape)[:, None])).all(0)
    result = np.zeros(points.shape[1], dtype=bool)
    result[inside] = where[tuple(voxels[:, inside])]
    return result


def normalised_mutual_information(one: NDArray[np.int_], two: NDArray[np.int_]) -> float:
    """(H(one) + H(two)) / H(one, two) of two arrays of bin numbers; 1 for independent, 2 for one-to-one."""
    joint = np.bincount(one * BINS + two, minlength=BINS * BINS).reshape(BINS, BINS) / one.size
    together = _entropy(joint)
    return (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / together if together > 0 else 2.0


def _bins(values: NDArray[np.float32]) -> NDArray[np.int_]:
    return np.minimum((values * BINS).astype(np.int_), BINS - 1)


def _entropy(shares: NDArray[np.float64]) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
