"""Shapley values of atlas regions: how they share out the score's difference from a scan with all regions replaced.

A coalition is a scan that keeps some regions and has the others replaced. A region's value is its mean contribution
over all orders in which regions may join (Shapley 1953). Where there are few regions, all coalitions are run; else
orders are drawn at random, each with its reverse, whose errors partly cancel (antithetic; Mitchell et al. 2022, JMLR
23: 43), or coalitions, to which the values are fitted (KernelSHAP). Either way the values add up to the difference,
whatever is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from neuroxai.attribution.base import check_option
from neuroxai.attribution.baselines import Baseline
from neuroxai.attribution.occlusion.occlusion import Labels
from neuroxai.attribution.shapley.coalitions import Game, RegionCoalitions
from neuroxai.checks import whole
from neuroxai.errors import one_of

MOST_PAIRS = 10_000
Estimator = Literal["orders", "kernel"]
Worth = Callable[[Tensor], Tensor]  # takes coalitions (coalitions, players), returns their scores
Orders = Callable[[Tensor], tuple[Tensor, Tensor]]  # see `Game.orders`


class RegionShapley(RegionCoalitions):
    """Shapley values of atlas regions (Shapley 1953), exact or by sampling (Castro 2009; Lundberg 2017).

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    labels, baselines, score, perturbations_per_eval
        As `RegionOcclusion` takes them; absent regions are replaced.
    n_samples : int
        Pairs of orders drawn, an order and its reverse, 2 or more: of n regions each pair takes 2 n scores, or n - 1
        pairs of coalitions. All coalitions are run instead where that is cheaper.
    seed : int
        Of what is drawn; the same for all scans.
    estimator : {"orders", "kernel"}
        Mean contributions in orders drawn at random, of which only what a region reaches in the network is computed,
        or KernelSHAP: the least squares fit to as many coalitions, each drawn with its complement (Lundberg 2017;
        Covert 2021, AISTATS), which runs the whole network.

    Raises
    ------
    InputError
        If an option does not fit.
    """

    def __init__(
        self, model: nn.Module, *, labels: Labels | None = None, baselines: Baseline = 0.0, n_samples: int = 8,
        seed: int = 0, score: Literal["logit", "probability"] = "logit", perturbations_per_eval: int | None = None,
        estimator: Estimator = "orders",
    ) -> None:  # fmt: skip
        super().__init__(model, labels, baselines, seed, score, perturbations_per_eval)
        check_option("n_samples", n_samples, whole(2, MOST_PAIRS))
        if estimator not in get_args(Estimator):
            raise one_of("estimator", estimator, get_args(Estimator))
        self._pairs, self._estimator = n_samples, estimator

    def _played(self, game: Game) -> Tensor:
        count = len(game.players)
        if 2**count <= 2 * self._pairs * max(count - 1, 0) + 2:
            return _enumerated(count, game.worth).expand(2, count)
        if self._estimator == "kernel":
            return _fitted(count, game.worth, game.ends, self._pairs * (count - 1), self._seed)
        return _sampled(count, game.orders, self._pairs, self._seed)


def _enumerated(count: int, worth: Worth) -> Tensor:
    """Return the values of a game by all its coalitions, (count,)."""
    numbers = torch.arange(2**count)
    kept = (numbers[:, None] >> torch.arange(count)) & 1 == 1
    scores = worth(kept)
    sizes = kept.sum(1)
    values = torch.zeros(count, dtype=torch.float64)
    for player in range(count):
        without = (~kept[:, player]).nonzero().flatten()
        weight = torch.tensor([1 / (count * math.comb(count - 1, int(s))) for s in sizes[without]], dtype=torch.float64)
        values[player] = (weight * (scores[without + 2**player] - scores[without]).cpu()).sum()
    return values


def _sampled(count: int, orders: Orders, pairs: int, seed: int) -> Tensor:
    """Return the mean contribution of each player in each pair of orders, (pairs, count)."""
    rng = np.random.default_rng(seed)
    values = torch.zeros(pairs, count, dtype=torch.float64)
    for pair in range(pairs):
        drawn = torch.from_numpy(rng.permutation(count))
        for order, scores in zip((drawn, drawn.flip(0)), orders(drawn), strict=True):
            values[pair, order] += scores.diff().cpu() / 2
    return values


def _fitted(count: int, worth: Worth, ends: Tensor, pairs: int, seed: int) -> Tensor:
    """Return KernelSHAP's values, plus what each pair of coalitions moves them by, (pairs, count).

    Sizes are drawn by Shapley's kernel (Lundberg 2017, theorem 2), so that the fit has no weights; the sum is a
    constraint of the fit (Covert 2021, equation 7). Its standard error is that of the estimating equations.
    """
    rng = np.random.default_rng(seed)
    sizes = np.arange(1, count)
    kernel = 1 / (sizes * (count - sizes))
    drawn = rng.choice(sizes, pairs, p=kernel / kernel.sum())
    kept = torch.from_numpy(rng.random((pairs, count)).argsort(1).argsort(1) < drawn[:, None])
    both = torch.cat([kept, ~kept])
    nobody, everybody = ends.cpu().double().tolist()
    design, gains = both.double(), worth(both).cpu().double() - nobody
    inverse = torch.linalg.pinv(design.T @ design / len(design), hermitian=True)
    even: Tensor = inverse.sum(1) / inverse.sum()

    def summing_to(total: float, free: Tensor) -> Tensor:
        """Move values, (..., count), to the sum that they must have."""
        return free + (total - free.sum(-1, keepdim=True)) * even

    values: Tensor = summing_to(everybody - nobody, inverse @ (design.T @ gains) / len(design))
    pull = (design * (gains - design @ values)[:, None]).view(2, pairs, count).mean(0)
    return values + summing_to(0.0, pull @ inverse)
