"""Concept relevance: relevance that goes through chosen channels of hidden layers, and the channels ranked by it.

Achtibat et al. (2023), Nature Machine Intelligence 5: 1006-1019: in the backward pass, the relevance of all
other channels of a conditioned layer is set to zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from neuroxai.errors import InputError
from neuroxai.lrp.given import is_index
from neuroxai.lrp.plan import Plan, Watch
from neuroxai.lrp.starts import find
from neuroxai.lrp.steps.base import Step, Values

Conditions = Mapping[str, int | Sequence[int]] | None
ORDERS = ("absolute", "signed")


@dataclass(frozen=True)
class MaskStep(Step):
    """Stands behind a layer: values go through, and of the relevance only that of the chosen channels (axis 1)."""

    channels: tuple[int, ...] | None = None  # None: all, the step only marks the place

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Hold the channels against the layer's."""
        x = values[self.inputs[0]]
        wrong = [c for c in self.channels or () if c >= x.shape[1]]
        if wrong:
            raise InputError(f"condition on channel {wrong[0]}; it has {x.shape[1]} channels: 0 to {x.shape[1] - 1}")
        return x, None

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Keep the chosen channels."""
        if self.channels is None:
            return (relevance,)
        index = torch.tensor(self.channels, device=relevance.device)
        return (torch.zeros_like(relevance).index_copy_(1, index, relevance.index_select(1, index)),)


def conditioned(plan: Plan, conditions: Conditions) -> Plan:
    """Put a mask behind each conditioned layer."""
    if conditions is None:
        return plan
    if not isinstance(conditions, Mapping):
        raise InputError(f"conditions are {conditions!r}, expected a dict {{layer name: channel or channels}}")
    for layer, channels in [(layer, _channels(layer, chosen)) for layer, chosen in conditions.items()]:
        plan = masked(plan, layer, channels)
    return plan


def masked(plan: Plan, layer: str, channels: tuple[int, ...] | None) -> Plan:
    """Put one mask behind a layer; everything that read the layer's output reads the mask's."""
    before = find(plan, layer, "conditioned layer" if channels is not None else "layer")
    inner = f"{before.name}/all"  # no name of torch.fx has a slash
    mask = MaskStep(before.name, (inner,), (f"{layer} (condition)",), gives="keeps", channels=channels)
    steps: list[Step] = []
    for step in plan.steps:
        steps += [replace(step, name=inner), mask] if step is before else [step]
    return replace(plan, steps=tuple(steps))


def arrivals(found: dict[str, Tensor]) -> Watch:
    """Collect the relevance of each layer's output by name; at a conditioned layer what its mask has left."""

    def watch(step: Step, saved: Any, arrived: Tensor, shares: Sequence[Tensor]) -> bool:
        if not isinstance(step, MaskStep):
            found.update(step.of_outputs(saved, arrived))
        return False

    return watch


def probe(found: list[Tensor]) -> Watch:
    """Take the relevance at the mask without channels, and end the backward pass there."""

    def watch(step: Step, saved: Any, arrived: Tensor, shares: Sequence[Tensor]) -> bool:
        if isinstance(step, MaskStep) and step.channels is None:
            found.append(arrived)
        return bool(found)

    return watch


def _channels(layer: str, chosen: object) -> tuple[int, ...]:
    listed = [chosen] if is_index(chosen) else chosen
    if hasattr(listed, "tolist"):
        listed = listed.tolist()
    if not isinstance(listed, list | tuple | set | frozenset | range) or not listed:
        raise InputError(f"condition on layer {layer!r} is {chosen!r}, expected a channel or a list of channels")
    if not all(is_index(c) and c >= 0 for c in listed):
        raise InputError(f"condition on layer {layer!r} is {chosen!r}, expected integers from 0")
    return tuple(sorted({int(c) for c in listed}))


@dataclass(frozen=True)
class Ranking:
    """Channels of one layer, each sample's most relevant first.

    Attributes
    ----------
    layer : str
        The layer.
    channels : torch.Tensor
        (batch, channels), the channels' numbers.
    relevance : torch.Tensor
        (batch, channels), in the same order: the relevance each carries, summed over its positions.
    """

    layer: str
    channels: Tensor
    relevance: Tensor

    def top(self, count: int, sample: int = 0) -> list[int]:
        """Return the numbers of one sample's first `count` channels, as `conditions` takes them."""
        numbers: list[int] = self.channels[sample, :count].tolist()
        return numbers

    def __str__(self) -> str:
        """Return the ten most relevant channels of each sample, one sample a line."""
        rows = []
        for sample, (channels, values) in enumerate(zip(self.channels, self.relevance, strict=True)):
            pairs = [f"{int(c)} ({float(v):+.3g})" for c, v in zip(channels[:10], values[:10], strict=True)]
            rows.append(f"sample {sample}, {self.layer}: {', '.join(pairs)}")
        return "\n".join(rows)


def ranked(layer: str, relevance: Tensor, by: Literal["absolute", "signed"]) -> Ranking:
    """Rank a layer's channels by their relevance (batch, channels, ...)."""
    sums = relevance.flatten(2).sum(2) if relevance.ndim > 2 else relevance
    order = (sums.abs() if by == "absolute" else sums).argsort(dim=1, descending=True, stable=True)
    return Ranking(layer, order, sums.gather(1, order))
