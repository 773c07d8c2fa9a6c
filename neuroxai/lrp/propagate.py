"""The one engine that applies any rule to any linear operator.

`share_out` runs the layer forward and computes the denominators of the rule's parts on the way; `collect` takes the
relevance of the outputs back to the inputs. Terms that share a piece of the input are run as one stacked operation, and
pieces that are known to vanish (the negative piece of inputs >= 0) are left out. Sums of one sign are computed
directly, never as a difference: subtracting loses about 1e-4 in single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neuroxai.lrp.operators import Dense, Operator
from neuroxai.lrp.parts import WHOLE, Piece, Rule, Weight


@dataclass(frozen=True)
class Slot:
    """One stacked operation's share: the part it adds to (None: the layer's output) and the weights it takes."""

    part: int | None
    weight: Weight


@dataclass
class Saved:
    """What the way back needs of one layer's forward pass."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    nonnegative: bool
    denominators: list[Tensor]
    output: Tensor | None = None


def piece_of(x: Tensor, piece: Piece) -> Tensor:
    """Return a piece of the input; a constant stands for all samples, (1, ...)."""
    if isinstance(piece, float):
        return x.new_full((1, *x.shape[1:]), piece)
    if piece == "all":
        return x
    return x.clamp(min=0) if piece == "positive" else x.clamp(max=0)


def slots(rule: Rule, nonnegative: bool) -> dict[Piece, list[Slot]]:
    """Sort the rule's terms by the piece of input they take.

    Parameters
    ----------
    rule : Rule
        The rule.
    nonnegative : bool
        Whether the input is known to be >= 0: its positive piece is then all of it.
    """
    table: dict[Piece, list[Slot]] = {}
    for index, part in enumerate(rule.parts):
        for term in part.terms:
            if nonnegative and term.input == "negative":
                continue
            piece: Piece = "all" if nonnegative and term.input == "positive" else term.input
            table.setdefault(piece, []).append(Slot(index, term.weight))
    return table


def share_out(
    rule: Rule, operator: Operator, x: Tensor, weight: Tensor, bias: Tensor | None, nonnegative: bool
) -> tuple[Tensor, Saved]:
    """Run a layer forward and keep the denominators of the rule's parts.

    Parameters
    ----------
    rule : Rule
        The rule.
    operator : Operator
        The layer's geometry.
    x, weight, bias : torch.Tensor
        The layer's input and parameters.
    nonnegative : bool
        Whether `x` is known to be >= 0.

    Returns
    -------
    output : torch.Tensor
        The layer's output, bias included.
    kept : Saved
        For `collect`.
    """
    rule.check(x)
    parts = rule.parts
    in_denominators = bias if rule.bias != "ignore" else None
    table = slots(rule, nonnegative)
    if not rule.complete:
        table.setdefault("all", []).insert(0, Slot(None, WHOLE))
    sums: dict[int | None, Tensor] = {}
    for piece, group in table.items():
        biases: list[Tensor | None] = []
        for slot in group:
            if slot.part in sums or bias is None:  # the bias enters each sum once
                biases.append(None)
            elif slot.part is None:
                biases.append(bias)
            else:
                biases.append(None if in_denominators is None else parts[slot.part].bias.of(bias))
        stacked_bias = None
        if bias is not None and any(b is not None for b in biases):
            stacked_bias = operator.stack_weights([torch.zeros_like(bias) if b is None else b for b in biases])
        weights = operator.stack_weights([slot.weight.of(weight) for slot in group])
        results = operator.split(operator.forward(piece_of(x, piece), weights, stacked_bias), len(group))
        for slot, result in zip(group, results, strict=True):
            sums[slot.part] = sums[slot.part] + result if slot.part in sums else result
    denominators = [sums[index].expand(len(x), *sums[index].shape[1:]) for index in range(len(parts))]
    if rule.complete:
        output = denominators[0]
        for other in denominators[1:]:
            output = output + other
        if bias is not None and in_denominators is None:
            output = output + operator_bias(operator, bias, output)
    else:
        output = sums[None]
    gated = any(part.where != "always" for part in parts)
    return output, Saved(x, weight, bias, nonnegative, denominators, output if gated else None)


