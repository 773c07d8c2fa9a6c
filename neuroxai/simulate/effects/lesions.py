"""White-matter lesions of multiple sclerosis on FLAIR-like contrast."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement
from neuroxai.simulate import regions
from neuroxai.simulate.anatomy import Anatomy, Array
from neuroxai.simulate.effects.base import Contrast, Effect, Planted
from neuroxai.space import Volume

LOAD_MEDIAN, LOAD_SPREAD, LOAD_RANGE = 8.0, 0.7, (1.0, 30.0)
"""Total lesion volume in ml: log-normal, clipped; within what is seen in patients (Lesjak 2017)."""

SIZE_MEDIAN, SIZE_SPREAD, SIZE_RANGE = 0.2, 1.0, (0.03, 4.0)
"""Volume of one lesion in ml."""

PERIVENTRICULAR_SHARE = 0.7

OPACITY_THRESHOLD = 0.25
"""Truth mask: voxels of which lesion takes at least a quarter."""


class Lesions(Effect):
    """Hyperintense, soft-edged lesions in white matter, most of them beside the lateral ventricles.

    Periventricular lesions are elongated away from the ventricle (Dawson's fingers) and their density falls off
    exponentially with the distance (5 mm); the rest are spread over the white matter of the cerebrum.
    """

    name: ClassVar[str] = "lesions"
    suffix: ClassVar[str] = "FLAIR"
    warps: ClassVar[bool] = False
    control: ClassVar[str] = "HC"
    patient: ClassVar[str] = "MS"
    ages: ClassVar[tuple[float, float, float, float]] = (39.0, 10.0, 20.0, 65.0)

    def __init__(self, anatomy: Anatomy) -> None:
        super().__init__(anatomy)
        anatomy = self.anatomy
        from scipy import ndimage

        ventricle = sum(regions.lateral_ventricle(anatomy, sign) for sign in regions.SIDES.values())
        on_grid = Volume(np.asarray(ventricle, dtype=np.float32), anatomy.space).resampled_to(self.grid).data
        distance, nearest = ndimage.distance_transform_edt(
            on_grid < 0.5, sampling=self.grid.spacing, return_indices=True
        )
        white = Volume(anatomy.wm, anatomy.space).resampled_to(self.grid).data
        # far enough from the cortex for a lesion to be white-matter lesion, above brain stem and cerebellum
        z = self.grid.affine[2, 2] * np.arange(self.grid.shape[2]) + self.grid.affine[2, 3]
        y = self.grid.affine[1, 1] * np.arange(self.grid.shape[1]) + self.grid.affine[1, 3]
        cerebrum = (z > -14)[None, None, :] & ((z > 6)[None, None, :] | (y > -50)[None, :, None])
        candidates = (white > 0.7) & cerebrum
        self._candidates = np.argwhere(candidates)
        near = np.exp(-distance[candidates] / 5.0)
        self._prior = PERIVENTRICULAR_SHARE * near / near.sum() + (1 - PERIVENTRICULAR_SHARE) / len(near)
        self._outward = (self._candidates - nearest[:, candidates].T) * np.asarray(self.grid.spacing)
        self._white = _steep(anatomy.wm)
        self._still = Displacement(np.zeros((3, *self.grid.shape), dtype=np.float32), self.grid)

    def plant(self, rng: np.random.Generator, present: bool) -> Planted:
        """Draw load, lesions and their brightness; a control's lesions are drawn too, with an opacity of 0."""
        load = float(np.clip(LOAD_MEDIAN * np.exp(rng.normal(0.0, LOAD_SPREAD)), *LOAD_RANGE))
        brightness = float(rng.uniform(1.4, 1.7))
        opacity = np.zeros(self.anatomy.space.shape, dtype=np.float32)
        volume, count, voxel = 0.0, 0, self.anatomy.space.voxel_volume / 1000.0
        while volume < load and count < 400:
            # the last lesion is no larger than what is wanting
            size = min(float(np.clip(SIZE_MEDIAN * np.exp(rng.normal(0.0, SIZE_SPREAD)), *SIZE_RANGE)), load - volume)
            volume += self._add_lesion(rng, opacity, max(size, SIZE_RANGE[0])) * voxel
            count += 1
        opacity *= np.float32(present)
        dose = load * float(present)
        columns = {"dose": dose, "lesion_count": float(count * present)}
        still = np.zeros(self.grid.shape, dtype=np.float32)
        return Planted(self._still, still, opacity, brightness, columns)

    def maps(self) -> list[Array]:
        """Grey and white matter; the rest is fluid."""
        return [self.anatomy.gm, self.anatomy.wm]

    def contrast(self, rng: np.random.Generator) -> Contrast:
        """FLAIR intensities: grey matter above white matter, fluid dark."""
        grey, white, fluid = (np.float32(m * np.exp(rng.normal(0.0, 0.04))) for m in (1.22, 1.0, 0.25))

        def intensity(maps: list[Array]) -> Array:
            rest = np.clip(1.0 - maps[0] - maps[1], 0.0, 1.0)
            return np.asarray(grey * maps[0] + white * maps[1] + fluid * rest, dtype=np.float32)

        return intensity

    def truth(self, log_jacobian: Array, opacity: Array) -> NDArray[np.bool_]:
        """Voxels with a lesion opacity of `OPACITY_THRESHOLD` or more."""
        return np.asarray(opacity >= OPACITY_THRESHOLD)

    def _add_lesion(self, rng: np.random.Generator, opacity: Array, size: float) -> float:
        """Lay one lesion of about `size` ml over `opacity`, in place; returns the sum of what was added."""
        pick = int(rng.choice(len(self._prior), p=self._prior))
        centre = self.grid.world(self._candidates[pick] + rng.uniform(-0.5, 0.5, 3))
        direction = self._outward[pick] + rng.normal(0.0, 2.0, 3)
        direction = direction / np.linalg.norm(direction)
        longer = float(np.exp(rng.normal(0.35, 0.2)))
        radius = (3000.0 * size / (4.0 * np.pi * longer)) ** (1.0 / 3.0)
        ripple = rng.normal(0.0, 0.15, (4, 3)), rng.uniform(0.0, 2.0 * np.pi, 4)
        reach = radius * max(longer, 1.0) * 1.6 + 3.0
        space = self.anatomy.space
        box = space.box_around(centre + reach * (np.indices((2, 2, 2)).reshape(3, -1).T * 2.0 - 1.0))
        grid = np.stack(np.meshgrid(*[np.arange(b.start, b.stop) for b in box], indexing="ij"), axis=-1)
        offset = space.world(grid) - centre
        along = offset @ direction
        distance = np.sqrt(np.maximum((offset**2).sum(-1) - along**2, 0.0) + (along / longer) ** 2)
        waves = sum(np.sin(offset @ (12.0 * k / max(radius, 1.0)) + p) for k, p in zip(*ripple, strict=True))
        edge = (distance - radius * (1.0 + 0.06 * np.asarray(waves))) / 0.6
        blob = (1.0 / (1.0 + np.exp(np.clip(edge, -50.0, 50.0)))).astype(np.float32) * self._white[box]
        # below 1 % a lesion ends
        blob[blob < 0.01] = 0.0
        before = float(opacity[box].sum(dtype=np.float64))
        np.maximum(opacity[box], blob, out=opacity[box])
        return float(opacity[box].sum(dtype=np.float64)) - before


def _steep(fraction: Array) -> Array:
    """White-matter fraction pushed towards 0 and 1, so that lesions end at the cortex and the ventricle."""
    t = np.clip((fraction - 0.2) / 0.5, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)
