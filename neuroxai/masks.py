"""A mask's bounding box, and a mask on another grid: its volume stays, and on request nothing small is lost."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from neuroxai.space import Space, Volume

_HAIR = 1e-4
_MANY = 200_000  # voxels of a mask; the outlines of larger ones are looked at less finely


def bounding_box(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, ...]:
    """Slices around what is true in a mask, grown by `margin` voxels within the array; everything where nothing is."""
    from scipy import ndimage

    found = ndimage.find_objects(mask.view(np.uint8))
    box = found[0] if found else tuple(slice(0, n) for n in mask.shape)
    return tuple(slice(max(s.start - margin, 0), min(s.stop + margin, n)) for s, n in zip(box, mask.shape, strict=True))


def mask_in_space(mask: Volume, space: Space, keep_small: bool = False) -> NDArray[np.bool_]:
    """Bring a mask to another grid by world coordinates; any value but 0 is inside.

    As many voxels are inside as keep the mask's volume best: those of which it fills the largest share, equal shares
    together, so that no side and no order of axes is preferred.

    Parameters
    ----------
    mask : Volume
        The mask.
    space : Space
        The grid asked for.
    keep_small : bool
        A piece, such as a small lesion, that comes to no voxel so takes as many as its volume makes, one at the least:
        those that hold most of it, and of equal ones the first by world coordinates. The whole mask may grow by it.

    Returns
    -------
    ndarray of bool, shape ``space.shape``
    """
    from scipy import ndimage

    inside: NDArray[np.bool_] = np.asarray(mask.data) != 0
    if mask.space.matches(space):
        return inside
    size, voxel = np.array(mask.space.spacing), np.array(space.spacing)
    result: NDArray[np.bool_] = np.zeros(space.shape, dtype=bool)
    if (voxel.max() <= size.min() * (1 + _HAIR)) or not inside.any():
        return Volume(inside, mask.space).resampled_to(space, order=0).data
    pieces, count = ndimage.label(inside, ndimage.generate_binary_structure(3, 3))
    found = np.argwhere(inside)
    # points inside each voxel of the mask, none on its middle or border, where voxels of the other grid end
    steps = np.maximum(4 if len(found) < _MANY else 2, np.ceil(2 * size / voxel.min())).astype(int)
    held: dict[str, NDArray[np.int64]] = {}
    for point in product(*((np.arange(n) + 0.5) / n - 0.5 for n in steps)):
        places = np.rint(space.voxels(mask.space.world(found + point))).astype(np.int64)
        within = ((places >= 0) & (places < space.shape)).all(axis=1)
        flat = np.ravel_multi_index(tuple(places[within].T), space.shape)
        key, number = np.unique(pieces[tuple(found[within].T)] * result.size + flat, return_counts=True)
        held = _added(held, key, number)
    if not held or not len(held["key"]):
        return result
    piece, flat = np.divmod(held["key"], result.size)
    points = np.bincount(flat, held["number"], minlength=result.size)
    per_voxel = steps.prod() * space.voxel_volume / mask.space.voxel_volume
    levels, sizes = np.unique(points[points > 0], return_counts=True)
    kept = np.cumsum(sizes[::-1])[::-1]  # voxels with so many points or more
    least = levels[np.abs(kept - points.sum() / per_voxel).argmin()]
    result.flat[points >= least] = True
    if not keep_small:
        return result
    met = np.zeros(count + 1, dtype=bool)
    met[piece[result.flat[flat]]] = True
    piece, flat, number = piece[~met[piece]], flat[~met[piece]], held["number"][~met[piece]]
    if len(piece):
        world = np.round(space.world(np.column_stack(np.unravel_index(flat, space.shape))), 3)
        order = np.lexsort([*world.T[::-1], -number, piece])
        piece, flat, number = piece[order], flat[order], number[order]
        volumes = np.bincount(piece, number, minlength=count + 1) / per_voxel
        first = np.searchsorted(piece, piece)
        result.flat[flat[np.arange(len(piece)) - first < np.maximum(1, np.rint(volumes))[piece]]] = True
    return result


def _added(
    held: dict[str, NDArray[np.int64]], key: NDArray[np.int64], number: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Add counts by key."""
    if not held:
        return {"key": key, "number": number}
    both, place = np.unique(np.concatenate([held["key"], key]), return_inverse=True)
    total = np.bincount(place, np.concatenate([held["number"], number])).astype(np.int64)
    return {"key": both, "number": total}
