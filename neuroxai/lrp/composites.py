"""Composites: which layer gets which rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from neuroxai.errors import InputError, one_of
from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp.rules import AlphaBeta, Epsilon, Flat, Gamma, Pass, Rule, WSquare, ZBox, Zero, ZPlus

Key = type[nn.Module] | str | int
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED: tuple[type[nn.Module], ...] = (*_CONVOLUTIONS, nn.Linear, PatchIndividualFilter)


@dataclass(frozen=True)
class Composite:
    """Rules by layer name, position or type; the more specific key wins.

    A name goes before a pattern, a longer pattern before a shorter, a pattern before a position, a position before a
    type; among types the nearest base class wins.

    Parameters
    ----------
    rules : mapping
        Keys: a layer type (``torch.nn.Conv3d``), a position among the layers with weights in the order they run (0 is
        the first, -1 the last; 0 goes for every layer that reads an input without another such layer between), or a
        pattern for the layer's qualified name (``"features.*"``).
        BatchNorm behind a convolution or linear layer is folded into it and shares its rule, unless its own rule is
        `Pass`.
        Instance, group and layer normalisation take their statistics from the sample: they follow the epsilon rule
        with the stabiliser and bias mode of `sums`, unless a key names Epsilon, Zero or Pass for them.
    sums : Rule
        Rule for additions of tensors (residual connections); they are linear layers whose weights are one. Average
        pooling, means and linear up-sampling have fixed weights too, and follow it unless a key names them.
    strains : {"mean", "sum"}
        How the relevance of the two strains of a `neuroxai.layers.PatchIndividualFilter` with overlap is put together:
        averaged as in Eitel 2021, where half of it goes on, or added up, which conserves it.

    attention : {"cp_lrp", "attn_lrp"}
        How relevance passes an attention: through the values alone, its weights held constant (Ali et al. 2022), or
        through the softmax as well, each factor of a matrix product taking half (Achtibat et al. 2024).

    Raises
    ------
    InputError
        If a key or value is of another kind.

    Examples
    --------
    >>> from torch import nn
    >>> from neuroxai.lrp import AlphaBeta, Composite, Epsilon
    >>> mixed = Composite({nn.Conv3d: AlphaBeta(beta=1.0), nn.Linear: Epsilon(), -1: Epsilon(1e-3)})
    """

    rules: Mapping[Key, Rule]
    sums: Rule = field(default_factory=Epsilon)
    strains: Literal["mean", "sum"] = "mean"
    attention: Literal["cp_lrp", "attn_lrp"] = "cp_lrp"

    def __post_init__(self) -> None:
        for key in self.rules:
            known = isinstance(key, str | int) or (isinstance(key, type) and issubclass(key, nn.Module))
            if not known or isinstance(key, bool):
                raise InputError(f"composite key is {key!r}, expected a layer type, a position or a name pattern")
        given: dict[str, object] = {"sums": self.sums, **{f"key {key!r}": rule for key, rule in self.rules.items()}}
        for where, rule in given.items():
            if not isinstance(rule, Rule):
                way_out = "use one of neuroxai.lrp, for example Epsilon()"
                raise InputError(f"composite {where}: {rule!r} is no rule; {way_out}")
        if isinstance(self.sums, Pass):
            raise InputError("sums cannot pass relevance through: it would be doubled; use Epsilon()")
        if self.strains not in ("mean", "sum"):
            raise one_of("way to put strains together", self.strains, ("mean", "sum"))
        if self.attention not in ("cp_lrp", "attn_lrp"):
            raise one_of("way through an attention", self.attention, ("cp_lrp", "attn_lrp"))
        object.__setattr__(self, "rules", dict(self.rules))

    def check(self, names: Sequence[str], positions: int) -> None:
        """Refuse patterns and positions that match nothing in a network with these layers, `positions` with weights."""
        for key in self.rules:
            if isinstance(key, str) and not any(fnmatchcase(name, key) for name in names):
                raise InputError(f"composite pattern {key!r} matches no layer; the layers are {', '.join(names)}")
            if isinstance(key, int) and not -positions <= key < positions:
                raise InputError(f"composite position {key}: the network has {positions} layers with weights")

    def find(self, name: str, kind: type[nn.Module], position: int | None = None, positions: int = 0) -> Rule | None:
        """Return the rule that a key gives to a layer of this name, type and position; None if no key fits."""
        if name in self.rules:
            return self.rules[name]
        patterns = [key for key in self.rules if isinstance(key, str) and fnmatchcase(name, key)]
        if patterns:  # of several, the longest says most
            return self.rules[max(patterns, key=len)]
        for key, rule in self.rules.items():
            if isinstance(key, int) and position is not None and key % positions == position:
                return rule
        for base in kind.__mro__:
            if base in self.rules:
                return self.rules[base]
        return None


def everywhere(rule: Rule) -> Composite:
    """Use one rule for all layers with weights, for normalisations that stand alone, and for sums."""
    return Composite({**dict.fromkeys(WEIGHTED, rule), _BatchNorm: rule}, sums=rule)


def zero() -> Composite:
    """LRP-0 everywhere (Bach 2015, eq. 56), stabilised by 1e-6 like every rule."""
    return everywhere(Zero())


def gamma(gamma: float = 0.25) -> Composite:
    """Gamma rule everywhere (Montavon 2019), generalised to inputs of any sign."""
    return everywhere(Gamma(gamma=gamma))


def epsilon(epsilon: float = 1e-6) -> Composite:
    """Epsilon rule everywhere (Bach 2015, eq. 58)."""
    return everywhere(Epsilon(epsilon))


def eitel2019() -> Composite:
    """Epsilon rule with epsilon = .001, as in the multiple sclerosis study of Eitel 2019; it starts from the logit."""
    return epsilon(1e-3)


def alpha_beta(beta: float = 0.0) -> Composite:
    """Alpha-beta rule with alpha = 1 + beta everywhere (Bach 2015, eq. 60)."""
    return everywhere(AlphaBeta(beta=beta))


def z_plus() -> Composite:
    """z+ rule everywhere (Montavon 2017, eq. 14)."""
    return everywhere(ZPlus())


def _mixed(first: Rule, convolutions: Rule, others: Rule) -> Composite:
    """Use one rule for the layer that reads the scan, one for the other convolutions, one for what comes after."""
    return Composite({**dict.fromkeys(WEIGHTED, convolutions), nn.Linear: others, _BatchNorm: others, 0: first})


def epsilon_plus_flat(epsilon: float = 1e-6) -> Composite:
    """Flat rule for the first layer, z+ for the other convolutions, epsilon for linear layers (Kohlbrenner 2020).

    Normalisations that stand alone, and sums, follow the epsilon rule.
    """
    return _mixed(Flat(), ZPlus(), Epsilon(epsilon))


def epsilon_gamma_box(
    low: float | None = None, high: float | None = None, epsilon: float = 1e-6, gamma: float = 0.25
) -> Composite:
    """z-box for the first layer, gamma for the other convolutions, epsilon for linear layers (Montavon 2019).

    Parameters
    ----------
    low, high : float, optional
        Bounds of the scaled scan's intensities, low <= 0 <= high; those of each scan itself by default.
    epsilon : float
        Stabiliser of the epsilon rule.
    gamma : float
        By how much positive contributions are favoured.
    """
    return _mixed(ZBox(low=low, high=high), Gamma(gamma=gamma), Epsilon(epsilon))


def deep_taylor(low: float | None = None, high: float | None = None) -> Composite:
    """Deep Taylor decomposition (Montavon 2017): z+ everywhere but in the first layer.

    Parameters
    ----------
    low, high : float, optional
        Bounds of the scan's intensities: z-box for the first layer; without bounds, w-square.

    Raises
    ------
    InputError
        If only one bound is given.
    """
    if (low is None) != (high is None):
        raise InputError(f"deep_taylor: low is {low}, high is {high}; give both bounds, or neither")
    first = WSquare() if low is None or high is None else ZBox(low=low, high=high)
    return Composite({**everywhere(ZPlus()).rules, 0: first}, sums=ZPlus())


def boehle2019(beta: float = 0.0) -> Composite:
    """Beta rule as in the code of Boehle 2019.

    BatchNorm passes relevance through (one that ends a network is part of its last layer, whose signs it may turn),
    biases are ignored, and neurons whose contributions are all of one sign keep their relevance. The authors start from
    the softmax probability: ``attribute(..., start="probability")``.
    """
    rule = AlphaBeta(beta=beta, bias="ignore", one_signed="keep")
    return Composite({**dict.fromkeys(WEIGHTED, rule), _BatchNorm: Pass()}, sums=rule)


_MAKERS: tuple[Callable[..., Composite], ...] = (
    zero, epsilon, eitel2019, gamma, alpha_beta, z_plus, epsilon_plus_flat, epsilon_gamma_box, deep_taylor, boehle2019,
)  # fmt: skip
PRESETS = {maker.__name__: maker for maker in _MAKERS}


def named_composite(composite: object) -> Composite:
    """Return a composite that is given as such, by name, as a dict of rules, or not at all.

    A name is that of a preset, or of the attribution method that it is (``"lrp_zero"``); ``{name: options}`` gives the
    preset's options.

    Raises
    ------
    InputError
        For any other value, or where a preset has no option of that name.
    """
    if composite is None or isinstance(composite, Composite):
        return composite or epsilon_plus_flat()
    options: Mapping[str, Any] = {}
    if isinstance(composite, Mapping):
        if len(composite) != 1 or not all(isinstance(value, Mapping) for value in composite.values()):
            return Composite(composite)
        ((composite, options),) = composite.items()
    if not isinstance(composite, str):
        known = ", ".join(PRESETS)
        raise InputError(f"composite is {composite!r}, expected a Composite, a dict of rules or one of {known}")
    preset = PRESETS.get(composite.removeprefix("lrp_"))
    if preset is None:
        raise one_of("composite", composite, PRESETS, "Or one of these with lrp_ before it.")
    try:
        inspect.signature(preset).bind(**options)
    except TypeError as error:
        named = ", ".join(inspect.signature(preset).parameters) or "none"
        example = '{"epsilon_gamma_box": {"low": 0.0, "high": 1.0}}'
        raise InputError(
            f"composite {composite!r}: {error}; its options are: {named}. Give options as in {example}"
        ) from error
    return preset(**options)
