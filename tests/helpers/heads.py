"""A brain without symmetry, painted in any pose on any grid."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from neuroxai.space import Volume


def brain_at(points):
    """Value at world points (3, n): a lopsided brain of 1.2 l with a bright left horn and a dark right spot."""
    x, y, z = points
    inside = (x / 62) ** 2 + (y / 80) ** 2 + (z / 55) ** 2 < 1
    value = np.where(inside, 0.55 + 0.1 * np.sin(x / 9) * np.cos(y / 11) * np.sin(z / 8 + 1), 0.0)
    for centre, radius, height in (
        ((-30, 20, 15), 14, 0.4), ((25, -35, -10), 18, -0.35), ((10, 45, 5), 10, 0.3), ((-20, -30, -25), 12, -0.25),
        ((35, 10, 25), 9, 0.35),
    ):  # fmt: skip
        near = sum((c - o) ** 2 for c, o in zip((x, y, z), centre, strict=True)) < radius**2
        value = np.where(inside & near, value + height, value)
    return value


def points_of(space):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in space.shape], indexing="ij"))
    return space.affine[:3, :3] @ index.reshape(3, -1) + space.affine[:3, 3:]


def painted(space, pose=None):
    """The brain, moved by a pose, seen on a grid: at y lies what was at inv(pose) y."""
    points = points_of(space)
    if pose is not None:
        inverse = np.linalg.inv(pose)
        points = inverse[:3, :3] @ points + inverse[:3, 3:]
    data = brain_at(points).reshape(space.shape).astype(np.float32)
    return Volume(ndimage.gaussian_filter(data, 0.7), space)


def posed(turns, shift, scale=(1, 1, 1)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turns, degrees=True).as_matrix() @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix
