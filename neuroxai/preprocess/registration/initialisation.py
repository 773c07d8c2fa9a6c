"""Where a linear registration starts: pictures made alike, and poses tried at low resolution by mutual information.

Gradient descent on mutual information finds the pose from about 15 degrees and 15 mm. So that scans turned or shifted
further, or with a neck in view, still register, whole poses are scored on an 8 mm grid first and the best are refined
without gradients (Powell 1964). Both engines begin from the same pose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import field_space, grid_points, to_voxels
from neuroxai.errors import InputError, SpaceError
from neuroxai.preprocess.intensity import foreground, is_skull_stripped
from neuroxai.space import Space, Volume

FINEST = 2.0  # mm
# mm around a brain that still count against a head: the dark rim, but not the scalp, which mutual information would
# rather have for the brain's edge (with 10 mm, two of three T1-weighted heads came out a fifth too small)
MARGIN = 2.0


@dataclass(frozen=True, eq=False)
class Pair:
    """What an engine's linear registration works on.

    Parameters
    ----------
    fixed, moving : Volume
        Float32, values from 0 to 1, isotropic RAS grids.
    fixed_where, moving_where : ndarray of bool or None
        Where the similarity is measured; everywhere for None.
    fixed_centre, moving_centres : ndarray, shape (3,), and list of such
        World points (mm) that could be the middle of the brain; the likeliest first.
    """

    fixed: Volume
    moving: Volume
    fixed_where: NDArray[np.bool_] | None
    moving_where: NDArray[np.bool_] | None
    fixed_centre: NDArray[np.float64]
    moving_centres: list[NDArray[np.float64]]


def pair(
    fixed: Volume,
    moving: Volume,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> Pair:
    """Prepare two pictures for linear registration.

    Parameters
    ----------
    fixed, moving : Volume
        The pictures, in any orientation.
    fixed_mask, moving_mask : Volume, optional
        Where the brain is: everything else is set to 0 in that picture.

    Raises
    ------
    InputError
        If a picture or mask is empty, or holds NaN or infinite values.
    SpaceError
        If a mask does not lie on its picture's grid.
    """
    # a linear map of a brain gains nothing from voxels below 2 mm, nor from voxels finer than the pictures'
    spacing = max(FINEST, min(*fixed.space.spacing, *moving.space.spacing))
    one, stripped_one = _fixed(fixed, fixed_mask, spacing)
    two, stripped_two = _picture(moving, moving_mask, spacing, "moving")
    # a brain against a head: what lies far from the brain has no counterpart and would only mislead
    where_one = _around(one) if stripped_one and not stripped_two else None
    where_two = _around(two) if stripped_two and not stripped_one else None
    centres_one = _centres(one, stripped_one)
    return Pair(one, two, where_one, where_two, centres_one[0], _centres(two, stripped_two))


def masked(scan: Volume, mask: Volume | None, name: str) -> Volume:
    """Set a picture to 0 outside a mask on its grid, and refuse what cannot be registered."""
    if not np.isfinite(scan.data).all():
        raise InputError(f"the {name} picture holds NaN or infinite values; mask or repair them first")
    low, high = float(scan.data.min()), float(scan.data.max())
    if low == high:
        raise InputError(f"the {name} picture has the one value {low:g}; there is nothing to register")
    # nothing below 0, so that 0 can stand for what is not the brain, or not in view
    data = scan.data.astype(np.float32) - np.float32(low)
    if mask is not None:
        if not mask.space.matches(scan.space):
            raise SpaceError(
                f"the {name} mask lies on {mask.space.describe()}, its picture on {scan.space.describe()}; "
                "resample the mask to the picture's grid"
            )
        if not (mask.data > 0).any():
            raise InputError(f"the {name} mask is empty; give one with voxels above 0, or none")
        data = np.where(mask.data > 0, data, np.float32(0))
        if not data.any():
            raise InputError(f"the {name} picture is empty inside its mask; is it the mask of another scan?")
    return Volume(data, scan.space)


def scaled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring values from 0 upwards to 0..1; the brightest 0.1 % (vessels, fat) are cut off."""
    high = np.percentile(values[values > 0], 99.9)
    return np.asarray(np.clip(values / high, 0, 1), dtype=np.float32)


def isotropic(scan: Volume, spacing: float) -> Volume:
    """Resample to an isotropic RAS grid over the same field of view."""
    return scan.resampled_to(field_space(scan.space, spacing))


# the template's, which all scans of a process are registered to; gone with it
_KEPT: WeakKeyDictionary[Volume, dict[float, tuple[Volume, bool]]] = WeakKeyDictionary()


def _fixed(scan: Volume, mask: Volume | None, spacing: float) -> tuple[Volume, bool]:
    """Return `_picture`, made once for each fixed picture without a mask."""
    if mask is not None:
        return _picture(scan, mask, spacing, "fixed")
    kept = _KEPT.setdefault(scan, {})
    if spacing not in kept:
        kept[spacing] = _picture(scan, None, spacing, "fixed")
    return kept[spacing]


def _picture(scan: Volume, mask: Volume | None, spacing: float, name: str) -> tuple[Volume, bool]:
    """Return the picture on its isotropic grid, and whether it shows a brain alone."""
    if mask is None and is_skull_stripped(scan):
        mask = Volume(foreground(scan), scan.space)
    iso = isotropic(masked(scan, mask, name), spacing)
    return Volume(scaled(iso.data), iso.space), mask is not None


def _around(brain: Volume) -> NDArray[np.bool_]:
    from scipy import ndimage

    away = ndimage.distance_transform_edt(brain.data < 0.02, sampling=brain.space.spacing)
    return np.asarray(away <= MARGIN)


def _centres(picture: Volume, stripped: bool) -> list[NDArray[np.float64]]:
    """Guess the middle of the brain: of a brain its centroid, of a head also 75 mm below its top."""
    if stripped:
        return [_middle(picture.data > 0.02, picture.space)]
    inside = picture.data > _threshold(picture.data)
    centroid = _middle(inside, picture.space)
    # the first plane from above that holds 5 cm^2 of head: no single bright voxel
    area = inside.sum((0, 1)) * picture.space.spacing[0] ** 2
    planes = np.flatnonzero(area > 500)
    if not planes.size:
        return [centroid]
    top = picture.space.world((0, 0, planes[-1]))[2]
    height = picture.space.world(np.array([0, 0, 1]))[2] - picture.space.world(np.zeros(3))[2]
    first = max(int(planes[-1] - 150 / height), 0)
    upper = inside.copy()
    upper[:, :, :first] = False
    crown = _middle(upper, picture.space)
    crown[2] = top - 75.0
    return [crown, centroid]


def _middle(inside: NDArray[np.bool_], space: Space) -> NDArray[np.float64]:
    return np.asarray(space.world(np.argwhere(inside).mean(0)))


def _threshold(values: NDArray[np.float32]) -> float:
    """Between air and head: half the mean of what exceeds the mean (a cheap relative of Otsu's threshold)."""
    return 0.5 * float(values[values > values.mean()].mean())


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
