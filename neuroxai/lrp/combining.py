"""Steps of sums, differences, products and quotients, as networks write them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import fx

from neuroxai.lrp import operations as known
from neuroxai.lrp.arithmetic import FactorStep, SumStep
from neuroxai.lrp.context import Context
from neuroxai.lrp.makers import call_options
from neuroxai.lrp.steps import PassStep, Step, Values
from neuroxai.lrp.trace import label


def of_sum(sign: float, context: Context, node: fx.Node) -> Step:
    """Return the step of ``a + b`` or ``a - b``, either of which may be a constant."""
    if len(node.args) != 2 or set(node.kwargs) - {"alpha"}:
        raise context.refuse(node)
    alpha: Any = node.kwargs.get("alpha", 1)
    if not isinstance(alpha, int | float):
        raise context.refuse(node, "alpha must be a number")
    operands = list(zip(node.args, (1.0, sign * alpha), strict=True))
    if known.operation(node) == "rsub":
        operands = [(node.args[0], -1.0 * alpha), (node.args[1], 1.0)]
    tensors = [(a, w) for a, w in operands if isinstance(a, fx.Node) and a not in context.constants]
    constants = [(a, w) for a, w in operands if not isinstance(a, fx.Node) or a in context.constants]
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
    """Return the step of a product: constants pass, of a signal and a gate the signal takes all."""
    tensors = context.tensors(node)
    if len(node.args) != 2 or node.kwargs:
        raise context.refuse(node)
    if len(tensors) == 1 and node.args[0] is not node.args[1]:
        return FactorStep(**call_options(context, node, tensors[0]))
    signals = [a for a in node.args if isinstance(a, fx.Node) and not context.is_gate(a)]
    if len(tensors) != 2 or len(signals) != 1:
        what = "neither" if signals else "each"
        raise context.refuse(
            node,
            f"a product of two tensors has a relevance rule where one of them is a gate (comes out of a sigmoid or "
            f"softmax); {what} of these is",
        )
    return FactorStep(**call_options(context, node, signals[0]))


def of_quotient(context: Context, node: fx.Node) -> Step:
    """Return the step of a division by a constant."""
    if node.kwargs:
        raise context.refuse(node)
    return FactorStep(**call_options(context, node))


def of_negative(context: Context, node: fx.Node) -> Step:
    """Return the step of a change of sign."""
    return FactorStep(**call_options(context, node))
