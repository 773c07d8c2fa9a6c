"""What differs between scans of the healthy: shape, scanner, noise, and on request the head around the brain.

The sizes are those of prepared scans: what non-linear registration to the template and bias correction leave. On the
MNI152 template they give hippocampal volumes that vary by about 4 % (standard deviation over mean) between controls.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement, Field, field_space
from neuroxai.errors import InputError
from neuroxai.io.names import resolution_label
from neuroxai.simulate.anatomy import Array
from neuroxai.simulate.effects.base import exponential
from neuroxai.simulate.pose import RandomPose
from neuroxai.space import Space

WARP_SPACING = 4.0

WARP_SCALES = ((10.0, 0.6), (22.0, 0.8))
"""Smoothness (Gaussian sigma) and root mean square of each velocity component, in mm: local and broad variation."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A subject's natural shape: backward map from scan to anatomy, first affine, then a smooth warp."""

    affine: NDArray[np.float64]
    warp: Displacement

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move world points of the scan, shape (3, n), to the anatomy."""
        return self.warp(self.affine[:3, :3] @ points + self.affine[:3, 3:])


def draw_shape(rng: np.random.Generator, grid: Space) -> Shape:
    """Draw what registration to the template leaves: small rotations, shifts and scales, and a random diffeomorphism.

    Parameters
    ----------
    rng : numpy.random.Generator
        The subject's stream for shape.
    grid : Space
        Covers the brain; the warp is drawn on a coarser grid of the same field of view.
    """
    angles = rng.normal(0.0, np.deg2rad(0.5), 3)
    scales = np.exp(rng.normal(0.0, 0.006) + rng.normal(0.0, 0.005, 3))
    shift = rng.normal(0.0, 0.4, 3)
    coarse = field_space(grid, WARP_SPACING)
    centre = coarse.world((np.array(coarse.shape) - 1) / 2)
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(angles) * scales
    matrix[:3, 3] = centre + shift - matrix[:3, :3] @ centre
    return Shape(matrix, exponential(_random_velocity(rng, coarse), coarse))


def _random_velocity(rng: np.random.Generator, space: Space) -> Field:
    """Gaussian random velocity with the smoothness and size of `WARP_SCALES`."""
    from scipy import ndimage

    total = np.zeros((3, *space.shape), dtype=np.float32)
    for sigma, size in WARP_SCALES:
        width = sigma / WARP_SPACING
        # standard deviation of white noise after a Gaussian of this width in three dimensions
        remaining = (2.0 * np.sqrt(np.pi) * width) ** -1.5
        for axis in range(3):
            noise = rng.standard_normal(space.shape, dtype=np.float32)
            total[axis] += np.float32(size / remaining) * ndimage.gaussian_filter(noise, width, mode="wrap")
    return total


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix about x, then y, then z; radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, dtype=np.float64)


def scan_with(rng: np.random.Generator, clean: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Turn a clean, brain-masked image into a scan: receive bias, gain, Rician noise (Gudbjartsson 1995).

    The draws depend on nothing in the image. White matter is about 1 in `clean`; outside the brain the scan is 0.
    """
    bias = np.zeros(clean.shape, dtype=np.float32)
    axes = np.ogrid[tuple(slice(-1.0, 1.0, complex(0, n)) for n in clean.shape)]
    for powers in np.ndindex(3, 3, 3):
        if 0 < sum(powers) <= 2:
            x, y, z = (a**p for a, p in zip(axes, powers, strict=True))
            bias += (rng.normal(0.0, 0.03) * x * y * z).astype(np.float32)
    gain = float(np.exp(rng.normal(np.log(600.0), 0.25)))
    sigma = np.float32(rng.uniform(0.01, 0.025))
    real, imaginary = (sigma * rng.standard_normal(clean.shape, dtype=np.float32) for _ in range(2))
    noisy = np.hypot(clean * np.exp(bias) + real, imaginary)
    return np.where(brain, np.float32(gain) * noisy, np.float32(0.0)).astype(np.float32)


FLUID, SKULL, SCALP = 2.0, 6.0, 5.5
"""Thickness in mm: fluid and dura, bone, skin and fat (adults: skull about 6 to 7, scalp about 5; Lu 2019)."""

HEAD_MARGIN = 8.0
"""Millimetres by which a posed grid grows where the head is to be seen."""

INTENSITIES = {"T1w": (0.3, 0.2, 1.15), "FLAIR": (0.25, 0.15, 0.8)}
"""Fluid, bone and scalp, white matter being 1."""


