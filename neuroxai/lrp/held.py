"""Operations that are linear in each factor: matrix products, products of two signals, attention.

The relevance of the weights of an attention is held constant (CP-LRP, Ali et al. 2022, ICML): what is left is linear in
the values and follows the epsilon rule. Where neither factor is a gate, each takes half (Achtibat et al. 2024, ICML,
equation 13: the uniform rule for products).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from neuroxai.lrp.parts import Rule
from neuroxai.lrp.propagate import Saved, part_signals
from neuroxai.lrp.rules import Epsilon
from neuroxai.lrp.steps import CallStep, Values


@dataclass(frozen=True)
class HeldStep(CallStep):
    """A map that is linear in each of its inputs, all others held constant, under the epsilon rule.

    Attributes
    ----------
    rule : Epsilon or Zero
        Stabiliser of the denominators.
    factors : int
        How many factors share the relevance; a tensor that enters twice counts twice.
    """

    rule: Rule = field(default_factory=Epsilon)
    factors: int = 1

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; what it read and put out is kept."""
        output = self.call(values)
        return output, ({name: values[name] for name in self.reads()}, output)

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Return ``x_i (dz/dx_i)^T (R / z) / n`` for each input of n factors."""
        values, z = kept
        empty = relevance.new_zeros(0)
        (signal,) = part_signals(self.rule, Saved(empty, empty, None, False, [z]), relevance)
        shares = []
        for name in self.inputs:
            with torch.enable_grad():
                x = values[name].detach().requires_grad_(True)
                output = self.call({**values, name: x})
                (back,) = torch.autograd.grad(output, x, signal)
            shares.append(x.detach() * back / self.factors)
        return shares


@dataclass(frozen=True)
class SoftmaxStep(CallStep):
    """A softmax opened by its Taylor expansion: ``R_i = x_i (R_i - s_i sum_j R_j)`` (Achtibat 2024, equation 14).

    Attributes
    ----------
    axis : int
        The axis that sums to one.
    """

    axis: int = -1

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; logits and weights are kept."""
        output = self.call(values)
        return output, (values[self.inputs[0]], output)

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Apply the rule; what is masked out takes nothing."""
        logits, weights = kept
        shares = relevance - weights * relevance.sum(self.axis, keepdim=True)
        return (torch.where(torch.isfinite(logits), logits, 0) * shares,)
