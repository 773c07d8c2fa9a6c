"""Volume loss of any named regions, each by the same dose, balanced where it happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement
from neuroxai.errors import InputError
from neuroxai.simulate.anatomy import Anatomy, Array
from neuroxai.simulate.effects.base import FIELD_SPACING, Contrast, Planted, VolumeChange, smoothed
from neuroxai.space import Space

LOSSES = (1.0, 50.0)
"""Doses that can be asked for, in percent."""

TOLERANCE = 3.0
"""Points of percent by which a region's measured loss may miss the dose."""

NEIGHBOURHOOD = 5.0
"""Width (Gaussian sigma, mm) of the surroundings that take a region's place."""

STILL = (8.0, 16.0)
"""Distances from the regions (mm) at which the velocity starts to fade and at which it ends. Beyond (up to a voxel of
the field and of the scan, between which is interpolated) nothing moves, and twins are the same bit for bit."""

FLUID_FIRST = 6.0
"""How much more readily fluid takes the place than tissue does."""


class RegionalAtrophy(VolumeChange):
    """Regions lose a share of their volume; fluid beside them, or where there is none the tissue, takes their place.

    The log-Jacobian is negative in each region and positive around it by the same integral. Its amplitude is found
    for each region and scan by iteration, so that the measured loss is the dose.
    """

    control: ClassVar[str] = "sham"
    patient: ClassVar[str] = "atrophy"

    def __init__(self, anatomy: Anatomy, find: Callable[[Anatomy], Mapping[str, Array]], loss: float) -> None:
        super().__init__(anatomy)
        if not LOSSES[0] <= loss <= LOSSES[1]:
            raise InputError(f"--loss is {loss:g} %, expected {LOSSES[0]:g} to {LOSSES[1]:g} %")
        self.loss = loss
        self.rois = dict(find(self.anatomy))
        self.local = self._box()
        on_grid = {name: self._on_grid(roi) for name, roi in self.rois.items()}
        self._window = _window(np.any([roi > 0.25 for roi in on_grid.values()], axis=0))
        others = np.clip(sum(on_grid.values()), 0.0, 1.0)
        beyond = 1.0 - self._on_grid(self.anatomy.brain.astype(np.float32))
        fluid = np.clip(self._on_grid(self.anatomy.csf) + beyond, 0.0, 1.0)
        readiness = (1.0 + (FLUID_FIRST - 1.0) * fluid) * (1.0 - others) ** 2
        self._terms = {}
        for name, region in on_grid.items():
            around = smoothed(region, NEIGHBOURHOOD) * readiness
            self._terms[name] = around * np.float32(region.sum() / around.sum()) - region
        self._near = {name: self._points_near(roi > 1e-3, 12.0) for name, roi in on_grid.items()}

    def plant(self, rng: np.random.Generator, present: bool) -> Planted:
        """Shrink the regions by the dose; a control's are shrunk by 0. Nothing is drawn: every patient has the dose."""
        dose = self.loss * float(present)
        warp, change = self._grown(dict.fromkeys(self.rois, 0.0))
        if present:
            warp, change = self._reach(dose)
        return Planted(warp, change, columns={"dose": dose})

    def realised_loss(self, warp: Displacement) -> dict[str, float]:
        """Loss of each region in percent, see `realised_change`."""
        return {name: -100.0 * self.realised_change(warp, [name]) for name in self.rois}

    def contrast(self, rng: np.random.Generator) -> Contrast:
        """Leave the intensities as they are; the scan is real."""
        return lambda maps: maps[0]

    def _reach(self, dose: float) -> tuple[Displacement, NDArray[np.float32]]:
        expected = -np.log(1.0 - dose / 100.0)
        amplitude = dict.fromkeys(self.rois, 1.2 * expected)
        best: tuple[float, Displacement, NDArray[np.float32]] | None = None
        losses: dict[str, float] = {}
        for _ in range(12):
            try:
                warp, change = self._grown(amplitude)
            except ArithmeticError:
                break
            losses = self.realised_loss(warp)
            miss = max(abs(loss - dose) for loss in losses.values())
            if best is None or miss < best[0]:
                best = miss, warp, change
            if miss < 0.25:
                break
            for name, loss in losses.items():
                now = -np.log(max(1.0 - loss / 100.0, 1e-3))
                # a region that hardly follows is not driven to extremes in one step
                amplitude[name] *= float(np.clip(expected / max(now, 1e-3), 0.5, 2.0))
        if best is None or best[0] > TOLERANCE - 1.0:
            worst = max(losses, key=lambda name: abs(losses[name] - dose)) if losses else "?"
            raise InputError(
                f"{self.anatomy.name}: region {worst!r} loses {losses.get(worst, 0.0):.1f} %, expected {dose:g} %; "
                "it is too thin for the field's 2 mm, or its neighbours shrink too: lower --loss or choose others"
            )
        return best[1], best[2]

    def _grown(self, amplitude: Mapping[str, float]) -> tuple[Displacement, NDArray[np.float32]]:
        """Integrate the log-Jacobian of these amplitudes."""
        prescribed = np.zeros(self.local.shape, dtype=np.float32)
        for name, strength in amplitude.items():
            prescribed += np.float32(strength) * self._terms[name]
        return self.integrate(prescribed)

    def _box(self) -> Space:
        """Cut from the grid what lies within reach of the regions."""
        reach = STILL[1] + 2.0 * FIELD_SPACING
        union = np.any([roi > 0.05 for roi in self.rois.values()], axis=0)
        world = self.anatomy.space.world(np.argwhere(union))
        return self.grid.cut(self.grid.box_around([world.min(0) - reach, world.max(0) + reach]))


def _window(regions: NDArray[np.bool_]) -> Array:
    """One at and near the regions, falling smoothly to 0 between the distances of `STILL`."""
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(~regions) * FIELD_SPACING
    ramp = np.clip((STILL[1] - distance) / (STILL[1] - STILL[0]), 0.0, 1.0)
    return np.asarray(np.sin(np.pi / 2 * ramp) ** 2, dtype=np.float32)
