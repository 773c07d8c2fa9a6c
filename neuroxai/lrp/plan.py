"""Turn a recorded network into steps; refuse by name what has no rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.operations import arguments, kind_of
from neuroxai.graph.record import Record, describe, label
from neuroxai.lrp.calls import of_call
from neuroxai.lrp.composites import Composite
from neuroxai.lrp.context import Context
from neuroxai.lrp.fold import fold_norms, fuse_pools
from neuroxai.lrp.steps import FreeStep, Step

_LINKS = {"softmax": "softmax", "log_softmax": "softmax", "sigmoid": "sigmoid", "logsigmoid": "sigmoid"}
_LOOKED_THROUGH = {"reshape", "permute", "cast", "same"}


@dataclass(frozen=True)
class Plan:
    """A network as steps.

    Attributes
    ----------
    steps : tuple of Step
        In the order they run.
    sources : tuple of str
        Names of the inputs' values.
    result : str
        Name of the scores' value.
    link : {"softmax", "sigmoid", None}
        The output activation: what the network puts on its scores to make probabilities; left out of the steps.
    tail : tuple of Step
        From the scores to the network's own output: the output activation and what follows it.
    end : str
        Name of the output's value.
    """

    steps: tuple[Step, ...]
    sources: tuple[str, ...]
    result: str
    link: str | None
    tail: tuple[Step, ...] = ()
    end: str = ""


def make_plan(record: Record, composite: Composite) -> Plan:
    """Make the steps of a record.

    Raises
    ------
    UnsupportedLayerError
        Naming the layer or operation that has no rule.
    """
    scores, link, end = _scores(record)
    context = Context(record, composite)
    steps = _steps(context, scores)
    ranks = {node.name: node.meta.get("rank", 2) for node in record.graph.nodes}
    before = {step.name for step in steps} | {node.name for node in record.inputs}
    tail = () if link is None else tuple(
        _free(context, node) for node in record.graph.nodes
        if node.op not in ("placeholder", "output") and node.name not in before
    )  # fmt: skip
    sources = tuple(node.name for node in record.inputs)
    return Plan(tuple(fold_norms(steps, ranks)), sources, scores.name, link, tail, end.name)


def _free(context: Context, node: fx.Node) -> FreeStep:
    reads = tuple(n.name for n in node.all_input_nodes)
    return FreeStep(node.name, (), (label(node),), call=context.caller(node), also_reads=reads)


def _steps(context: Context, result: fx.Node) -> list[Step]:
    """Make the steps, from the result back: what relevance does not reach only runs, and needs no rule."""
    nodes = {node.name: node for node in context.record.graph.nodes}
    reached, read, trouble = {result}, {result.name}, None
    steps: list[Step] = []
    for node in reversed(context.record.graph.nodes):
        if node.op in ("placeholder", "output") or node.name not in read:
            continue
        if node not in reached:
            step: Step = _free(context, node)
        else:
            try:
                step = _step(context, node)
            except UnsupportedLayerError as error:
                trouble = error  # the first in the order they run is reported
                reached.update(context.tensors(node))
                read.update(n.name for n in node.all_input_nodes)
                continue
        steps.append(step)
        read.update(step.reads())
        if not isinstance(step, FreeStep):
            reached.update(nodes[name] for name in step.inputs)
    if trouble is not None:
        raise trouble
    return steps[::-1]


def _step(context: Context, node: fx.Node) -> Step:
    if not node.meta["depends"]:
        raise context.refuse(node, "the scores do not depend on the input")
    try:
        return of_call(context, node)
    except UnsupportedLayerError as error:
        if describe(node) in str(error) or repr(label(node)) in str(error):
            raise
        raise context.refuse(node, str(error)) from error


def _scores(record: Record) -> tuple[fx.Node, str | None, fx.Node]:
    """Find the scores, in front of the softmax or sigmoid that ends the network, whatever gives it another shape.

    Returns
    -------
    scores : torch.fx.Node
        What relevance starts from.
    link : {"softmax", "sigmoid", None}
        The output activation.
    end : torch.fx.Node
        The network's output.
    """
    node = record.result
    while True:
        operation = node.meta["operation"]
        if operation in _LINKS and len(node.all_input_nodes) == 1:
            return node.all_input_nodes[0], _LINKS[operation], record.result
        pair = _pair_of(node)
        if pair is not None:
            scores, probabilities = _opposites(record.graph, pair, node)
            return scores, "sigmoid", probabilities if node is record.result else record.result
        sources = [n for n in node.all_input_nodes if n.meta["depends"]]
        scales = operation in ("mul", "div") and isinstance(node.args[1], int | float) and node.args[1] > 0
        if len(sources) != 1 or not (kind_of(node) in _LOOKED_THROUGH or scales):
            return record.result, None, record.result
        node = sources[0]


def _pair_of(node: fx.Node) -> fx.Node | None:
    """Return z of ``cat([1 - p, p], 1)`` with p = sigmoid(z), (batch, 1)."""
    if node.meta["operation"] != "cat":
        return None
    given = arguments(node)
    parts: Any = given.get("tensors", node.args[0])
    if given.get("dim", 0) not in (1, -1) or len(parts) != 2:
        return None
    other, p = parts
    if p.meta["operation"] != "sigmoid" or other.meta["operation"] not in ("rsub", "sub"):
        return None
    named = arguments(other)
    minus: Any = named["input"] if other.meta["operation"] == "rsub" else named["other"]
    plus: Any = named["other"] if other.meta["operation"] == "rsub" else named["input"]
    if not isinstance(minus, fx.Node) or minus.meta["operation"] != "sigmoid" or plus != 1:
        return None
    (z,) = p.all_input_nodes
    return z if minus.all_input_nodes == [z] else None


def _opposites(graph: fx.Graph, z: fx.Node, pair: fx.Node) -> tuple[fx.Node, fx.Node]:
    """Put sigmoids of -z and z, which are 1 - p and p, in the place of a pair of them."""
    with graph.inserting_before(pair):
        negative = graph.call_function(torch.neg, (z,))
        negative.meta = {**z.meta, "operation": "neg", "label": negative.name}
        both = graph.call_function(torch.cat, ([negative, z], 1))
        both.meta = {**pair.meta, "operation": "cat", "label": both.name}
        probabilities = graph.call_function(torch.sigmoid, (both,))
        probabilities.meta = {**pair.meta, "operation": "sigmoid", "label": probabilities.name}
    pair.replace_all_uses_with(probabilities)
    return both, probabilities


def fused(plan: Plan) -> Plan:
    """Return the same plan in less memory; see `neuroxai.lrp.fold.fuse_pools`."""
    return replace(plan, steps=tuple(fuse_pools(plan.steps, plan.result)))


def own_output(plan: Plan, scores: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Return what the network makes of its scores: its own output."""
    values: dict[str, Any] = {**dict(zip(plan.sources, inputs, strict=True)), plan.result: scores}
    for step in plan.tail:
        if step.name != plan.result and all(name in values for name in step.reads()):
            values[step.name] = step.forward(values, ())[0]
    output: Tensor = values.get(plan.end, scores)
    return output


def check_scores(scores: Tensor, reference: Tensor) -> None:
    """Hold a record's output against the model's own, relative to the spread of the model's.

    Raises
    ------
    UnsupportedLayerError
        If they differ: the model does something that recording does not see.
    """
    size = float(reference.abs().max())
    spread = float((reference - reference.mean(-1, keepdim=True)).abs().max()) if reference.shape[-1] > 1 else size
    off = float((scores.reshape(reference.shape) - reference).abs().max())
    if off > 1e-3 * spread + 1e-5 * size + 1e-12:
        raise UnsupportedLayerError(
            f"the recorded network's output differs from the model's by {off:.3g} (its outputs spread over "
            f"{spread:.3g}): its forward depends on something that recording does not see; rewrite it with functions "
            "of torch, or use a gradient method"
        )
