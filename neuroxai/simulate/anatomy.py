"""A healthy anatomy to plant effects in: the template's, or that of a prepared scan by its intensities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError
from neuroxai.masks import bounding_box
from neuroxai.space import Space, Volume

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One healthy brain in MNI152 coordinates.

    Parameters
    ----------
    name : str
        Written into the cohort's record.
    space : Space
        The grid of the maps; world coordinates are MNI152 millimetres, because regions are found by them.
    t1, gm, wm : ndarray of float32, shape ``space.shape``
        T1w intensity (about 1 at the brightest), grey- and white-matter fractions from 0 to 1.
    brain : ndarray of bool, shape ``space.shape``
        Brain mask, ventricles included.
    """

    name: str
    space: Space
    t1: Array
    gm: Array
    wm: Array
    brain: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name in ("t1", "gm", "wm", "brain"):
            shape = getattr(self, name).shape
            if shape != self.space.shape:
                raise SpaceError(f"anatomy {self.name!r}: {name} has shape {shape}, expected {self.space.shape}")

    @property
    def csf(self) -> Array:
        """Fraction of cerebrospinal fluid: what grey and white matter leave of the brain mask."""
        rest = np.clip(1.0 - self.gm - self.wm, 0.0, 1.0)
        return np.asarray(np.where(self.brain, rest, 0.0), dtype=np.float32)

    def in_fluid(self) -> Array:
        """Return the T1w image with the intensity of fluid beyond the brain's edge, shape ``space.shape``."""
        fluid = self.t1[self.csf > 0.9]
        level = np.median(fluid) if fluid.size else np.float32(0.0)
        return np.where(self.brain, self.t1, level).astype(np.float32)

    def cropped(self, margin: int = 4) -> Anatomy:
        """Cut away what lies more than `margin` voxels outside the brain's bounding box."""
        box = bounding_box(self.brain, margin)
        t1, gm, wm = (np.ascontiguousarray(m[box]) for m in (self.t1, self.gm, self.wm))
        return Anatomy(self.name, self.space.cut(box), t1, gm, wm, self.brain[box].copy())


@lru_cache(maxsize=1)
def mni152_anatomy() -> Anatomy:
    """Load the ICBM152 2009a non-linear template that nilearn carries (Fonov 2011), 1 mm; nothing is downloaded."""
    from nilearn import datasets
    from scipy import ndimage

    t1 = datasets.load_mni152_template(resolution=1)
    maps = [np.asarray(t1.get_fdata(), dtype=np.float32)]
    for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template):
        image = load(resolution=1)
        if not np.allclose(image.affine, t1.affine):
            raise SpaceError("nilearn's packaged MNI152 maps do not share one affine; reinstall nilearn")
        maps.append(np.clip(np.asarray(image.get_fdata(), dtype=np.float32), 0.0, 1.0))
    # the template is skull-free; its darkest fluid is about .2 of the maximum
    brain = ndimage.binary_fill_holes(maps[0] > 0.15)
    components, _ = ndimage.label(brain)
    brain = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
    return Anatomy("mni152", Space(t1.shape, t1.affine), maps[0], maps[1], maps[2], np.asarray(brain))


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
            f"{name}: the lowest intensity is {data.min():g}, expected 0 outside the brain and more inside; give scans "
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
            f"{name}: its brain overlaps the MNI152 template's by a Dice of {dice:.2f}, expected {OVERLAP} or more "
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
            f"{name}: three tissues do not show (means {fluid:.3g}, {grey:.3g}, {white:.3g}), expected fluid, grey and "
            "white matter from dark to bright; is it a T1w? other contrasts: --suffix"
        )
    return fluid, grey, white
