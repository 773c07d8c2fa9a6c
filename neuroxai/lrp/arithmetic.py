"""Sums of tensors and constants; products with constants and gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from neuroxai.lrp.parts import Rule, Term
from neuroxai.lrp.propagate import Saved, part_signals, piece_of
from neuroxai.lrp.steps import CallStep, Step, Values


@dataclass(frozen=True)
class SumStep(Step):
    """Weighted sum of tensors, plus constants: a linear layer under the same rules; constants are its bias.

    Attributes
    ----------
    rule : Rule
        The composite's rule for sums.
    weights : tuple of float
        One for each input; all one if empty. A difference is a sum with a weight of -1.
    constant : callable, optional
        Takes the values by name; returns a number or tensor to add.
    also_reads : tuple of str
        Values that `constant` reads.
    """

    rule: Rule = field(default_factory=Rule)
    weights: tuple[float, ...] = ()
    constant: Callable[[Values], Any] | None = None
    also_reads: tuple[str, ...] = ()

    def reads(self) -> tuple[str, ...]:
        """Return inputs and constants."""
        return (*self.inputs, *self.also_reads)

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """Tell that sums of values >= 0 are >= 0."""
        return all(inputs) and self.constant is None and all(w >= 0 for w in self.weights)

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Add; the summands are kept."""
        tensors = [values[name] for name in self.inputs]
        bias = None
        if self.constant is not None:
            bias = torch.as_tensor(self.constant(values), dtype=tensors[0].dtype, device=tensors[0].device)
        return self._output(tensors, bias), (tensors, bias)

    def _output(self, tensors: Sequence[Tensor], bias: Tensor | None) -> Tensor:
        weights = self.weights or (1.0,) * len(tensors)
        summands = [x if w == 1 else x * w for x, w in zip(tensors, weights, strict=True)]
        return added([*summands, *([] if bias is None else [bias])])

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Share out in proportion to the summands' contributions."""
        tensors, bias = kept
        parts = self.rule.parts
        weights = self.weights or (1.0,) * len(tensors)
        contributions: list[list[Tensor]] = [
            [added([_of_term(t, x, w) for t in part.terms]) for part in parts]
            for x, w in zip(tensors, weights, strict=True)
        ]
        pieces = [None if bias is None else part.bias.of(bias) for part in parts]
        sums = []
        for index, piece in enumerate(pieces):
            summands = [of_one[index] for of_one in contributions]
            inside = [] if piece is None or self.rule.bias == "ignore" else [piece]
            sums.append(added([*summands, *inside]))
        empty = relevance.new_zeros(0)
        signals = part_signals(
            self.rule, Saved(empty, empty, None, False, sums, self._output(tensors, bias)), relevance
        )
        shared: Any = 0.0
        if self.rule.bias == "distribute":
            shared = sum(s * p for p, s in zip(pieces, signals, strict=True) if p is not None) / len(tensors)
        back = []
        for x, of_one in zip(tensors, contributions, strict=True):
            share = torch.stack([c * s for c, s in zip(of_one, signals, strict=True)]).sum(0) + shared
            back.append(share.sum_to_size(x.shape))  # undoes broadcasting
        return back


def added(tensors: Sequence[Tensor]) -> Tensor:
    """Add up tensors that broadcast."""
    total = tensors[0]
    for other in tensors[1:]:
        total = total + other
    return total


def _of_term(term: Term, x: Tensor, weight: float) -> Tensor:
    return piece_of(x, term.input) * float(term.weight.of(torch.tensor(weight, dtype=torch.float64)))


@dataclass(frozen=True)
class FactorStep(CallStep):
    """A product with something that takes no relevance: a constant, or a gate ("signal takes all", Arras 2017)."""

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Multiply; the signal's shape is kept."""
        return self.call(values), values[self.inputs[0]].shape

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Give all to the signal."""
        return (relevance.sum_to_size(kept),)  # undoes broadcasting
