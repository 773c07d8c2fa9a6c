"""Sample a subject's anatomy at the points of a grid, through every transform at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import sample
from neuroxai.simulate.anatomy import Array
from neuroxai.simulate.effect import Contrast, Planted
from neuroxai.simulate.nature import Shape
from neuroxai.simulate.pose import Matrix, corners
from neuroxai.space import Space

if TYPE_CHECKING:
    from neuroxai.simulate.scan import Acquisition

_POINTS_AT_ONCE = 1_000_000


class Rendered(dict[str, Array]):
    """Means over the voxels, by name, and volumes in mm^3."""

    def __init__(self, space: Space, volumes: list[str]) -> None:
        super().__init__({n: np.zeros(space.shape, np.float32) for n in ("clean", "brain", "log_jacobian", "opacity")})
        self.volumes = dict.fromkeys(volumes, 0.0)
        self.healthy = dict.fromkeys(volumes, 0.0)


def render(
    acquisition: Acquisition,
    planted: Planted,
    shape: Shape,
    contrast: Contrast,
    space: Space,
    pose: Matrix | None,
) -> Rendered:
    """Sample the anatomy at the points of `space`, slab by slab."""
    effect, factor = acquisition.effect, acquisition.factor
    names = [*effect.rois, "brain", *(["lesion"] if planted.opacity is not None else [])]
    result = Rendered(space, names)
    volumes, fine = result.volumes, space.voxel_volume / factor**3
    inverse, to_grid = np.linalg.inv(effect.anatomy.space.affine), np.linalg.inv(planted.warp.space.affine)
    for block in _slabs(space, effect.grid, factor, np.eye(4) if pose is None else pose):
        points = shape(_points(space, block, factor))
        brain = sample(acquisition.brain, inverse[:3, :3] @ points + inverse[:3, 3:]) >= 0.5
        points = points[:, brain]
        there = planted.warp(points)
        voxels = inverse[:3, :3] @ there + inverse[:3, 3:]
        values = {
            "clean": contrast(acquisition.sampled(voxels)),
            "brain": np.ones(points.shape[1], dtype=np.float32),
            "log_jacobian": sample(planted.log_jacobian, to_grid[:3, :3] @ points + to_grid[:3, 3:]),
        }
        if planted.opacity is not None:
            share = sample(planted.opacity, voxels)
            values["clean"] = values["clean"] + share * (np.float32(planted.brightness) - values["clean"])
            values["opacity"] = share
            volumes["lesion"] += float(share.sum(dtype=np.float64)) * fine
        volumes["brain"] += points.shape[1] * fine
        inside = voxels[:, sample(acquisition.union, voxels) > 0] if effect.rois else voxels[:, :0]
        still = inverse[:3, :3] @ points + inverse[:3, 3:] if acquisition.before else voxels
        for name, roi in effect.rois.items():
            volumes[name] += float(sample(roi, inside).sum(dtype=np.float64)) * fine
            if acquisition.before:
                result.healthy[name] += float(sample(roi, still).sum(dtype=np.float64)) * fine
        for name, value in values.items():
            result[name][block] = _block_mean(value, brain, [b.stop - b.start for b in block], factor)
    return result


def _slabs(space: Space, grid: Space, factor: int, pose: Matrix) -> Iterator[tuple[slice, ...]]:
    """Cut the voxels that cover `grid`, moved by `pose`, along x into pieces of bounded memory."""
    low, high = _overlap(space, grid, pose)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    thick = max(1, _POINTS_AT_ONCE // max((y.stop - y.start) * (z.stop - z.start) * factor**3, 1))
    for start in range(x.start, x.stop, thick):
        yield slice(start, min(start + thick, x.stop)), y, z


def _points(space: Space, block: tuple[slice, ...], factor: int) -> NDArray[np.float64]:
    """World positions of a block's sampling points, `factor` per voxel and axis, shape (3, n)."""
    offsets = (np.arange(factor) + 0.5) / factor - 0.5
    axes = [(np.arange(b.start, b.stop)[:, None] + offsets).ravel() for b in block]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    return np.asarray(space.affine[:3, :3] @ voxels + space.affine[:3, 3:])


def _block_mean(values: Array, where: NDArray[np.bool_], size: list[int], factor: int) -> Array:
    """Mean over each voxel's sampling points; `values` are those of the points in `where`, the others are 0."""
    every = np.zeros(where.size, dtype=np.float32)
    every[where] = values
    x, y, z = size
    return np.asarray(every.reshape(x, factor, y, factor, z, factor).mean(axis=(1, 3, 5), dtype=np.float32))


def _overlap(space: Space, grid: Space, pose: Matrix) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Voxel ranges of `space` that cover `grid` moved by `pose`."""
    voxels = space.voxels(corners(grid) @ pose[:3, :3].T + pose[:3, 3])
    low = np.clip(np.floor(voxels.min(0)).astype(int), 0, space.shape)
    high = np.clip(np.ceil(voxels.max(0)).astype(int) + 1, 0, space.shape)
    return low, high
