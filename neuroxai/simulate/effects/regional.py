"""Volume loss of any named regions, each by the same dose, balanced where it happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement, grid_points, jacobian_determinant, sample
from neuroxai.errors import InputError
from neuroxai.simulate.anatomy import Anatomy, Array
from neuroxai.simulate.effects.atrophy import LOG_JACOBIAN_THRESHOLD, _smooth
from neuroxai.simulate.effects.base import FIELD_SPACING, Contrast, Effect, Planted, exponential, velocity
from neuroxai.space import Space, Volume

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


class RegionalAtrophy(Effect):
    """Regions lose a share of their volume; fluid beside them, or where there is none the tissue, takes their place.

    The log-Jacobian is negative in each region and positive around it by the same integral. Its amplitude is found
    for each region and scan by iteration, so that the measured loss is the dose.
    """

    name: ClassVar[str] = "atrophy"
    suffix: ClassVar[str] = "T1w"
    warps: ClassVar[bool] = True
    control: ClassVar[str] = "sham"
    patient: ClassVar[str] = "atrophy"
    ages: ClassVar[tuple[float, float, float, float]] = (74.0, 6.0, 58.0, 90.0)

    def __init__(self, anatomy: Anatomy, find: Callable[[Anatomy], Mapping[str, Array]], loss: float) -> None:
        super().__init__(anatomy)
        if not LOSSES[0] <= loss <= LOSSES[1]:
            raise InputError(f"--loss is {loss:g} %, wanted {LOSSES[0]:g} to {LOSSES[1]:g} %")
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
            around = _smooth(region, NEIGHBOURHOOD) * readiness
            self._terms[name] = around * np.float32(region.sum() / around.sum()) - region
        self._near = {name: self._points_near(roi) for name, roi in on_grid.items()}

    def plant(self, rng: np.random.Generator, present: bool) -> Planted:
        """RegionalAtrophy the regions by the dose; a control's are shrunk by 0. Nothing is drawn: every patient has the dose."""
        dose = self.loss * float(present)
        warp, change = self._integrate(dict.fromkeys(self.rois, 0.0))
        if present:
            warp, change = self._reach(dose)
        return Planted(warp, change, columns={"dose": dose})

    def realised_loss(self, warp: Displacement) -> dict[str, float]:
        """Loss of each region in percent: soft regions pulled back through the backward map, on the field's grid."""
        return {name: 100.0 * (1.0 - self._sum(name, warp) / self._sum(name, None)) for name in self.rois}

    def maps(self) -> list[Array]:
        """Return the scan, fluid beyond the brain's edge, so that what draws back from the edge leaves fluid."""
        return [self.anatomy.in_fluid()]

    def contrast(self, rng: np.random.Generator) -> Contrast:
        """Leave the intensities as they are; the scan is real."""
        return lambda maps: maps[0]

    def truth(self, log_jacobian: Array, opacity: Array) -> NDArray[np.bool_]:
        """Voxels with an absolute log-Jacobian of `LOG_JACOBIAN_THRESHOLD` or more."""
        return np.asarray(np.abs(log_jacobian) >= LOG_JACOBIAN_THRESHOLD)

    def _reach(self, dose: float) -> tuple[Displacement, NDArray[np.float32]]:
        wanted = -np.log(1.0 - dose / 100.0)
        amplitude = dict.fromkeys(self.rois, 1.2 * wanted)
        best: tuple[float, Displacement, NDArray[np.float32]] | None = None
        losses: dict[str, float] = {}
        for _ in range(12):
            try:
                warp, change = self._integrate(amplitude)
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
                amplitude[name] *= float(np.clip(wanted / max(now, 1e-3), 0.5, 2.0))
        if best is None or best[0] > TOLERANCE - 1.0:
            worst = max(losses, key=lambda name: abs(losses[name] - dose)) if losses else "?"
            raise InputError(
                f"{self.anatomy.name}: region {worst!r} loses {losses.get(worst, 0.0):.1f} %, {dose:g} % was wanted; "
                "it is too thin for the field's 2 mm, or its neighbours shrink too: lower --loss or choose others"
            )
        return best[1], best[2]

    def _integrate(self, amplitude: Mapping[str, float]) -> tuple[Displacement, NDArray[np.float32]]:
        prescribed = np.zeros(self.local.shape, dtype=np.float32)
        for name, strength in amplitude.items():
            prescribed += np.float32(strength) * self._terms[name]
        warp = exponential(-velocity(prescribed, FIELD_SPACING) * self._window, self.local)
        determinant = jacobian_determinant(warp)
        if float(determinant.min()) <= 0:
            raise ArithmeticError(f"the atrophy folds (smallest Jacobian {float(determinant.min()):.3g})")
        return warp, -np.log(determinant)

    def _box(self) -> Space:
        """Cut from the grid what lies within reach of the regions."""
        reach = STILL[1] + 2.0 * FIELD_SPACING
        union = np.any([roi > 0.05 for roi in self.rois.values()], axis=0)
        world = self.anatomy.space.world(np.argwhere(union))
        low = np.clip(np.floor(self.grid.voxels(world.min(0) - reach)).astype(int), 0, self.grid.shape)
        high = np.clip(np.ceil(self.grid.voxels(world.max(0) + reach)).astype(int) + 1, 0, self.grid.shape)
        affine = self.grid.affine.copy()
        affine[:3, 3] = self.grid.world(low)
        return Space((high - low).tolist(), affine)

    def _sum(self, name: str, warp: Displacement | None) -> float:
        points = self._near[name]
        inverse = np.linalg.inv(self.anatomy.space.affine)
        moved = points if warp is None else warp(points)
        values = sample(self.rois[name], inverse[:3, :3] @ moved + inverse[:3, 3:])
        return float(values.sum(dtype=np.float64))

    def _points_near(self, region: Array) -> NDArray[np.float64]:
        """World positions of the field grid's voxels within 12 mm of a region, farther than any tissue moves."""
        from scipy import ndimage

        near = ndimage.binary_dilation(region > 1e-3, iterations=round(12.0 / FIELD_SPACING))
        return grid_points(self.local)[:, near.ravel()]

    def _on_grid(self, values: Array) -> Array:
        """Bring a map of the anatomy to the field grid, smoothed over about a voxel."""
        return _smooth(Volume(values, self.anatomy.space).resampled_to(self.local).data, 1.5)


def _window(regions: NDArray[np.bool_]) -> Array:
    """One at and near the regions, falling smoothly to 0 between the distances of `STILL`."""
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(~regions) * FIELD_SPACING
    ramp = np.clip((STILL[1] - distance) / (STILL[1] - STILL[0]), 0.0, 1.0)
    return np.asarray(np.sin(np.pi / 2 * ramp) ** 2, dtype=np.float32)
