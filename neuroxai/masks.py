"""A mask on another grid: where it fills most of a voxel, and nothing small is lost."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from neuroxai.space import Space, Volume

_HAIR = 1e-4


def mask_in_space(mask: Volume, space: Space) -> NDArray[np.bool_]:
    """Bring a mask to another grid by world coordinates; any value but 0 is inside.

    A voxel is inside if the mask fills most of it (`neuroxai.majority`, ties included). A piece, such as a small
    lesion, that fills most of no voxel of a coarser grid takes the voxels that the centres of its own lie in.

    Parameters
    ----------
    mask : Volume
        The mask.
    space : Space
        The grid wanted.

    Returns
    -------
    ndarray of bool, shape ``space.shape``
    """
    from scipy import ndimage

    inside = Volume(np.asarray(mask.data) != 0, mask.space)
    if inside.space.matches(space):
        return inside.data
    result: NDArray[np.bool_] = inside.resampled_to(space, order=0).data
    found = np.argwhere(inside.data)
    if not len(found):
        return result
    pieces, count = ndimage.label(inside.data, ndimage.generate_binary_structure(3, 3))
    piece = pieces[tuple(found.T)]
    centres = space.voxels(mask.space.world(found))
    # a centre on the border of voxels lies in all of them, whichever way the axes run
    places = np.concatenate([np.rint(centres + move).astype(int) for move in product((-_HAIR, _HAIR), repeat=3)])
    within = ((places >= 0) & (places < space.shape)).all(axis=1)
    places, piece = places[within], np.tile(piece, 8)[within]
    met = np.zeros(count + 1, dtype=bool)
    met[piece[result[tuple(places.T)]]] = True
    result[tuple(places[~met[piece]].T)] = True
    return result
