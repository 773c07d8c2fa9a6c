"""Turn a traced network into steps; refuse by name what has no rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import operations as known
from neuroxai.lrp.composites import WEIGHTED, Composite
from neuroxai.lrp.fold import fold_norms, fuse_pools
from neuroxai.lrp.inplace import refuse_shared_writes
from neuroxai.lrp.linear import LinearStep
from neuroxai.lrp.operators import Conv, Dense, Scale
from neuroxai.lrp.pooling import POOLS, MaxPool
from neuroxai.lrp.rules import Pass
from neuroxai.lrp.steps import (
    CatStep,
    PassStep,
    PermuteStep,
    PoolStep,
    ReshapeStep,
    SizeStep,
    Step,
    SumStep,
    recorded,
)
from neuroxai.lrp.trace import bound, describe, label, trace

_WAY_OUT = (
    "it has no relevance rule. Supported: Conv1d/2d/3d, Linear, BatchNorm, max-pooling, activations, dropout, flatten "
    "and reshaping, sums and concatenations of tensors"
)


@dataclass(frozen=True)
class Plan:
    """A network as steps.

    Attributes
    ----------
    steps : tuple of Step
        In the order they run.
    source, result : str
        Names of the input's and the scores' values.
    link : {"softmax", "sigmoid", None}
        What the network puts on its scores to make probabilities; left out of the steps.
    """

    steps: tuple[Step, ...]
    source: str
    result: str
    link: str | None


class _Builder:
    """Makes one step a node."""

    def __init__(self, graph: fx.Graph, modules: dict[str, nn.Module], composite: Composite) -> None:
        self.modules, self.composite = modules, composite
        self.sizes: set[fx.Node] = set()
        weighted = [n for n in graph.nodes if n.op == "call_module" and isinstance(modules[n.target], WEIGHTED)]
        self.positions = {node: index for index, node in enumerate(weighted)}
        composite.check([label(n) for n in graph.nodes if n.op == "call_module"], len(weighted))

    def refuse(self, node: fx.Node, why: str = _WAY_OUT) -> UnsupportedLayerError:
        return UnsupportedLayerError(f"{describe(node, self.modules)}: {why}")

    def step(self, node: fx.Node) -> Step:
        """Return the step of a node.

        Raises
        ------
        UnsupportedLayerError
            Naming the node.
        """
        tensors = [n for n in node.all_input_nodes if n not in self.sizes]
        sizes = tuple(n.name for n in node.all_input_nodes if n in self.sizes)
        if node.op == "call_module":
            return self.layer(node, self.modules[str(node.target)])
        if self.is_size(node, tensors):
            self.sizes.add(node)
            names = tuple(n.name for n in node.all_input_nodes)
            return SizeStep(node.name, (), (label(node),), call=self.caller(node), also_reads=names)
        if self.is_sum(node):
            return self.sum(node, tensors)
        if node.op == "call_function" and node.target in known.CAT_FUNCTIONS:
            return self.cat(node, tensors)
        if len(tensors) != 1 or tensors[0] is not node.args[0]:
            raise self.refuse(node)
        name, inputs, labels = node.name, (tensors[0].name,), (label(node),)
        target: Any = node.target
        if node.op == "call_function" and target in known.POOL_FUNCTIONS and not sizes:
            options: Any = (node.args[1:], node.kwargs)
            pool = MaxPool.of(known.POOL_FUNCTIONS[target], *options[0], **options[1])
            return PoolStep(name, inputs, labels, pool)
        if known.reshapes(node, self.modules):
            return ReshapeStep(name, inputs, labels, call=self.caller(node), also_reads=sizes)
        if target in (known.PERMUTE_FUNCTIONS if node.op == "call_function" else known.PERMUTES):
            return PermuteStep(name, inputs, labels, call=self.caller(node), also_reads=sizes)
        if target in (known.DROPOUT_FUNCTIONS if node.op == "call_function" else known.SAME):
            source = tensors[0].name
            return PassStep(name, inputs, labels, call=lambda values: values[source], gives="keeps")
        activation = known.ACTIVATION_FUNCTIONS.get(target) if node.op == "call_function" else str(target).rstrip("_")
        if activation in known.ACTIVATION_NAMES and not sizes:
            gives = known.ACTIVATION_NAMES[activation]
            return PassStep(name, inputs, labels, call=self.activation(node, activation), gives=gives)
        raise self.refuse(node)

    def caller(self, node: fx.Node) -> Any:
        if node.op == "call_function":
            return recorded(node, node.target)  # type: ignore[arg-type]
        method = str(node.target)
        return recorded(node, lambda x, *args, **kwargs: getattr(x, method)(*args, **kwargs))

    def activation(self, node: fx.Node, name: str) -> Any:
        """Return the activation's call, never writing into its input."""
        import torch
        import torch.nn.functional as F

        if node.op == "call_method":
            return recorded(node, getattr(F, name, None) or getattr(torch, name))
        target: Any = node.target
        if getattr(target, "__name__", "").endswith("_"):
            target = getattr(F, name, None) or getattr(torch, name)
        args, named = bound(node)
        source = args[0].name
        named.pop("inplace", None)
        rest = args[1:]
        return lambda values: target(values[source], *rest, **named)

    def is_size(self, node: fx.Node, tensors: Sequence[fx.Node]) -> bool:
        if node.op == "call_method" and node.target in known.SIZES:
            return True
        if node.op == "call_function" and node.target is getattr:
            return node.args[1] in ("shape", "ndim", "dtype", "device")
        return bool(node.all_input_nodes) and not tensors and node.op in ("call_function", "call_method")

    def is_sum(self, node: fx.Node) -> bool:
        return node.target in (known.ADD_FUNCTIONS if node.op == "call_function" else known.ADDS)

    def sum(self, node: fx.Node, tensors: Sequence[fx.Node]) -> Step:
        operands = [a for a in node.args if isinstance(a, fx.Node)]
        if len(node.args) != 2 or len(operands) != 2 or node.kwargs or any(o in self.sizes for o in operands):
            raise self.refuse(node, "only sums of two tensors have a relevance rule, without constants or factors")
        return SumStep(node.name, tuple(o.name for o in operands), (label(node),), self.composite.sums)

    def cat(self, node: fx.Node, tensors: Sequence[fx.Node]) -> Step:
        listed: Any = node.args[0] if node.args else node.kwargs.get("tensors")
        axis: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        if not isinstance(listed, list | tuple) or not all(n in tensors for n in listed) or not isinstance(axis, int):
            raise self.refuse(node)
        names = tuple(n.name for n in listed)
        return CatStep(node.name, names, (label(node),), gives="keeps", axis=axis)

    def layer(self, node: fx.Node, module: nn.Module) -> Step:
        """Return the step of a layer."""
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
            raise self.refuse(node, "it is called with more than one tensor")
        name, inputs, labels = node.name, (node.args[0].name,), (label(node),)
        try:
            if isinstance(module, WEIGHTED):
                rule = self.composite.rule_for(labels[0], module, self.positions[node], len(self.positions))
                if isinstance(rule, Pass):
                    raise self.refuse(node, "Pass is no rule for a layer that mixes its inputs; use another")
                operator = Dense() if isinstance(module, nn.Linear) else Conv.of(module)
                return LinearStep(name, inputs, labels, module, rule, operator)
            if isinstance(module, _BatchNorm):
                if module.running_mean is None:
                    raise self.refuse(node, "it has no running statistics (track_running_stats=False)")
                rule = self.composite.rule_for(labels[0], module)
                if isinstance(rule, Pass):
                    return PassStep(name, inputs, labels, call=_module_call(module, inputs[0]))
                return LinearStep(name, inputs, labels, module, rule, Scale())
            for kind, axes in POOLS.items():
                if isinstance(module, kind):
                    m: Any = module
                    arguments = (m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)
                    return PoolStep(name, inputs, labels, MaxPool.of(axes, *arguments))
        except UnsupportedLayerError as error:
            if describe(node, self.modules) in str(error) or labels[0] in str(error):
                raise
            raise self.refuse(node, str(error)) from error
        call = _module_call(module, inputs[0])
        if isinstance(module, known.INACTIVE):
            return PassStep(name, inputs, labels, call=call, gives="keeps")
        if isinstance(module, known.RESHAPE_MODULES):
            return ReshapeStep(name, inputs, labels, call=call)
        for activation, gives in known.ACTIVATIONS.items():
            if isinstance(module, activation):
                return PassStep(name, inputs, labels, call=call, gives=gives)
        raise self.refuse(node)


