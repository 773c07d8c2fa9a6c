"""Relevance rules as data.

A rule says how the contributions ``w x`` of a linear layer are sorted into *parts*, which share of a neuron's relevance
each part gets, and what happens to the bias. It computes nothing: `neuroxai.lrp.propagate` applies every rule in the
same way.

For each part p with the contributions ``c_ij = sum over its terms of input_piece_i * weight_piece_ij``::

    z_j = sum_i c_ij + bias_piece_j
    R_i += share * sum_j c_ij * R_j / (z_j + epsilon * sign(z_j)),     sign(0) = +1

A new rule is a new set of parts; a new kind of input piece (the bounds of a z-box, ones for the flat rule) is one line
in `neuroxai.lrp.propagate.piece_of`.

References
----------
Bach et al. (2015), PLoS ONE 10(7): e0130140, equations 56 (epsilon), 58 and 60 (alpha-beta).
Montavon et al. (2017), Pattern Recognition 65: 211-222 (z+).
Montavon et al. (2019), Explainable AI, LNCS 11700: 193-209 (gamma, composites).
Boehle et al. (2019), Frontiers in Aging Neuroscience 11: 194 (beta rule).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from neuroxai.errors import InputError, one_of

Piece = Literal["all", "positive", "negative"]
BiasMode = Literal["absorb", "ignore", "distribute"]
BIAS_MODES = ("absorb", "ignore", "distribute")


@dataclass(frozen=True)
class Weight:
    """A piece of the weights: ``whole * w + positive * max(w, 0) + negative * min(w, 0)``."""

    whole: float = 0.0
    positive: float = 0.0
    negative: float = 0.0

    def of(self, weight: Tensor) -> Tensor:
        """Return this piece of ``weight``, same shape."""
        if not (self.positive or self.negative):
            return weight if self.whole == 1 else weight * self.whole
        if not self.whole and not self.negative:
            return weight.clamp(min=0) * self.positive if self.positive != 1 else weight.clamp(min=0)
        if not self.whole and not self.positive:
            return weight.clamp(max=0) * self.negative if self.negative != 1 else weight.clamp(max=0)
        return weight * self.whole + weight.clamp(min=0) * self.positive + weight.clamp(max=0) * self.negative


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


_ALL = Part((Term("all", WHOLE),), WHOLE)


@dataclass(frozen=True)
class Rule:
    """Base of all rules.

    Parameters
    ----------
    epsilon : float
        Stabiliser of every denominator.
    bias : {"absorb", "ignore", "distribute"}
        "absorb": the bias takes its share of the denominator and keeps it; "ignore": it stands in no denominator;
        "distribute": as "absorb", but its share is given in equal parts to the neuron's inputs.

    Raises
    ------
    InputError
        For a negative or non-finite number or an unknown bias mode.
    """

    epsilon: float = 1e-6
    bias: BiasMode = "absorb"

    def __post_init__(self) -> None:
        _at_least_zero(self, "epsilon", self.epsilon)
        if self.bias not in BIAS_MODES:
            raise one_of("bias mode", self.bias, BIAS_MODES)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the rule."""
        raise NotImplementedError(f"{type(self).__name__} defines no parts")

    @property
    def complete(self) -> bool:
        """Whether the parts add up to the layer's output, so that the output needs no computation of its own."""
        for sign in ("positive", "negative"):
            terms = [t for part in self.parts for t in part.terms if t.input in ("all", sign)]
            if sum(t.weight.whole + t.weight.positive for t in terms) != 1:
                return False
            if sum(t.weight.whole + t.weight.negative for t in terms) != 1:
                return False
        return True


@dataclass(frozen=True)
class Epsilon(Rule):
    """Epsilon rule: ``R_i = sum_j x_i w_ij R_j / (z_j + epsilon sign(z_j))`` (Bach 2015, eq. 58)."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """One part: all contributions."""
        return (_ALL,)


@dataclass(frozen=True)
class Zero(Rule):
    """LRP-0 (Bach 2015, eq. 56): all contributions, stabilised by 1e-6 like every rule; equals ``Epsilon(1e-6)``."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """One part: all contributions."""
        return (_ALL,)


def _positive(share: float, alone: float | None = None) -> Part:
    return Part((Term("positive", POSITIVE), Term("negative", NEGATIVE)), POSITIVE, share, alone)


def _negative(share: float, alone: float | None = None) -> Part:
    return Part((Term("positive", NEGATIVE), Term("negative", POSITIVE)), NEGATIVE, share, alone)


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """Alpha-beta rule with alpha = 1 + beta (Bach 2015, eq. 60; "beta rule" in Boehle 2019, eq. 3).

    ``R_i = sum_j (alpha (x_i w_ij)+ / z_j+ - beta (x_i w_ij)- / z_j-) R_j``, for inputs of any sign.

    Parameters
    ----------
    beta : float
        Weight of the negative contributions, >= 0.
    one_signed : {"scale", "keep"}
        A neuron with contributions of one sign only: "scale" applies alpha or -beta as to any other (the published
        formula), "keep" divides the factor out, so that the neuron's relevance is conserved (Boehle's code). With
        beta = 0 nothing is divided out of the negative contributions: a neuron that has no others passes nothing on.
    """

    beta: float = 0.0
    one_signed: Literal["scale", "keep"] = "scale"

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least_zero(self, "beta", self.beta)
        if self.one_signed not in ("scale", "keep"):
            raise one_of("treatment of one-signed neurons", self.one_signed, ("scale", "keep"))

    @property
    def parts(self) -> tuple[Part, ...]:
        """Positive contributions with share alpha, negative contributions with share -beta."""
        alone = 1.0 if self.one_signed == "keep" else None
        if self.beta == 0:
            return (_positive(1.0),)
        return _positive(1 + self.beta, alone), _negative(-self.beta, alone)


@dataclass(frozen=True)
class ZPlus(Rule):
    """z+ rule (Montavon 2017, eq. 14): positive contributions only, for inputs of any sign; alpha-beta with beta 0."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """One part: the positive contributions."""
        return (_positive(1.0),)


@dataclass(frozen=True)
class Gamma(Rule):
    """Gamma rule (Montavon 2019, section 10.2.1), generalised to inputs and outputs of any sign.

    Where the output is >= 0 the positive contributions count ``1 + gamma`` times, where it is negative the negative.
    """

    gamma: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least_zero(self, "gamma", self.gamma)

    @property
    def parts(self) -> tuple[Part, ...]:
        """One part for neurons with outputs >= 0, one for the others."""
        up, down = Weight(1.0, self.gamma, 0.0), Weight(1.0, 0.0, self.gamma)
        return (
            Part((Term("positive", up), Term("negative", down)), up, where="output >= 0"),
            Part((Term("positive", down), Term("negative", up)), down, where="output < 0"),
        )


@dataclass(frozen=True)
class Pass(Rule):
    """Relevance goes through unchanged; for layers that keep the shape, such as activations and normalisations."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """No part: nothing is shared out."""
        return ()


def _at_least_zero(rule: Rule, name: str, value: float) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InputError(f"{type(rule).__name__}: {name} is {value!r}; it must be a finite number >= 0")
