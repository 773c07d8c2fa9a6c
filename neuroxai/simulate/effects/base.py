"""What every effect offers: `Effect` plants a change in an anatomy, `Planted` is one subject's; and diffeomorphisms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement, Field, field_space, grid_points, jacobian_determinant, sample
from neuroxai.masks import bounding_box
from neuroxai.simulate.anatomy import Anatomy, Array
from neuroxai.space import Space, Volume

FIELD_SPACING = 2.0
MARGIN = 14.0

LOG_JACOBIAN_THRESHOLD = 0.05
"""Truth mask of a volume change: voxels whose tissue shrank or grew by about 5 % or more."""

Contrast = Callable[[list[Array]], Array]


@dataclass(frozen=True, eq=False)
class Planted:
    """One subject's change.

    Parameters
    ----------
    warp : Displacement
        Backward: from the changed anatomy to the healthy one.
    log_jacobian : ndarray, shape ``warp.space.shape``
        Log of the local volume change of the tissue that now lies there; negative where it shrank.
    opacity : ndarray or None, shape of the anatomy
        Share of each voxel taken by lesion, 0 to 1, on the healthy anatomy.
    brightness : float
        Lesion intensity, white matter being 1.
    columns : dict of str to float
        What participants.tsv says of the change.
    """

    warp: Displacement
    log_jacobian: NDArray[np.float32]
    opacity: Array | None = None
    brightness: float = 0.0
    columns: dict[str, float] = field(default_factory=dict)


class Effect(ABC):
    """A change that can be planted in an anatomy; prepared once for a cohort."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    warps: ClassVar[bool]
    """Whether tissue moves, so that a log-Jacobian is written."""
    control: ClassVar[str]
    patient: ClassVar[str]
    ages: ClassVar[tuple[float, float, float, float]]
    """Mean, standard deviation, lowest and highest age in years; the same for both classes."""

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy = anatomy.cropped()
        self.grid = brain_grid(anatomy)
        self.rois: dict[str, Array] = {}
        """Soft regions on the anatomy's grid whose volume is measured in every scan."""

    @abstractmethod
    def plant(self, rng: np.random.Generator, present: bool) -> Planted:
        """Draw one subject's change; a control gets the same draws with dose 0."""

    @abstractmethod
    def maps(self) -> list[Array]:
        """Return the maps on the anatomy's grid that the contrast needs."""

    @abstractmethod
    def contrast(self, rng: np.random.Generator) -> Contrast:
        """Draw a subject's intensity function: sampled maps in, intensities out (white matter about 1)."""

    @abstractmethod
    def truth(self, log_jacobian: Array, opacity: Array) -> NDArray[np.bool_]:
        """Voxels that count as affected, from the subject's maps on the scan's grid."""


class VolumeChange(Effect):
    """Regions that shrink or grow: a prescribed log-Jacobian, made real by a diffeomorphism near them.

    A subclass sets `rois` (`Effect`), `local`, `_window` and `_near`.
    """

    name: ClassVar[str] = "atrophy"
    suffix: ClassVar[str] = "T1w"
    warps: ClassVar[bool] = True
    ages: ClassVar[tuple[float, float, float, float]] = (74.0, 6.0, 58.0, 90.0)

    local: Space
    """The part of the grid in which tissue may move."""

    _window: Array
    _near: dict[str, NDArray[np.float64]]

    def maps(self) -> list[Array]:
        """Return the T1w image, fluid beyond the brain's edge, so that tissue drawn back from the edge leaves fluid."""
        return [self.anatomy.in_fluid()]

    def truth(self, log_jacobian: Array, opacity: Array) -> NDArray[np.bool_]:
        """Voxels with an absolute log-Jacobian of `LOG_JACOBIAN_THRESHOLD` or more."""
        return np.asarray(np.abs(log_jacobian) >= LOG_JACOBIAN_THRESHOLD)

    def integrate(self, prescribed: NDArray[np.float32]) -> tuple[Displacement, NDArray[np.float32]]:
        """Turn a log-Jacobian into the backward map and the realised log-Jacobian at the changed tissue's place."""
        warp = exponential(-velocity(prescribed, FIELD_SPACING) * self._window, self.local)
        determinant = jacobian_determinant(warp)
        if float(determinant.min()) <= 0:
            raise ArithmeticError(f"the atrophy folds (smallest Jacobian {float(determinant.min()):.3g})")
        return warp, -np.log(determinant)

    def realised_change(self, warp: Displacement, names: Sequence[str]) -> float:
        """Relative volume change of regions, without natural variation.

        The soft regions are pulled back through the backward map on the field grid and summed: the integral of
        the forward map's Jacobian determinant over the regions, by change of variables; -0.25 is a loss of 25 %.
        """
        inverse = np.linalg.inv(self.anatomy.space.affine)

        def total(name: str, points: NDArray[np.float64]) -> float:
            return float(sample(self.rois[name], inverse[:3, :3] @ points + inverse[:3, 3:]).sum(dtype=np.float64))

        before = sum(total(name, self._near[name]) for name in names)
        after = sum(total(name, warp(self._near[name])) for name in names)
        return after / before - 1.0

    def _points_near(self, inside: NDArray[np.bool_], reach: float) -> NDArray[np.float64]:
        """World positions of the local grid's voxels within `reach` mm of what is true, farther than tissue moves."""
        from scipy import ndimage

        near = ndimage.binary_dilation(inside, iterations=round(reach / FIELD_SPACING))
        return grid_points(self.local)[:, near.ravel()]

    def _on_grid(self, values: Array) -> Array:
        """Bring a map of the anatomy to the local grid, smoothed over about a voxel."""
        return smoothed(Volume(values, self.anatomy.space).resampled_to(self.local).data, 1.5)


