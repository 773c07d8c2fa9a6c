"""Turn a traced network into steps; refuse by name what has no rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn

from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import operations as known
from neuroxai.lrp.calls import of_call
from neuroxai.lrp.composites import Composite
from neuroxai.lrp.context import Context
from neuroxai.lrp.fold import fold_norms, fuse_pools
from neuroxai.lrp.inplace import refuse_shared_writes
from neuroxai.lrp.layers import of_layer
from neuroxai.lrp.steps import FreeStep, Step
from neuroxai.lrp.trace import describe, label, trace


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
    steps = _steps(Context(graph, modules, composite), end.args[0])
    result: Any = end.args[0]
    return Plan(tuple(fold_norms(steps)), source.name, result.name, link)


def _steps(context: Context, result: Any) -> list[Step]:
    """Make the steps, from the result back: what relevance does not reach only runs, and needs no rule."""
    nodes = {node.name: node for node in context.graph.nodes}
    reached, trouble = {result}, None
    steps: list[Step] = []
    for node in reversed(context.graph.nodes):
        if node.op in ("placeholder", "output"):
            continue
        if node not in reached:
            reads = tuple(n.name for n in node.all_input_nodes)
            steps.append(FreeStep(node.name, (), (label(node),), call=context.caller(node), also_reads=reads))
            continue
        try:
            step = _step(context, node)
        except UnsupportedLayerError as error:
            trouble = error  # the first in the order they run is told
            reached.update(context.tensors(node))
            continue
        steps.append(step)
        reached.update(nodes[name] for name in step.inputs)
    if trouble is not None:
        raise trouble
    return steps[::-1]


def _step(context: Context, node: fx.Node) -> Step:
    if node in context.constants:
        raise context.refuse(node, "the scores do not depend on the input")
    try:
        return of_layer(context, node) if node.op == "call_module" else of_call(context, node)
    except UnsupportedLayerError as error:
        if describe(node, context.modules) in str(error) or repr(label(node)) in str(error):
            raise
        raise context.refuse(node, str(error)) from error


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
