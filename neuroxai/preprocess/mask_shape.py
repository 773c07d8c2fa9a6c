"""How a brain mask's shape fails: loose pieces, leaks into what lies around the brain, parts that it lacks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import SpaceError
from neuroxai.space import Volume

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
    far = mask & (ndimage.distance_transform_edt(~other, sampling=spacing) > FAR)
    sizes = np.bincount(ndimage.label(far)[0].ravel())[1:]
    return float(sizes.max(initial=0) / mask.sum())
