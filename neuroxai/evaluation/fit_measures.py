"""Measures of one scan on the network's grid, to compare it with the scans that the network was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import UnfitError

Floats = NDArray[np.float64]

_STEPS = 12
# a rotation that the maps hardly determine (a ball's) stays near 0
_PRIOR = 0.02
_PLANES = 4  # that are gone through at once


@dataclass(frozen=True, eq=False)
class CoarsePose:
    """Rigid registration to fixed maps by the inverse compositional algorithm (Baker and Matthews 2004, section 3.2).

    Parameters
    ----------
    maps : sequence of ndarray, (x, y, z)
        Mean maps, such as where the brain lies and its intensities; each counts alike.
    size : sequence of float
        mm of a voxel along each axis.
    """

    maps: Sequence[NDArray[np.float32]]
    size: Sequence[float]
    _points: Floats = field(init=False)
    _fixed: list[Floats] = field(init=False)
    _solver: Floats = field(init=False)
    _centre: Floats = field(init=False)

    def __post_init__(self) -> None:
        grid = np.moveaxis(np.indices(self.maps[0].shape, dtype=np.float64), 0, -1)
        weight = np.clip(self.maps[0].astype(np.float64), 0, None)
        centre = (grid * weight[..., None]).sum(axis=(0, 1, 2)) / max(weight.sum(), 1e-9)
        points = ((grid - centre) * np.asarray(self.size)).reshape(-1, 3)
        rows, fixed = [], []
        for one in self.maps:
            values = _standard(one.astype(np.float64))
            gradient = np.stack(list(np.gradient(values, *self.size)), axis=-1).reshape(-1, 3)
            rows.append(np.hstack([np.cross(points, gradient), gradient]))
            fixed.append(values.ravel())
        jacobian = np.vstack(rows)
        normal = jacobian.T @ jacobian
        # rotations and shifts have units of their own
        damped = normal + _PRIOR * np.diag(np.repeat([np.trace(normal[:3, :3]), np.trace(normal[3:, 3:])], 3) / 3)
        object.__setattr__(self, "_points", points)
        object.__setattr__(self, "_fixed", fixed)
        object.__setattr__(self, "_solver", np.linalg.solve(damped, jacobian.T))
        object.__setattr__(self, "_centre", centre)

    def __call__(self, maps: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
        """Return by how many degrees and mm a scan's maps are turned and shifted."""
        from scipy.ndimage import map_coordinates
        from scipy.spatial.transform import Rotation

        moving = [_standard(one.astype(np.float64)) for one in maps]
        turn, shift = np.eye(3), np.zeros(3)
        for _ in range(_STEPS):
            voxels = (self._points @ turn.T + shift) / np.asarray(self.size) + self._centre
            warped = [
                map_coordinates(one, voxels.T, order=1, mode="constant", cval=float(one[0, 0, 0])) for one in moving
            ]
            step = self._solver @ np.concatenate([w - f for w, f in zip(warped, self._fixed, strict=True)])
            back = Rotation.from_rotvec(-step[:3]).as_matrix()
            turn, shift = turn @ back, shift - turn @ back @ step[3:]
            if float(np.abs(step[:3]).max()) < 1e-3 and float(np.abs(step[3:]).max()) < 0.1:
                break
        degrees = float(np.degrees(Rotation.from_matrix(turn).magnitude()))
        return degrees, float(np.linalg.norm(shift))


def _standard(values: Floats) -> Floats:
    spread = float(values.std())
    return np.asarray((values - values.mean()) / (spread or 1.0), dtype=np.float64)


BLOCK = 8.0  # mm; where the brain lies and the mean image are kept at this resolution
QUANTILES = np.linspace(0.05, 0.95, 10)
_CORE, _PLACE, _RIM = 0.95, 0.5, 0.05
_ALIKE = {"likeness": 0.95, "contrast": 0.7}
"""Correlations from which scans are alike enough. Simulated ones come so near to 1 that a degree would tell. Brains of
one contrast, of whatever scanner, stand in one order of brightness by .6 or more (most by .7), of two by .45 at most.
"""
_RATIOS = ("detail", "range")
_WEAK, _FULL = 0.5, 0.4  # of the upper quartile: darker voxels are no tissue (or a rim); from it a block is full

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Measure:
    """What one measure is called, how it varies at least, and which direction is unlike.

    Parameters
    ----------
    least : float
        Smallest standard deviation: scans of other scanners and people vary more than a small cohort tells.
    side : {-1, 0, 1}
        Only smaller values, any, or only larger values are unlike.
    text : str
        The reason, with ``{value}`` and ``{usual}``.
    """

    least: float
    side: int
    text: str


