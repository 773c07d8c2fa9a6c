"""Does the score fall when what a heatmap marks is taken away? Deletion and insertion of voxels and atlas regions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas.contrast import RegionContrast
from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.statistics.maps import voxels

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
        return Order(turn, np.r_[0, np.cumsum(sizes[places])] / sizes.sum(), whole=True)


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
    values, kept = voxels(heatmap, within)
    count = int(kept.sum())
    if not 1 <= steps <= count:
        raise InputError(f"steps is {steps}, expected 1 to {count}, the number of voxels to replace")
    chance = np.random.default_rng(seed).permutation(count)
    rank = np.empty(count, dtype=np.int64)
    rank[np.lexsort((chance, -values[kept]))] = np.arange(count)
    ends = np.rint(np.linspace(0, count, steps + 1)).astype(np.int64)
    turn = np.zeros(values.shape, dtype=np.int64)
    turn[kept] = np.searchsorted(ends, rank, side="right")
    return Order(turn, ends / count)


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
        Mean value, or how far it stands out for a region of its size (`neuroxai.atlas.score`).

    Raises
    ------
    InputError
        If values are not finite, there is no region, or `by` is unknown.
    SpaceError
        If shapes differ.
    """
    (values, _), labels = voxels(heatmap), np.asarray(regions)
    if labels.shape != values.shape:
        raise SpaceError(f"regions of shape {labels.shape} do not fit a heatmap of shape {values.shape}")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or not labels.any():
        raise InputError(f"regions are of type {labels.dtype}, expected whole numbers >= 0, not all 0 (background)")
    if by not in get_args(Rank):
        raise one_of("rank of regions", by, get_args(Rank))
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
    return Order(turn, np.r_[0, np.cumsum(sizes[order])] / sizes.sum(), whole=True)


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
            raise SpaceError(f"fill has shape {tuple(fill.shape)}, expected that of the scan, {tuple(scan.shape)}")
        return fill.detach().to(scan)
    if fill == "zero":
        return torch.zeros_like(scan)
    if fill != "blur":
        raise one_of("fill", fill, ("zero", "blur"), "Or give an image.")
    if not sigma > 0:
        raise InputError(f"sigma is {sigma}, expected a positive number of voxels")
    blurred: Tensor = GaussianFilter(scan.ndim - 1, sigma, approx="sampled").to(scan)(scan[None])[0]
    return blurred.detach()