def _module_call(module: nn.Module, source: str) -> Any:
    return lambda values: module(values[source])


def make_plan(double: nn.Module, composite: Composite) -> Plan:
    """Trace a model's evaluation-mode double and make its steps.

    Raises
    ------
    UnsupportedLayerError
        Naming the layer or operation that has no rule.
    """
    graph, modules = trace(double)
    refuse_shared_writes(graph, modules)
    for module in modules.values():  # of the double: steps keep their inputs, so nothing may write into them
        if "inplace" in vars(module):
            vars(module)["inplace"] = False
    source, end = _ends(graph)
    link = _without_probabilities(graph, end, modules)
    for node in reversed(graph.nodes):  # what nobody reads needs no rule; writes that matter were refused above
        if not node.users and node.op.startswith(("call_", "get_attr")):
            graph.erase_node(node)
    builder = _Builder(graph, modules, composite)
    steps = []
    for node in graph.nodes:
        if node.op == "get_attr":
            raise builder.refuse(
                node, "parameters outside the known layers have no relevance rule; use torch.nn layers"
            )
        if node.op not in ("placeholder", "output"):
            steps.append(builder.step(node))
    result: Any = end.args[0]
    return Plan(tuple(fold_norms(steps)), source.name, result.name, link)


def _ends(graph: fx.Graph) -> tuple[fx.Node, fx.Node]:
    source = next(n for n in graph.nodes if n.op == "placeholder")
    end = next(n for n in graph.nodes if n.op == "output")
    if not isinstance(end.args[0], fx.Node):
        kind = type(end.args[0]).__name__
        raise UnsupportedLayerError(f"the network returns a {kind}; wrap it so that it returns one tensor of scores")
    return source, end


