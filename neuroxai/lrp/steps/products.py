"""Products: with constants and gates, of two signals, of matrices, and attention.

Of a signal and a gate the signal takes all (Arras 2017). The relevance of the weights of an attention is held constant
(CP-LRP, Ali et al. 2022, ICML): what is left is linear in the values and follows the epsilon rule. Where neither factor
is a gate, each takes half (Achtibat et al. 2024, ICML, equation 13: the uniform rule for products).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuroxai.graph.operations import arguments, kind_of, label
from neuroxai.lrp.engine.operators import Dense, Product
from neuroxai.lrp.engine.propagate import signals
from neuroxai.lrp.rules import Epsilon, Rule
from neuroxai.lrp.steps.base import CallStep, Step, Values, variable
from neuroxai.lrp.steps.context import Context
from neuroxai.lrp.steps.filters import of_linear


@dataclass(frozen=True)
class HeldStep(CallStep):
    """A map that is linear in each of its inputs, all others held constant, under the epsilon rule.

    A softmax that is opened goes by its Taylor expansion, ``R_i = x_i (R_i - s_i sum_j R_j)`` (Achtibat 2024, equation
    14): that is the same formula, with its Jacobian.
    """

    rule: Rule = field(default_factory=Epsilon)  # stabiliser of the denominators
    factors: int = 1  # how many factors share the relevance; a tensor that enters twice counts twice

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; what it read and put out is saved."""
        output = self.call(values)
        return output, ({name: values[name] for name in self.reads()}, output)

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Return ``x_i (dz/dx_i)^T (R / z) / n`` for each input of n factors; what is masked out takes nothing."""
        (values, z), graph = saved, torch.is_grad_enabled()
        (signal,) = signals(self.rule, [z], relevance)
        shares = []
        for name in self.inputs:
            x = variable(values[name])
            with torch.enable_grad():
                (back,) = torch.autograd.grad(self.call({**values, name: x}), x, signal, create_graph=graph)
            shares.append(self.share(x, back))
        return shares

    def share(self, x: Tensor, back: Tensor) -> Tensor:
        """Return the relevance of an input, given the gradient."""
        return torch.where(torch.isneginf(x), 0, x) * back / self.factors


@dataclass(frozen=True)
class ReadOutStep(HeldStep):
    """What makes a score of probabilities, linearly: an expected age, or the mean of several networks' probabilities.

    Looked through by its gradient, as one linear layer of the logits with the weights ``w = dy/dz``: ``R_i = z_i w_i R
    / y``. Of an expected age ``w_i = s_i (age_i - y)``: what speaks for ages above the expected one has weights above
    0. To layers that share by the positive contributions goes ``w_i R / y``: a logit below 0 would turn the sign.
    """

    proportional: bool = True  # whether the layers in front share in proportion to all contributions

    def share(self, x: Tensor, back: Tensor) -> Tensor:
        """Return the relevance of the logits, given the gradient."""
        return super().share(x, back) if self.proportional else back


# steps of recorded calls


def of_read_out(context: Context) -> Step:
    """Return the step of what makes the scores of probabilities."""
    calls, sources = context.read_out, dict[fx.Node, None]()
    for node in calls:
        sources |= dict.fromkeys(n for n in context.tensors(node) if n not in calls)
    read = dict.fromkeys(n.name for node in calls for n in node.all_input_nodes if n not in calls and n not in sources)
    runs = [(node.name, context.caller(node)) for node in calls]

    def call(values: Values) -> Any:
        values = dict(values)
        for name, run in runs:
            values[name] = run(values)
        return values[context.scores.name]

    labels, names = (label(context.scores),), tuple(source.name for source in sources)
    return ReadOutStep(context.scores.name, names, labels, tuple(read), call=call, rule=Epsilon(0.0))


def of_softmax(context: Context, node: fx.Node) -> Step:
    """Return the step of a softmax that is no gate."""
    if context.composite.attention == "attn_lrp" and node.meta["operation"] == "softmax":
        return HeldStep(**context.options(node), call=context.caller(node), rule=Epsilon(0.0))
    why = (
        "a softmax inside the network has no relevance rule, unless it is a gate (a factor of a product); return the "
        "scores in front of it, or use a gradient method: neuroxai.attribution.create('integrated_gradients', model)"
    )
    raise context.refuse(node, why)


def of_product(context: Context, node: fx.Node) -> Step:
    """Return the step of a product: constants pass, of a signal and a gate the signal takes all, of two each half."""
    tensors = context.tensors(node)
    factors: list[Any] = [value for value in node.args[:2] if context.depends(value)]
    if len(tensors) == 1 and len(factors) == 1:
        (other,) = (value for value in node.args[:2] if not context.depends(value))
        if issubclass(node.meta["type"] or object, nn.RNNBase | nn.RNNCellBase) and context.is_gate(tensors[0]):
            return context.free(node)  # the state that a cell starts with: as of a bias, the gate takes nothing of it
        return context.scaling(node, tensors[0], other)
    found = [factor for factor in factors if not context.is_gate(factor)]
    if len(tensors) == 2 and len(found) == 1:
        return context.passing(node, found[0])
    if len(found) != len(factors):
        raise context.refuse(node, "both factors are gates, and neither is a signal that could take relevance")
    return held(context, node)


def of_quotient(context: Context, node: fx.Node) -> Step:
    """Return the step of a division: what is divided by is held constant."""
    given = arguments(node)
    signal = given["other"] if node.meta["operation"] == "rdiv" else given["input"]
    if not context.depends(signal):
        raise context.refuse(node, "a constant divided by a signal has no relevance rule, unless it is a gate")
    if given.get("rounding_mode") is not None:
        raise context.refuse(node, "a division that rounds has no relevance rule")
    return (
        context.scaling(node, signal, given["other"], divides=True)
        if signal is given["input"]
        else context.passing(node, signal)
    )


def of_matrix_product(context: Context, node: fx.Node) -> Step:
    """Return the step of a matrix product: with a constant it is a linear layer, with attention weights they are held.

    Sums of more than two factors follow the epsilon rule.
    """
    if not context.is_weighted(node):
        return held(context, node)
    (source,), (other,) = context.tensors(node), context.constants(node)
    if node.meta["operation"] in ("matmul", "mm") and source is node.args[0] and other.meta.get("rank") == 2:
        return of_linear(context, node, source, Dense(turned=True), other)
    call = context.caller(node)
    return of_linear(context, node, source, Product(lambda x, w: call({source.name: x, other.name: w})), other)


def of_summed_product(context: Context, node: fx.Node, product: fx.Node) -> Step:
    """Return the step of ``(x * w).sum(dim)``: a linear layer."""
    context.check_axes(node, product, arguments(node).get("dim"))
    (source,), (other,) = context.tensors(product), context.constants(product)
    multiply, add = context.caller(product), context.caller(node)

    def call(x: Tensor, w: Tensor) -> Any:
        return add({product.name: multiply({source.name: x, other.name: w})})

    return replace(of_linear(context, node, source, Product(call), other), also_reads=(other.name,))


def held(context: Context, node: fx.Node) -> HeldStep:
    """Return the step of a product that is linear in each factor, or of a call that is linear in all it reads."""
    tensors = list(dict.fromkeys(context.tensors(node)))
    found = [tensor for tensor in tensors if not context.is_gate(tensor)] or tensors
    flat: list[Any] = []
    fx.node.map_aggregate(node.args, flat.append)
    rule = Epsilon(context.composite.sums.epsilon)
    factors = sum(map(flat.count, found)) if kind_of(node) in ("bilinear", "product") else 1
    return HeldStep(**context.options(node, *found), call=context.caller(node), rule=rule, factors=factors)
