"""What rules are made of: pieces of weights, terms, parts, and the base of all rules.

A rule says how the contributions ``w x`` of a linear layer are sorted into *parts*, which share of a neuron's relevance
each part gets, and what happens to the bias. It computes nothing: `neuroxai.lrp.propagate` applies every rule in the
same way.

For each part p with the contributions ``c_ij = sum over its terms of input_piece_i * weight_piece_ij``::

    z_j = sum_i c_ij + bias_piece_j
    R_i += share * sum_j c_ij * R_j / (z_j + epsilon * sign(z_j)),     sign(0) = +1

A new rule is a new set of parts; a new kind of weight piece is one line in `Weight.of`, a new kind of input piece one
in `neuroxai.lrp.propagate.piece_of`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from neuroxai.errors import InputError, one_of

Piece = Literal["all", "positive", "negative"] | float  # a number: that constant in place of the input
BiasMode = Literal["absorb", "ignore", "distribute"]
BIAS_MODES = ("absorb", "ignore", "distribute")


@dataclass(frozen=True)
class Weight:
    """A piece of the weights: ``whole w + positive max(w, 0) + negative min(w, 0)``, or ``squared w^2``, or ``one``."""

    whole: float = 0.0
    positive: float = 0.0
    negative: float = 0.0
    squared: float = 0.0
    one: float = 0.0

    def of(self, weight: Tensor) -> Tensor:
        """Return this piece of ``weight``, same shape."""
        if self.squared:
            return weight.square() * self.squared
        if self.one:
            return torch.full_like(weight, self.one)
        if not (self.positive or self.negative):
            return weight if self.whole == 1 else weight * self.whole
        if not self.whole and not self.negative:
            return weight.clamp(min=0) * self.positive if self.positive != 1 else weight.clamp(min=0)
        if not self.whole and not self.positive:
            return weight.clamp(max=0) * self.negative if self.negative != 1 else weight.clamp(max=0)
        return weight * self.whole + weight.clamp(min=0) * self.positive + weight.clamp(max=0) * self.negative

    @property
    def at_one(self) -> float:
        """The piece of a weight that is one, as those of sums are."""
        return self.whole + self.positive + self.squared + self.one


WHOLE = Weight(whole=1.0)
POSITIVE = Weight(positive=1.0)
NEGATIVE = Weight(negative=1.0)


@dataclass(frozen=True)
class Term:
    """One product of a piece of the input and a piece of the weights."""

    input: Piece
    weight: Weight


@dataclass(frozen=True)
class Part:
    """Contributions that share one denominator.

    Attributes
    ----------
    terms : tuple of Term
        The products that make up the contributions.
    bias : Weight
        The piece of the bias that stands in the denominator.
    share : float
        Share of the neuron's relevance.
    alone : float, optional
        Share where all other parts of the neuron are exactly zero; None: the share stays.
    where : {"always", "output >= 0", "output < 0"}
        Neurons that this part speaks for, by the sign of their output.
    """

    terms: tuple[Term, ...]
    bias: Weight
    share: float = 1.0
    alone: float | None = None
    where: Literal["always", "output >= 0", "output < 0"] = "always"


@dataclass(frozen=True)
class Rule:
    """Base of all rules.

    Parameters
    ----------
    epsilon : float
        Stabiliser of every denominator. Goes by name, like `bias`: what stands first is a rule's own parameter.
    bias : {"absorb", "ignore", "distribute"}
        "absorb": the bias takes its share of the denominator and keeps it; "ignore": it stands in no denominator;
        "distribute": as "absorb", but its share is given in equal parts to the neuron's inputs.

    Raises
    ------
    InputError
        For a negative or non-finite number or an unknown bias mode.
    """

    epsilon: float = field(default=1e-6, kw_only=True)
    bias: BiasMode = field(default="absorb", kw_only=True)

    def __post_init__(self) -> None:
        at_least_zero(self, "epsilon", self.epsilon)
        if self.bias not in BIAS_MODES:
            raise one_of("bias mode", self.bias, BIAS_MODES)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the rule."""
        raise NotImplementedError(f"{type(self).__name__} defines no parts")

    @property
    def complete(self) -> bool:
        """Whether the parts add up to the layer's output, so that the output needs no computation of its own."""
        if any(isinstance(t.input, float) or t.weight.squared or t.weight.one for p in self.parts for t in p.terms):
            return False
        for sign in ("positive", "negative"):
            terms = [t for part in self.parts for t in part.terms if t.input in ("all", sign)]
            if sum(t.weight.whole + t.weight.positive for t in terms) != 1:
                return False
            if sum(t.weight.whole + t.weight.negative for t in terms) != 1:
                return False
        return True

    def check(self, x: Tensor) -> None:
        """Refuse an input of the layer that the rule is not made for."""


def at_least_zero(rule: Rule, name: str, value: float) -> None:
    """Refuse a negative or non-finite option of a rule."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise InputError(f"{type(rule).__name__}: {name} is {value!r}; it must be a finite number >= 0")
