"""Relevance rules as data: a rule sorts the contributions of a layer into parts; one engine applies every rule.

A rule says how the contributions ``w x`` of a linear layer are sorted into *parts*, which share of a neuron's relevance
each part gets, and what happens to the bias. It computes nothing: `neuroxai.lrp.engine.propagate` applies every rule.

For each part p with the contributions ``c_ij = sum over its terms of input_piece_i * weight_piece_ij``::

    z_j = sum_i c_ij + bias_piece_j
    R_i += share * sum_j c_ij * R_j / (z_j + epsilon * sign(z_j)),     sign(0) = +1

References
----------
Bach et al. (2015), PLoS ONE 10(7): e0130140, equations 56 (epsilon), 58 and 60 (alpha-beta).
Montavon et al. (2017), Pattern Recognition 65: 211-222 (z+, z-box, w-square).
Lapuschkin et al. (2019), Nature Communications 10: 1096 (flat).
Montavon et al. (2019), Explainable AI, LNCS 11700: 193-209 (gamma, composites).
Boehle et al. (2019), Frontiers in Aging Neuroscience 11: 194 (beta rule).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor, full_like

from neuroxai.errors import InputError, one_of

# "low", "high": each sample's least and greatest value, or 0, in place of the input; a number: that constant
Piece = Literal["all", "positive", "negative", "low", "high"] | float
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
            return full_like(weight, self.one)
        found = []
        for factor, low, high in ((self.whole, None, None), (self.positive, 0, None), (self.negative, None, 0)):
            if factor:
                piece = weight if low is high else weight.clamp(low, high)
                found.append(piece if factor == 1 else piece * factor)
        return sum(found[1:], found[0]) if found else weight * 0


WHOLE = Weight(whole=1.0)
POSITIVE = Weight(positive=1.0)
NEGATIVE = Weight(negative=1.0)


@dataclass(frozen=True)
class Term:
    """One product of a piece of the input and a piece of the weights."""

    input: Piece
    weight: Weight

    @property
    def constant(self) -> bool:
        """Whether it takes one value for all places, however large the input is there."""
        return isinstance(self.input, float) or self.input in ("low", "high")


@dataclass(frozen=True)
class Part:
    """Contributions that share one denominator."""

    terms: tuple[Term, ...]  # the products that make up the contributions
    bias: Weight  # the piece of the bias that stands in the denominator
    share: float = 1.0  # of the neuron's relevance
    alone: float | None = None  # share where all other parts of the neuron are exactly zero; None: the share stays
    # neurons that this part covers, by the sign of their output
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
        terms = [term for part in self.parts for term in part.terms]
        if any(t.constant or t.weight.squared or t.weight.one for t in terms):
            return False
        signs = ("positive", "negative")
        return all(
            sum(t.weight.whole + getattr(t.weight, of_weight) for t in terms if t.input in ("all", of_input)) == 1
            for of_input in signs
            for of_weight in signs
        )

    @property
    def proportional(self) -> bool:
        """Whether shares are contributions over an output of the same sign.

        Then relevance above 0 turns every sign below an output under 0. Shares of the other rules go by the positive
        contributions, whatever the output.
        """
        by_sign = all(part.where != "always" for part in self.parts)
        return bool(self.parts) and (by_sign or (len(self.parts) == 1 and self.complete))

    def check(self, x: Tensor) -> None:
        """Refuse an input of the layer that the rule is not made for."""


def at_least_zero(rule: Rule, name: str, value: float) -> None:
    """Refuse a negative or non-finite option of a rule."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise InputError(f"{type(rule).__name__}: {name} is {value!r}; it must be a finite number >= 0")


_ALL = Part((Term("all", WHOLE),), WHOLE)


@dataclass(frozen=True)
class Epsilon(Rule):
    """Epsilon rule: ``R_i = sum_j x_i w_ij R_j / (z_j + epsilon sign(z_j))`` (Bach 2015, eq. 58).

    Parameters
    ----------
    epsilon : float
        Stabiliser of the denominator, >= 0; what it takes is lost, and more of it for weak neurons.
    bias : {"absorb", "ignore", "distribute"}
        As for every `neuroxai.lrp.Rule`.
    """

    epsilon: float = 1e-6
    bias: BiasMode = "absorb"

    parts: ClassVar[tuple[Part, ...]] = (_ALL,)


