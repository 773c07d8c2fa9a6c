"""A heatmap as a few bands of strength: what viewers that know labels alone can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError

LEVELS = (0.1, 0.25, 0.5, 0.75)
# against: dark to light blue; for: dark to light orange. As in the reports, distinct without telling red from green.
_AGAINST = ((27, 79, 191), (63, 130, 230), (100, 180, 245), (166, 227, 255))
_FOR = ((184, 68, 12), (225, 110, 24), (245, 160, 50), (255, 227, 122))


@dataclass(frozen=True)
class Band:
    """One band.

    Parameters
    ----------
    value : int
        Its number in the label image, from 1; weaker relevance and what is 0 is background.
    sign : {1, -1}
        For (1) or against (-1) the class explained.
    low, high : float
        Shares of the limit: low <= size of relevance / limit < high; the highest band has no end.
    colour : tuple of int
        Red, green and blue, 0 to 255.
    voxels : int
        How many the heatmap has.
    """

    value: int
    sign: int
    low: float
    high: float
    colour: tuple[int, int, int]
    voxels: int

    def name(self, target: str) -> str:
        """Say in words what the band holds, such as ``for AD, 50 to 75 %``."""
        size = f"{self.low:.0%} and more" if np.isinf(self.high) else f"{self.low:.0%} to {self.high:.0%}"
        return f"{'for' if self.sign > 0 else 'against'} {target}, {size.replace('%', ' %').replace(' % to', ' to')}"


def limit_of(relevance: NDArray[Any], percentile: float = 99.9) -> float:
    """Limit of the symmetric colour scale: a percentile of the absolute relevance, its maximum where that is 0."""
    size = np.abs(np.asarray(relevance, dtype=np.float64))
    limit = float(np.percentile(size, percentile))
    return limit if limit > 0 else float(size.max())


def bands(
    relevance: NDArray[Any], levels: Sequence[float] = LEVELS, limit: float | None = None
) -> tuple[NDArray[np.uint8], list[Band]]:
    """Sort the voxels of a heatmap into bands of equal sign and like strength.

    Parameters
    ----------
    relevance : ndarray
        The heatmap, of any shape.
    levels : sequence of float
        Where bands begin, ascending shares of the limit, as many for each sign; four at most.
    limit : float, optional
        What counts as 100 %; by default `limit_of`, as the reports colour it.

    Returns
    -------
    (ndarray of uint8, list of Band)
        The label image: 0 is background, values rise from the strongest relevance against the class to the strongest
        for it. All bands, those without a voxel too, ascending.

    Raises
    ------
    InputError
        If levels do not ascend within (0, 1), or relevance is not finite.
    """
    steps = np.asarray(levels, dtype=np.float64)
    if not 1 <= steps.size <= len(_FOR) or steps.min() <= 0 or steps.max() >= 1 or (np.diff(steps) <= 0).any():
        raise InputError(
            f"levels of bands are {list(levels)}, expected one to {len(_FOR)} ascending numbers between 0 and 1"
        )
    values = np.asarray(relevance, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("the heatmap holds NaN or infinite relevance; explain the scan again")
    top = limit_of(values) if limit is None else limit
    strength = np.digitize(np.abs(values) / top, steps) if top > 0 else np.zeros(values.shape, dtype=int)
    count = steps.size
    labels = np.where(values > 0, count + strength, count + 1 - strength)
    labels = np.where(strength == 0, 0, labels).astype(np.uint8)
    present = np.bincount(labels.ravel(), minlength=2 * count + 1)
    ends = [*steps[1:], np.inf]
    shades = np.rint(np.linspace(0, len(_FOR) - 1, count)).astype(int) if count > 1 else [len(_FOR) - 1]
    found = []
    for sign, colours in ((-1, _AGAINST), (1, _FOR)):
        for n in range(count):
            value = count + 1 + n if sign > 0 else count - n
            found.append(Band(value, sign, float(steps[n]), float(ends[n]), colours[shades[n]], int(present[value])))
    return labels, sorted(found, key=lambda band: band.value)
