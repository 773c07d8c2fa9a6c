"""Maxima, over windows, axes or of two tensors: the winner takes all. A soft maximum shares by its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from neuroxai.graph.operations import arguments, label
from neuroxai.lrp.engine.max_pool import MaxPool
from neuroxai.lrp.engine.propagate import signals
from neuroxai.lrp.rules import Epsilon, Rule
from neuroxai.lrp.steps.base import CallStep, Step, Values
from neuroxai.lrp.steps.context import Context


@dataclass(frozen=True)
class PoolStep(Step):
    """Max-pooling, by windows or adaptive."""

    pool: MaxPool = field(default=MaxPool("max_pool1d", {}))

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Take the maxima; the winners are saved."""
        return self.pool(values[self.inputs[0]])

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Give all to the winners."""
        return (saved.scatter(relevance),)


@dataclass(frozen=True)
class MaxStep(CallStep):
    """The maximum over axes, or of two tensors (or a tensor and a constant) place by place."""

    dims: tuple[int, ...] = ()  # the axes; none: of two tensors

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; what it read is saved."""
        output = self.call(values)
        return output if isinstance(output, Tensor) else output[0], [values[name] for name in self.reads()]

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Give all to the winners, by the vector-Jacobian product of picking them."""
        count = len(self.dims)
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_(True) for x in saved[: len(self.inputs)]]
            if count:
                lines = inputs[0].movedim(self.dims, tuple(range(-count, 0))).flatten(-count)
            else:
                lines = torch.stack(torch.broadcast_tensors(*inputs, *saved[len(inputs) :]), -1)  # type: ignore[no-untyped-call]
            winners = lines.gather(-1, lines.argmax(-1, keepdim=True))
            found: Sequence[Tensor] = torch.autograd.grad(winners, inputs, relevance.reshape(winners.shape))
        return found


class ChosenStep(CallStep):
    """Values chosen by their order (smallest, sorted, median): each takes back what its copies got; equals share."""

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; what it read is saved."""
        return self.call(values), {name: values[name] for name in self.reads()}

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Give all to the chosen."""
        with torch.enable_grad():
            leaves = {name: saved[name].detach().requires_grad_(True) for name in self.inputs}
            chosen = self.call({**saved, **leaves})
            return torch.autograd.grad(chosen, list(leaves.values()), relevance, materialize_grads=True)


@dataclass(frozen=True)
class SoftMaximumStep(CallStep):
    """``logsumexp`` over axes: the winner's share made soft, by the softmax ``s`` of the values, held constant.

    ``R_i = s_i x_i / (sum_j s_j x_j) * R (y - log n) / y``, as attention pooling with these weights. Of n zeros the
    output is log n: that share comes from nowhere, and is a bias, as f(0) of an activation is.
    """

    rule: Rule = field(default_factory=Epsilon)  # stabiliser of the denominators
    dims: tuple[int, ...] = (-1,)  # the axes

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; what it read is saved."""
        x = values[self.inputs[0]]
        return self.call(values), x

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Share out by the weights; what is masked out takes nothing."""
        y = saved.logsumexp(self.dims, keepdim=True)
        weighted = torch.where(torch.isneginf(saved), 0, saved * torch.exp(saved - y))
        passed_on = torch.where(y == 0, 0, relevance.reshape(y.shape) * (1 - math.log(saved.numel() / y.numel()) / y))
        (signal,) = signals(self.rule, [weighted.sum(self.dims, keepdim=True)], passed_on)
        return (weighted * signal,)


# steps of recorded calls


def of_max_pool(context: Context, node: fx.Node) -> Step:
    """Return the step of a max-pooling, by windows or adaptive; who reads its indices is another matter."""
    pool = MaxPool.of(node.meta["operation"], arguments(node))
    return PoolStep(**context.options(node), gives="keeps", pool=pool)


def of_maximum(context: Context, node: fx.Node) -> Step:
    """Return the step of the maximum over axes, or of two tensors."""
    whole: Any = node.args[0] if node.meta["operation"] == "getitem" else node
    given, tensors = arguments(whole), context.tensors(whole)
    names = {"name": node.name, "labels": context.options(node, *tensors)["labels"]}
    if len(tensors) == 2 or whole.meta["operation"] == "maximum" or isinstance(given.get("dim"), fx.Node):
        return MaxStep(**context.options(whole, *tensors) | names, call=context.caller(whole))
    source = context.only_input(whole)
    dims = context.check_axes(whole, source, given.get("dim"))
    if whole is not node and node.args[1] != 0:
        raise context.refuse(node, "where a maximum lies has no relevance rule")
    options = context.options(whole, source) | names
    return MaxStep(**options, call=context.caller(whole), gives="keeps", dims=dims)


def of_chosen(context: Context, whole: fx.Node, node: fx.Node | None = None) -> Step:
    """Return the step of values chosen by their order, or of picking these where places come with them."""
    given, tensors, run = arguments(whole), context.tensors(whole), context.caller(whole)
    options, call = {**context.options(whole, *tensors), "gives": "keeps"}, run
    if node is not None:
        at: Any = node.args[1]
        options |= {"name": node.name, "labels": (label(node),)}

        def call(values: Values) -> Any:
            return run(values)[at]

    if len(tensors) == 1 and "other" not in given and not isinstance(given.get("dim"), fx.Node):
        last = whole.meta["operation"] in ("topk", "sort", "kthvalue")
        first = whole.meta["operation"] == "msort"
        context.check_axes(whole, tensors[0], 0 if first else given.get("dim", -1 if last else None))
    return ChosenStep(**options, call=call)


def of_soft_maximum(context: Context, node: fx.Node) -> Step:
    """Return the step of ``logsumexp``."""
    source, rule = context.only_input(node), Epsilon(context.composite.sums.epsilon)
    dims = context.check_axes(node, source, arguments(node).get("dim"))
    options = {**context.options(node, source), "call": context.caller(node), "gives": "keeps"}
    return SoftMaximumStep(**options, rule=rule, dims=dims)