@dataclass(frozen=True)
class Zero(Rule):
    """LRP-0 (Bach 2015, eq. 56): all contributions, stabilised by 1e-6 like every rule; equals ``Epsilon(1e-6)``."""

    parts: ClassVar[tuple[Part, ...]] = (_ALL,)


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
        Weight of the negative contributions, >= 0. By name, like `alpha`: a lone number could mean either.
    alpha : float, optional
        Weight of the positive contributions, 1 + beta; either may be left out.
    one_signed : {"scale", "keep"}
        A neuron with contributions of one sign only: "scale" applies alpha or -beta as to any other (the published
        formula), "keep" divides the factor out, so that the neuron's relevance is conserved (Boehle's code). With
        beta = 0 nothing is divided out of the negative contributions: a neuron that has no others passes nothing on.
    """

    beta: float | None = field(default=None, kw_only=True)
    alpha: float | None = field(default=None, kw_only=True)
    one_signed: Literal["scale", "keep"] = field(default="scale", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha", "beta"):
            if getattr(self, name) is not None:
                at_least_zero(self, name, getattr(self, name))
        alpha = 1.0 + (self.beta or 0.0) if self.alpha is None else self.alpha
        beta = alpha - 1 if self.beta is None else self.beta
        if beta < 0 or abs(alpha - beta - 1) > 1e-6:
            raise InputError(f"AlphaBeta: alpha is {alpha}, beta is {beta}; alpha - beta must be 1, and beta >= 0")
        object.__setattr__(self, "alpha", alpha)
        object.__setattr__(self, "beta", beta)
        if self.one_signed not in ("scale", "keep"):
            raise one_of("treatment of one-signed neurons", self.one_signed, ("scale", "keep"))

    @property
    def parts(self) -> tuple[Part, ...]:
        """Positive contributions with share alpha, negative contributions with share -beta."""
        alone, beta = 1.0 if self.one_signed == "keep" else None, float(self.beta or 0.0)
        if beta == 0:
            return (_positive(1.0),)
        return _positive(1 + beta, alone), _negative(-beta, alone)


@dataclass(frozen=True)
class ZPlus(Rule):
    """z+ rule (Montavon 2017, eq. 14): positive contributions only, for inputs of any sign; alpha-beta with beta 0."""

    parts: ClassVar[tuple[Part, ...]] = (_positive(1.0),)


@dataclass(frozen=True)
class Gamma(Rule):
    """Gamma rule (Montavon 2019, section 10.2.1), generalised to inputs and outputs of any sign.

    Where the output is >= 0 the positive contributions count ``1 + gamma`` times, where it is negative the negative.
    """

    gamma: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_zero(self, "gamma", self.gamma)

    @property
    def parts(self) -> tuple[Part, ...]:
        """One part for neurons with outputs >= 0, one for the others."""
        up, down = Weight(1.0, self.gamma, 0.0), Weight(1.0, 0.0, self.gamma)
        return (
            Part((Term("positive", up), Term("negative", down)), up, where="output >= 0"),
            Part((Term("positive", down), Term("negative", up)), down, where="output < 0"),
        )


@dataclass(frozen=True)
class ZBox(Rule):
    """z-box rule for inputs between two bounds (Montavon 2017, z^B-rule), such as the intensities of a scaled scan.

    ``R_i = sum_j (x_i w_ij - low w_ij+ - high w_ij-) R_j / z_j``, where z_j is the sum of the contributions (in
    brackets), all of them >= 0. A bias counts by its positive part, as under z+.

    Parameters
    ----------
    low, high : float or None
        Bounds of the layer's input, low <= 0 <= high (an empty voxel is zero); inputs outside them are refused.
        None: those of each sample itself, the tightest that hold it.
    """

    low: float | None = 0.0
    high: float | None = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [v for v in (self.low, self.high) if v is not None]
        numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in given)
        if not numbers or not (self.low or 0) <= 0 <= (self.high or 0) or self.low == self.high == 0:
            raise InputError(f"ZBox: bounds {self.low!r} to {self.high!r}, expected low <= 0 <= high with low < high")

    @property
    def parts(self) -> tuple[Part, ...]:
        """One part: distances from the bounds; bounds of zero contribute nothing."""
        terms = [Term("all", WHOLE)]
        if self.low != 0:
            terms.append(Term("low" if self.low is None else float(self.low), Weight(positive=-1.0)))
        if self.high != 0:
            terms.append(Term("high" if self.high is None else float(self.high), Weight(negative=-1.0)))
        return (Part(tuple(terms), POSITIVE),)

    def check(self, x: Tensor) -> None:
        """Refuse an input outside the bounds, but for rounding."""
        low, high = float(x.min()), float(x.max())
        bounds = low if self.low is None else self.low, high if self.high is None else self.high
        slack = 1e-6 * (bounds[1] - bounds[0])
        if low < bounds[0] - slack or high > bounds[1] + slack:
            raise InputError(
                f"values from {low:.4g} to {high:.4g} arrive at a layer with ZBox({self.low}, {self.high}); give "
                "bounds that hold them all, those of the scaling that the scans went through, or None"
            )


@dataclass(frozen=True)
class WSquare(Rule):
    """w-square rule for unbounded inputs (Montavon 2017, w^2-rule): ``R_i = sum_j w_ij^2 R_j / sum_i' w_i'j^2``.

    A bias counts as one more weight, ``b^2``.
    """

    parts: ClassVar[tuple[Part, ...]] = (Part((Term(1.0, Weight(squared=1.0)),), Weight(squared=1.0)),)


@dataclass(frozen=True)
class Flat(Rule):
    """Flat rule (Lapuschkin 2019): each neuron's relevance in equal parts to all inputs that its filter reads.

    A bias is no input and has no share.
    """

    parts: ClassVar[tuple[Part, ...]] = (Part((Term(1.0, Weight(one=1.0)),), Weight()),)


@dataclass(frozen=True)
class Pass(Rule):
    """Relevance goes through unchanged; for layers that keep the shape, such as activations and normalisations."""

    parts: ClassVar[tuple[Part, ...]] = ()