def operator_bias(operator: Operator, bias: Tensor, like: Tensor) -> Tensor:
    """Return the bias shaped so that it adds to an output of the operator."""
    spread: Callable[[Tensor, Tensor], Tensor] | None = getattr(operator, "spread_bias", None)
    if spread is not None:  # its biases do not stand on one axis
        return spread(bias, like)
    return bias if isinstance(operator, Dense) else bias.view(-1, *(1,) * (like.ndim - 2))


def stabilised(denominator: Tensor, epsilon: float) -> Tensor:
    """Return ``z + epsilon * sign(z)`` with sign(0) = +1."""
    return torch.where(denominator < 0, denominator - epsilon, denominator + epsilon)


def collect(
    rule: Rule,
    operator: Operator,
    kept: Saved,
    relevance: Tensor,
    spread: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Take the relevance of a layer's outputs back to its inputs.

    Parameters
    ----------
    rule, operator
        As given to `share_out`.
    kept : Saved
        From `share_out`; its denominators may have been reduced to a pooling's winners.
    relevance : torch.Tensor
        Shaped like the denominators.
    spread : callable, optional
        Puts signals at the winners back on the layer's grid: takes stacked signals and how many are stacked.

    Returns
    -------
    torch.Tensor
        Relevance of the inputs.
    """
    signals = part_signals(rule, kept, relevance)
    total: Tensor | None = None

    def back(group: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        stacked = operator.stack(group)
        if spread is not None:
            stacked = spread(stacked, len(group))
        return operator.transpose(stacked, operator.stack_weights(weights), kept.x.shape)

    for piece, group in slots(rule, kept.nonnegative).items():
        used = [(signals[slot.part], slot.weight.of(kept.weight)) for slot in group if slot.part is not None]
        mass = back([s for s, _ in used], [w for _, w in used])
        mass = mass.mul_(piece_of(kept.x, piece))
        total = mass if total is None else total.add_(mass)
    if total is None:
        total = torch.zeros_like(kept.x)
    if rule.bias == "distribute" and kept.bias is not None:
        ones = torch.ones_like(kept.weight)
        count = operator.forward(torch.ones_like(kept.x), ones, None)
        pieces = [operator_bias(operator, p.bias.of(kept.bias), count) for p in rule.parts]
        shares = torch.zeros_like(relevance)
        for piece_bias, signal in zip(pieces, signals, strict=True):
            shares = shares + signal * piece_bias
        stacked = shares if spread is None else spread(shares, 1)
        total = total + operator.transpose(stacked / count.clamp(min=1), ones, kept.x.shape)
    return total


def part_signals(rule: Rule, kept: Saved, relevance: Tensor) -> list[Tensor]:
    """Return ``share * R / stabilised denominator`` for each part."""
    parts, signals = rule.parts, []
    for index, part in enumerate(parts):
        denominator = kept.denominators[index]
        signal = relevance / stabilised(denominator, rule.epsilon)
        if rule.epsilon == 0:  # a neuron without contributions passes nothing on
            signal = torch.where(denominator == 0, 0, signal)
        if part.alone is not None and len(parts) > 1:
            others = [kept.denominators[i] == 0 for i in range(len(parts)) if i != index]
            alone = torch.stack(others).all(0)
            signal = signal * torch.where(alone, part.alone, part.share).to(signal.dtype)
        elif part.share != 1:
            signal = signal * part.share
        if part.where != "always" and kept.output is not None:
            speaks = kept.output >= 0 if part.where == "output >= 0" else kept.output < 0
            signal = signal * speaks
        signals.append(signal)
    return signals
