"""Atrophy of the medial temporal lobe: a prescribed log-Jacobian, made real by a diffeomorphism."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.simulate import regions
from neuroxai.simulate.anatomy import Anatomy, Array
from neuroxai.simulate.effects.base import FIELD_SPACING, Contrast, Planted, VolumeChange, smoothed
from neuroxai.space import Space, Volume

STRUCTURES = {"hippocampus": 1.0, "amygdala": 0.8, "parahippocampal": 0.6}
"""Structures that shrink, and their log-Jacobian relative to the hippocampus'."""

DOSES = (20.0, 33.0)
"""Range of the prescribed hippocampal volume loss in percent (uniform); the realised loss lies within 15 to 35 %."""

REACH = 24.0
"""The velocity fades to 0 within this distance (mm) of the structures; beyond it nothing moves at all."""

VENTRICLE_GAIN = 0.6
"""Log-Jacobian of the lateral ventricles at a hippocampal loss of 25 %: they grow by about 45 to 50 %."""


class Atrophy(VolumeChange):
    """Loss in hippocampus, amygdala and parahippocampal region, gain of the fluid around and of the ventricles.

    The log-Jacobian is negative in the structures of each side and positive in the fluid beside them (inferior horn
    and fissures) by the same integral, so the change balances where it happens. The lateral ventricles grow at the
    cost of the white matter along them. Hippocampal losses of 15 to 35 % are those of Alzheimer's disease
    (about 24 % on average in the meta-analysis of Shi 2009).
    """

    control: ClassVar[str] = "CN"
    patient: ClassVar[str] = "AD"

    def __init__(self, anatomy: Anatomy) -> None:
        super().__init__(anatomy)
        anatomy = self.anatomy
        self._loss: dict[tuple[str, str], Array] = {}
        self._fluid: dict[str, Array] = {}
        self._ventricle: dict[str, Array] = {}
        self._shell: dict[str, Array] = {}
        self.local = _around(regions.TUBES, self.grid)
        wm = self._on_grid(anatomy.wm)
        for side, sign in regions.SIDES.items():
            for structure, make in regions.BUILT_IN.items():
                roi = make(anatomy, sign)
                self._loss[structure, side] = self._on_grid(roi)
                self.rois[f"{structure}_{side}"] = roi
            ventricle = regions.lateral_ventricle(anatomy, sign)
            self.rois[f"lateral_ventricle_{side}"] = ventricle
            self.rois[f"inferior_horn_{side}"] = regions.inferior_horn(anatomy, sign)
            self._fluid[side] = self._on_grid(regions.temporal_fluid(anatomy, sign))
            self._ventricle[side] = self._on_grid(ventricle)
            self._shell[side] = smoothed(self._ventricle[side], 5.0) * wm
        self._window = _window(self.local)
        inside = {n: Volume(roi, anatomy.space).resampled_to(self.local).data > 1e-3 for n, roi in self.rois.items()}
        self._near = {name: self._points_near(where, 10.0) for name, where in inside.items()}
        self._calibration = self._calibrate()

    def log_jacobian(
        self,
        amplitude: dict[str, float],
        ventricle: dict[str, float] | None = None,
        relative: dict[str, float] | None = None,
    ) -> NDArray[np.float32]:
        """Prescribe the log-Jacobian on the local grid; its integral is 0.

        Parameters
        ----------
        amplitude : dict
            Per side (``"left"``, ``"right"``): minus the hippocampus' log-Jacobian.
        ventricle : dict, optional
            Per side: log-Jacobian of the lateral ventricle.
        relative : dict, optional
            Per structure: factor on the amplitude; default `STRUCTURES`.
        """
        relative = STRUCTURES if relative is None else relative
        total = np.zeros(self.local.shape, dtype=np.float32)
        for side, strength in amplitude.items():
            loss = np.zeros(self.local.shape, dtype=np.float32)
            for structure in STRUCTURES:
                loss += np.float32(relative[structure]) * self._loss[structure, side]
            fluid = self._fluid[side]
            total += np.float32(strength) * (fluid * np.float32(loss.sum() / fluid.sum()) - loss)
        for side, strength in (ventricle or {}).items():
            gain, shell = self._ventricle[side], self._shell[side]
            total += np.float32(strength) * (gain - shell * np.float32(gain.sum() / shell.sum()))
        return total

    def plant(self, rng: np.random.Generator, present: bool) -> Planted:
        """Draw one subject's atrophy: dose, asymmetry, shares of the structures, ventricles."""
        dose = rng.uniform(*DOSES)
        asymmetry = float(np.clip(rng.normal(0.0, 0.06), -0.12, 0.12))
        factors = np.clip(rng.normal(1.0, 0.1, 2), 0.7, 1.3)
        growth = float(np.clip(rng.normal(1.0, 0.2), 0.7, 1.3)) * VENTRICLE_GAIN * dose / 25.0
        dose *= float(present)
        strength = float(np.interp(dose, self._calibration[0], self._calibration[1]))
        relative = {
            "hippocampus": 1.0,
            "amygdala": STRUCTURES["amygdala"] * factors[0],
            "parahippocampal": STRUCTURES["parahippocampal"] * factors[1],
        }
        prescribed = self.log_jacobian(
            {"left": strength * (1 + asymmetry), "right": strength * (1 - asymmetry)},
            {side: growth * float(present) for side in regions.SIDES},
            relative,
        )
        warp, change = self.integrate(prescribed)
        columns = {"dose": dose}
        for structure in (*STRUCTURES, "lateral_ventricle", "inferior_horn"):
            both = [f"{structure}_left", f"{structure}_right"]
            sign, word = (1.0, "gain") if structure in ("lateral_ventricle", "inferior_horn") else (-1.0, "loss")
            columns[f"{structure}_{word}_percent"] = sign * 100.0 * self.realised_change(warp, both) + 0.0
        return Planted(warp, change, columns=columns)

    def contrast(self, rng: np.random.Generator) -> Contrast:
        """T1w intensities to a power near one: fluid and grey matter darker or brighter against white matter."""
        gamma = np.float32(np.exp(rng.normal(0.0, 0.05)))
        return lambda maps: np.asarray(np.maximum(maps[0], 0.0) ** gamma, dtype=np.float32)

    def _calibrate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Realised hippocampal loss in percent at a few amplitudes (more than prescribed is lost near the border)."""
        amplitudes = np.array([0.0, 0.25, 0.5, 0.75])
        losses = [0.0]
        both = ["hippocampus_left", "hippocampus_right"]
        for a in amplitudes[1:]:
            warp, _ = self.integrate(self.log_jacobian({"left": float(a), "right": float(a)}))
            losses.append(-100.0 * self.realised_change(warp, both))
        return np.array(losses), amplitudes


def _around(tubes: tuple[regions.Tube, ...], grid: Space) -> Space:
    """Cut from `grid` what lies within `REACH` of the tubes on both sides."""
    points = np.array([np.asarray(p) * (side, 1, 1) for t in tubes for p in t.curve for side in (-1, 1)])
    widest = np.max([t.half_widths for t in tubes], axis=0)
    return grid.cut(grid.box_around([points.min(0) - widest - REACH, points.max(0) + widest + REACH]))


def _window(space: Space) -> NDArray[np.float32]:
    """One inside, falling smoothly to 0 over the outer half of `REACH`."""
    window = np.ones(space.shape, dtype=np.float32)
    width = REACH / FIELD_SPACING / 2
    for axis, n in enumerate(space.shape):
        i = np.arange(n)
        ramp = np.clip(np.minimum(i, n - 1 - i) / width, 0.0, 1.0)
        shape = [-1 if a == axis else 1 for a in range(3)]
        window *= (np.sin(np.pi / 2 * ramp) ** 2).astype(np.float32).reshape(shape)
    return window
