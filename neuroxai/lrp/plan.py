"""A recorded network as steps: made of its calls, rewritten for speed, run forward and backward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.graph.operations import MOVES, arguments, at_line, kind_of
from neuroxai.graph.output_activation import scores_of
from neuroxai.graph.record import Record
from neuroxai.lrp.composites import Composite
from neuroxai.lrp.folding import folded, needed, readers_of
from neuroxai.lrp.pooled import pooled
from neuroxai.lrp.rules import Rule
from neuroxai.lrp.steps.base import FreeStep, PassStep, Step
from neuroxai.lrp.steps.context import Context
from neuroxai.lrp.steps.filters import LinearStep
from neuroxai.lrp.steps.maxima import PoolStep, SoftMaximumStep
from neuroxai.lrp.steps.products import ReadOutStep
from neuroxai.lrp.steps.table import of_call

# Sees each step of the backward pass: the step, what it saved, the relevance of its output and of its inputs.
# Returns True to end the backward pass there.
Watch = Callable[[Step, Any, Tensor, Sequence[Tensor]], bool]


@dataclass(frozen=True)
class Plan:
    """A network as steps."""

    steps: tuple[Step, ...]  # in the order they run
    sources: tuple[str, ...]  # names of the inputs' values
    result: str  # name of the scores' value
    # {"softmax", "sigmoid", "average", None}: the output activation: what the network puts on its scores to make
    # probabilities, left out of the steps; "average": they are probabilities
    activation: str | None
    # from the scores to the network's own output: the output activation and what follows it
    tail: tuple[Step, ...] = ()
    end: str = ""  # name of the output's value
    own_gradient: str = ""  # the first call whose gradient may not be that of what it computes, for messages

    @property
    def contrasts(self) -> bool:
        """Whether classes are held against each other, so that the map's sum is no share of the score."""
        return any(isinstance(step, ReadOutStep) for step in self.steps[-1:])

    @cached_property
    def fused(self) -> Plan:
        """The same, each layer running the max-pooling behind it: winners alone are saved, relevance stays the same."""
        steps, readers = list(self.steps), readers_of(self.steps)
        for first in self.steps:
            if not isinstance(first, LinearStep) or not first.fuses or first.rule.bias == "distribute":
                continue
            between: list[PassStep] = []
            at: Step = first
            while at.name != self.result and len(readers.get(at.name, ())) == 1:
                at = readers[at.name][0]
                if not isinstance(at, PassStep) or not at.vanishes or not at.local:
                    break
                between.append(at)
            if isinstance(at, PoolStep):
                gone = {first.name, at.name, *(s.name for s in between)}
                reads = (*first.also_reads, *(read for step in between for read in step.also_reads))
                whole = replace(first, name=at.name, also_reads=reads, between=tuple(between), pool=at)
                steps = [whole if s is at else s for s in steps if s is at or s.name not in gone]
        return replace(self, steps=tuple(steps))


def make_plan(record: Record, composite: Composite) -> Plan:
    """Make the steps of a record."""
    scores, activation, end = scores_of(record)
    context = Context(record, composite, scores)
    steps = _steps(context, scores)
    sources = tuple(node.name for node in record.inputs)
    made = {*sources, *(step.name for step in steps)}
    calls = [node for node in record.graph.nodes if node.op not in ("placeholder", "output") and node.name not in made]
    tail = () if activation is None else tuple(context.free(node) for node in calls)
    own = next((at_line(node) for node in record.graph.nodes if node.meta.get("own_gradient")), "")
    ranks = {node.name: node.meta.get("rank") or 0 for node in record.graph.nodes}
    linear = {node.name for node in record.graph.nodes if kind_of(node) in {*MOVES, "sum"} or (
        kind_of(node) == "product" and len(context.tensors(node)) == 1)}  # fmt: skip
    whole = tuple(needed(pooled(list(_settled(folded(steps, scores.name, ranks))), scores.name, linear), scores.name))
    return _numbered(Plan(whole, sources, scores.name, activation, tail, end.name, own))


def proportional(steps: Sequence[Step], name: str) -> bool:
    """Whether of the first rules that relevance of a value meets, if any, one shares in proportion."""
    met, passed = list[Rule](), {name}
    for step in reversed(steps):
        if step.name in passed:
            rule: Rule | None = None if isinstance(step, SoftMaximumStep) else getattr(step, "rule", None)
            met += [] if rule is None else [rule]
            passed.update(step.inputs if rule is None else ())
    return not met or any(rule.proportional for rule in met)


def _settled(steps: Sequence[Step]) -> Iterator[Step]:
    """Yield the steps, those that pass relevance as the layers in front of them need it settled.

    What a value below 0 takes off an output that is above 0 by a constant share (a sigmoid's) is below 0, and a layer
    that shares in proportion turns it again, while one that goes by its positive contributions would not.
    """
    for step in steps:
        if isinstance(step, PassStep) and not step.vanishes and not proportional(steps, step.name):
            yield replace(step, vanishes=True)
        elif isinstance(step, ReadOutStep):
            yield replace(step, proportional=all(proportional(steps, name) for name in step.inputs))
        elif isinstance(step, SoftMaximumStep):
            yield replace(step, proportional=proportional(steps, step.name))
        else:
            yield step


