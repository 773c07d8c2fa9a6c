"""Steps of sums, differences, products and quotients, as networks write them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import fx

from neuroxai.graph.names import label
from neuroxai.graph.operations import arguments
from neuroxai.lrp.arithmetic import FactorStep, SumStep
from neuroxai.lrp.context import Context
from neuroxai.lrp.held import HeldStep
from neuroxai.lrp.linear import LinearStep
from neuroxai.lrp.makers import call_options
from neuroxai.lrp.operators import Dense
from neuroxai.lrp.rules import Epsilon, Pass
from neuroxai.lrp.steps import PassStep, Step, Values


def of_sum(sign: float, context: Context, node: fx.Node) -> Step:
    """Return the step of ``a + b`` or ``a - b``, either of which may be a constant."""
    given = arguments(node)
    alpha: Any = given.get("alpha", 1)
    if not isinstance(alpha, int | float):
        raise context.refuse(node, "alpha must be a number")
    operands = [(given["input"], 1.0), (given["other"], sign * alpha)]
    if node.meta["operation"] == "rsub":
        operands = [(given["input"], -1.0 * alpha), (given["other"], 1.0)]
    tensors = [(a, w) for a, w in operands if context.depends(a)]
    constants = [(a, w) for a, w in operands if not context.depends(a)]
    if any(isinstance(c, int | float) and c == 0 for c, _ in constants) and tensors[0][1] == 1:
        return PassStep(**call_options(context, node, tensors[0][0]), gives="keeps")  # sum() begins with 0 + x
    step = SumStep(node.name, tuple(t.name for t, _ in tensors), (label(node),), context.composite.sums)
    step = replace(step, weights=tuple(w for _, w in tensors))
    if not constants:
        return step
    constant: Any = constants[0][0]
    weight = constants[0][1]
    also = (constant.name,) if isinstance(constant, fx.Node) else ()

    def value(values: Values) -> Any:
        return weight * (values[constant.name] if isinstance(constant, fx.Node) else constant)

    return replace(step, constant=value, also_reads=also)


def of_product(context: Context, node: fx.Node) -> Step:
    """Return the step of a product: constants pass, of a signal and a gate the signal takes all, of two each half."""
    tensors = context.tensors(node)
    factors: list[Any] = [value for value in node.args[:2] if context.depends(value)]
    if len(tensors) == 1 and len(factors) == 1:
        return FactorStep(**call_options(context, node, tensors[0]))
    signals = [factor for factor in factors if not context.is_gate(factor)]
    if len(tensors) == 2 and len(signals) == 1:
        return FactorStep(**call_options(context, node, signals[0]))
    if len(signals) != len(factors):
        raise context.refuse(node, "both factors are gates, and neither is a signal that could take relevance")
    return _held(context, node)


def of_quotient(context: Context, node: fx.Node) -> Step:
    """Return the step of a division: what is divided by is held constant."""
    given = arguments(node)
    signal = given["other"] if node.meta["operation"] == "rdiv" else given["input"]
    if not context.depends(signal):
        raise context.refuse(node, "a constant divided by a signal has no relevance rule, unless it is a gate")
    if given.get("rounding_mode") is not None:
        raise context.refuse(node, "a division that rounds has no relevance rule")
    return FactorStep(**call_options(context, node, signal))


def of_negative(context: Context, node: fx.Node) -> Step:
    """Return the step of a change of sign."""
    return FactorStep(**call_options(context, node))


def of_matrix_product(context: Context, node: fx.Node) -> Step:
    """Return the step of a matrix product: with a parameter it is a linear layer, with attention weights they are held.

    Sums of more than two factors, and other products with constants, follow the epsilon rule as well.
    """
    tensors = context.tensors(node)
    if node.meta["operation"] in ("matmul", "mm") and len(tensors) == 1 and tensors[0] is node.args[0]:
        other: Any = node.args[1] if len(node.args) > 1 else arguments(node)["other"]
        if other.meta.get("rank") == 2:
            rule = context.rule_for(node)
            if isinstance(rule, Pass):
                raise context.refuse(node, "Pass is no rule for a layer that mixes its inputs; use another")
            return LinearStep(
                node.name, (tensors[0].name,), (label(node),), weight=other.name, rule=rule, operator=Dense(),
                turned=True,
            )  # fmt: skip
    return _held(context, node)


def _held(context: Context, node: fx.Node) -> Step:
    """Return the step of a product that is linear in each factor."""
    tensors = list(dict.fromkeys(context.tensors(node)))
    signals = [tensor for tensor in tensors if not context.is_gate(tensor)] or tensors
    flat: list[Any] = []
    fx.node.map_aggregate(node.args, flat.append)
    return HeldStep(
        node.name, tuple(s.name for s in signals), (label(node),), context.caller(node),
        context.others(node, *signals), rule=Epsilon(context.composite.sums.epsilon),
        factors=sum(flat.count(signal) for signal in signals),
    )  # fmt: skip
