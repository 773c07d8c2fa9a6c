"""What patch and region occlusion share: the drop of a class score for each part of the input that is replaced.

Only what a part can reach is recomputed (`neuroxai.attribution.occlusion.incremental`) where the network can be
recorded and that saves work; otherwise whole inputs are run. Both give the same numbers, and neither depends on how
many parts share a pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neuroxai.attribution.base import Method, check_option
from neuroxai.attribution.baselines import Baseline, check_baselines, references_of
from neuroxai.attribution.occlusion.boxes import Boxes, Parts, windows
from neuroxai.attribution.occlusion.incremental import Incremental, Places
from neuroxai.attribution.perturbed import AT_ONCE, PerturbedModel, at_once
from neuroxai.checks import FLAG, whole
from neuroxai.errors import InputError, one_of
from neuroxai.lrp.given import Given, Inputs, Target, captum_call, class_scores, probabilities, without_gradients
from neuroxai.lrp.starts import STARTS

Recompute = Literal["auto", "receptive_field", "all"]
_SLACK = 1.5  # how much larger than needed a box may be so that it is computed together with others
WORTH_IT = 0.6  # share of the network's operations above which whole inputs are run


class OcclusionMethod(Method):
    """What the two occlusion methods do with a batch; options that do not fit are refused by name."""

    def __init__(
        self, model: nn.Module, value: float | str, score: str, positive: bool, perturbations_per_eval: int | None,
        recompute: str, baselines: Baseline | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model)
        if baselines is not None:
            check_baselines(baselines)
            if value != 0.0:
                raise InputError(f"value is {value!r} and baselines say what replaces voxels, too; leave out value")
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number and value != "mean":
            raise InputError(f"value is {value!r}; a finite number or 'mean' (of each scan) is expected")
        if score not in STARTS:
            raise one_of("score", score, STARTS)
        check_option("positive", positive, FLAG)
        if perturbations_per_eval is not None:
            check_option("perturbations_per_eval", perturbations_per_eval, whole(1))
        if recompute not in get_args(Recompute):
            raise one_of("recompute", recompute, get_args(Recompute))
        self._baselines = baselines
        self._value, self._score, self._positive = value, score, positive
        self._many, self._recompute = perturbations_per_eval, recompute

    @captum_call
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Inputs:
        """Compute the drop of one class's score for each part, painted over its voxels.

        Parameters
        ----------
        inputs, target, additional_forward_args
            As `neuroxai.attribution.gradient.gradients.GradientMethod.attribute` takes them; each input has a grid. A
            part covers all channels; of several inputs, one is occluded at a time.

        Returns
        -------
        torch.Tensor or tuple of torch.Tensor
            Shaped like `inputs`, same dtype and device.

        Raises
        ------
        InputError
            For inputs, targets or parts that do not fit the network (`SpaceError` for labels on another grid).

        Warns
        -----
        UserWarning
            If the model is in training mode; it is explained as in evaluation mode.
        """
        given, found = self._drops(inputs, target, additional_forward_args)
        maps = [parts.painted(drops)[:, None] for drops, parts in found]
        return given.formatted([one.expand(x.shape).clone() for x, one in zip(given.inputs, maps, strict=True)])

    def _parts(self, x: Tensor) -> Parts:
        """Return the parts of an input."""
        raise NotImplementedError

    def _drops(self, inputs: Inputs, target: Target, more: Any) -> tuple[Given, list[tuple[Tensor, Parts]]]:
        """Return, for each input, the drop of each sample's score for each part, (batch, parts), and the parts."""
        given = Given.of(self.model, inputs, more, target)
        for x in given.inputs:
            if x.ndim < 3:
                raise InputError(
                    f"inputs have shape {tuple(x.shape)}; occlusion expects (batch, channels, *spatial). Give values "
                    "without a grid as additional_forward_args"
                )
        with without_gradients(given.device):
            given = given.own(gradients=False)
            what = [self._parts(x) for x in given.inputs]
            network = PerturbedModel(self, given, self._recompute)
            samples = range(len(given.indices))
            rows = [[self._sample(network, given.sample(n), place, parts) for n in samples]
                    for place, parts in enumerate(what)]  # fmt: skip
        return given, [(torch.stack(found), one) for found, one in zip(rows, what, strict=True)]

    def _sample(self, network: PerturbedModel, one: Given, place: int, parts: Parts) -> Tensor:
        """Return by how much the score of one sample falls when each part of one input is replaced, (parts,).

        Zero without a run for parts that hold the replacing value already.
        """
        x, index = one.inputs[place], int(one.indices)
        scores, incremental = network.unchanged(one, place)
        score = self._scored(one.scores(scores), network.link)[:, index]
        fills = self._fills(x)
        total = x.new_zeros(len(parts.low))
        for fill in fills:
            changing = parts.holding((x[0] != fill).any(0).cpu()).nonzero().flatten()
            for which, boxes, places in self._passes(x, parts, changing, incremental):
                mask = parts.mask(which, boxes.start, boxes.size).to(x.device)
                there, stays = (windows(image, boxes.start, boxes.size) for image in (fill, x[0]))
                values = torch.where(mask, there, stays)
                if incremental is None or places is None:
                    scores = network.run(one, place, values)
                else:
                    scores = class_scores(incremental.changed(places, values))
                total[which.to(x.device)] += score - self._scored(scores, network.link)[:, index]
        drops = total / len(fills)
        return drops.clamp(min=0) if self._positive else drops

    def _fills(self, x: Tensor) -> list[Tensor]:
        """Return what replaces the voxels of one sample: images (channels, *grid), over which drops are averaged."""
        if self._baselines is not None:
            return [image[0] for image in references_of(x, self._baselines)]
        if self._value == "mean":
            return [x.mean(tuple(range(2, x.ndim)), keepdim=True)[0].expand_as(x[0])]
        return [x.new_tensor(float(self._value)).expand_as(x[0])]

    def _scored(self, scores: Tensor, link: str | None) -> Tensor:
        return probabilities(scores, link) if self._score == "probability" else scores

    def _passes(
        self, x: Tensor, parts: Parts, which: Tensor, incremental: Incremental | None
    ) -> Iterator[tuple[Tensor, Boxes, Places | None]]:
        """Sort parts into passes, with boxes that hold them; a pass without places runs whole inputs."""
        grid = torch.tensor(x.shape[2:])
        for group in _groups(parts, which):
            local, many = incremental, at_once(x)
            if local is not None:
                places = local.places(Boxes.within(parts.low[group], parts.high[group], parts.grid))
                if self._recompute == "auto" and local.share(places) > WORTH_IT:
                    local = None
                else:
                    many = max(AT_ONCE // local.numbers(places), 1)
            for some in torch.split(group, self._many or many):
                low, high = parts.low[some], parts.high[some]
                if local is None:
                    low, high = torch.zeros_like(low), grid.expand_as(high)
                boxes = Boxes.within(low, high, parts.grid)
                yield some, boxes, None if local is None else local.places(boxes)


def _groups(parts: Parts, which: Tensor) -> list[Tensor]:
    """Sort parts into groups whose boxes are of about one size, so that little is computed in vain."""
    sizes = (parts.high - parts.low)[which]
    order = sizes.prod(1).argsort(descending=True, stable=True)
    largest, cuts = sizes.new_zeros(sizes.shape[1]), []
    for number, size in enumerate(sizes[order]):
        largest = torch.maximum(largest, size)
        if largest.prod() > _SLACK * size.prod():
            cuts.append(number)
            largest = size
    return list(torch.tensor_split(which[order], cuts)) if len(which) else []
