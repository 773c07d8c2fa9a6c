"""All attribution methods by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuroxai.errors import InputError, one_of

if TYPE_CHECKING:
    from captum.attr import Attribution
    from torch import nn


@dataclass(frozen=True)
class Method:
    """One entry of the registry.

    Attributes
    ----------
    summary : str
        One line.
    paper : str
        Author, year and venue.
    factory : str
        ``module:function``; the function takes the model and keyword options.
    """

    summary: str
    paper: str
    factory: str

    def load(self) -> Callable[..., Any]:
        """Import the factory."""
        module, function = self.factory.split(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return found


_RELEVANCE = "neuroxai.attribution.relevance"
_GRADIENTS = "neuroxai.attribution.gradients"
_BACH = "Bach et al. 2015, PLoS ONE 10: e0130140"

METHODS: dict[str, Method] = {
    "saliency": Method(
        "Absolute gradient of the class score: where a small change would matter.",
        "Simonyan et al. 2014, ICLR workshop, arXiv:1312.6034",
        f"{_GRADIENTS}:saliency",
    ),
    "gradient_x_input": Method(
        "Gradient times input: first-order contribution of each value.",
        "Shrikumar et al. 2016, arXiv:1605.01713",
        f"{_GRADIENTS}:gradient_x_input",
    ),
    "guided_backprop": Method(
        "Gradient that only positive signals pass, at each ReLU.",
        "Springenberg et al. 2015, ICLR workshop, arXiv:1412.6806",
        f"{_GRADIENTS}:guided_backprop",
    ),
    "integrated_gradients": Method(
        "Gradients averaged from a baseline to the input, times their difference.",
        "Sundararajan et al. 2017, ICML, arXiv:1703.01365",
        f"{_GRADIENTS}:integrated_gradients",
    ),
    "lrp_zero": Method(
        "Relevance shared in proportion to all contributions.", f"{_BACH}, eq. 56", f"{_RELEVANCE}:lrp_zero"
    ),
    "lrp_epsilon": Method(
        "Relevance shared in proportion to all contributions; a larger epsilon absorbs weak ones.",
        f"{_BACH}, eq. 58",
        f"{_RELEVANCE}:lrp_epsilon",
    ),
    "lrp_alpha_beta": Method(
        "Positive and negative contributions shared apart, weighted 1 + beta and beta.",
        f"{_BACH}, eq. 60",
        f"{_RELEVANCE}:lrp_alpha_beta",
    ),
    "lrp_z_plus": Method(
        "Relevance shared among the positive contributions only.",
        "Montavon et al. 2017, Pattern Recognition 65: 211-222, eq. 14",
        f"{_RELEVANCE}:lrp_z_plus",
    ),
    "lrp_boehle2019": Method(
        "Alpha-beta as in the Alzheimer's study's code: BatchNorm passes, biases are ignored.",
        "Boehle et al. 2019, Front. Aging Neurosci. 11: 194",
        f"{_RELEVANCE}:lrp_boehle2019",
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of all methods, sorted."""
    return tuple(sorted(METHODS))


def describe(name: str) -> str:
    """Return one line on a method, with its paper.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    method = _method(name)
    return f"{method.summary} ({method.paper})"


def create(name: str, model: nn.Module, **options: Any) -> Attribution:
    """Make an attribution method for a model.

    Parameters
    ----------
    name : str
        One of `names()`.
    model : torch.nn.Module
        Takes (batch, channels, *spatial) and returns (batch, classes). It is never changed.
    **options
        Options of the method, for example ``beta=1.0`` for ``lrp_alpha_beta``.

    Returns
    -------
    captum.attr.Attribution
        Its ``attribute(inputs, target=...)`` returns a tensor shaped like the inputs.

    Raises
    ------
    InputError
        If the name or an option is unknown, or an option's value does not fit.
    UnsupportedLayerError
        If the method cannot explain the network; names the layer.

    Examples
    --------
    >>> import torch, neuroxai
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2)).eval()
    >>> method = neuroxai.attribution.create("lrp_alpha_beta", model, beta=1.0)
    >>> method.attribute(torch.rand(1, 1, 2, 2, 2), target=1).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    factory = _method(name).load()
    allowed = [p.name for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in allowed:
            has = f"its options are: {', '.join(allowed)}" if allowed else "it has no options"
            raise InputError(f"method {name!r} has no option {option!r}; {has}")
    method: Attribution = factory(model, **options)
    return method


def _method(name: str) -> Method:
    if name not in METHODS:
        raise one_of("attribution method", name, METHODS)
    return METHODS[name]
