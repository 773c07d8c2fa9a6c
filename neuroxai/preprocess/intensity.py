"""A scan's intensities: a common scale for each scan by itself, background 0; whether a brain stands alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.preprocess.options import SCALINGS
from neuroxai.space import Volume


def scale(
    data: NDArray[Any],
    brain: NDArray[Any] | None,
    method: str,
    percentiles: tuple[float, float] = (1.0, 99.0),
) -> NDArray[np.float32]:
    """Scale the intensities inside the brain; outside it the result is 0.

    Parameters
    ----------
    data : ndarray
        A scan, any shape.
    brain : ndarray or None
        Brain mask of the same shape, what is not 0 counts; None takes the voxels of `data` that are not 0.
    method : {"minmax", "maximum", "zscore", "robust", "none"}
        "minmax": (x - low) / (high - low) over the brain-extracted image, background included, so that low is 0
        wherever there is background and nothing is negative (Boehle 2019, Eitel 2019). "maximum": x / high (Eitel
        2021). "zscore": mean 0 and standard deviation 1 (n - 1 in the denominator) inside the brain. "robust": the
        two percentiles of the brain's intensities go to 0 and 1, what lies beyond is clipped. "none": as it is.
    percentiles : tuple of float
        Low and high, in percent, for "robust".

    Returns
    -------
    ndarray of float32, the shape of `data`
        0 outside the brain.

    Raises
    ------
    InputError
        If the method is unknown, a value inside the brain is not finite, the brain is empty or has no contrast, its
        maximum is not above 0 ("maximum"), or the percentiles do not rise within 0 to 100.
    SpaceError
        If scan and brain mask differ in shape.
    """
    if method not in SCALINGS:
        raise one_of("scaling", method, SCALINGS)
    values = np.asarray(data)
    inside = values != 0 if brain is None else np.asarray(brain) != 0
    if inside.shape != values.shape:
        raise SpaceError(f"the brain mask has shape {inside.shape}, the scan {values.shape}; expected the same grid")
    if not inside.any():
        raise InputError("the brain mask is empty, so there is nothing to scale; check the brain extraction")
    picked = values[inside].astype(np.float64)
    if not np.isfinite(picked).all():
        bad = int((~np.isfinite(picked)).sum())
        raise InputError(f"{bad} of {picked.size} voxels of the brain are NaN or infinite; mask or repair them first")
    if method == "none":
        return _placed(picked, inside)
    low, high = float(picked.min()), float(picked.max())
    if not high > low:
        raise InputError(f"every voxel of the brain has the value {low:g}; the scan has no contrast to scale")
    if method == "maximum":
        if high <= 0:
            raise InputError(
                f"the brain's maximum is {high:g}, expected above 0; choose another scaling than 'maximum'"
            )
        return _placed(picked / high, inside)
    if method == "zscore":
        return _placed((picked - picked.mean()) / picked.std(ddof=1), inside)
    if method == "minmax":
        if not inside.all():
            low, high = min(low, 0.0), max(high, 0.0)
    else:
        first, last = percentiles
        if not 0 <= first < last <= 100:
            raise InputError(f"percentiles {percentiles} are no rising pair within 0 to 100; give for example (1, 99)")
        low, high = (float(p) for p in np.percentile(picked, percentiles))
        if not high > low:
            raise InputError(
                f"the {first:g}th and {last:g}th percentile of the brain are both {low:g}; widen the percentiles or "
                "choose another scaling"
            )
    return _placed(np.clip((picked - low) / (high - low), 0.0, 1.0), inside)


def _placed(picked: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    result = np.zeros(inside.shape, dtype=np.float32)
    result[inside] = picked
    return result


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

    background, trace = _background(scan)
    # of a head, which is told by its faces, nothing else is looked at
    if 1 - (np.abs(_faces(scan.data) - background) > trace).mean() < UNIFORM:
        return False
    labels, _ = ndimage.label(foreground(scan))
    sizes = np.bincount(labels.ravel())[1:]
    volume = float(sizes.max(initial=0)) * scan.space.voxel_volume / 1000
    return SMALLEST <= volume <= LARGEST


def foreground(scan: Volume) -> NDArray[np.bool_]:
    """Where a scan differs from its background, the commonest value on the faces of its field of view."""
    background, trace = _background(scan)
    return np.asarray(np.abs(scan.data - background) > trace)


def _background(scan: Volume) -> tuple[float, float]:
    """Return the background's value, and how far from it a voxel may be and still belong to it."""
    values, counts = np.unique(_faces(scan.data), return_counts=True)
    # splines leave traces around a brain when it is resampled
    return float(values[counts.argmax()]), TRACE * float(scan.data.max() - scan.data.min())


def _faces(data: NDArray[Any]) -> NDArray[Any]:
    # not by np.take, which is a hundred times slower where the array is not in C order
    return np.concatenate([np.moveaxis(data, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)])
