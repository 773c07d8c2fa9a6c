"""Conservation of relevance in one explanation: what arrived at each layer, was passed on, and stayed there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from neuroxai.errors import warn
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

    samples: int  # a network may stack parts of each on the first axis, or let go of the axis of one
    entries: list[Entry] = field(default_factory=list)

    def watch(self, step: Step, saved: Any, arrived: Tensor, shares: Sequence[Tensor]) -> bool:
        """Enter one step."""
        whole = self._total(arrived)
        passed_on = sum(map(self._total, shares), whole * 0)
        bias = sum(map(self._total, _to_bias(step, saved, arrived)), whole * 0)
        self.entries.append(Entry(" + ".join(step.labels), whole, passed_on, bias, whole - passed_on - bias))
        return False

    def _total(self, relevance: Tensor) -> Tensor:
        return total(relevance.reshape(self.samples, -1))

    def closed(self, relevance: Tensor) -> Conservation:
        """Return the report, given the relevance of the input."""
        if not self.entries:  # relevance starts at the input itself
            return Conservation(total(relevance), total(relevance), ())
        return Conservation(self.entries[0].arrived, total(relevance), tuple(self.entries))


def warn_if_lost(conserved: float) -> None:
    """Warn if little of the relevance that an explanation started with arrived at the inputs, or far more."""
    if not 0.1 <= conserved <= 10:
        warn(
            f"of the initial relevance {conserved:.3g} times as much arrives at the inputs: biases or the rules absorb "
            "the rest; report() tells which layers, and another composite conserves more",
            ConservationWarning,
        )


def total(relevance: Tensor) -> Tensor:
    """Return each sample's sum, (batch,), in float64."""
    return relevance.reshape(len(relevance), -1).sum(1, dtype=torch.float64)


def _to_bias(step: Step, saved: Any, arrived: Tensor) -> Iterator[Tensor]:
    """Yield what a layer's bias took of the relevance: its share of each denominator."""
    if isinstance(step, LinearStep) and step.rule.bias == "absorb" and saved[0].bias is not None:
        of_layer: Saved = saved[0]
        found = signals(step.rule, of_layer.denominators, arrived, of_layer.output)
        for part, signal in zip(step.rule.parts, found, strict=True):
            yield signal * step.operator.spread(part.bias.of(saved[0].bias), signal)