Mode = Literal["deletion", "insertion"]


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores while voxels are replaced, or brought back, step by step.

    Attributes
    ----------
    shares : ndarray, shape (steps + 1,)
        Share of the voxels done, 0 to 1.
    scores : ndarray, shape (steps + 1,)
        The class score then, float64.
    mode : {"deletion", "insertion"}
        The first score is that of the scan (deletion) or of the filled scan (insertion).
    """

    shares: NDArray[np.float64]
    scores: NDArray[np.float64]
    mode: Mode

    @property
    def area(self) -> float:
        """Area between the curve and its start: over the curve for deletion, under it for insertion.

        The mean change of the score, in the score's own units, over the share of voxels done (trapezoids). Larger is
        better for both. Samek (2017) takes the mean over steps, which is the same for small steps of equal size;
        regions differ in size, and by share of voxels small dense regions first is the best order there is.
        """
        change = self.scores - self.scores[0]
        total = float((np.diff(self.shares) * (change[1:] + change[:-1])).sum() / 2)
        return -total if self.mode == "deletion" else total


@dataclass(frozen=True)
class Faithfulness:
    """The area of a heatmap's curve beside those of random orders.

    Attributes
    ----------
    area : float
        Of the heatmap's order.
    random : tuple of float
        Of random orders of the same voxels or regions.
    gain : float
        ``area`` less the mean of ``random``: 0 by chance.
    beaten : float
        Share of the random orders with a smaller area; ties count one half.
    """

    area: float
    random: tuple[float, ...]
    gain: float
    beaten: float


def perturbation_curve(
    network: Callable[[Tensor], Any],
    scan: Tensor,
    order: Order,
    *,
    target: int | None = None,
    mode: Mode = "deletion",
    fill: Fill | Tensor = "zero",
    sigma: float = 4.0,
    batch_size: int = 8,
) -> Curve:
    """Run the network on a scan whose voxels are replaced step by step.

    Parameters
    ----------
    network : callable
        Takes (batch, channels, *grid) and returns (batch, classes) or (batch,); for example a model in evaluation mode.
        Logits or probabilities, as it gives them. On the scan's device; no gradients are kept.
    scan : torch.Tensor, shape (channels, *grid)
        On any device. A voxel is replaced in all channels.
    order : Order
        From `voxel_order` or `region_order`.
    target : int, optional
        The class; None where there is one score per scan.
    mode : {"deletion", "insertion"}
        Replace the voxels of the scan, or start with all of them replaced and bring them back. Voxels that are not in
        the order stay as they are.
    fill, sigma
        See `filling`.
    batch_size : int
        Steps run at once.

    Returns
    -------
    Curve
        Shares and scores.

    Raises
    ------
    InputError
        If the mode is unknown, or target or outputs do not fit.
    SpaceError
        If order and scan have different grids.

    References
    ----------
    Samek et al. (2017), IEEE TNNLS 28: 2660-2673 (area over the perturbation curve); Petsiuk et al. (2018), BMVC,
    arXiv:1806.07421 (deletion and insertion).
    """
    import torch

    if mode not in get_args(Mode):
        raise one_of("mode", mode, get_args(Mode))
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, expected 1 or more")
    if tuple(scan.shape[1:]) != order.turn.shape:
        raise SpaceError(
            f"scan of shape {tuple(scan.shape)} is not on the order's grid {order.turn.shape}, "
            "expected (channels, *grid)"
        )
    turn = torch.from_numpy(order.turn).to(scan.device)
    filled = filling(scan, fill, sigma)
    scores = []
    with torch.no_grad():
        for steps in torch.split(torch.arange(order.steps + 1, device=scan.device), batch_size):
            done = turn <= steps.view(-1, 1, *(1 for _ in turn.shape))
            replaced = (turn > 0) & (done if mode == "deletion" else ~done)
            scores.append(_score(network(torch.where(replaced, filled, scan)), target, len(steps)))
    return Curve(order.shares, np.concatenate(scores), mode)


def faithfulness_test(
    network: Callable[[Tensor], Any],
    scan: Tensor,
    order: Order,
    *,
    repeats: int = 10,
    seed: int = 0,
    **options: Any,
) -> Faithfulness:
    """Compare the area of a heatmap's order with random orders of the same voxels or regions.

    Single voxels in random order break a scan into noise that no network was trained on, and that alone can move the
    score; whole regions do so less. Look at both.

    Parameters
    ----------
    network, scan, order
        As for `perturbation_curve`.
    repeats, seed : int
        Number and seed of the random orders.
    **options
        Of `perturbation_curve`.
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}, expected 1 or more random orders")
    area = perturbation_curve(network, scan, order, **options).area
    random = np.array(random_areas(network, scan, order, repeats=repeats, seed=seed, **options))
    beaten = float(((random < area) + 0.5 * (random == area)).mean())
    return Faithfulness(area, tuple(random.tolist()), area - float(random.mean()), beaten)


def random_areas(
    network: Callable[[Tensor], Any], scan: Tensor, order: Order, *, repeats: int = 10, seed: int = 0, **options: Any
) -> list[float]:
    """Areas of random orders; they can be used for all heatmaps of a scan."""
    return [perturbation_curve(network, scan, order.shuffled(seed + n), **options).area for n in range(repeats)]


def _score(outputs: Any, target: int | None, batch: int) -> NDArray[np.float64]:
    import torch

    if not isinstance(outputs, torch.Tensor) or outputs.shape[:1] != (batch,) or outputs.ndim > 2:
        what = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise InputError(f"the network returned {what} for {batch} scans, expected (batch, classes) or (batch,)")
    scores, index = outputs.reshape(batch, -1), target or 0
    if target is None and scores.shape[1] != 1:
        raise InputError(f"the network has {scores.shape[1]} classes; name one with target=")
    if not 0 <= index < scores.shape[1]:
        raise InputError(f"target is {target}, expected 0 to {scores.shape[1] - 1}")
    return np.asarray(scores[:, index].double().cpu().numpy())