def _steps(context: Context, result: fx.Node) -> list[Step]:
    """Make the steps, from the result back: what relevance does not reach only runs, and needs no rule."""
    nodes = {node.name: node for node in context.record.graph.nodes}
    reached, read, trouble = {result}, {result.name}, None
    steps: list[Step] = []
    for node in reversed(context.record.graph.nodes):
        if node.op in ("placeholder", "output") or node.name not in read:
            continue
        if node not in reached:
            step: Step = context.free(node)
        else:
            try:
                if not node.meta["carries"]:
                    raise context.refuse(node, "the scores do not depend on the input")
                step = of_call(context, node)
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


def own_output(plan: Plan, scores: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Return what the network makes of its scores: its own output."""
    values: dict[str, Any] = {**dict(zip(plan.sources, inputs, strict=True)), plan.result: scores}
    for step in plan.tail:
        if step.name != plan.result and all(name in values for name in step.reads()):
            values[step.name] = step.forward(values, ())[0]
    output: Tensor = values.get(plan.end, scores)
    return output


def serves_any_batch(record: Record) -> bool:
    """Whether what one number of samples did is what any does: nothing asks how many there are, no call mixes them."""
    return not record.reads_sizes and all(map(_keeps_samples_apart, record.graph.nodes))


def _keeps_samples_apart(node: fx.Node) -> bool:
    """Whether a call leaves each sample's values on axis 0 and its own; that is told of what most networks call."""
    if not node.meta["depends"]:  # a parameter, not what was made in forward
        return node.op == "get_attr" and not bool(node.meta["constant"])
    kind, operation, reads = kind_of(node), node.meta["operation"], node.all_input_nodes
    if not reads:
        return bool(operation == "input")
    rank = reads[0].meta.get("rank", 1)  # a tuple has none, and nothing that is told of here reads one
    if operation in ("flatten", "cat", "softmax", "mean"):
        dims = arguments(node).get("start_dim" if operation == "flatten" else "dim", 0)
        others = all(d % rank for d in (dims if isinstance(dims, list | tuple) else (dims or 0,)))
        return others and all(n.meta["depends"] for n in reads)
    if kind in ("sum", "product"):
        return all(n.meta["depends"] for n in reads)
    if operation[-2:-1].isdigit() and operation[-1] == "d":  # a convolution or pooling
        return kind in ("filter", "max", "average", "same") and rank == int(operation[-2]) + 2
    return kind in ("filter", "activation", "same") or operation in ("output", "batch_norm")


def _numbered(plan: Plan) -> Plan:
    """Give each run of a layer a label of its own: "name", "name:2", ... in the order they run."""
    runs: Counter[str] = Counter()
    steps = []
    for step in plan.steps:
        runs.update(step.labels)
        labels = tuple(name if runs[name] == 1 else f"{name}:{runs[name]}" for name in step.labels)
        steps.append(replace(step, labels=labels))
    return replace(plan, steps=tuple(steps))


# both passes


def forward(plan: Plan, inputs: Sequence[Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """Run all steps; return the plan's result, and by the steps' names what `backward` needs.

    Values that nobody reads again are let go. Errors name the layer that cannot take what arrives.
    """
    values: dict[str, Any] = dict(zip(plan.sources, inputs, strict=True))
    nonnegative = {name: bool(x.amin() >= 0) for name, x in values.items()}
    last = {name: index for index, step in enumerate(plan.steps) for name in step.reads()}
    saved: dict[str, Any] = {}
    for index, step in enumerate(plan.steps):
        signs = [nonnegative[name] for name in step.inputs]
        try:
            values[step.name], saved[step.name] = step.forward(values, signs)
        except InputError as error:
            raise InputError(f"layer {step.labels[0]!r}: {error}") from error
        nonnegative[step.name] = step.nonnegative(signs)
        for name in step.reads():
            if last[name] == index and name != plan.result:
                values.pop(name, None)
    return values[plan.result], saved


def backward(
    plan: Plan, saved: dict[str, Any], seed: Tensor, inputs: Sequence[Tensor], watch: Watch | None = None
) -> list[Tensor]:
    """Take the relevance of the plan's result back to its inputs, adding up where a value was read several times.

    `saved` is emptied on the way. Where `watch` ended the pass before an input, its relevance is zero.
    """
    relevance: dict[str, Tensor] = {plan.result: seed}
    for step in reversed(plan.steps):
        arrived, own = relevance.pop(step.name, None), saved.pop(step.name)
        if arrived is None:
            continue
        shares = step.backward(own, arrived)
        if watch is not None and watch(step, own, arrived, shares):
            break
        for name, share in zip(step.inputs, shares, strict=True):
            relevance[name] = relevance[name] + share if name in relevance else share
        del shares  # nothing may outlive the step that needs it: memory counts on whole-brain grids
    found = zip(plan.sources, inputs, strict=True)
    return [relevance[name].contiguous() if name in relevance else torch.zeros_like(x) for name, x in found]


def lost(plan: Plan, saved: dict[str, Any], seed: Tensor, inputs: Sequence[Tensor]) -> UnsupportedLayerError:
    """Return the error that names the layer in which relevance stops being finite; takes what `backward` takes."""
    found: list[str] = []

    def watch(step: Step, own: Any, arrived: Tensor, shares: Sequence[Tensor]) -> bool:
        found.extend(step.labels[:1] if not all(bool(torch.isfinite(one).all()) for one in shares) else ())
        return bool(found)

    backward(plan, saved, seed, inputs, watch)
    return UnsupportedLayerError(
        f"the relevance that {next(iter(found), 'the network')!r} passes on is NaN or infinite: it puts out such "
        "values, or contributions that cancel; use a composite with a larger epsilon, or a gradient method"
    )
