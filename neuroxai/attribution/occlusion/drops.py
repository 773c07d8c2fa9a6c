"""What patch and region occlusion share: the drop of a class score for each part of the input that is replaced.

Only what a part can reach is recomputed (`neuroxai.attribution.occlusion.incremental`) where the network can be
recorded and that saves work; otherwise whole inputs are run. Both give the same numbers, and neither depends on how
many parts share a pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from neuroxai.attribution.base import Method, Recorded, Scores, check_option
from neuroxai.attribution.baselines import Baseline, check_baselines, references_of
from neuroxai.attribution.occlusion.boxes import Boxes, Parts, windows
from neuroxai.attribution.occlusion.incremental import Incremental, Places
from neuroxai.checks import FLAG, whole
from neuroxai.errors import InputError, UnsupportedLayerError, one_of
from neuroxai.graph.eval_copy import eval_copy, own_buffers
from neuroxai.lrp.given import Given, Inputs, Target, captum_call, class_scores, probabilities, without_gradients
from neuroxai.lrp.starts import STARTS

Recompute = Literal["auto", "receptive_field", "all"]
_SLACK = 1.5  # how much larger than needed a box may be so that it is computed together with others
_WORTH_IT = 0.6  # share of the network's operations above which whole inputs are run
_NUMBERS = 2**22  # held at once by default, about: 16 MiB in float32


class _Network:
    """A model as one call of ``attribute`` runs it: recorded on one sample where that can be, and as it is.

    A network that takes no single sample (a program exported for a larger batch) runs in batches of the size given.
    """

    def __init__(self, method: Method, given: Given, recompute: str) -> None:
        self._method, self._recompute = method, recompute
        copy = eval_copy(method.model)
        own_buffers(copy)
        self._scores, self._size = Scores(copy, given), 1
        self._recorded: Recorded | None = None
        self._independent: bool | None = None
        self.link: str | None = None
        self._of_one_scan, why = "", ""
        first = given.sample(0)
        try:
            try:
                self._recorded = method.recorded(first)
            except InputError:
                self._size = len(given.indices)
                if self._size == 1:
                    raise
                why = f"the network takes batches such as the {self._size} scans given alone"
                self._recorded = method.recorded(_repeated(first, self._size))
            self.link, self._of_one_scan = self._recorded.link, self._recorded.record.of_one_scan
        except UnsupportedLayerError:
            runs = (self._run(first, 0, first.inputs[0]) for _ in range(2))
            if recompute == "receptive_field" or not torch.equal(*runs):
                raise  # whole runs serve where the network draws no random numbers
        if self._of_one_scan:
            depends = "what the network computes depends on values taken out of the scan"
            why = f"{self._of_one_scan}: {depends}, so that an occluded scan may take another branch"
        if why and recompute == "receptive_field":
            raise UnsupportedLayerError(f"{why}; use recompute='auto'")

    def unchanged(self, one: Given, place: int) -> tuple[Tensor, Incremental | None]:
        """Return one sample's scores, and what runs the network where one of its inputs changes, or None."""
        found = self._recorded
        if found is not None and self._size == 1 and not self._of_one_scan and self._recompute != "all":
            made = Incremental(found, one.tensors, place)
            try:
                found.verify(made.whole_output)
                return class_scores(made.scores), made
            except UnsupportedLayerError:
                if self._recompute == "receptive_field" or self.link is not None:  # only a record gives the logits
                    raise
                self._recorded = None
        return self.run(one, place, one.inputs[place]), None

    def run(self, one: Given, place: int, items: Tensor) -> Tensor:
        """Return the scores of whole inputs, (items, classes), of which one is replaced by each of several."""
        together = len(items) == self._size == 1
        if not together and (self._size > 1 or self.link is None):
            together = self._batches(one, place)
        if self._size > 1 and not together:
            raise UnsupportedLayerError(
                f"the network takes batches such as the {self._size} scans given alone, and the scores of one scan "
                "depend on the others; use a gradient method"
            )
        many = len(items) if together and self._size == 1 else self._size
        return torch.cat([self._run(one, place, each) for each in torch.split(items, many)])

    def _run(self, one: Given, place: int, items: Tensor) -> Tensor:
        count, filled = len(items), max(len(items), self._size)
        items = torch.cat([items, items[-1:].expand(filled - count, *items.shape[1:])])  # the network may write into it
        many = _repeated(one, filled)
        many = replace(many, inputs=(*many.inputs[:place], items, *many.inputs[place + 1 :]))
        if self.link is None or self._recorded is None:
            scores: Tensor = self._scores(*many.arguments)
        else:  # of one scan: each item may take another branch
            recorded = self._method.recorded(many) if self._of_one_scan else self._recorded
            scores, _ = recorded.run(*many.tensors, check=True)
        return scores[:count]

    def _batches(self, one: Given, place: int) -> bool:
        """Whether a sample's scores do not depend on its company or place: held against one of opposite contrast."""
        if self._of_one_scan:
            return False  # it decides for a whole batch at once
        if self._independent is None:
            x = one.inputs[place]
            alone = self._run(one, place, x)
            try:
                both = self._run(one, place, torch.cat([x, 1 - x]))
                both[1:] = self._run(one, place, torch.cat([1 - x, x]))[1:]
            except (InputError, UnsupportedLayerError):
                both = alone + math.inf
            limit = 1e-5 * float(alone.abs().max()) + 1e-12
            self._independent = bool(((both - alone).abs() <= limit).all())
        return self._independent


def _repeated(one: Given, times: int) -> Given:
    """Return a batch that holds one sample several times."""
    return one.each(lambda v: v.expand(times, *v.shape[1:]) if v.ndim and len(v) == 1 else v)


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
            network = _Network(self, given, self._recompute)
            samples = range(len(given.indices))
            rows = [[self._sample(network, given.sample(n), place, parts) for n in samples]
                    for place, parts in enumerate(what)]  # fmt: skip
        return given, [(torch.stack(found), one) for found, one in zip(rows, what, strict=True)]

    def _sample(self, network: _Network, one: Given, place: int, parts: Parts) -> Tensor:
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
            boxes, local, numbers = (
                Boxes.within(parts.low[group], parts.high[group], parts.grid),
                incremental,
                x.numel(),
            )
            if local is not None:
                places = local.places(boxes)
                numbers = local.numbers(places)
                if self._recompute == "auto" and local.share(places) > _WORTH_IT:
                    local, numbers = None, x.numel()
            for some in torch.split(group, self._many or max(_NUMBERS // numbers, 1)):
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
