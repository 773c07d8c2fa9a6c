"""What the makers of steps have in common: fixed maps and normalisations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from neuroxai.graph.names import label
from neuroxai.lrp.context import Context
from neuroxai.lrp.mixing import MixStep
from neuroxai.lrp.norms import NormStep, Statistics
from neuroxai.lrp.rules import Epsilon, Pass, Zero
from neuroxai.lrp.steps import PassStep, Step, Values

Make = Callable[[Tensor, Values], Any]
SOFTMAX = "a softmax inside the network has no relevance rule, unless it is a gate (a factor of a product)"


def call_options(context: Context, node: fx.Node, source: fx.Node | None = None) -> dict[str, Any]:
    """Return what every `CallStep` takes."""
    source = context.only_input(node) if source is None else source
    options: dict[str, Any] = {"name": node.name, "inputs": (source.name,), "labels": (label(node),)}
    return {**options, "call": context.caller(node), "also_reads": context.others(node, source)}


def mix(context: Context, node: fx.Node, make: Make, *, copies: bool = False) -> Step:
    """Return the step of a linear map with fixed weights >= 0; `copies`: each output is one of the inputs."""
    rule = context.chosen_rule(node) or context.composite.sums
    if isinstance(rule, Pass):
        raise context.refuse(node, "Pass is no rule for a layer that mixes its inputs; use another, or name none")
    return MixStep(**call_options(context, node), gives="keeps", make=make, rule=None if copies else rule)


def norm(context: Context, node: fx.Node, make: Callable[[Tensor, Values], Statistics]) -> Step:
    """Return the step of a normalisation by statistics of the sample."""
    rule = context.chosen_rule(node)
    if rule is None:
        rule = Epsilon(context.composite.sums.epsilon, context.composite.sums.bias)
    if isinstance(rule, Pass):
        return PassStep(**call_options(context, node), local=False)
    if not isinstance(rule, Epsilon | Zero):
        raise context.refuse(
            node,
            f"the composite names {type(rule).__name__} for it, but a normalisation by statistics of the sample has "
            "the rules Epsilon, Zero and Pass; name one of these, or none (Epsilon, then)",
        )
    return NormStep(**call_options(context, node), make=make, rule=rule)
