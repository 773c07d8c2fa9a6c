"""Resampling through an affine map and a displacement field in one interpolation, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement
from neuroxai.errors import one_of
from neuroxai.majority import Voter
from neuroxai.sampling import smoothing
from neuroxai.space import Space, Volume

# target voxels at a time: their positions take 24 bytes each, their displacements 12
_SLAB = 1 << 20
# zeros around the data before the cubic prefilter, which rings no farther (its pole is -0.27)
_PAD = 12


def resampled_through(
    source: Volume, target: Space, warp: Displacement, order: int = 1, antialias: bool = True
) -> Volume:
    """Resample a volume at x + u(x) for every voxel centre x of a grid; outside the source the value is 0.

    Parameters
    ----------
    source : Volume
        What is sampled.
    target : Space
        The target grid, in the same world.
    warp : Displacement
        u. Beyond its own grid the border's displacement holds.
    order : {0, 1, 3}
        0 for labels and masks: each voxel takes the label that fills most of it (`neuroxai.majority`; a voxel is moved
        by the warp, but not deformed), 1 for linear, 3 for cubic splines.
    antialias : bool
        Smooth along axes that become coarser, as `Volume.resampled_to` does; local stretching by the warp is not
        looked at. Ignored for ``order=0``.

    Returns
    -------
    Volume
        On `target`. Floating data stay of their type; integers become float32 unless ``order=0``.
    """
    from scipy import ndimage

    if order not in (0, 1, 3):
        raise one_of("spline order", order, (0, 1, 3))
    matrix = target.to_voxels_of(source.space)
    voter = Voter(source.data, matrix[:3, :3]) if order == 0 else None
    data, pad = _ready(source.data, matrix, order, antialias)
    result = np.zeros(target.shape, source.data.dtype if order == 0 or source.data.dtype.kind == "f" else np.float32)
    turn = np.linalg.inv(source.space.affine)[:3, :3].astype(np.float32)
    # a voxel may reach farther than its centre
    rim = 1 + pad + int(np.ceil(np.abs(matrix[:3, :3]).sum(axis=1).max())) if order == 0 else 1 + pad
    box = _reach(source.space, target, warp, rim)
    if box is None:
        return Volume(result, target)
    rows = max(1, _SLAB // max(1, (box[1].stop - box[1].start) * (box[2].stop - box[2].start)))
    for start in range(box[0].start, box[0].stop, rows):
        slab = (slice(start, min(start + rows, box[0].stop)), *box[1:])
        moved = displacements(warp, target, slab)
        axes = np.ogrid[slab]
        positions = np.empty((3, *moved.shape[1:]))
        for axis in range(3):
            line = matrix[axis]
            positions[axis] = line[0] * axes[0] + line[1] * axes[1] + (line[2] * axes[2] + (line[3] + pad))
            for component in np.flatnonzero(turn[axis]):
                positions[axis] += turn[axis, component] * moved[component]
        if voter is not None:
            result[slab] = voter(positions)
            continue
        ndimage.map_coordinates(
            data, positions, output=result[slab], order=order, mode="grid-constant", cval=0.0, prefilter=False
        )
    return Volume(result, target)


def displacements(warp: Displacement, space: Space, slab: tuple[slice, slice, slice]) -> NDArray[np.float32]:
    """Displacements in mm at a block of a grid's voxels, shape (3, x, y, z)."""
    from scipy import ndimage

    matrix = space.to_voxels_of(warp.space)
    start, shape = np.array([part.start for part in slab]), tuple(part.stop - part.start for part in slab)
    offset = matrix[:3, :3] @ start + matrix[:3, 3]
    if np.array_equal(matrix, np.eye(4)) and warp.space.shape == space.shape:
        return warp.field[(slice(None), *slab)]
    moved = np.empty((3, *shape), np.float32)
    for component, out in zip(warp.field, moved, strict=True):
        ndimage.affine_transform(component, matrix[:3, :3], offset, shape, output=out, order=1, mode="nearest")
    return moved


def _ready(values: NDArray[Any], matrix: NDArray[np.float64], order: int, antialias: bool) -> tuple[NDArray[Any], int]:
    """Smooth and prefilter where asked for; also the width of the rim that was put around."""
    from scipy import ndimage

    if order == 0:
        return values, 0
    data = values if values.dtype.kind == "f" else values.astype(np.float32)
    sigma = smoothing(matrix)
    if antialias and sigma.any():
        data = ndimage.gaussian_filter(data, sigma, mode="constant")
    if order == 1:
        return data, 0
    return ndimage.spline_filter(np.pad(data, _PAD), order, output=np.float64, mode="grid-constant"), _PAD


def _reach(source: Space, target: Space, warp: Displacement, rim: int) -> tuple[slice, slice, slice] | None:
    """Box of the target's voxels that may see the source and `rim` voxels around it; None if there is none.

    A scan's grid is often far larger than the brain's: what cannot be reached need not be computed.
    """
    world = source.corners(rim - 0.5)
    # x = y - u(x): the points that see y lie within the displacements' range around it
    low, high = warp.field.min(axis=(1, 2, 3)), warp.field.max(axis=(1, 2, 3))
    ends = np.concatenate([world - np.where(pick, high, low) for pick in np.ndindex(2, 2, 2)])
    voxels = target.voxels(ends)
    first = np.maximum(np.floor(voxels.min(axis=0)).astype(int), 0)
    last = np.minimum(np.ceil(voxels.max(axis=0)).astype(int) + 1, target.shape)
    if (first >= last).any():
        return None
    x, y, z = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return x, y, z