def smoothed(values: Array, sigma: float) -> Array:
    """Gaussian smoothing on the field grid; `sigma` in mm."""
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(values, sigma / FIELD_SPACING), dtype=np.float32)


def brain_grid(anatomy: Anatomy) -> Space:
    """Make the 2 mm grid of the velocity and displacement fields: the brain's bounding box and 14 mm around."""
    box = field_space(anatomy.space.cut(bounding_box(anatomy.brain)), FIELD_SPACING)
    pad = int(np.ceil(MARGIN / FIELD_SPACING))
    affine = box.affine.copy()
    affine[:3, 3] -= pad * FIELD_SPACING
    return Space([n + 2 * pad for n in box.shape], affine)


def velocity(log_jacobian: NDArray[np.float32], spacing: float) -> Field:
    """Find the irrotational velocity whose divergence is the prescribed log-Jacobian.

    v = grad(phi) with laplace(phi) = log_jacobian, solved in Fourier space on the grid padded with a third of
    zeros, with the mean removed. To first order the flow of v has the prescribed log-Jacobian (Karacali 2006 and
    Sharma 2010 prescribe Jacobians for the same purpose). Where the integral of the input is 0 the velocity falls
    off at least with the third power of distance, so that the rest of the brain hardly moves.

    Parameters
    ----------
    log_jacobian : ndarray, shape (x, y, z)
        Smooth, small or zero at the border.
    spacing : float
        Voxel size in mm.

    Returns
    -------
    ndarray of float32, shape (3, x, y, z)
        Millimetres per unit time.
    """
    from scipy import fft

    shape = log_jacobian.shape
    padded = [fft.next_fast_len(n + n // 3, real=True) for n in shape]
    source = fft.rfftn(log_jacobian.astype(np.float32), padded)
    source[0, 0, 0] = 0.0
    waves = [fft.fftfreq(padded[0]), fft.fftfreq(padded[1]), fft.rfftfreq(padded[2])]
    k = [2 * np.pi * w.reshape([-1 if a == axis else 1 for a in range(3)]) / spacing for axis, w in enumerate(waves)]
    square = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    square[0, 0, 0] = 1.0
    potential = source / -square.astype(np.float32)
    crop = tuple(slice(n) for n in shape)
    parts = [fft.irfftn((1j * wave).astype(np.complex64) * potential, padded)[crop] for wave in k]
    return np.asarray(np.stack(parts), dtype=np.float32)


def exponential(v: Field, space: Space) -> Displacement:
    """Integrate a stationary velocity for unit time by scaling and squaring (Arsigny 2006).

    The first step moves no point farther than a quarter of a voxel; then u <- u + u o (id + u), n times. A velocity of
    zero gives a displacement of exactly zero.
    """
    grid = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in space.shape], indexing="ij"))
    size = np.asarray(space.spacing, dtype=np.float32).reshape(3, 1, 1, 1)
    largest = float(np.abs(v / size).max(initial=0.0))
    # the number of steps is the same for sham and patient, whatever the dose
    steps = max(5, int(np.ceil(np.log2(max(largest, 1e-9) / 0.25))))
    u = v / np.float32(2**steps)
    for _ in range(steps):
        at = grid + u / size
        u = u + np.stack([sample(component, at, mode="nearest") for component in u])
    return Displacement(u, space)
