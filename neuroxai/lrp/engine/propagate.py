"""The one engine that applies any rule to any linear operator.

`forward` runs a layer and computes the denominators of the rule's parts beside its output; `backward` takes the
relevance of the outputs back to the inputs. Terms that share a piece of the input are run as one stacked operation, and
pieces that are known to vanish (the negative piece of inputs >= 0) are left out. Sums of one sign are computed
directly, never as a difference: subtracting loses about 1e-4 in single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neuroxai.lrp.engine.operators import Operator
from neuroxai.lrp.rules import WHOLE, Piece, Rule, Weight


@dataclass
class Saved:
    """What the backward pass needs of one layer's forward pass."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    nonnegative: bool
    denominators: list[Tensor]
    output: Tensor | None = None  # only for rules whose parts depend on its sign


def piece_of(x: Tensor, piece: Piece) -> Tensor:
    """Return a piece of the input; a constant stands for all samples, (1, ...)."""
    if isinstance(piece, float):
        return x.new_full((1, *x.shape[1:]), piece)
    if piece == "all":
        return x
    if piece in ("low", "high"):
        inside = x.flatten(1)
        bound = inside.amin(1).clamp(max=0) if piece == "low" else inside.amax(1).clamp(min=0)
        return bound.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x)
    return x.clamp(min=0) if piece == "positive" else x.clamp(max=0)


def terms_of(rule: Rule, nonnegative: bool) -> dict[Piece, list[tuple[int | None, Weight]]]:
    """Sort a rule's terms by the piece of input they take: the part that each adds to, and its piece of the weights."""
    table: dict[Piece, list[tuple[int | None, Weight]]] = {}
    for index, part in enumerate(rule.parts):
        for term in part.terms:
            if nonnegative and term.input == "negative":
                continue
            piece: Piece = "all" if nonnegative and term.input == "positive" else term.input
            table.setdefault(piece, []).append((index, term.weight))
    return table


def forward(
    rule: Rule, operator: Operator, x: Tensor, weight: Tensor, bias: Tensor | None, nonnegative: bool
) -> tuple[Tensor, Saved]:
    """Run a layer on `x`; return its output, bias included, and the denominators of the rule's parts beside it.

    `nonnegative`: `x` is known to be >= 0.
    """
    rule.check(x)
    parts = rule.parts
    table = terms_of(rule, nonnegative)
    if not rule.complete:
        table.setdefault("all", []).insert(0, (None, WHOLE))
    sums: dict[int | None, Tensor] = {}
    for piece, terms in table.items():
        biases: list[Tensor | None] = []
        for part, _ in terms:
            if part in sums or bias is None or (part is not None and rule.bias == "ignore"):
                biases.append(None)  # it enters each sum once
            else:
                biases.append(bias if part is None else parts[part].bias.of(bias))
        stacked_bias = None
        if bias is not None and any(b is not None for b in biases):
            stacked_bias = operator.stack_weights([torch.zeros_like(bias) if b is None else b for b in biases])
        weights = operator.stack_weights([piece_of_weight.of(weight) for _, piece_of_weight in terms])
        results = operator.split(operator.forward(piece_of(x, piece), weights, stacked_bias), len(terms))
        for (part, _), result in zip(terms, results, strict=True):
            sums[part] = sums[part] + result if part in sums else result
    denominators = [sums[index].expand(len(x), *sums[index].shape[1:]) for index in range(len(parts))]
    if rule.complete:
        output = sum(denominators[1:], denominators[0])
        if bias is not None and rule.bias == "ignore":
            output = output + operator.spread(bias, output)
    else:
        output = sums[None]
    gated = any(part.where != "always" for part in parts)
    return output, Saved(x, weight, bias, nonnegative, denominators, output if gated else None)


def backward(
    rule: Rule, operator: Operator, saved: Saved, relevance: Tensor,
    spread: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Take the relevance of a layer's outputs, shaped like the denominators, back to its inputs.

    Where a pooling has left the winners alone, `spread` puts signals back on the layer's grid: it takes stacked signals
    and how many are stacked.
    """
    found = signals(rule, saved.denominators, relevance, saved.output)
    total: Tensor | None = None
    for piece, terms in terms_of(rule, saved.nonnegative).items():
        stacked = operator.stack([found[part] for part, _ in terms if part is not None])
        stacked = stacked if spread is None else spread(stacked, len(terms))
        weights = operator.stack_weights([weight.of(saved.weight) for _, weight in terms])
        mass = operator.transpose(stacked, weights, saved.x.shape).mul_(piece_of(saved.x, piece))
        total = mass if total is None else total.add_(mass)
    if total is None:
        total = torch.zeros_like(saved.x)
    if rule.bias == "distribute" and saved.bias is not None:
        ones = torch.ones_like(saved.weight)
        count = operator.forward(torch.ones_like(saved.x), ones, None)
        shares = torch.zeros_like(relevance)
        for part, signal in zip(rule.parts, found, strict=True):
            shares = shares + signal * operator.spread(part.bias.of(saved.bias), count)
        shares = shares if spread is None else spread(shares, 1)
        total = total + operator.transpose(shares / count.clamp(min=1), ones, saved.x.shape)
    return total


def stabilised(denominator: Tensor, epsilon: float) -> Tensor:
    """Return ``z + epsilon * sign(z)`` with sign(0) = +1."""
    return torch.where(denominator < 0, denominator - epsilon, denominator + epsilon)


def signals(
    rule: Rule, denominators: Sequence[Tensor], relevance: Tensor, output: Tensor | None = None
) -> list[Tensor]:
    """Return ``share * R / stabilised denominator`` for each part, all shaped like the output.

    The layer's output itself is read by rules alone whose parts depend on its sign.
    """
    parts, found = rule.parts, []
    for index, (part, denominator) in enumerate(zip(parts, denominators, strict=True)):
        if rule.epsilon == 0:  # a neuron without contributions passes nothing on
            nothing = denominator == 0
            signal = torch.where(nothing, 0, relevance / torch.where(nothing, 1, denominator))
        else:
            signal = relevance / stabilised(denominator, rule.epsilon)
        if part.alone is not None and len(parts) > 1:
            others = [other == 0 for i, other in enumerate(denominators) if i != index]
            alone = torch.stack(others).all(0)
            signal = signal * torch.where(alone, part.alone, part.share).to(signal.dtype)
        elif part.share != 1:
            signal = signal * part.share
        if part.where != "always" and output is not None:
            signal = signal * (output >= 0 if part.where == "output >= 0" else output < 0)
        found.append(signal)
    return found
