"""Scans of the user's own: the effect is planted in a real scan, and everything else is left as it was."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement
from neuroxai.simulate.anatomy import Array
from neuroxai.simulate.curve import Curve
from neuroxai.simulate.effect import Contrast, Effect
from neuroxai.simulate.nature import Shape, scan_with
from neuroxai.simulate.pose import corners, rotation
from neuroxai.simulate.scan import Acquisition, _volume_columns
from neuroxai.space import Space


class OwnScan(Acquisition):
    """A real scan as what an effect is seen in.

    A patient's scan is interpolated where tissue moves, and an untouched control's would not be, which a classifier
    finds at once. Both are therefore sampled at places moved by a shift within a voxel and a slight turn, the same for
    the twins, with cubic splines. There is no other natural variation: the scans bring their own.

    Parameters
    ----------
    effect : Effect
        Prepared on the scan's anatomy (`neuroxai.simulate.tissue.anatomy_of`).
    space : Space
        Grid of the results: the scan's own.
    white : float
        The scan's intensity of white matter; results are in the scan's units.
    suffix : str
        The scan's contrast.
    curve : Curve, optional
        From T1w to FLAIR; the measured one by default.
    """

    before: ClassVar[bool] = True

    def __init__(self, effect: Effect, space: Space, white: float, suffix: str, curve: Curve | None = None) -> None:
        from scipy import ndimage

        super().__init__(effect, space)
        self.white, self._source, self._curve = white, suffix, curve or Curve()
        scan = self.maps[0]
        self._limits = float(scan.min()), float(scan.max())
        self.maps = [np.asarray(ndimage.spline_filter(scan, order=3, output=np.float32, mode="nearest"))]

    @property
    def suffix(self) -> str:
        """A T1w on which lesions are to be seen becomes a FLAIR; any other contrast stays."""
        return self.effect.suffix if self._source == "T1w" else self._source

    def sources(self) -> list[Array]:
        """Return the scan, fluid beyond the brain's edge."""
        return [self.effect.anatomy.in_fluid()]

    def shape(self, rng: np.random.Generator) -> Shape:
        """Draw the shift and the turn that patient and control share."""
        turn, shift = rng.normal(0.0, 0.3, 3), rng.uniform(-0.5, 0.5, 3)
        grid = self.effect.grid
        centre = corners(grid).mean(0)
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(turn)
        matrix[:3, 3] = centre - matrix[:3, :3] @ centre + self.space.reoriented().affine[:3, :3] @ shift
        return Shape(matrix, Displacement(np.zeros((3, 2, 2, 2), np.float32), Space((2, 2, 2), np.eye(4))))

    def contrast(self, rng: np.random.Generator) -> Contrast:
        """Leave intensities as they are, or take them from T1w to FLAIR."""
        return self._curve if self.suffix == "FLAIR" and self._source == "T1w" else _first

    def sampled(self, voxels: NDArray[np.float64]) -> list[Array]:
        """Cubic interpolation, within the scan's range."""
        from scipy import ndimage

        values = ndimage.map_coordinates(self.maps[0], voxels, np.float32, 3, "nearest", prefilter=False)
        return [np.clip(values, *self._limits)]

    def scanned(self, rng: np.random.Generator, clean: Array, brain: NDArray[np.bool_]) -> Array:
        """Bring the scan's own units back; noise and gain are its own too, unless the head is added."""
        if brain.all():
            return scan_with(rng, clean, brain)
        return np.where(brain, clean * np.float32(self.white), np.float32(0.0))

    def measured(self, volumes: dict[str, float], healthy: dict[str, float]) -> dict[str, float]:
        """Volumes in mm^3, and what each region lost, in percent."""
        after, before = _volume_columns(volumes), _volume_columns(healthy)
        lost = {
            name.replace("_volume_mm3", "_loss_percent"): round(100.0 * (1.0 - after[name] / before[name]), 4) + 0.0
            for name in after
            if before[name] > 0
        }
        return {**after, **lost}


def _first(maps: list[Array]) -> Array:
    return maps[0]
