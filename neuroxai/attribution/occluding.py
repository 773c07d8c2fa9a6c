"""What patch and region occlusion share: the drop of a class score for each part of the input that is replaced.

Only what a part can reach is recomputed (`neuroxai.attribution.cone`) where the network can be recorded and that saves
work; otherwise whole inputs are run. Both give the same numbers, and neither depends on how many parts share a pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, fx, nn

from neuroxai.attribution.base import Method, run_network
from neuroxai.attribution.cone import Cones
from neuroxai.attribution.cone_boxes import Boxes, windows
from neuroxai.attribution.cone_record import cones_of
from neuroxai.attribution.options import positive_integer
from neuroxai.errors import InputError, UnsupportedLayerError, one_of
from neuroxai.graph.checks import check_scores
from neuroxai.graph.eval_copy import eval_copy
from neuroxai.graph.execute import Executor
from neuroxai.graph.output_activation import scores_of
from neuroxai.graph.record import Record, record
from neuroxai.lrp.given import Given, Inputs, Target, captum_call, class_scores, probabilities
from neuroxai.lrp.starts import STARTS

Recompute = Literal["auto", "cone", "all"]
_RECOMPUTE = ("auto", "cone", "all")
_SLACK = 1.5  # how much larger than needed a box may be so that it is computed together with others
_WORTH_IT = 0.6  # share of the network's operations above which whole inputs are run
_NUMBERS = 2**22  # held at once by default, about: 16 MiB in float32


class Parts(Protocol):
    """Parts of the input that are occluded one at a time."""

    @property
    def low(self) -> Tensor:
        """First voxel of each part's bounding box, (parts, axes)."""

    @property
    def high(self) -> Tensor:
        """One past its last voxel, (parts, axes)."""

    def mask(self, which: Tensor, start: Tensor, size: Sequence[int]) -> Tensor:
        """Return which voxels of windows belong to the parts `which`, (parts, 1, *size)."""


@dataclass(frozen=True)
class Options:
    """Options that patch and region occlusion share.

    Raises
    ------
    InputError
        Naming the option that does not fit.
    """

    value: float | str
    score: str
    positive: bool
    perturbations_per_eval: int | None
    recompute: str

    def __post_init__(self) -> None:
        number = isinstance(self.value, int | float) and not isinstance(self.value, bool) and math.isfinite(self.value)
        if not number and self.value != "mean":
            raise InputError(f"value is {self.value!r}; a finite number or 'mean' (of each scan) is expected")
        if self.score not in STARTS:
            raise one_of("score", self.score, STARTS)
        if not isinstance(self.positive, bool):
            raise InputError(f"positive is {self.positive!r}; true or false is expected")
        if self.perturbations_per_eval is not None:
            positive_integer("perturbations_per_eval", self.perturbations_per_eval)
        if self.recompute not in _RECOMPUTE:
            raise one_of("recompute", self.recompute, _RECOMPUTE)

    def fill(self, x: Tensor) -> Tensor:
        """Return what replaces the voxels of one input (1, channels, *grid): (channels, 1, ...)."""
        axes = tuple(range(2, x.ndim))
        if isinstance(self.value, str):
            return x.mean(axes, keepdim=True)[0]
        return x.new_full((1,) * (x.ndim - 1), self.value)


def groups(parts: Parts, which: Tensor) -> list[Tensor]:
    """Sort parts into groups whose boxes are of about one size, so that little is computed in vain."""
    sizes = (parts.high - parts.low)[which]
    order = sizes.prod(1).argsort(descending=True, stable=True)
    found: list[list[int]] = []
    largest: list[int] = []
    for part, size in zip(which[order].tolist(), sizes[order].tolist(), strict=True):
        together = [max(a, b) for a, b in zip(largest or size, size, strict=True)]
        if not found or math.prod(together) > _SLACK * math.prod(size):
            found.append([])
            together = size
        found[-1].append(part)
        largest = together
    return [torch.tensor(group) for group in found]


