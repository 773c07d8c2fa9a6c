"""A healthy anatomy to plant effects in: T1w, tissue maps and brain mask on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import SpaceError
from neuroxai.space import Space

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
                raise SpaceError(f"anatomy {self.name!r}: {name} has shape {shape}, wanted {self.space.shape}")

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
        voxels = np.argwhere(self.brain)
        low = np.maximum(voxels.min(0) - margin, 0)
        high = np.minimum(voxels.max(0) + margin + 1, self.space.shape)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        affine = self.space.affine.copy()
        affine[:3, 3] = self.space.world(low)
        t1, gm, wm = (np.ascontiguousarray(m[box]) for m in (self.t1, self.gm, self.wm))
        return Anatomy(self.name, Space((high - low).tolist(), affine), t1, gm, wm, self.brain[box].copy())


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
