"""Conservation of relevance in one explanation: what arrived at each layer, was passed on, and stayed there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from neuroxai.lrp.engine.propagate import Saved, signals
from neuroxai.lrp.steps.base import Step
from neuroxai.lrp.steps.filters import LinearStep


class ConservationWarning(UserWarning):
    """Little of the relevance that an explanation started with arrived at the input, or far more."""


@dataclass(frozen=True)
class Entry:
    """One step of the backward pass; all figures (batch,), float64.

    Attributes
    ----------
    layer : str
        The layer's name; several where a normalisation is folded into a layer.
    arrived, passed_on : torch.Tensor
        Relevance of the layer's outputs and of its inputs.
    bias : torch.Tensor
        What the bias (with the shift of a folded normalisation) absorbed.
    other : torch.Tensor
        What is lost or won otherwise: stabilisers, neurons without contributions of the sign that the rule asks for,
        masked channels, strains averaged; also biases of layers whose bias cannot be told apart.
    """

    layer: str
    arrived: Tensor
    passed_on: Tensor
    bias: Tensor
    other: Tensor

    @property
    def absorbed(self) -> Tensor:
        """Relevance that arrived and was not passed on."""
        return self.bias + self.other


@dataclass(frozen=True)
class Conservation:
    """Conservation report; ``str()`` prints it as a table, averaged over the batch.

    Attributes
    ----------
    start : torch.Tensor
        (batch,), relevance that the explanation started with.
    input : torch.Tensor
        (batch,), relevance that arrived at the input.
    entries : tuple of Entry
        From the output to the input. The sum of what they absorbed is ``start - input``.
    """

    start: Tensor
    input: Tensor
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        """Return the table: steps that keep something, then how many pass all of it on."""
        scale = max(float(e.arrived.abs().max()) for e in self.entries) if self.entries else 0.0
        lossy = [e for e in self.entries if float((e.arrived - e.passed_on).abs().max()) > 1e-12 * scale]
        rows = [["layer", "arrived", "passed on", "bias", "other"]]
        for e in lossy:
            rows.append([e.layer, *(f"{float(v.mean()):.6g}" for v in (e.arrived, e.passed_on, e.bias, e.other))])
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        lines.append(f"{len(self.entries) - len(lossy)} other steps pass on all that arrives.")
        absorbed = float((self.start - self.input).mean())
        lines.append(
            f"start {float(self.start.mean()):.6g}, input {float(self.input.mean()):.6g}, absorbed {absorbed:.6g} "
            f"({'1 sample' if len(self.start) == 1 else f'mean of {len(self.start)} samples'})"
        )
        return "\n".join(lines)


@dataclass
class ConservationRecorder:
    """Notes what happens to relevance in the backward pass; its `watch` is a `neuroxai.lrp.plan.Watch`."""

    entries: list[Entry] = field(default_factory=list)

    def watch(self, step: Step, saved: Any, arrived: Tensor, shares: Sequence[Tensor]) -> bool:
        """Enter one step."""
        passed_on = total(arrived) * 0
        for share in shares:
            passed_on = passed_on + total(share)
        bias = _to_bias(step, saved, arrived)
        other = total(arrived) - passed_on - bias
        self.entries.append(Entry(" + ".join(step.labels), total(arrived), passed_on, bias, other))
        return False

    def closed(self, relevance: Tensor) -> Conservation:
        """Return the report, given the relevance of the input."""
        if not self.entries:  # relevance starts at the input itself
            return Conservation(total(relevance), total(relevance), ())
        return Conservation(self.entries[0].arrived, total(relevance), tuple(self.entries))


def total(relevance: Tensor) -> Tensor:
    """Return each sample's sum, (batch,), in float64."""
    return relevance.reshape(len(relevance), -1).sum(1, dtype=torch.float64)


def _to_bias(step: Step, saved: Any, arrived: Tensor) -> Tensor:
    """Return what a layer's bias took of the relevance: its share of each denominator."""
    nothing = torch.zeros(len(arrived), dtype=torch.float64, device=arrived.device)
    if not isinstance(step, LinearStep) or step.rule.bias != "absorb":
        return nothing
    of_layer: Saved = saved[0]
    if of_layer.bias is None:
        return nothing
    found = signals(step.rule, of_layer.denominators, arrived, of_layer.output)
    for part, signal in zip(step.rule.parts, found, strict=True):
        nothing = nothing + total(signal * step.operator.spread(part.bias.of(of_layer.bias), signal))
    return nothing
