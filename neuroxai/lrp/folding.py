"""Steps merged where a network writes one linear layer as several calls: all ways to write it are explained alike.

A batch normalisation goes into the layer in front of it. Under rules that treat positive and negative contributions
differently, so do what scales its output (``-z``, ``z * w``), what shifts it (``x @ W + b``) and the average of it that
is the score (a convolution and global pooling as a head): a minus makes contributions of the other sign, a bias of its
own is no summand beside the layer, and of an average it is the contributions that count, not the averaged values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from neuroxai.lrp.engine.operators import Dense, Operator, Product, Scale
from neuroxai.lrp.steps.base import Constant, MoveStep, ScaleStep, Step, Values
from neuroxai.lrp.steps.filters import LinearStep
from neuroxai.lrp.steps.products import ReadOutStep
from neuroxai.lrp.steps.sums import SumStep

Ranks = Mapping[str, int]


def folded(steps: Sequence[Step], result: str, ranks: Ranks) -> list[Step]:
    """Return the steps with all that is merged.

    Parameters
    ----------
    steps : sequence of Step
        In the order they run.
    result : str
        Name of the scores' value.
    ranks : mapping of str to int
        How many axes each value has.
    """
    return needed(_fold_constants(_fold_norms(steps), result, ranks), result)


def readers_of(steps: Iterable[Step]) -> dict[str, list[Step]]:
    """Return the steps that read each value."""
    readers: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.reads():
            readers.setdefault(name, []).append(step)
    return readers


def needed(steps: Sequence[Step], result: str) -> list[Step]:
    """Return the steps that lead to a value, without those that nobody reads any longer."""
    read, found = {result}, []
    for step in reversed(steps):
        if step.name in read:
            found.append(step)
            read.update(step.reads())
    return found[::-1]


def _fold_norms(steps: Sequence[Step]) -> list[Step]:
    """Fold each batch normalisation into the convolution or linear layer that alone feeds it."""
    made, readers = {step.name: step for step in steps}, readers_of(steps)
    found: dict[str, Step] = {}
    gone: set[str] = set()
    for norm in steps:
        if not (isinstance(norm, LinearStep) and isinstance(norm.operator, Scale)):
            continue
        before = made.get(norm.inputs[0])
        fits = isinstance(before, LinearStep) and before.fuses and before.fixed is None
        if isinstance(before, LinearStep) and fits and len(readers[before.name]) == 1:
            gone.add(before.name)
            labels, reads = before.labels + norm.labels, before.also_reads + norm.also_reads
            found[norm.name] = replace(before, name=norm.name, labels=labels, also_reads=reads, fixed=norm.fixed)
    # what the normalisation reads is there when it runs, so the two run in its place
    return [found.get(step.name, step) for step in steps if step.name not in gone]


def _fold_constants(steps: Sequence[Step], result: str, ranks: Ranks) -> list[Step]:
    """Fold what scales, shifts or averages a layer's output into the layer, or into a copy of it if others read it."""
    head, readers = _head(steps, result), readers_of(steps)
    made: dict[str, Step] = {}
    found: list[Step] = []
    for step in steps:
        new = [step]
        if isinstance(step, SumStep) and min(step.weights) < 0:
            new = _without_minus(made, step)
        elif isinstance(step, ScaleStep) and step.turns:
            new = turned(made, step.inputs[0], step.name, step) or new
        made.update((one.name, one) for one in new)
        last = new[-1]
        if isinstance(last, ScaleStep | SumStep) and len(last.inputs) == 1 and last.inputs[0] != result:
            chain = _layer_of(made, last.inputs[0])
            if chain and all(len(readers.get(one.name, (last,))) == 1 for one in chain):
                layer, *moves = chain
                if not moves and _takes(layer, last):
                    new[-1] = _with(layer, last)
                elif last.name in head and _averages(layer, last) and ranks.get(last.name, 0) > 1:
                    labels = layer.labels + last.labels
                    behind = (*moves, last)
                    new[-1] = replace(layer, name=last.name, labels=labels, behind=behind, merged=layer)
        found += new
        made[last.name] = new[-1]
    return found


def _head(steps: Sequence[Step], result: str) -> set[str]:
    """Return the names of the values that nothing but linear steps, whose weights are fixed, lead from to the score."""
    readers, found = readers_of(steps), {result}
    for step in reversed(steps):
        if step.name in found and (isinstance(step, ScaleStep | SumStep | ReadOutStep) or _moves(step)):
            found.update(name for name in step.inputs if all(one.name in found for one in readers[name]))
    return found


