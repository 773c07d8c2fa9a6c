"""Where relevance starts: at the target's score, or at neurons of a hidden layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

import torch
from torch import Tensor, nn

from neuroxai.errors import InputError, UnsupportedLayerError, one_of, warn
from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp.folding import needed
from neuroxai.lrp.given import Given, Target, class_scores, is_index, probabilities
from neuroxai.lrp.plan import Plan, proportional
from neuroxai.lrp.steps.base import Step
from neuroxai.lrp.steps.filters import LinearStep

STARTS = ("logit", "probability")
Neuron = int | Sequence[int] | Mapping[str, int] | None


@dataclass(frozen=True)
class Start:
    """What is explained: arguments of `neuroxai.lrp.LRP.attribute`, which may contradict each other."""

    target: Target = None
    start: Literal["logit", "probability"] | Tensor | Callable[[Tensor], Tensor] | None = None
    layer: str | None = None
    neuron: Neuron = None

    def __post_init__(self) -> None:
        given = isinstance(self.start, Tensor) or callable(self.start)
        if self.start is not None and not given and self.start not in STARTS:
            raise one_of("start", self.start, STARTS, "Or a tensor (batch, classes), or a function of the logits.")
        if given and (self.target is not None or self.layer is not None):
            raise InputError(
                "start is the relevance of all outputs, so it goes without target and layer; put it into the tensor"
            )
        if self.layer is None:
            if self.neuron is not None:
                raise InputError(f"neuron is {self.neuron!r} but layer is None; name the layer that the neuron is in")
            return
        if self.target is not None:
            raise InputError(
                f"both target ({self.target!r}) and layer ({self.layer!r}) are given; relevance starts at one of them. "
                "To explain a class through chosen channels of a layer use conditions={layer: channels}"
            )
        if isinstance(self.start, str) and self.start == "probability":
            raise InputError(f"start is {self.start!r}, but relevance that starts at a layer starts from its values")

    def cut(self, plan: Plan) -> Plan:
        """Return the plan up to where relevance starts."""
        return plan if self.layer is None else truncated(plan, self.layer)

    def seed(self, output: Tensor, given: Given, activation: str | None, model: nn.Module) -> Tensor:
        """Return the relevance of the cut plan's result, shaped like it."""
        if self.layer is not None:
            if not bool(torch.isfinite(output).all()):
                raise InputError(f"layer {self.layer!r}: its output is NaN or infinite; check the weights")
            if self.neuron is None:
                return output
            index = (slice(None), *neuron_index(self.neuron, tuple(output.shape[1:]), self.layer, model))
            found = torch.zeros_like(output)
            found[index] = output[index]
            return found
        if isinstance(self.start, Tensor) or callable(self.start):
            return _of_outputs(self.start, class_scores(output)).reshape(output.shape)
        scores, chosen = given.scores(output), given.indices[:, None]
        values = scores if self.start == "logit" else probabilities(scores, activation)
        return torch.zeros_like(scores).scatter_(1, chosen, values.gather(1, chosen)).reshape(output.shape)


def usual_start(plan: Plan) -> Literal["logit", "probability"]:
    """Return where relevance of a class starts by default, so that what supports the class is positive.

    By the first rule that it meets: the logit where it shares out in proportion to all contributions, for a probability
    over a logit below zero would turn every sign; else the probability, as a logit below zero would.
    """
    return "logit" if proportional(plan.steps, plan.result) else "probability"


def warn_if_turned(start: str, usual: str, logits: Tensor) -> None:
    """Warn where a start, taken in the place of the usual one, turns the signs of a map; `logits` of the class."""
    if start != usual and bool((logits < 0).any()):
        warn(
            f"relevance starts at the {start} of a class whose logit is below 0 ({float(logits.min()):.3g}): with the "
            "rule of this network's last layer that turns every sign of the map, and what supports the class is "
            f"negative. start={usual!r} keeps the signs"
        )


def _of_outputs(start: Tensor | Callable[[Tensor], Tensor], scores: Tensor) -> Tensor:
    """Return an initial relevance that is a tensor, or made of the logits."""
    found = start if isinstance(start, Tensor) else start(scores)
    if not isinstance(found, Tensor) or found.shape not in (scores.shape, scores.shape[1:]):
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"start gives {got}, expected a tensor of shape {tuple(scores.shape)}, (batch, classes)")
    if not bool(torch.isfinite(found).all()):
        raise InputError("start holds values that are NaN or infinite, expected finite relevance of each output")
    return found.to(scores).expand(scores.shape)


