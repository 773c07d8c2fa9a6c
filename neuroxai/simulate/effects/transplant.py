"""Lesions of real patients, transplanted: mirrored at random, bent a little, kept to the white matter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas.atlas import MNI152_BOX
from neuroxai.deformation import Displacement, Field, field_space, sample
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_volume
from neuroxai.masks import bounding_box
from neuroxai.simulate.anatomy import Anatomy, Array
from neuroxai.simulate.effects.base import Planted, exponential
from neuroxai.simulate.effects.lesions import OPACITY_THRESHOLD, Lesions
from neuroxai.space import Space, Volume

WARP_SPACING = 4.0

BEND = (12.0, 1.5)
"""Smoothness (Gaussian sigma) and root mean square of each component of the random velocity, in mm."""

FARTHEST = 12.0
"""No point is bent farther than this, in mm."""

EDGE = 0.6
"""Softness of a lesion's edge: Gaussian sigma in mm."""

BRIGHTNESS = (1.4, 1.7)
"""Lesion intensity on FLAIR, white matter being 1: the range of the synthetic lesions."""

LEAST_LOAD = 0.05
"""Lesion load in ml below which another mask is drawn."""


class RealLesions(Lesions):
    """Lesion masks of real patients in white matter, mirrored left to right at random and bent by a smooth warp.

    Each subject gets one patient's mask, so that number, sizes and places of lesions belong together as they do in
    a person.

    Parameters
    ----------
    anatomy : Anatomy
        Where they are planted.
    masks : sequence of Volume
        From `read_masks`.
    """

    def __init__(self, anatomy: Anatomy, masks: Sequence[Volume]) -> None:
        super().__init__(anatomy)
        self._masks = [Volume(_softened(mask, self.anatomy.space), mask.space) for mask in masks]
        self._coarse = field_space(self.grid, WARP_SPACING)
        self._places = np.argwhere(self._white > 0).T
        self._points = self.anatomy.space.world(self._places.T).T

    def plant(self, rng: np.random.Generator, present: bool) -> Planted:
        """Draw a mask, its side, its bending and brightness; a control's are drawn too, with an opacity of 0."""
        brightness = float(rng.uniform(*BRIGHTNESS))
        opacity, load, pick, flip = np.zeros(self.anatomy.space.shape, dtype=np.float32), 0.0, 0, False
        for _ in range(20):
            pick, flip = int(rng.integers(len(self._masks))), bool(rng.integers(2))
            warp = exponential(_velocity(rng, self._coarse), self._coarse)
            opacity = self._transplanted(self._masks[pick], warp, flip)
            load = float(opacity.sum(dtype=np.float64)) * self.anatomy.space.voxel_volume / 1000.0
            if load >= LEAST_LOAD:
                break
        else:
            raise InputError(
                f"{self.anatomy.name}: the lesion masks leave under {LEAST_LOAD} ml in the white matter; look whether "
                "masks and scans are both in MNI152 space"
            )
        from scipy import ndimage

        _, count = ndimage.label(opacity >= OPACITY_THRESHOLD)
        columns = {
            "dose": load * float(present),
            "lesion_count": float(count * present),
            "lesion_mask": float((pick + 1) * present),
            "lesion_mirrored": float(flip and present),
        }
        still = np.zeros(self.grid.shape, dtype=np.float32)
        return Planted(self._still, still, opacity * np.float32(present), brightness, columns)

    def _transplanted(self, mask: Volume, warp: Displacement, flip: bool) -> Array:
        mirror = np.array([[-1.0 if flip else 1.0], [1.0], [1.0]])
        # only what the warp can bring into the mask's box
        ends = mask.space.corners()
        low, high = ends.min(0)[:, None] - FARTHEST, ends.max(0)[:, None] + FARTHEST
        own = self._points * mirror
        near = ((own > low) & (own < high)).all(axis=0)
        points = warp(self._points[:, near]) * mirror
        inverse = np.linalg.inv(mask.space.affine)
        opacity = np.zeros(self.anatomy.space.shape, dtype=np.float32)
        places = tuple(self._places[:, near])
        opacity[places] = sample(mask.data, inverse[:3, :3] @ points + inverse[:3, 3:]) * self._white[places]
        opacity[opacity < 0.01] = 0.0
        return opacity


def read_masks(folder: str | os.PathLike[str]) -> tuple[list[Volume], list[Path]]:
    """Read the lesion masks of a folder, in the order of their names, cut to where the lesions are.

    Raises
    ------
    InputError
        If the folder is absent or holds no NIfTI file, or a mask is empty.
    SpaceError
        If lesions lie outside the brain's place in MNI152 space.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give one with lesion masks in MNI152 space (--lesion-masks)")
    files = sorted(p for p in root.iterdir() if p.name.endswith((".nii", ".nii.gz")) and p.name[0] != ".")
    if not files:
        raise InputError(f"{root}: holds no NIfTI file, expected lesion masks (.nii or .nii.gz) in MNI152 space")
    return [_read(file) for file in files], files


def _read(file: Path) -> Volume:
    volume = read_volume(file, check_content=False)
    lesion = volume.data > 0.5
    if not lesion.any():
        raise InputError(f"{file}: no voxel is above 0.5, so the mask is empty; delete it or draw the lesions")
    world = volume.space.world(np.argwhere(lesion))
    inside = np.all([(world[:, a] > low) & (world[:, a] < high) for a, (low, high) in enumerate(MNI152_BOX)], axis=0)
    if inside.mean() < 0.95:
        raise SpaceError(
            f"{file}: {1 - inside.mean():.0%} of the lesions lie outside the brain's place in MNI152 space "
            f"({volume.space.describe()}); register the mask to MNI152"
        )
    box = bounding_box(lesion, 4)
    return Volume(lesion[box].astype(np.float32), volume.space.cut(box))


def _softened(mask: Volume, target: Space) -> Array:
    """Give a mask soft edges, as wide as the target's voxels ask for."""
    from scipy import ndimage

    own = np.asarray(mask.space.spacing)
    wider = np.maximum((max(target.spacing) / own) ** 2 - 1.0, 0.0) * (own / 2.3548) ** 2
    sigma = np.sqrt(EDGE**2 + wider) / own
    return np.asarray(ndimage.gaussian_filter(mask.data, sigma, mode="constant"), dtype=np.float32)


def _velocity(rng: np.random.Generator, space: Space) -> Field:
    from scipy import ndimage

    width = BEND[0] / WARP_SPACING
    # standard deviation of white noise after a Gaussian of this width in three dimensions
    remaining = (2.0 * np.sqrt(np.pi) * width) ** -1.5
    noise: NDArray[np.float32] = rng.standard_normal((3, *space.shape), dtype=np.float32)
    smooth = [ndimage.gaussian_filter(part, width, mode="wrap") for part in noise]
    return np.asarray(np.stack(smooth) * (BEND[1] / remaining), dtype=np.float32)