def _moves(step: Step | None) -> bool:
    return isinstance(step, MoveStep) and len(step.inputs) == 1 and step.gives == "keeps" and not step.chosen


def _layer_of(made: Mapping[str, Step], name: str) -> list[Any]:
    """Return the layer whose rule tells signs apart that a value is the output of, and the steps that moved it since.

    Nothing, where the value is not such a layer's.
    """
    moves: list[Step] = []
    step = made.get(name)
    while step is not None and _moves(step) and not step.also_reads:
        moves.insert(0, step)
        step = made.get(step.inputs[0])
    if not isinstance(step, LinearStep) or step.weight is None:
        return []
    if step.rule.proportional and len(step.rule.parts) == 1:
        return []
    return [step, *moves]


def _takes(layer: LinearStep, step: ScaleStep | SumStep) -> bool:
    """Whether a factor or summand is one number, or one for each output of the layer."""
    product = isinstance(layer.operator, Product)
    if isinstance(step, ScaleStep):
        return step.factor.axis is None or (not product and step.factor.axis == _axis(layer.operator))
    if step.shift is None or layer.behind or step.weights != (1.0,):
        return False
    return product or step.shift.axis is None or step.shift.axis == _axis(layer.operator)


def _axis(operator: Operator) -> int:
    """Return where the outputs of an operator stand, counted from the end."""
    return -1 if isinstance(operator, Dense) else -1 - len(getattr(operator, "stride", ()))


def _averages(layer: LinearStep, step: Step) -> bool:
    """Whether a step averages a layer's output, whose signals may be stacked along the average's axis 1, too."""
    stacks = not isinstance(layer.operator, Product) and layer.operator.blocks == 1
    whole = isinstance(step, SumStep) and step.call is not None and step.weights == (1.0,)
    return whole and stacks and layer.rule.bias != "distribute"


def _with(layer: LinearStep, step: ScaleStep | SumStep) -> LinearStep:
    """Return the layer with a factor or a summand behind it."""
    before = layer.fixed

    def fixed(values: Values) -> tuple[Tensor, Tensor | None]:
        weight = layer.operator.outputs_first(values[str(layer.weight)])
        factor, offset = (weight.new_ones(1), None) if before is None else before(values)
        if isinstance(step, ScaleStep):
            scale = step.scale(values)
            return factor * scale, None if offset is None else offset * scale
        shift = torch.as_tensor(step.constant(values), dtype=weight.dtype, device=weight.device)  # type: ignore[misc]
        if not isinstance(layer.operator, Product):  # which takes it as the network does
            shift = shift.reshape(-1).expand(len(weight))
        return factor, shift if offset is None else offset + shift

    reads, labels = layer.also_reads + step.also_reads, layer.labels + step.labels
    return replace(layer, name=step.name, also_reads=reads, labels=labels, fixed=fixed, merged=layer)


def turned(made: Mapping[str, Step], source: str, name: str, scale: ScaleStep) -> list[Step]:
    """Return steps that make a layer's output once more, scaled, and move it as it was; nothing of other values."""
    chain = _layer_of(made, source)
    if not chain:
        return []
    layer, *moves = chain
    names = [*(f"{one.name}/{name}" for one in chain[:-1]), name]  # no name of torch.fx has a slash
    labels = layer.labels + scale.labels if not moves else scale.labels
    found: list[Step] = [replace(_with(layer, scale), name=names[0], labels=labels)]
    for move, before, own in zip(moves, names, names[1:], strict=False):
        found.append(_renamed(move, before, own))
    return found


def _renamed(move: MoveStep, source: str, name: str) -> MoveStep:
    """Return a step that moves another value."""
    (old,) = move.inputs

    def call(values: Values) -> Any:
        return move.call({**values, old: values[source]})

    return replace(move, name=name, inputs=(source,), labels=(f"{move.labels[0]} (turned)",), call=call)


def _without_minus(made: Mapping[str, Step], step: SumStep) -> list[Step]:
    """Return a difference as a sum of what it adds and of layers with their weights' signs turned."""
    new: list[Step] = []
    inputs, weights = list(step.inputs), list(step.weights)
    for number, (source, weight) in enumerate(zip(step.inputs, step.weights, strict=True)):
        if weight < 0:
            name = f"{step.name}/{number}"
            minus = ScaleStep(name, (source,), (f"{step.labels[0]} (minus)",), factor=Constant(-1.0))
            copies = turned(made, source, name, minus)
            if copies:
                new += copies
                inputs[number], weights[number] = name, -weight
    return [*new, replace(step, inputs=tuple(inputs), weights=tuple(weights))]
