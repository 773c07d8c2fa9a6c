"""Coalitions of atlas regions: scans that keep some regions and have the others replaced, and their class scores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neuroxai.attribution.base import check_option
from neuroxai.attribution.baselines import Baseline
from neuroxai.attribution.occlusion.boxes import Boxes, Parts, paste, windows
from neuroxai.attribution.occlusion.drops import WORTH_IT
from neuroxai.attribution.occlusion.incremental import Incremental, Places
from neuroxai.attribution.occlusion.occlusion import Labels, RegionOcclusion
from neuroxai.attribution.perturbed import PerturbedModel, at_once
from neuroxai.checks import whole
from neuroxai.lrp.given import Given, Target, class_scores


class RegionCoalitions(RegionOcclusion, ABC):
    """A method that tells what each region is worth from the scores of coalitions.

    Takes `labels`, `score` and `perturbations_per_eval` as `RegionOcclusion` does, and what replaces regions.
    """

    def __init__(
        self, model: nn.Module, labels: Labels | None, baselines: Baseline, seed: int,
        score: Literal["logit", "probability"], perturbations_per_eval: int | None,
    ) -> None:  # fmt: skip
        super().__init__(model, labels=labels, score=score, density=True, baselines=baselines,
                         perturbations_per_eval=perturbations_per_eval)  # fmt: skip
        check_option("seed", seed, whole(0))
        self._seed = seed

    def shares(
        self, inputs: Tensor, target: Target = None, additional_forward_args: Any = None
    ) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Compute each region's value, and its standard error over what was drawn.

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

    def _sample(self, network: PerturbedModel, one: Given, place: int, parts: Parts) -> Tensor:
        """Return one sample's values and their standard errors, (2 * parts,)."""
        x = one.inputs[place]
        one.scores(network.unchanged(one, place)[0])  # refuses what cannot be run
        each = []
        for fill in self._fills(x):
            players = parts.holding((x[0] != fill).any(0).cpu()).nonzero().flatten()
            found = self._played(Game(self, network, one, place, parts, players, fill))
            values = torch.zeros(len(found), len(parts.low), dtype=torch.float64, device=x.device)
            values[:, players] = found.to(values)
            each.append(values)
        estimates = torch.stack(each).mean(0)
        errors = estimates.std(0) / math.sqrt(len(estimates))
        return torch.cat([estimates.mean(0), errors]).to(x.dtype)

    @abstractmethod
    def _played(self, game: Game) -> Tensor:
        """Return the players' values as a mean over independent estimates, (estimates, players), 2 or more."""

    def score_of(self, scores: Tensor, network: PerturbedModel, one: Given) -> Tensor:
        """Return the class's score of each item, (items,), in double precision."""
        return self._scored(scores, network.link)[:, int(one.indices)].double()

    @property
    def at_once(self) -> int | None:
        """Coalitions run at once, if it is settled."""
        return self._many


@dataclass(frozen=True)
class Game:
    """One sample's regions as players: those that one reference changes; the others are always replaced."""

    method: RegionCoalitions
    network: PerturbedModel
    one: Given
    place: int
    parts: Parts
    players: Tensor  # (players,): which parts they are
    fill: Tensor  # (channels, *grid)

    @property
    def x(self) -> Tensor:
        """The sample, (1, channels, *grid)."""
        return self.one.inputs[self.place]

    def worth(self, kept: Tensor) -> Tensor:
        """Return the scores of coalitions, (coalitions,), of which players each keeps, (coalitions, players)."""
        assert self.parts.regions is not None  # of an atlas, not of patches
        where, found = self.parts.regions.to(self.x.device), []
        lookup = torch.ones(len(kept), 1 + len(self.parts.low), dtype=torch.bool)
        lookup[:, 1 + self.players] = kept
        for some in torch.split(lookup, self.method.at_once or at_once(self.x)):
            stays = some.to(self.x.device)[:, where][:, None]
            scores = self.network.run(self.one, self.place, torch.where(stays, self.x[0], self.fill))
            found.append(self._score(scores))
        return torch.cat(found)

    @cached_property
    def ends(self) -> Tensor:
        """The scores of nobody and of all, (2,)."""
        return self.worth(torch.tensor([[False], [True]]).expand(2, len(self.players)))

    def orders(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores as players join in an order, and in its reverse, from nobody to all, (players + 1,) each.

        Where players reach little of the network, only that is computed: they join in the order and then leave in it,
        which passes the coalitions of the reverse.
        """
        if self._reach is None:
            rank = torch.empty_like(order)
            rank[order] = torch.arange(len(order))
            size = torch.arange(1, len(order))[:, None]
            between = self.worth(torch.cat([rank < size, rank >= len(order) - size]))
            nobody, everybody = self.ends[:1], self.ends[1:]
            forth, back = (torch.cat([nobody, some, everybody]) for some in between.chunk(2))
            return forth, back
        image = self._nobody.clone()
        scores, local = self._local(image)
        assert local is not None  # or there were no reach
        joining: list[Tensor] = [self._score(scores)]
        leaving: list[Tensor] = []
        for found, source in ((joining, self.x[0]), (leaving, self.fill)):
            for player in order.tolist():
                places = self._reach[player]
                boxes = places[local.source]
                there, stays = (windows(one, boxes.start, boxes.size) for one in (source, image[0]))
                mask = self.parts.mask(self.players[player : player + 1], boxes.start, boxes.size).to(image.device)
                values = torch.where(mask, there, stays)
                paste(image, torch.zeros_like(boxes.start), values, boxes)
                found.append(self._score(class_scores(local.changed(places, values, keep=True))))
        return torch.cat(joining), torch.cat([joining[-1], *leaving]).flip(0)

    @cached_property
    def _nobody(self) -> Tensor:
        """The sample with all players replaced."""
        assert self.parts.regions is not None
        lookup = torch.ones(1 + len(self.parts.low), dtype=torch.bool)
        lookup[1 + self.players] = False
        return torch.where(lookup[self.parts.regions].to(self.x.device), self.x, self.fill)

    @cached_property
    def _reach(self) -> list[Places] | None:
        """Where each player's voxels reach in the network; None where whole runs are as cheap."""
        local = self._local(self._nobody)[1]
        if local is None:
            return None
        boxes = (Boxes.within(self.parts.low[n, None], self.parts.high[n, None], self.parts.grid) for n in self.players)
        reach = [local.places(one) for one in boxes]
        return reach if sum(map(local.share, reach)) < WORTH_IT * len(reach) else None

    def _local(self, image: Tensor) -> tuple[Tensor, Incremental | None]:
        inputs = (*self.one.inputs[: self.place], image.clone(), *self.one.inputs[self.place + 1 :])
        return self.network.unchanged(replace(self.one, inputs=inputs), self.place)

    def _score(self, scores: Tensor) -> Tensor:
        return self.method.score_of(scores, self.network, self.one)
