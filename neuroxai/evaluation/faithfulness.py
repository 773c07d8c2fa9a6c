"""Does the score fall when what a heatmap marks is taken away? Deletion and insertion of voxels and atlas regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.evaluation.perturbation import Fill, Order, filling

if TYPE_CHECKING:
    from torch import Tensor

Mode = Literal["deletion", "insertion"]
_MODES = ("deletion", "insertion")


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
        widths = np.diff(self.shares)
        total = float((widths * (change[1:] + change[:-1])).sum() / 2)
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
        The class; None where there is one score a scan.
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

    if mode not in _MODES:
        raise one_of("mode", mode, _MODES)
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; 1 or more is wanted")
    if tuple(scan.shape[1:]) != order.turn.shape:
        raise SpaceError(
            f"scan of shape {tuple(scan.shape)} is not on the order's grid {order.turn.shape}; "
            "(channels, *grid) is wanted"
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
        raise InputError(f"repeats is {repeats}; 1 or more random orders are wanted")
    area = perturbation_curve(network, scan, order, **options).area
    random = random_areas(network, scan, order, repeats=repeats, seed=seed, **options)
    return against_random(area, random)


def random_areas(
    network: Callable[[Tensor], Any], scan: Tensor, order: Order, *, repeats: int = 10, seed: int = 0, **options: Any
) -> list[float]:
    """Areas of random orders; they can be used for all heatmaps of a scan."""
    return [perturbation_curve(network, scan, order.shuffled(seed + n), **options).area for n in range(repeats)]


def against_random(area: float, random: Sequence[float]) -> Faithfulness:
    """Put an area beside those of random orders."""
    others = np.asarray(random, dtype=np.float64)
    beaten = float(((others < area) + 0.5 * (others == area)).mean())
    return Faithfulness(area, tuple(others.tolist()), area - float(others.mean()), beaten)


def _score(outputs: Any, target: int | None, batch: int) -> NDArray[np.float64]:
    import torch

    if not isinstance(outputs, torch.Tensor) or outputs.shape[:1] != (batch,) or outputs.ndim > 2:
        what = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise InputError(f"the network returned {what} for {batch} scans; (batch, classes) or (batch,) is wanted")
    scores = outputs.reshape(batch, -1)
    if target is None and scores.shape[1] != 1:
        raise InputError(f"the network has {scores.shape[1]} classes; name one with target=")
    index = 0 if target is None else target
    if not 0 <= index < scores.shape[1]:
        raise InputError(f"target is {target}; 0 to {scores.shape[1] - 1} is wanted")
    return np.asarray(scores[:, index].double().cpu().numpy())