def _without_probabilities(graph: fx.Graph, end: fx.Node, modules: dict[str, nn.Module]) -> str | None:
    """Take the softmax or sigmoid at the end (also before a reshape) out of the graph and say which it was."""
    node: Any = end.args[0]
    while node.op.startswith("call_") and known.reshapes(node, modules) and len(node.users) == 1:
        node = node.args[0]
    link = known.probability(node, modules) if node.op.startswith("call_") and len(node.users) == 1 else None
    if link is not None:
        node.replace_all_uses_with(node.args[0])
    for other in graph.nodes:
        inner = other is not node and other.op.startswith("call_") and other.users
        if inner and known.probability(other, modules) == "softmax":
            raise UnsupportedLayerError(
                f"{describe(other, modules)}: a softmax inside the network has no relevance rule"
            )
    return link


def fused(plan: Plan) -> Plan:
    """Return the same plan in less memory; see `neuroxai.lrp.fold.fuse_pools`."""
    return replace(plan, steps=tuple(fuse_pools(plan.steps, plan.result)))


def check_scores(scores: Tensor, reference: Tensor) -> None:
    """Hold the steps' scores against the model's own.

    Raises
    ------
    UnsupportedLayerError
        If they differ: the model does something that tracing does not see.
    """
    scale = float(reference.abs().max()) + 1.0
    off = float((scores - reference).abs().max())
    if off > 1e-3 * scale:
        raise UnsupportedLayerError(
            f"the traced network's output differs from the model's by {off:.3g}: its forward writes into shared "
            "tensors or depends on something that torch.fx does not see; rewrite it with torch.nn layers"
        )
