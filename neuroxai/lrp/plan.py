"""Turn a recorded network into steps; refuse by name what has no rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx

from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.names import describe, label
from neuroxai.graph.output_activation import scores_of
from neuroxai.graph.record import Record
from neuroxai.lrp.calls import of_call
from neuroxai.lrp.composites import Composite
from neuroxai.lrp.context import Context
from neuroxai.lrp.fold import fold_norms, fuse_pools
from neuroxai.lrp.steps import FreeStep, Step


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
    scores, link, end = scores_of(record)
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