class _Network:
    """A model as one call of ``attribute`` runs it: recorded on one sample where that can be, and as it is."""

    def __init__(self, model: nn.Module, given: Given, recompute: str) -> None:
        self.given, self.copy = given, eval_copy(model)
        self.record: Record | None = None
        self.scores: fx.Node | None = None
        self.link: str | None = None
        self._checked = False
        self._independent: bool | None = None
        first = given.sample(0)
        tensors, more = first.inputs, first.more
        try:
            self.record = record(eval_copy(model), (*tensors, *more))
            self.scores, self.link, _ = scores_of(self.record)
        except UnsupportedLayerError as error:
            if recompute == "cone" or not self._repeats(tensors, more):
                raise error from None
        if self.record is not None and self.record.of_one_scan and recompute == "cone":
            raise UnsupportedLayerError(
                f"{self.record.of_one_scan}: what the network computes depends on values taken out of the scan, so "
                "that an occluded scan may take another branch; use recompute='auto'"
            )

    def cones(self, tensors: Sequence[Tensor], more: Sequence[Any], place: int, recompute: str) -> Any:
        """Return one sample's scores, and its cones or None."""
        found, scores = self.record, self.scores
        if found is None or scores is None or found.of_one_scan or recompute == "all":
            return self.run(tensors, more, place, tensors[place]), None
        inputs = (*tensors, *(v for v in more if isinstance(v, Tensor)))
        ours, output, cones = cones_of(found, scores, inputs, place)
        if not self._checked:
            try:
                check_scores(class_scores(output), class_scores(found.output))
            except UnsupportedLayerError:
                if recompute == "cone" or self.link is not None:  # of probabilities, only a record gives the logits
                    raise
                self.record = self.scores = None
                return self.cones(tensors, more, place, recompute)
            self._checked = True
        return class_scores(ours), cones

    def run(self, tensors: Sequence[Tensor], more: Sequence[Any], place: int, items: Tensor) -> Tensor:
        """Return the scores of whole inputs, of which one is replaced by each of several."""
        if self.link is None and (len(items) == 1 or self._batches(tensors, more, place)):
            return self._scores(self._outputs(tensors, more, place, items), len(items))
        return torch.cat([self._one(tensors, more, place, items[n : n + 1]) for n in range(len(items))])

    def _one(self, tensors: Sequence[Tensor], more: Sequence[Any], place: int, item: Tensor) -> Tensor:
        if self.link is None:
            return self._scores(self._outputs(tensors, more, place, item), 1)
        found, scores = self.record, self.scores
        args = [*tensors, *more]
        args[place] = item
        if found is not None and found.of_one_scan:  # each item may take another branch
            found = record(eval_copy(self.copy), args)
            scores, *_ = scores_of(found)
        assert found is not None and scores is not None  # there is a link  # noqa: PT018
        executor = Executor(found, keep=(scores, found.result))
        executor.run(*(v for v in args if isinstance(v, Tensor)))
        if not self._checked or found is not self.record:
            own = found.output if found is not self.record else self._outputs(tensors, more, place, item)
            check_scores(class_scores(executor.kept[found.result]), class_scores(own))
            self._checked = True
        return self._scores(executor.kept[scores], 1)

    def _outputs(self, tensors: Sequence[Tensor], more: Sequence[Any], place: int, items: Tensor) -> Any:
        def each(value: Any) -> Any:
            alone = isinstance(value, Tensor) and value.ndim and len(value) == 1
            return value.expand(len(items), *value.shape[1:]) if alone else value

        args = [each(v) for v in (*tensors, *more)]
        args[place] = items.clone()  # the network may write into it
        return run_network(self.copy, args)

    def _scores(self, outputs: object, items: int) -> Tensor:
        scores = self.given.scores(outputs)
        if len(scores) != items:
            raise InputError(f"the network makes {len(scores)} scores of {items} samples; (batch, classes) is expected")
        return scores

    def _repeats(self, tensors: Sequence[Tensor], more: Sequence[Any]) -> bool:
        """Whether the network gives the same scores again: it draws no random numbers."""
        once, again = (class_scores(self._outputs(tensors, more, 0, tensors[0])) for _ in range(2))
        return torch.equal(once, again)

    def _batches(self, tensors: Sequence[Tensor], more: Sequence[Any], place: int) -> bool:
        """Whether a sample's scores do not depend on its company: held against one of opposite contrast."""
        if self.record is not None and self.record.of_one_scan:
            return False  # it decides for a whole batch at once
        if self._independent is None:
            x = tensors[place]
            alone = class_scores(self._outputs(tensors, more, place, x))
            try:
                both = class_scores(self._outputs(tensors, more, place, torch.cat([x, 1 - x])))
            except (InputError, UnsupportedLayerError):
                both = alone[:0]
            limit = 1e-5 * float(alone.abs().max()) + 1e-12
            self._independent = len(both) == 2 and bool(((both[:1] - alone).abs() <= limit).all())
        return self._independent


