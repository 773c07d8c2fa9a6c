"""Shapley values of atlas regions: how they share out the score's difference from a scan with all regions replaced.

A coalition is a scan that keeps some regions and has the others replaced. A region's value is its mean contribution
over all orders in which regions may join (Shapley 1953). Where there are few regions, all coalitions are run; else
orders are drawn at random, each with its reverse, whose errors partly cancel (antithetic; Mitchell et al. 2022, JMLR
23: 43). Within an order contributions telescope: the values add up to the difference whatever is drawn.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from neuroxai.attribution.base import check_option
from neuroxai.attribution.baselines import Baseline
from neuroxai.attribution.occlusion.boxes import Parts
from neuroxai.attribution.occlusion.drops import _NUMBERS, _Network
from neuroxai.attribution.occlusion.occlusion import Labels, RegionOcclusion
from neuroxai.checks import whole
from neuroxai.lrp.given import Given, Target

MOST_PAIRS = 10_000


class RegionShapley(RegionOcclusion):
    """Shapley values of atlas regions (Shapley 1953), exact or by sampling (Castro 2009).

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    labels : Atlas, torch.Tensor or numpy.ndarray
        The regions on the network's grid, one integer a voxel, 0 for background, which stays as it is.
    baselines : float, str, torch.Tensor, list or callable
        What replaces absent regions, as `neuroxai.attribution.gradient.gradients.integrated_gradients` takes it.
    n_samples : int
        Pairs of orders drawn, an order and its reverse, 2 or more: of n regions each pair costs 2 n - 2 runs of the
        network. All coalitions are run instead where that is cheaper.
    seed : int
        Of the orders; the same for all scans.
    score : {"logit", "probability"}
        Which score is shared out.
    perturbations_per_eval : int, optional
        Coalitions run at once; by default as many as keep memory small.

    Raises
    ------
    InputError
        If an option does not fit.
    """

    def __init__(
        self, model: nn.Module, *, labels: Labels | None = None, baselines: Baseline = 0.0, n_samples: int = 8,
        seed: int = 0, score: Literal["logit", "probability"] = "logit", perturbations_per_eval: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            model, labels=labels, score=score, density=True, perturbations_per_eval=perturbations_per_eval,
            recompute="all", baselines=baselines,
        )  # fmt: skip
        check_option("n_samples", n_samples, whole(2, MOST_PAIRS))
        check_option("seed", seed, whole(0))
        self._pairs, self._seed = n_samples, seed

    def shares(
        self, inputs: Tensor, target: Target = None, additional_forward_args: Any = None
    ) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Compute each region's Shapley value, and its standard error over the pairs of orders.

        Parameters
        ----------
        inputs, target, additional_forward_args
            As ``attribute`` takes them; one input, on the grid of the labels.

        Returns
        -------
        values, errors : torch.Tensor, shape (batch, regions)
            Errors are 0 where all coalitions were run; both are 0 for regions that the replacement does not change.
        labels : tuple of int
            The regions' labels.

        Raises
        ------
        InputError
            For inputs or targets that do not fit the network (`SpaceError` for another grid than the labels').
        """
        _, ((both, _),) = super()._drops(inputs, target, additional_forward_args)
        values, errors = both.chunk(2, 1)
        return values, errors, self._labels

    def _drops(self, inputs: Any, target: Target, more: Any) -> tuple[Given, list[tuple[Tensor, Parts]]]:
        given, found = super()._drops(inputs, target, more)
        return given, [(both.chunk(2, 1)[0], parts) for both, parts in found]

    def _sample(self, network: _Network, one: Given, place: int, parts: Parts) -> Tensor:
        """Return one sample's values and their standard errors, (2 * parts,)."""
        assert parts.regions is not None  # of an atlas, not of patches
        x, index = one.inputs[place], int(one.indices)
        network.unchanged(one, place)  # refuses what cannot be run
        where, each = parts.regions.to(x.device), []
        fills = self._fills(x)
        for fill in fills:
            players = parts.holding((x[0] != fill).any(0).cpu()).nonzero().flatten()

            def worth(kept: Tensor, players: Tensor = players, fill: Tensor = fill) -> Tensor:
                """Return the scores of coalitions, (coalitions,), of which players each keeps."""
                found = []
                lookup = torch.ones(len(kept), 1 + len(parts.low), dtype=torch.bool)
                lookup[:, 1 + players] = kept
                for some in torch.split(lookup, self._many or max(_NUMBERS // x.numel(), 1)):
                    stays = some.to(x.device)[:, where][:, None]
                    scores = network.run(one, place, torch.where(stays, x[0], fill))
                    found.append(self._scored(scores, network.link)[:, index].double())
                return torch.cat(found)

            values = torch.zeros(self._pairs, len(parts.low), dtype=torch.float64, device=x.device)
            count = len(players)
            if 2**count <= 2 * self._pairs * max(count - 1, 0) + 2:
                values[:, players] = _enumerated(count, worth).to(values)
            else:
                values[:, players] = _sampled(count, worth, self._pairs, self._seed).to(values)
            each.append(values)
        pairs = torch.stack(each).mean(0)
        errors = pairs.std(0) / math.sqrt(self._pairs)
        return torch.cat([pairs.mean(0), errors]).to(x.dtype)


def _enumerated(count: int, worth: Any) -> Tensor:
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


def _sampled(count: int, worth: Any, pairs: int, seed: int) -> Tensor:
    """Return the mean contribution of each player in each pair of orders, (pairs, count)."""
    rng = np.random.default_rng(seed)
    nobody, everybody = worth(torch.tensor([[False], [True]]).expand(2, count))
    values = torch.zeros(pairs, count, dtype=torch.float64)
    steps = torch.arange(1, count)
    for pair in range(pairs):
        drawn = torch.from_numpy(rng.permutation(count))
        for order in (drawn, drawn.flip(0)):
            joined = torch.empty(count, dtype=torch.long)
            joined[order] = torch.arange(count)
            scores = torch.cat([nobody[None], worth(joined < steps[:, None]), everybody[None]])
            values[pair, order] += scores.diff().cpu() / 2
    return values
