"""Lesion filling: lesions take on intensities of the white matter of their own slice (Valverde 2014)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.masks import mask_in_space
from neuroxai.space import Space, Volume

VARIANTS = ("valverde", "eitel2019")

LEAST_WHITE_MATTER = 20
"""A slice with fewer white-matter voxels lends the statistics of the nearest slice that has them."""


def fill_lesions(
    scan: Volume,
    lesions: Volume,
    white_matter: Volume | NDArray[Any],
    seed: int = 0,
    variant: str = "valverde",
    dilation: float = 0.0,
) -> Volume:
    """Replace lesions by draws from the normal distribution of each axial slice's white matter.

    In every slice the lesion voxels are drawn from N(mean, sd / 2) of that slice's white matter, as the method's own
    toolbox does ("mean and half of the standard deviation"). A slice is axial by the scan's own axis that runs closest
    to head-feet, so that a scan is filled alike however its axes are stored. Each slice has its own random stream.

    Parameters
    ----------
    scan : Volume
        In any orientation, best corrected for the bias field.
    lesions : Volume
        Mask of zeros and one other value, on any grid (see `lesion_mask`). An empty one is a healthy subject's: the
        scan comes back as it is.
    white_matter : Volume or ndarray
        Mask or probability (above .5 counts); an array lies on the scan's grid, a volume anywhere.
    seed : int
        Same seed, same scan.
    variant : {"valverde", "eitel2019"}
        "valverde" takes lesions out of the white matter before its mean and spread. "eitel2019" is the variant of that
        study's published code: the mask is smoothed first (see `lesion_mask`) and lesions stay in the white matter.
    dilation : float
        Millimetres by which lesions are grown first.

    Returns
    -------
    Volume
        Of the scan's type; no voxel outside `lesion_mask` differs in a single bit.

    Raises
    ------
    InputError
        If the variant is unknown, the mask is none, or no slice has enough white matter.
    SpaceError
        If lesions lie outside the scan, or the white matter is on another grid.

    References
    ----------
    Valverde 2014, NeuroImage: Clinical 6, 86-92; Eitel 2019, NeuroImage: Clinical 24, 102003.
    """
    where = lesion_mask(scan.space, lesions, variant, dilation)
    if not where.any():
        return Volume(scan.data.copy(), scan.space)
    tissue = _white_matter(scan.space, white_matter)
    if variant == "valverde":
        tissue = tissue & ~where
    # slices and draws in one fixed order, however the axes are stored
    upright = scan.reoriented("RAS").data
    mask, tissue = _upright(where, scan.space), _upright(tissue, scan.space)
    filled = upright.copy()
    means, spreads, usable = _statistics(upright, tissue)
    for index in np.flatnonzero(mask.any(axis=(0, 1))):
        source = usable[np.abs(usable - index).argmin()]
        draw = np.random.default_rng([seed, int(index)]).normal(
            means[source], spreads[source] / 2, int(mask[..., index].sum())
        )
        filled[..., index][mask[..., index]] = _as_type(draw, scan.data.dtype)
    result = Volume(filled, scan.space.reoriented("RAS")).reoriented(scan.space.orientation)
    return Volume(result.data, scan.space)


def lesion_mask(space: Space, lesions: Volume, variant: str = "valverde", dilation: float = 0.0) -> NDArray[np.bool_]:
    """Voxels that `fill_lesions` replaces.

    A mask on another grid is carried over by world coordinates (`neuroxai.masks.mask_in_space`): the voxels
    that lesions fill most, as many as keep their volume, and no small lesion is lost.

    Parameters
    ----------
    space : Space
        The scan's grid.
    lesions : Volume
        Zeros and one other value.
    variant : {"valverde", "eitel2019"}
        "eitel2019" convolves the mask with a 3 x 3 x 3 kernel without corners and keeps what reaches an eighth of the
        largest result: lesions grow by about a voxel, and single voxels beside large lesions vanish.
    dilation : float
        Then everything within so many millimetres is added.

    Returns
    -------
    ndarray of bool, shape ``space.shape``
    """
    from scipy import ndimage

    if variant not in VARIANTS:
        raise one_of("variant of lesion filling", variant, VARIANTS)
    if not (np.isfinite(dilation) and dilation >= 0):
        raise InputError(f"the lesions' dilation is {dilation} mm, wanted 0 or more")
    mask = _carried(space, Volume(_binary(lesions.data), lesions.space))
    if mask.any() and variant == "eitel2019":
        kernel = ndimage.generate_binary_structure(3, 2).astype(np.int16)
        neighbours = ndimage.convolve(mask.astype(np.int16), kernel, mode="constant")
        mask = neighbours * 8 >= neighbours.max()
    if mask.any() and dilation > 0:
        mask = ndimage.distance_transform_edt(~mask, sampling=space.spacing) <= dilation
    return np.asarray(mask, dtype=bool)


def _binary(data: NDArray[Any]) -> NDArray[np.bool_]:
    values = np.asarray(data)
    if not np.isfinite(values).all():
        raise InputError("the lesion mask holds NaN or infinite values, wanted 0 outside lesions and 1 inside")
    if values.dtype == bool:
        mask = values
    else:
        mask = values != 0
        other = values[mask]
        if other.size and (other.min() < 0 or other.min() != other.max()):
            raise InputError(
                f"the lesion mask holds values from {other.min():g} to {other.max():g} beside 0, wanted one value, "
                "such as 1; threshold a probability map first, and check that no scan was given as mask"
            )
    if mask.mean() > 0.5:
        raise InputError(f"the lesion mask covers {mask.mean():.0%} of its grid, wanted lesions alone; is it inverted?")
    return mask


def _carried(space: Space, mask: Volume) -> NDArray[np.bool_]:
    """Bring a mask onto a grid by world coordinates."""
    if mask.space.matches(space):
        return mask.data
    found = np.argwhere(mask.data)
    index = np.rint(space.voxels(mask.space.world(found))).astype(int)
    outside = ((index < 0) | (index >= np.array(space.shape))).any(axis=1)
    if outside.any():
        raise SpaceError(
            f"{int(outside.sum())} of {len(found)} lesion voxels lie outside the scan: the mask has "
            f"{mask.space.describe()}, the scan {space.describe()}; give the mask that was drawn on this scan, or "
            "carry it to the scan first"
        )
    return mask_in_space(mask, space, keep_small=True)


def _white_matter(space: Space, white_matter: Volume | NDArray[Any]) -> NDArray[np.bool_]:
    if isinstance(white_matter, Volume):
        values = Volume(white_matter.data.astype(np.float32), white_matter.space).resampled_to(space).data
    else:
        values = np.asarray(white_matter)
        if values.shape != space.shape:
            raise SpaceError(
                f"the white matter has shape {values.shape}, the scan {space.shape}; give a Volume for another grid"
            )
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise InputError(
            f"the white matter's values run from {values.min():g} to {values.max():g}, wanted a mask or a probability"
        )
    return np.asarray(values > 0.5)


def _statistics(data: NDArray[Any], tissue: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Mean and standard deviation of each slice along the last axis, and the slices that have them."""
    counts = tissue.sum(axis=(0, 1))
    usable = np.flatnonzero(counts >= LEAST_WHITE_MATTER)
    if not usable.size:
        raise InputError(
            f"no axial slice has {LEAST_WHITE_MATTER} voxels of white matter outside lesions (at most "
            f"{int(counts.max())}); check the white-matter mask and its grid"
        )
    means, spreads = np.zeros(len(counts)), np.zeros(len(counts))
    for index in usable:
        values = data[..., index][tissue[..., index]].astype(np.float64)
        means[index], spreads[index] = values.mean(), values.std()
    return means, spreads, usable


def _upright(mask: NDArray[np.bool_], space: Space) -> NDArray[np.bool_]:
    return np.asarray(Volume(mask, space).reoriented("RAS").data)


def _as_type(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(dtype)
