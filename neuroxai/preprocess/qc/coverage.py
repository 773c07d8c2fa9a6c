"""What a field of view cuts off the brain, and how a brain mask fails: loose pieces, leaks, parts that it lacks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import to_voxels
from neuroxai.errors import SpaceError
from neuroxai.preprocess.mapping import Mapping
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


def outside_scan(template_brain: Volume, scan: Space, mapping: Mapping) -> float:
    """Share of the template's brain that falls outside the scan's field of view.

    Parameters
    ----------
    template_brain : Volume
        Mask in the prepared world.
    scan : Space
        The native grid.
    mapping : Mapping
        Between prepared and native world.
    """
    return _outside(scan, mapping.to_native(_points(template_brain)))


def outside_grid(brain: Volume, grid: Space, mapping: Mapping) -> float:
    """Share of the native brain that the output grid leaves out.

    Parameters
    ----------
    brain : Volume
        Mask on the native grid.
    grid : Space
        The output grid.
    mapping : Mapping
        Between prepared and native world.
    """
    return _outside(grid, mapping.to_prepared(_points(brain)))


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


FAR = 10.0
"""Millimetres beyond which no brain lies outside the template's after an affine registration, atrophied ones too."""

_FINE = 2.0  # mm; finer grids are thinned to it, as nothing of the size of a leak needs more


def pieces_share(mask: NDArray[np.bool_]) -> float:
    """Return the share of a mask outside its largest piece; voxels hold together by faces."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count < 2:
        return 0.0
    sizes = np.bincount(labels.ravel())[1:]
    return float(1 - sizes.max() / sizes.sum())


def far_shares(brain: Volume, template_brain: Volume) -> tuple[float, float]:
    """Return the largest piece of a mask that lies far from the template's, and of the template's far from the mask.

    A piece, as thin shells of a mask that is a little larger than the template's add up to as much as a leak.

    Parameters
    ----------
    brain, template_brain : Volume
        On one grid.

    Returns
    -------
    leak, missing : float
        Share of the brain's voxels in its largest piece more than `FAR` outside the template's, and the other way
        round; 0 where a mask is empty.

    Raises
    ------
    SpaceError
        If the grids differ.
    """
    if not brain.space.matches(template_brain.space):
        raise SpaceError(f"masks lie on {brain.space.describe()} and {template_brain.space.describe()}, expected one")
    steps = [max(1, round(_FINE / size)) for size in brain.space.spacing]
    thinned = tuple(slice(None, None, step) for step in steps)
    spacing = np.multiply(brain.space.spacing, steps)
    found, expected = ((np.asarray(mask.data) != 0)[thinned] for mask in (brain, template_brain))
    return _beyond(found, expected, spacing), _beyond(expected, found, spacing)


def _beyond(mask: NDArray[np.bool_], other: NDArray[np.bool_], spacing: NDArray[np.float64]) -> float:
    from scipy import ndimage

    if not mask.any() or not other.any():
        return 0.0
    far = mask & ~_within(other, spacing)
    sizes = np.bincount(ndimage.label(far)[0].ravel())[1:]
    return float(sizes.max(initial=0) / mask.sum())


def _within(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where a voxel of the mask lies within `FAR`, by the rows of a ball: faster than all distances."""
    x, y, z = (np.arange(-int(FAR // size), int(FAR // size) + 1) * size for size in spacing)
    rows = (np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2) <= FAR).sum(axis=2)
    widened, found = {1: mask}, np.zeros_like(mask)
    for width in range(3, int(rows.max()) + 1, 2):  # along the last axis, by one more voxel to either side
        widened[width] = widened[width - 2].copy()
        widened[width][..., 1:] |= widened[width - 2][..., :-1]
        widened[width][..., :-1] |= widened[width - 2][..., 1:]
    for (i, j), width in np.ndenumerate(rows):
        if width:
            parts = (_overlap(n, at - size // 2) for n, at, size in zip(mask.shape, (i, j), rows.shape, strict=False))
            here, there = zip(*parts, strict=True)
            found[here] |= widened[int(width)][there]
    return found


def _overlap(length: int, step: int) -> tuple[slice, slice]:
    """Return the parts of an axis, and of the same axis moved by a step, that lie on each other."""
    most = max(0, length - abs(step))
    return slice(max(0, step), max(0, step) + most), slice(max(0, -step), max(0, -step) + most)