@dataclass(frozen=True)
class Raw:
    """How uneven raw scans are.

    Parameters
    ----------
    bias : float
        The receive field runs from ``1 - bias`` to ``1 + bias`` over the head; 0 to 0.8.

    Raises
    ------
    InputError
        If the bias is out of range.
    """

    bias: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.bias <= 0.8:
            raise InputError(f"a bias field of {100 * self.bias:g} % cannot be, expected 0 to 80 %")


def with_head(rng: np.random.Generator, clean: Array, brain: NDArray[np.bool_], space: Space, suffix: str) -> Array:
    """Lay fluid, skull and scalp around a brain.

    Parameters
    ----------
    rng : numpy.random.Generator
        The subject's stream for its head; what is drawn depends on the grid alone.
    clean : ndarray, shape ``space.shape``
        Intensities, white matter about 1.
    brain : ndarray of bool
        Brain mask; kept as it is.
    space : Space
        The grid.
    suffix : str
        ``"FLAIR"``, or any other for T1w.
    """
    from scipy import ndimage

    thick = np.exp(0.2 * smooth_field(rng, space, 25.0))
    patchy = np.exp(0.15 * smooth_field(rng, space, 6.0))
    fluid, bone, scalp = INTENSITIES["FLAIR" if suffix == "FLAIR" else "T1w"]
    distance = np.asarray(ndimage.distance_transform_edt(~brain, sampling=space.spacing), np.float32) / thick
    ends = np.cumsum([FLUID, SKULL, SCALP])
    # soft edges of a millimetre; beyond the scalp there is air
    at = [ends[0] - 0.5, ends[0] + 0.5, ends[1] - 0.5, ends[1] + 0.5, ends[2] - 0.5, ends[2] + 0.5]
    layers = np.interp(distance, at, [fluid, bone, bone, scalp, scalp, 0.0]) * patchy
    return np.where(brain, clean, layers).astype(np.float32)


def draw_bias(rng: np.random.Generator, space: Space, head: NDArray[np.bool_], strength: float) -> Array:
    """Draw a smooth receive field whose range over the head is exactly ``1 - strength`` to ``1 + strength``.

    A random polynomial of degree 3 over the field of view, as bias-correction methods are commonly tested with.
    """
    axes = np.ogrid[tuple(slice(-1.0, 1.0, complex(0, n)) for n in space.shape)]
    field = np.zeros(space.shape, dtype=np.float64)
    for powers in np.ndindex(4, 4, 4):
        if 0 < sum(powers) <= 3:
            x, y, z = (a**p for a, p in zip(axes, powers, strict=True))
            field += rng.normal(0.0, 1.0 / sum(powers)) * x * y * z
    low, high = field[head].min(), field[head].max()
    scaled = 2.0 * (field - low) / max(high - low, 1e-9) - 1.0
    # beyond the head nothing is seen but noise
    return np.asarray(1.0 + strength * np.clip(scaled, -1.0, 1.0), dtype=np.float32)


def smooth_field(rng: np.random.Generator, space: Space, sigma: float) -> Array:
    """Gaussian random field of mean 0 and standard deviation 1; `sigma` in mm."""
    from scipy import ndimage

    widths = sigma / np.asarray(space.spacing)
    noise = rng.standard_normal(space.shape, dtype=np.float32)
    field = ndimage.gaussian_filter(noise, widths, mode="wrap")
    return np.asarray(field / max(float(field.std()), 1e-9), dtype=np.float32)


@dataclass(frozen=True)
class ScanOptions:
    """What is added; nothing by default.

    Parameters
    ----------
    misalign : RandomPose, optional
        Give each scan a random known pose, in the scanner's space.
    raw : Raw, optional
        Leave a head around the brain and a receive field on both.
    masks : pathlib.Path, optional
        Folder of real lesion masks in MNI152 space, in the place of synthetic lesions.
    """

    misalign: RandomPose | None = None
    raw: Raw | None = None
    masks: Path | None = None

    def record(self) -> dict[str, Any]:
        """Plain values of what is set, for the cohort's record."""
        found: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None:
                found[item.name] = Path(value).name if item.name == "masks" else asdict(value)
        return found

    def scanning(self) -> dict[str, Any]:
        """Return what is set of `simulate_scan`'s options."""
        return {name: value for name in ("misalign", "raw") if (value := getattr(self, name)) is not None}

    def entities(self, resolution: float | None) -> dict[str, str]:
        """Return the entities of a scan's file name that say its space; `resolution` in mm, None where uneven.

        Examples
        --------
        >>> ScanOptions().entities(1.5), ScanOptions(misalign=RandomPose()).entities(2.0)
        ({'space': 'MNI152', 'res': '1p5'}, {'space': 'orig'})
        """
        if self.misalign is not None:
            return {"space": "orig"}
        return {"space": "MNI152", **({} if resolution is None else {"res": resolution_label(resolution)})}
