"""What surrounds a brain in a raw scan: fluid, skull, scalp; and a receive field that is far from even.

The tissue is made from the brain mask alone, as layers of varying thickness. It is there to be stripped by brain
extraction and to mislead registration, not to be looked at for its own sake: there is no neck, no eye and no ear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.simulate.anatomy import Array
from neuroxai.space import Space

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
            raise InputError(f"a bias field of {100 * self.bias:g} % cannot be, wanted 0 to 80 %")


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
