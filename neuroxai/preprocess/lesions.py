"""Lesion filling: lesions take on intensities of the white matter of their own slice (Valverde 2014)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.masks import mask_in_space
from neuroxai.preprocess.options import FILLINGS, MODALITIES
from neuroxai.space import Space, Volume

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

    if variant not in FILLINGS:
        raise one_of("variant of lesion filling", variant, FILLINGS)
    if not (np.isfinite(dilation) and dilation >= 0):
        raise InputError(f"the lesions' dilation is {dilation} mm, expected 0 or more")
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
        raise InputError("the lesion mask holds NaN or infinite values, expected 0 outside lesions and 1 inside")
    if values.dtype == bool:
        mask = values
    else:
        mask = values != 0
        other = values[mask]
        if other.size and (other.min() < 0 or other.min() != other.max()):
            raise InputError(
                f"the lesion mask holds values from {other.min():g} to {other.max():g} beside 0, expected one value, "
                "such as 1; threshold a probability map first, and check that no scan was given as mask"
            )
    if mask.mean() > 0.5:
        raise InputError(
            f"the lesion mask covers {mask.mean():.0%} of its grid, expected lesions alone; is it inverted?"
        )
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
            f"the white matter's values run from {values.min():g} to {values.max():g}, expected a mask or a probability"
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


BINS = 200
"""Of the histogram between the 0.5th and the 99.5th percentile."""


def white_matter(
    scan: Volume, brain: Volume, prior: Volume | None = None, modality: str = "T1w", width: float = 2.5
) -> NDArray[np.bool_]:
    """Find white matter inside the brain.

    With a prior (the template's white matter carried to the scan) it is where the prior is above .5 and the intensity
    lies within `width` robust standard deviations of the median there, so that lesions and stray grey matter drop
    out.

    Without one the histogram of the brain decides, whose peaks grey and white matter share to some degree. T1w: the
    brightest peak that reaches half the highest; its bright flank, which no other tissue touches, gives the standard
    deviation s, and white matter runs from 1.5 s below to 2.5 s above it. FLAIR, where grey matter is a little
    brighter: the highest peak, s from its dark flank, from 2.5 s below to 1 s above. Cortex is part of it there; a
    prior is better.

    Parameters
    ----------
    scan : Volume
        Best corrected for the bias field.
    brain : Volume
        Mask on the same grid.
    prior : Volume, optional
        Probability or mask of white matter, on any grid of the same world.
    modality : {"T1w", "FLAIR"}
        Used without a prior.
    width : float
        In robust standard deviations (1.4826 times the median absolute deviation), with a prior.

    Returns
    -------
    ndarray of bool, shape ``scan.space.shape``

    Raises
    ------
    InputError
        If the modality is unknown, or brain, prior or contrast leave nothing to find.
    SpaceError
        If scan and brain mask lie on different grids.
    """
    if modality not in MODALITIES:
        raise one_of("modality", modality, MODALITIES)
    if not scan.space.matches(brain.space):
        raise SpaceError(f"the scan ({scan.space.describe()}) and the brain mask ({brain.space.describe()}) differ")
    inside = np.asarray(brain.data) != 0
    values = np.asarray(scan.data, dtype=np.float64)
    if not inside.any() or values[inside].min() == values[inside].max():
        raise InputError("the brain mask is empty or the brain has no contrast; check the brain extraction")
    if prior is not None:
        likely = inside & (prior.resampled_to(scan.space).data > 0.5)
        if not likely.any():
            raise InputError(
                f"the white-matter prior ({prior.space.describe()}) is nowhere above .5 inside the brain; was it "
                "carried to the scan?"
            )
        middle = np.median(values[likely])
        spread = 1.4826 * np.median(np.abs(values[likely] - middle))
        return np.asarray(likely & (np.abs(values - middle) <= width * spread))
    low, high = _around_peak(values[inside], modality)
    return np.asarray(inside & (values >= low) & (values <= high))


def _around_peak(values: NDArray[Any], modality: str) -> tuple[float, float]:
    """Range of intensities of white matter by the histogram's peaks."""
    from scipy import ndimage

    first, last = np.percentile(values, (0.5, 99.5))
    counts, edges = np.histogram(values, bins=BINS, range=(first, last))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 3, mode="constant")
    # fluid lies in the lowest third
    tops = [i for i in range(BINS // 3, BINS - 1) if smooth[i - 1] < smooth[i] >= smooth[i + 1]]
    if not tops:
        raise InputError(
            "the brain's intensities have no peak above fluid, so white matter cannot be found; give a prior, such as "
            "the template's white matter carried to the scan"
        )
    highest = max(smooth[top] for top in tops)
    if modality == "T1w":
        peak = max(top for top in tops if smooth[top] >= 0.5 * highest)
        free = np.flatnonzero(smooth[peak:] < smooth[peak] / 2)
        width = int(free[0]) if free.size else BINS - 1 - peak
        sides = (1.5, 2.5)
    else:
        peak = next(top for top in tops if smooth[top] == highest)
        free = np.flatnonzero(smooth[: peak + 1][::-1] < smooth[peak] / 2)
        width = int(free[0]) if free.size else peak
        sides = (2.5, 1.0)
    spread = max(width, 1) * (edges[1] - edges[0]) / np.sqrt(2 * np.log(2))
    middle = (edges[peak] + edges[peak + 1]) / 2
    return float(middle - sides[0] * spread), float(middle + sides[1] * spread)


@lru_cache(maxsize=1)
def white_matter_prior() -> Volume:
    """Return the white matter of the MNI152 template that nilearn carries, 2 mm."""
    from nilearn import datasets

    image = datasets.load_mni152_wm_template(resolution=2)
    return Volume(np.asarray(image.dataobj, dtype=np.float32), Space(image.shape, image.affine))
