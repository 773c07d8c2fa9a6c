"""What patch and region occlusion share: the drop of a class score for each part of the input that is replaced.

Only the receptive cone of a part is recomputed (`neuroxai.attribution.cone`) where the network can be traced and that
saves work; otherwise whole inputs are run, several at a time. Both give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import captum.attr
import torch
from torch import Tensor, fx, nn

from neuroxai.attribution.cone import Cones
from neuroxai.attribution.cone_boxes import Boxes, windows
from neuroxai.attribution.cone_record import record
from neuroxai.attribution.gradients import Scores
from neuroxai.attribution.occlusion_parts import Options, P, Parts, groups
from neuroxai.attribution.traced import Traced, _link
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.lrp.inplace import refuse_shared_writes
from neuroxai.lrp.operations import probability
from neuroxai.lrp.shadow import shadow, unwrapped, warn_if_training
from neuroxai.lrp.targets import Target, checked_input, class_scores, probabilities, target_indices
from neuroxai.lrp.trace import trace

_WORTH_IT = 0.6  # share of the network's operations above which whole inputs are run
_NUMBERS = 2**22  # held at once by default, about: 16 MiB in float32


@dataclass(frozen=True)
class _Traces:
    """The network as written, and up to its logits: without the softmax or sigmoid at its end, if it has one."""

    whole: nn.Module
    bare: nn.Module
    graph: fx.Graph
    modules: dict[str, nn.Module]
    result: fx.Node
    link: str | None

    @classmethod
    def of(cls, double: nn.Module) -> _Traces:
        (whole, modules), (bare, _) = trace(double), trace(double)
        refuse_shared_writes(whole, modules)
        link = _link(bare, modules)
        kind = None if link is None else probability(link, modules)
        if link is not None:
            link.replace_all_uses_with(link.all_input_nodes[0])
        result: Any = next(n for n in bare.nodes if n.op == "output").args[0]
        if not isinstance(result, fx.Node):
            raise UnsupportedLayerError("the network returns something else than one tensor")
        return cls(Traced(double, whole, (), None), Traced(double, bare, (), None), bare, modules, result, kind)


class _Recording(nn.Module):
    def __init__(self, traces: _Traces) -> None:
        super().__init__()
        self._traces = traces
        self.cones: Cones

    def forward(self, x: Tensor) -> Any:
        output, self.cones = record(self._traces.graph, self._traces.modules, self._traces.result, x)
        return output


class OccludedNetwork:
    """The double of a model, ready to be run on inputs with parts replaced.

    Parameters
    ----------
    model : torch.nn.Module
        Left untouched.
    options : Options
        How parts are occluded.

    Raises
    ------
    UnsupportedLayerError
        If `options.recompute` is "cone" and the network cannot be traced.
    """

    def __init__(self, model: nn.Module, options: Options) -> None:
        self._double = shadow(unwrapped(model))
        self._options = options
        self._traces: _Traces | None = None
        self._checked = False
        try:
            self._traces = _Traces.of(self._double)
        except UnsupportedLayerError:
            if options.recompute == "cone":
                raise

    def drops(self, x: Tensor, parts: Parts, target: Target, indices: Tensor, sample: int) -> Tensor:
        """Return by how much the score of one sample falls when each part is replaced.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, channels, *grid)
            The inputs.
        parts : Parts
            What is replaced, one at a time.
        target : int, sequence or torch.Tensor
            As the caller gave it, for messages.
        indices : torch.Tensor, shape (batch,)
            The classes of all samples.
        sample : int
            Which sample.

        Returns
        -------
        torch.Tensor, shape (parts,)
            Zero without a run for parts that hold the replacing value already.
        """
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            x, index = x[sample : sample + 1], int(indices[sample])
            outputs, cones = self._whole(x, target, indices)
            score = self._score(outputs, index)
            drops = x.new_zeros(len(parts.low))
            for which, places in self._passes(x, parts, cones):
                if cones is not None and places is not None:
                    boxes = places[cones.source]
                    outputs = cones.scores(places, self._occluded(x, parts, which, boxes.start, boxes.size))
                else:
                    outputs = self._network()(self._everywhere(x, parts, which))
                drops[which.to(x.device)] = score - self._score(outputs, index)
            return drops.clamp(min=0) if self._options.positive else drops

    def _whole(self, x: Tensor, target: Target, indices: Tensor) -> tuple[Tensor, Cones | None]:
        """Run the input as it is; copies, for the network may write into what it is given."""
        if self._traces is not None and not self._checked:
            self._check(self._traces, x, target, indices)
        traces = self._traces
        if traces is None or self._options.recompute == "all":
            return Scores(self._network(), target, indices)(x.clone()), None
        recording = _Recording(traces)
        return Scores(recording, target, indices)(x), recording.cones

    def _network(self) -> nn.Module:
        """Return the network that gives logits for whole inputs."""
        traces = self._traces
        return self._double if traces is None else traces.bare

    def _check(self, traces: _Traces, x: Tensor, target: Target, indices: Tensor) -> None:
        """On the first call, hold the traced network against the model's own output."""
        own = Scores(self._double, target, indices)(x.clone())
        traced = class_scores(traces.whole(x.clone()))
        if not torch.allclose(own, traced, rtol=1e-3, atol=1e-3):
            if self._options.recompute == "cone":
                raise UnsupportedLayerError(
                    f"the traced network gives {traced.flatten()[0]:.6g}, the model {own.flatten()[0]:.6g}: its "
                    "forward depends on something that torch.fx does not see; use recompute='auto'"
                )
            self._traces = None
        self._checked = True

    def _score(self, outputs: Tensor, index: int) -> Tensor:
        scores = class_scores(outputs)
        if self._options.score == "probability":
            scores = probabilities(scores, None if self._traces is None else self._traces.link)
        return scores[:, index]

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
            for which in torch.split(group, self._options.per_pass or many):
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


class OcclusionMethod(captum.attr.Attribution):  # type: ignore[misc]  # captum is untyped
    """What the two occlusion methods do with a batch."""

    def __init__(self, model: nn.Module, options: Options) -> None:
        network = OccludedNetwork(model, options)  # refuse what cannot be doubled now, not at the first call
        super().__init__(model)
        self.model = model
        self._network = network

    def _drops(self, inputs: Tensor, target: Target, parts: Callable[[Tensor], P]) -> tuple[Tensor, P]:
        """Return the drop of each sample's score for each part, (batch, parts), and the parts, made for the inputs."""
        warn_if_training(self.model)
        x = checked_input(inputs, self.model)
        if x.ndim < 3:
            raise InputError(f"inputs have shape {tuple(x.shape)}; occlusion wants (batch, channels, *spatial)")
        indices = target_indices(target, len(x), x.device)
        what = parts(x)
        rows = [self._network.drops(x, what, target, indices, n) for n in range(len(x))]
        return torch.stack(rows), what
