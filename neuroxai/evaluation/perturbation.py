"""What is replaced first, and by what: orders of voxels and atlas regions, and fill-ins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas.contrast import RegionContrast
from neuroxai.errors import InputError, SpaceError, one_of

if TYPE_CHECKING:
    from torch import Tensor

Fill = Literal["zero", "blur"]
Rank = Literal["density", "contrast"]


@dataclass(frozen=True, eq=False)
class Order:
    """In which order the voxels of a grid are replaced.

    Attributes
    ----------
    turn : ndarray of int, shape (*grid)
        The step in which a voxel is replaced, from 1; 0 for one that never is.
    shares : ndarray, shape (steps + 1,)
        Share of the voxels to be replaced that are so after each step, from 0 to 1.
    whole : bool
        Whether a step is a region, which stays together in a random order.
    """

    turn: NDArray[np.int64]
    shares: NDArray[np.float64]
    whole: bool = False

    @property
    def steps(self) -> int:
        """Steps after the start."""
        return len(self.shares) - 1

    def shuffled(self, seed: int) -> Order:
        """Return the same voxels, or the same regions, in a random order: the baseline."""
        rng = np.random.default_rng(seed)
        if not self.whole:
            turn = np.zeros_like(self.turn)
            turn[self.turn > 0] = rng.permutation(self.turn[self.turn > 0])
            return Order(turn, self.shares)
        sizes = np.bincount(self.turn.ravel(), minlength=self.steps + 1)[1:]
        places = rng.permutation(self.steps)
        turn = np.r_[0, 1 + np.argsort(places)][self.turn]
        return Order(turn, _cumulated(sizes[places]), whole=True)


def voxel_order(heatmap: NDArray[Any], steps: int = 20, within: NDArray[Any] | None = None, seed: int = 0) -> Order:
    """Order voxels by their value, the greatest first, in steps of equal size.

    Parameters
    ----------
    heatmap : ndarray, shape (*grid)
        Finite. Equal values come in random order: array order would be an order by place.
    steps : int
        At most as many as voxels.
    within : ndarray of bool, same shape, optional
        Voxels to replace, for example the brain; by default all.
    seed : int
        Of the order among equals.

    Raises
    ------
    InputError
        If values are not finite, or there are fewer voxels than steps.
    SpaceError
        If shapes differ.
    """
    values = _finite(heatmap)
    kept = np.ones(values.shape, dtype=bool) if within is None else np.asarray(within, dtype=bool)
    if kept.shape != values.shape:
        raise SpaceError(f"within of shape {kept.shape} does not fit a heatmap of shape {values.shape}")
    voxels = int(kept.sum())
    if not 1 <= steps <= voxels:
        raise InputError(f"steps is {steps}; 1 to {voxels}, the number of voxels to replace, is wanted")
    chance = np.random.default_rng(seed).permutation(voxels)
    rank = np.empty(voxels, dtype=np.int64)
    rank[np.lexsort((chance, -values[kept]))] = np.arange(voxels)
    ends = np.rint(np.linspace(0, voxels, steps + 1)).astype(np.int64)
    turn = np.zeros(values.shape, dtype=np.int64)
    turn[kept] = np.searchsorted(ends, rank, side="right")
    return Order(turn, ends / voxels)


def region_order(heatmap: NDArray[Any], regions: NDArray[Any], seed: int = 0, by: Rank = "density") -> Order:
    """Order the regions of an atlas, the greatest first; a step each.

    Of contributions that add up no order beats that of densities, as a curve counts the share of voxels replaced. In a
    map of noise it begins with the smallest regions, as random orders of regions do not: which regions *matter* most
    is a question for contrasts.

    Parameters
    ----------
    heatmap : ndarray, shape (*grid)
        Finite.
    regions : ndarray of int, same shape
        The number of each voxel's region, 0 for background, which is never replaced: `Atlas.positions()` or labels.
    seed : int
        Of the order among equals.
    by : {"density", "contrast"}
        Mean value, or how far it stands out for a region of its size (`neuroxai.atlas.contrast`).

    Raises
    ------
    InputError
        If values are not finite, there is no region, or `by` is unknown.
    SpaceError
        If shapes differ.
    """
    values, labels = _finite(heatmap), np.asarray(regions)
    if labels.shape != values.shape:
        raise SpaceError(f"regions of shape {labels.shape} do not fit a heatmap of shape {values.shape}")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or not labels.any():
        raise InputError(f"regions are of type {labels.dtype}; whole numbers >= 0, not all 0 (background), are wanted")
    if by not in ("density", "contrast"):
        raise one_of("rank of regions", by, ("density", "contrast"))
    _, place = np.unique(labels[labels > 0], return_inverse=True)
    sizes = np.bincount(place)
    rank = np.bincount(place, values[labels > 0]) / sizes
    if by == "contrast":
        numbered = np.zeros(labels.shape, dtype=np.int64)
        numbered[labels > 0] = place + 1
        rank = np.nan_to_num(RegionContrast(numbered)(values))  # in a map of one value no region stands out
    order = np.lexsort((np.random.default_rng(seed).permutation(len(sizes)), -rank))
    turn = np.zeros(labels.shape, dtype=np.int64)
    turn[labels > 0] = 1 + np.argsort(order)[place]
    return Order(turn, _cumulated(sizes[order]), whole=True)


def filling(scan: Tensor, fill: Fill | Tensor = "zero", sigma: float = 4.0) -> Tensor:
    """Return what voxels are replaced by, shaped like the scan.

    Parameters
    ----------
    scan : torch.Tensor, shape (channels, *grid)
        As the network takes it.
    fill : {"zero", "blur"} or torch.Tensor
        Zeros; the scan itself, smoothed; or an image of the scan's shape, such as the mean of controls.
    sigma : float
        Of the Gaussian that blurs, in voxels.

    Raises
    ------
    InputError
        If `fill` is unknown or `sigma` is not positive.
    SpaceError
        If an image has another shape.
    """
    import torch
    from monai.networks.layers import GaussianFilter

    if isinstance(fill, torch.Tensor):
        if fill.shape != scan.shape:
            raise SpaceError(f"fill has shape {tuple(fill.shape)}; that of the scan, {tuple(scan.shape)}, is wanted")
        return fill.detach().to(scan)
    if fill == "zero":
        return torch.zeros_like(scan)
    if fill != "blur":
        raise one_of("fill", fill, ("zero", "blur"), "Or give an image.")
    if not sigma > 0:
        raise InputError(f"sigma is {sigma}; a positive number of voxels is wanted")
    blurred: Tensor = GaussianFilter(scan.ndim - 1, sigma, approx="sampled").to(scan)(scan[None])[0]
    return blurred.detach()


def _cumulated(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.r_[0, np.cumsum(sizes)] / sizes.sum())


def _finite(heatmap: NDArray[Any]) -> NDArray[np.float64]:
    values = np.asarray(heatmap, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("the heatmap holds NaN or infinite values; explain the scan again")
    return values