class OcclusionMethod(Method):
    """What the two occlusion methods do with a batch."""

    def __init__(self, model: nn.Module, options: Options) -> None:
        super().__init__(model)
        self._options = options

    @captum_call
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Inputs:
        """Compute the drop of one class's score for each part, painted over its voxels.

        Parameters
        ----------
        inputs, target, additional_forward_args
            As `neuroxai.attribution.gradients.GradientMethod.attribute` takes them; each input has a grid. A part
            covers all channels; of several inputs, one is occluded at a time.

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
        maps = (self._painted(*pair, x.shape[2:]) for x, pair in zip(given.inputs, found, strict=True))
        return given.formatted(
            [one[:, None].expand(x.shape).clone() for x, one in zip(given.inputs, maps, strict=True)]
        )

    def _parts(self, x: Tensor) -> Any:
        """Return the parts of an input."""
        raise NotImplementedError

    def _painted(self, drops: Tensor, parts: Any, grid: Sequence[int]) -> Tensor:
        """Return each voxel's drop, (batch, *grid), of those of the parts, (batch, parts)."""
        raise NotImplementedError

    def _drops(self, inputs: Inputs, target: Target, more: Any) -> tuple[Given, list[tuple[Tensor, Any]]]:
        """Return, for each input, the drop of each sample's score for each part, (batch, parts), and the parts."""
        given = Given.of(self.model, inputs, more, target)
        for x in given.inputs:
            if x.ndim < 3:
                raise InputError(
                    f"inputs have shape {tuple(x.shape)}; occlusion expects (batch, channels, *spatial). Give values "
                    "without a grid as additional_forward_args"
                )
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(given.inputs[0].device.type, enabled=False):
            given = given.own()
            what = [self._parts(x) for x in given.inputs]
            network = _Network(self.model, given, self._options.recompute)
            rows: list[list[Tensor]] = [[] for _ in what]
            for sample in range(len(given.indices)):
                for place, one in enumerate(what):
                    rows[place].append(self._sample(network, given, sample, place, one))
        return given, [(torch.stack(found), one) for found, one in zip(rows, what, strict=True)]

    def _sample(self, network: _Network, given: Given, sample: int, place: int, parts: Parts) -> Tensor:
        """Return by how much the score of one sample falls when each part of one input is replaced, (parts,).

        Zero without a run for parts that hold the replacing value already.
        """
        one = given.sample(sample)
        tensors, more = tuple(x.detach() for x in one.inputs), one.more
        x, index = tensors[place], int(given.indices[sample])
        outputs, cones = network.cones(tensors, more, place, self._options.recompute)
        score = self._score(given.scores(outputs), network.link)[:, index]
        drops = x.new_zeros(len(parts.low))
        for which, places in self._passes(x, parts, cones):
            if places is None:
                outputs = network.run(tensors, more, place, self._everywhere(x, parts, which))
            else:
                boxes = places[cones.source]
                outputs = class_scores(cones.scores(places, self._occluded(x, parts, which, boxes.start, boxes.size)))
            drops[which.to(x.device)] = score - self._score(outputs, network.link)[:, index]
        return drops.clamp(min=0) if self._options.positive else drops

    def _score(self, scores: Tensor, link: str | None) -> Tensor:
        return probabilities(scores, link) if self._options.score == "probability" else scores

    def _passes(self, x: Tensor, parts: Parts, cones: Cones | None) -> Iterator[tuple[Tensor, Any]]:
        """Sort the parts that matter into passes; a pass without places runs whole inputs."""
        grid = tuple(x.shape[2:])
        for group in groups(parts, self._changing(x, parts)):
            places = None
            many = max(_NUMBERS // x.numel(), 1)
            if cones is not None:
                places = cones.places(Boxes.within(parts.low[group], parts.high[group], grid))
                if self._options.recompute == "cone" or cones.share(places) <= _WORTH_IT:
                    many = max(_NUMBERS // cones.numbers(places), 1)
                else:
                    places = None
            for which in torch.split(group, self._options.perturbations_per_eval or many):
                if places is not None and cones is not None:
                    places = cones.places(Boxes.within(parts.low[which], parts.high[which], grid))
                yield which, places

    def _changing(self, x: Tensor, parts: Parts) -> Tensor:
        """Return the parts in which the replacing value differs from the input."""
        found = []
        every = torch.arange(len(parts.low))
        for group in groups(parts, every):
            boxes = Boxes.within(parts.low[group], parts.high[group], x.shape[2:])
            many = max(_NUMBERS // math.prod(boxes.size), 1)
            for which, start in zip(torch.split(group, many), torch.split(boxes.start, many), strict=True):
                before = windows(x[0], start, boxes.size)
                differs = (before != self._options.fill(x)) & parts.mask(which, start, boxes.size).to(x.device)
                found.append(which[differs.flatten(1).any(1).cpu()])
        return torch.cat(found).sort().values

    def _occluded(self, x: Tensor, parts: Parts, which: Tensor, start: Tensor, size: Sequence[int]) -> Tensor:
        mask = parts.mask(which, start, size).to(x.device)
        return torch.where(mask, self._options.fill(x), windows(x[0], start, size))

    def _everywhere(self, x: Tensor, parts: Parts, which: Tensor) -> Tensor:
        start = torch.zeros(len(which), x.ndim - 2, dtype=torch.long)
        return self._occluded(x, parts, which, start, x.shape[2:])
