"""How far average heatmaps lie apart. Group averages that stream are `GroupMeans`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.statistics.arrays import voxels

Scale = Literal["maximum", "sum", "none"]


def scaled(heatmap: ArrayLike, by: Scale = "maximum") -> NDArray[np.float64]:
    """Divide a heatmap by its maximum or its sum, so that maps of different networks can be compared.

    Parameters
    ----------
    heatmap : array_like
        Relevance.
    by : {"maximum", "sum", "none"}
        ``"maximum"`` is what Eitel & Ritter (2019) write, ``"sum"`` what their published code does.

    Raises
    ------
    InputError
        If the scale is unknown, or the divisor is not above zero.
    """
    relevance, _ = voxels(heatmap)
    if by == "none":
        return relevance
    if by not in ("maximum", "sum"):
        raise one_of("scale", by, ("maximum", "sum", "none"))
    divisor = float(relevance.max() if by == "maximum" else relevance.sum())
    if not divisor > 0:
        raise InputError(
            f"the {by} of the heatmap is {divisor:.3g}, wanted a number above zero; choose another scale, or explain "
            "a class that has positive relevance"
        )
    return np.asarray(relevance / divisor)


def l2_distance(first: ArrayLike, second: ArrayLike, scale: Scale = "maximum") -> float:
    """Euclidean norm of the difference of two average heatmaps, each scaled first (Eitel & Ritter 2019).

    It grows with the root of the number of voxels: compare only maps of one grid.

    Examples
    --------
    >>> l2_distance([[4.0, 0.0]], [[2.0, 2.0]]), l2_distance([[4.0, 0.0]], [[2.0, 2.0]], "sum") ** 2
    (1.0, 0.5)
    """
    one, two = scaled(first, scale), scaled(second, scale)
    if one.shape != two.shape:
        raise SpaceError(f"heatmaps of shapes {one.shape} and {two.shape} differ; bring them to one grid first")
    return float(np.linalg.norm((one - two).ravel()))


def l2_distances(heatmaps: Sequence[ArrayLike], scale: Scale = "maximum") -> NDArray[np.float64]:
    """Distance between every two average heatmaps (one a training run, say), shape (maps, maps)."""
    maps = [scaled(heatmap, scale) for heatmap in heatmaps]
    result = np.zeros((len(maps), len(maps)))
    for i in range(len(maps)):
        for j in range(i):
            result[i, j] = result[j, i] = l2_distance(maps[i], maps[j], "none")
    return result