def reached(plan: Plan) -> list[Step]:
    """Return the steps that relevance reaches from the plan's result, in the order they run."""
    needed, found = {plan.result}, []
    for step in reversed(plan.steps):
        if step.name in needed:
            found.append(step)
            needed.update(step.inputs)
    return found[::-1]


def find(plan: Plan, layer: str, what: str = "layer") -> Step:
    """Return the step of a layer."""
    steps = reached(plan)
    for step in steps:
        if layer in step.labels:
            return step
    if any(layer in step.labels for step in plan.steps):
        raise InputError(f"{what} {layer!r}: no relevance reaches it from where it starts; name a layer before that")
    names = [name for step in steps for name in step.labels]
    inside = [name for name in names if isinstance(layer, str) and name.startswith(f"{layer}.")]
    close = inside or get_close_matches(str(layer), names, n=8, cutoff=0.5) or names
    raise one_of(what, layer, close[:40], "" if len(close) == len(names) else "LRP(...).layers names them all.")


def truncated(plan: Plan, layer: str) -> Plan:
    """Return the plan up to a layer, whose output becomes the result; nothing behind it is left.

    A layer with a normalisation folded into it ends before the normalisation, unless that is the layer asked for.
    """
    end = find(plan, layer)
    last = end
    while isinstance(last, LinearStep) and last.merged is not None and layer in last.merged.labels:
        last = replace(last.merged, name=end.name)
    if layer != last.labels[-1]:
        if not isinstance(last, LinearStep) or last.fixed is None or layer != last.labels[0]:
            raise UnsupportedLayerError(
                f"layer {layer!r} is merged with {last.labels[-1]!r} and has no output of its own; start there"
            )
        last = replace(last, fixed=None, labels=last.labels[:1])
    steps = [last if step is end else step for step in plan.steps]
    return replace(plan, steps=tuple(needed(steps, end.name)), result=end.name, activation=None)


def neuron_index(neuron: Neuron, shape: tuple[int, ...], layer: str, model: nn.Module) -> tuple[int | slice, ...]:
    """Return the neuron's index in the layer's output without its batch axis; errors say what neurons there are."""
    has = f"layer {layer!r} has outputs of shape {shape}, (channels, *positions) without the batch"
    if isinstance(neuron, Mapping):
        module = _module(model, layer)
        neurons = getattr(module, "neurons", None)
        if set(neuron) != {"patch", "filter"} or neurons is None:
            raise InputError(
                f"neuron is {dict(neuron)!r} at layer {layer!r} ({type(module).__name__}), expected "
                '{"patch": p, "filter": f} at a PatchIndividualFilter layer, '
                "a channel or (channel, *position) at any other"
            )
        picked: tuple[int | slice, ...] = neurons(neuron["patch"], neuron["filter"])
        return picked
    numbers = (neuron,) if is_index(neuron) else neuron
    if not isinstance(numbers, list | tuple) or not all(is_index(n) for n in numbers):
        raise InputError(f"neuron is {neuron!r}, expected a channel or (channel, *position): {has}")
    if len(numbers) not in (1, len(shape)):
        raise InputError(f"neuron {tuple(numbers)} has {len(numbers)} indices, expected 1 or {len(shape)}: {has}")
    if any(not 0 <= n < size for n, size in zip(numbers, shape, strict=False)):
        raise InputError(f"neuron {neuron!r} does not exist; {has}")
    return tuple(int(n) for n in numbers)


def all_neurons(model: nn.Module, layer: str, channels: int) -> list[Neuron]:
    """Return what shares weights in a layer: each patch x filter of a `PatchIndividualFilter`, else each channel."""
    module = _module(model, layer)
    if isinstance(module, PatchIndividualFilter):
        return [{"patch": p, "filter": f} for p in range(module.patches) for f in range(module.out_channels)]
    return list(range(channels))


def _module(model: nn.Module, layer: str) -> nn.Module | None:
    return dict(model.named_modules(remove_duplicate=False)).get(layer.partition(":")[0])
