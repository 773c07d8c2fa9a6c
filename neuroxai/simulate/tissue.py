"""The anatomy of a prepared scan: brain mask, grey and white matter from its intensities alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError
from neuroxai.simulate.anatomy import Anatomy, Array, mni152_anatomy
from neuroxai.space import Space, Volume

OVERLAP = 0.8
"""Least Dice overlap of a scan's brain with the template's. Adults after an affine registration have .88 to .95."""

_DARK = 0.02
"""Share of the 98th percentile below which a voxel is background: what interpolation leaves around a brain."""


def anatomy_of(scan: Volume, name: str, suffix: str = "T1w") -> tuple[Anatomy, float]:
    """Take a prepared scan for an anatomy.

    Tissue classes of a T1w are three Gaussians fitted to the intensities inside the brain; between the means of two
    classes a voxel counts as their mixture by the linear partial-volume rule. On other contrasts, where the order of
    intensities tells no tissue, the template's maps are used.

    Parameters
    ----------
    scan : Volume
        Brain-extracted, background 0, registered to MNI152; any orientation.
    name : str
        For messages and the record.
    suffix : str
        Contrast as BIDS names it.

    Returns
    -------
    anatomy : Anatomy
        Intensities with white matter as 1.
    white : float
        The scan's intensity of white matter.

    Raises
    ------
    InputError
        If the scan is negative in places, not brain-extracted, or without three tissues.
    SpaceError
        If its brain does not lie where the MNI152 template's does.
    """
    data = np.asarray(scan.data, dtype=np.float32)
    if data.min() < 0:
        raise InputError(
            f"{name}: the lowest intensity is {data.min():g}, wanted 0 outside the brain and more inside; give scans "
            "before z-scoring"
        )
    brain = brain_of(data, name)
    _check_place(brain, scan.space, name)
    if suffix != "T1w":
        template = mni152_anatomy()
        gm, wm = (Volume(m, template.space).resampled_to(scan.space).data for m in (template.gm, template.wm))
        white = float(np.median(data[brain & (wm > 0.9)]))
        return Anatomy(name, scan.space, data / np.float32(white), gm * brain, wm * brain, brain), white
    fluid, grey, white = _tissue_means(data[brain], name)
    wm = np.clip((data - grey) / (white - grey), 0.0, 1.0)
    gm = np.clip((data - fluid) / (grey - fluid), 0.0, 1.0) - wm
    return Anatomy(name, scan.space, data / np.float32(white), gm * brain, wm * brain, brain), white


def brain_of(data: Array, name: str) -> NDArray[np.bool_]:
    """Return the largest piece of what is not background, holes filled.

    Raises
    ------
    InputError
        If it fills the image, so that nothing was extracted.
    """
    from scipy import ndimage

    lit = data[data > 0]
    if not lit.size:
        raise InputError(f"{name}: every voxel is 0; prepare the scan again")
    brain = data > _DARK * np.percentile(lit, 98)
    pieces, _ = ndimage.label(brain)
    brain = ndimage.binary_fill_holes(pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]))
    if brain.mean() > 0.7:
        raise InputError(
            f"{name}: {brain.mean():.0%} of the voxels are above background, so the brain is not extracted; prepare "
            "the scan first"
        )
    return np.asarray(brain)


def _check_place(brain: NDArray[np.bool_], space: Space, name: str) -> None:
    template = mni152_anatomy()
    there = Volume(template.brain.astype(np.float32), template.space).resampled_to(space).data >= 0.5
    # the template's brain has its own volume, seen by this field of view or not
    size = template.brain.sum() * template.space.voxel_volume / space.voxel_volume
    dice = 2.0 * float((brain & there).sum()) / float(brain.sum() + max(there.sum(), size))
    if dice < OVERLAP:
        raise SpaceError(
            f"{name}: its brain overlaps the MNI152 template's by a Dice of {dice:.2f}, wanted {OVERLAP} or more "
            f"({space.describe()}); register it to MNI152 and extract the brain first"
        )


def _tissue_means(values: Array, name: str) -> tuple[float, float, float]:
    """Intensities of fluid, grey and white matter."""
    from sklearn.mixture import GaussianMixture

    some = np.random.default_rng(0).choice(values, min(values.size, 50_000), replace=False)[:, None].astype(np.float64)
    start = np.percentile(some, [5, 40, 80])[:, None]
    found = GaussianMixture(3, means_init=start, random_state=0).fit(some)
    fluid, grey, white = sorted(float(m) for m in found.means_.ravel())
    if not (fluid < 0.85 * grey and grey < 0.9 * white):
        raise InputError(
            f"{name}: three tissues do not show (means {fluid:.3g}, {grey:.3g}, {white:.3g}), wanted fluid, grey and "
            "white matter from dark to bright; is it a T1w? other contrasts: --suffix"
        )
    return fluid, grey, white
