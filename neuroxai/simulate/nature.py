"""What differs between healthy scans: shape, scanner, noise. The same for patients and controls.

The sizes are those of prepared scans: what non-linear registration to the template and bias correction leave. On the
MNI152 template they give hippocampal volumes that vary by about 4 % (standard deviation over mean) between controls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement, Field, field_space
from neuroxai.simulate.diffeomorphism import exponential
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
