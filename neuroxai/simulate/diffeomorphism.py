"""Diffeomorphisms from stationary velocity fields: Poisson solve, scaling and squaring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement, Field, sample
from neuroxai.space import Space


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