MEASURES: Mapping[str, Measure] = {
    "missing": Measure(0.01, 1, "{value:.0%} of the place of the training brains is empty (there {usual:.0%})"),
    "outside": Measure(0.01, 1, "{value:.0%} of its signal lies where training scans have none (there {usual:.0%})"),
    "turned": Measure(2.0, 1, "it is turned by {value:.0f} degrees against the mean training scan (there {usual:.0f})"),
    "shifted": Measure(2.0, 1, "it lies {value:.0f} mm from the mean training scan (there {usual:.0f})"),
    "background": Measure(0.08, 0, "{value:.0%} of its voxels are exactly 0 (in training scans {usual:.0%})"),
    "likeness": Measure(0.15, -1, "its correlation with the mean training scan is {value:.2f} (there {usual:.2f})"),
    "contrast": Measure(0.06, -1, "its tissues are bright in another order, by a rank correlation of {value:.2f} with "
                                 "the mean training scan (there {usual:.2f} or more): another kind of scan?"),
    "intensity": Measure(0.03, 1, "its intensities are distributed otherwise, by {value:.2f} (there {usual:.2f})"),
    "range": Measure(0.35, 0, "its intensities span {value:.2f} times the range that training scans span"),
    "detail": Measure(0.4, 0, "values change by {value:.3f} of their range from voxel to voxel (there {usual:.3f})"),
    "plateaus": Measure(0.06, 1, "{value:.0%} of neighbouring voxels are equal, as in labels (there {usual:.0%})"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class ScanSummary:
    """What is kept of one scan on the network's grid: coarse maps, intensities, single figures."""

    shape: tuple[int, ...]
    presence: Array
    image: Array
    quantiles: NDArray[np.float64]
    background: float
    detail: float
    plateaus: float


def summarise(
    image: NDArray[Any], spacing: Sequence[float], plateaus: float = 0.0, zero: tuple[float, float] = (0.0, 0.0)
) -> ScanSummary:
    """Measure one scan as the network takes it.

    Where the brain lies is measured by magnitude, not by what is exactly 0: interpolation leaves a rim of small values.

    Parameters
    ----------
    image : ndarray, three dimensions
        On the network's grid, normalised.
    spacing : sequence of float
        mm of a voxel along each axis.
    plateaus : float
        Of `plateaus_of`, from the scan as stored.
    zero : (float, float)
        What the normalisation made of a stored 0: on the scale of the brain's voxels, and where the background is 0.

    Raises
    ------
    UnfitError
        If the image holds values that are not finite, or nothing but zeros.
    """
    values = np.asarray(image, dtype=np.float32)
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise UnfitError(
            f"{bad} of {values.size} voxels are not finite once the intensities are scaled; look for single huge values"
        )
    scale, background = zero
    empty = np.abs(values - np.float32(background)) <= 1e-6 * float(np.ptp(values))
    magnitude = np.abs(values - np.float32(scale))
    magnitude[empty] = 0
    inside = magnitude[~empty]
    if not inside.size or not inside.any():
        raise UnfitError("holds nothing but zeros on the network's grid")
    high = float(np.quantile(inside, 0.75))
    strong = magnitude > _WEAK * high
    block = block_of(spacing)
    quantiles = np.quantile(values[strong], QUANTILES).astype(np.float64)
    steps, count = 0.0, 0
    for axis in range(3):
        first, second = _neighbours(values, axis)
        both = np.logical_and(*_neighbours(strong, axis))
        steps += float(np.abs(second - first)[both].sum(dtype=np.float64))
        count += int(both.sum())
    spread = float(quantiles[-1] - quantiles[0])
    return ScanSummary(
        tuple(values.shape),
        np.minimum(_blocks(magnitude, block) / (_FULL * high), 1),
        _blocks(values, block),
        quantiles,
        float(empty.mean()),
        steps / max(count, 1) / spread if spread > 0 else 0.0,
        float(plateaus),
    )


def plateaus_of(data: NDArray[Any]) -> float:
    """Return the share of neighbouring voxels, both not 0, that hold exactly the same value: near 1 in label images."""
    equal, count = 0, 0
    # as it lies in memory, a few planes at a time, which stay in the processor's cache; the axes' order is all one
    planes = data.T if data.flags.f_contiguous else data
    for first in range(0, len(planes), _PLANES):
        block = planes[first : first + _PLANES + 1]
        filled = block != 0
        if not filled.any():
            continue
        for axis in range(3):
            part = slice(None) if axis == 0 else slice(_PLANES)  # the plane after belongs to the next block
            one, two = _neighbours(block[part], axis)
            here, there = _neighbours(filled[part], axis)
            equal += int(np.count_nonzero(np.equal(one, two) & here))
            count += int(np.count_nonzero(here & there))
    return equal / count if count else 0.0


def measures_of(
    scan: ScanSummary, presence: NDArray[Any], image: NDArray[Any], quantiles: NDArray[Any], pose: CoarsePose
) -> dict[str, float]:
    """Return the figures of one scan against the mean training scan's maps, quantiles and pose."""
    core, place = presence > _CORE, presence > _PLACE
    width = float(quantiles[-1] - quantiles[0])
    ranks = (np.argsort(np.argsort(values[core], kind="stable"), kind="stable") for values in (scan.image, image))
    turned, shifted = pose([scan.presence, scan.image])
    return {
        "missing": float(1 - scan.presence[core].mean(dtype=np.float64)) if core.any() else 0.0,
        "outside": outside_of(scan, presence),
        "turned": turned,
        "shifted": shifted,
        "background": scan.background,
        "likeness": _correlation(scan.image[place], image[place]),
        "contrast": _correlation(*ranks),
        "intensity": float(np.abs(_shape(scan.quantiles) - _shape(quantiles)).mean()),
        "range": float(scan.quantiles[-1] - scan.quantiles[0]) / width if width > 0 else 1.0,
        "detail": scan.detail,
        "plateaus": scan.plateaus,
    }


def outside_of(scan: ScanSummary, presence: NDArray[Any]) -> float:
    """Return the share of a scan's signal that lies where `presence` has none."""
    return float(scan.presence[presence < _RIM].sum(dtype=np.float64) / scan.presence.sum(dtype=np.float64))


def presence_of(brain: NDArray[np.bool_], spacing: Sequence[float]) -> Array:
    """Return the share of each block that a mask fills, as `ScanSummary.presence` has it."""
    return _blocks(brain.astype(np.float32), block_of(spacing))


def block_of(spacing: Sequence[float]) -> tuple[int, ...]:
    """Return how many voxels make a block of about `BLOCK` mm along each axis."""
    return tuple(max(1, round(BLOCK / float(size))) for size in spacing)


def pose_of(presence: Array, image: Array, spacing: Sequence[float]) -> CoarsePose:
    """Return what registers a scan's maps to the mean training scan's."""
    return CoarsePose([presence, image], [n * size for n, size in zip(block_of(spacing), spacing, strict=True)])


def linear(name: str, value: float) -> float:
    """Bring a measure to a scale on which scans vary evenly: Fisher's transform for a correlation, else a logarithm."""
    if name in _ALIKE:
        return math.atanh(min(max(value, -0.95), _ALIKE[name]))
    return math.log(max(value, 1e-4)) if name in _RATIOS else value


def from_linear(name: str, linear: float) -> float:
    """Undo `linear`."""
    return math.tanh(linear) if name in _ALIKE else math.exp(linear) if name in _RATIOS else linear


def _shape(quantiles: NDArray[Any]) -> NDArray[np.float64]:
    """Return quantiles without their level and range, which scaling by single extreme voxels moves."""
    width = float(quantiles[-1] - quantiles[0])
    return np.asarray((quantiles - quantiles.mean()) / (width or 1.0), dtype=np.float64)


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    if a.size < 2:
        return 0.0
    x, y = a.astype(np.float64) - a.mean(dtype=np.float64), b.astype(np.float64) - b.mean(dtype=np.float64)
    both = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / both if both > 0 else 0.0


def _neighbours(data: NDArray[Any], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    moved = np.moveaxis(data, axis, 0)
    return moved[:-1], moved[1:]


def _blocks(values: Array, block: Sequence[int]) -> Array:
    """Mean of each block; blocks over the grid's edge count what is outside as 0."""
    padded = np.pad(values, [(0, -n % size) for n, size in zip(values.shape, block, strict=True)])
    split = [part for n, size in zip(padded.shape, block, strict=True) for part in (n // size, size)]
    return np.asarray(padded.reshape(split).mean(axis=(1, 3, 5), dtype=np.float64), dtype=np.float32)
