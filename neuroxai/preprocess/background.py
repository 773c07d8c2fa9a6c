"""Is a scan a head or a brain alone? Told from its background and volume."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.space import Volume

UNIFORM = 0.95  # share of the border's voxels that hold the background's value
TRACE = 1e-3  # of the range of values: as good as equal to the background
SMALLEST, LARGEST = 300.0, 2500.0  # ml; brains in MNI space come up to 2,320 ml, heads start at about 2,570 ml


def is_skull_stripped(scan: Volume) -> bool:
    """Tell whether everything but the brain has been set to one value.

    A heuristic of two conditions. The faces of the field of view hold one value almost everywhere (at least 95 % of
    their voxels): a head leaves through the neck or is cut by the slices, and air carries noise. And the voxels of
    any other value form one piece of 300 to 2,500 ml: a head with its air set to 0 is larger. On the scans it was
    tried on, brains have 100 % and 1,530 to 2,320 ml, heads at most 91 % and at least 2,570 ml. What it cannot
    tell: a brain cropped so tightly that it touches its field of view over more than 5 % (taken for a head), or the
    head of a newborn with air set to 0 (taken for a brain).

    Parameters
    ----------
    scan : Volume
        As acquired or prepared; any orientation.

    Returns
    -------
    bool
    """
    from scipy import ndimage

    inside = foreground(scan)
    if 1 - _faces(inside).mean() < UNIFORM:
        return False
    labels, _ = ndimage.label(inside)
    sizes = np.bincount(labels.ravel())[1:]
    volume = float(sizes.max(initial=0)) * scan.space.voxel_volume / 1000
    return SMALLEST <= volume <= LARGEST


def foreground(scan: Volume) -> NDArray[np.bool_]:
    """Where a scan differs from its background, the commonest value on the faces of its field of view."""
    values, counts = np.unique(_faces(scan.data), return_counts=True)
    background = float(values[counts.argmax()])
    # splines leave traces around a brain when it is resampled
    trace = TRACE * float(scan.data.max() - scan.data.min())
    return np.asarray(np.abs(scan.data - background) > trace)


def _faces(data: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([np.take(data, (0, -1), axis).ravel() for axis in range(3)])
