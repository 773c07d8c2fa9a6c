"""Pooling of scores that may lie below 0, for rules that go by the positive contributions, which see nothing there.

Of scores of several places, crops or networks a network may take the mean tanh, a soft maximum less log n, the sum
weighted by attention. Such steps have no weights of their own. z+ and alpha-beta would share by the positive scores:
all of them below 0 gave a map of zeros, and one above took everything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuroxai.lrp.folding import turned
from neuroxai.lrp.steps.base import CallStep, Constant, FreeStep, MoveStep, PassStep, ScaleStep, Step, Values, variable
from neuroxai.lrp.steps.filters import LinearStep
from neuroxai.lrp.steps.maxima import PoolStep, SoftMaximumStep
from neuroxai.lrp.steps.sums import SumStep

_POOLS = (PassStep, ScaleStep, SumStep, MoveStep, PoolStep, SoftMaximumStep)


@dataclass(frozen=True)
class PooledStep(CallStep):
    """Shares by how much each score moves the output, ``R_i = R w_i / sum_k |w_k|`` with ``w = dy/dz``.

    What is a gate is held constant. Where no score moves the output (a limit is reached), nothing goes on.
    """

    turned: int = 0  # how many of the inputs are the same scores with a minus, which take what moves the output down

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; what it read is saved."""
        return self.call(values), {name: values[name] for name in self.reads()}

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Share out by the slopes."""
        if self.turned and bool((relevance < 0).any()):
            # below 0 it turns the map's sign; which copy of a score has it goes by the slope alone
            parts = [self.backward(saved, part.clamp_min(0)) for part in (relevance, -relevance)]
            return [up - down for up, down in zip(*parts, strict=True)]
        samples, graph = len(relevance), torch.is_grad_enabled()
        names = self.inputs[: len(self.inputs) - self.turned]
        scores = [variable(saved[name]) for name in names]
        with torch.enable_grad():
            output = self.call({**saved, **dict(zip(names, scores, strict=True))})
            signal = relevance.reshape(output.shape)
            back = torch.autograd.grad(output, scores, signal, create_graph=graph, materialize_grads=True)

        def size(tensors: Sequence[Tensor]) -> Tensor:
            return torch.stack([x.reshape(samples, -1).abs().sum(1) for x in tensors]).sum(0)

        whole = size(back)
        factor = torch.where(whole == 0, 0, size([relevance]) / torch.where(whole == 0, 1, whole))
        shares = [(x.reshape(samples, -1) * factor[:, None]).reshape(x.shape) for x in back]
        return [x.clamp_min(0) for x in shares] + [(-x).clamp_min(0) for x in shares] if self.turned else shares

    def of_outputs(self, saved: Any, relevance: Tensor) -> dict[str, Tensor]:
        """Return the relevance of the output of the last layer in it."""
        return {self.labels[-1]: relevance}


def pooled(steps: Sequence[Step], result: str, linear: Collection[str] = ()) -> list[Step]:
    """Return the steps, those that make the score of scores that may lie below 0 as one; else as they are.

    Plain sums, with nothing in between but calls that are `linear`, keep the composite's rule for sums.
    """
    made: Mapping[str, Step] = {step.name: step for step in steps}
    pools, scores, ahead = list[Step](), dict[str, Step](), {result}
    for step in reversed(steps):
        if step.name in ahead and isinstance(step, _POOLS):
            pools.insert(0, step)
            ahead.update(step.inputs)
        elif step.name in ahead:
            scores[step.name] = step
    bends = any(type(step) in (PassStep, SoftMaximumStep) or getattr(step, "chosen", False) for step in pools
                if step.name not in linear)  # fmt: skip
    if not bends or not _sees_too_little(pools) or not all(name in made for name in ahead):
        return list(steps)
    if any(not isinstance(step, LinearStep) or step.rule.proportional for step in scores.values()):
        return list(steps)

    def call(values: Values) -> Any:
        values = dict(values)
        for step in pools:
            values[step.name] = step.forward(values, ())[0]
        return values[result]

    inner = {step.name for step in pools}
    reads = dict.fromkeys(name for step in pools for name in step.reads() if name not in inner and name not in scores)
    labels = tuple(label for step in pools for label in step.labels)
    names, below = tuple(reversed(scores)), list[Step]()
    if any(min(getattr(step, "weights", (0,))) < 0 or (isinstance(step, ScaleStep) and step.turns) for step in pools):
        for name in names:
            minus = ScaleStep("", (name,), (f"{scores[name].labels[0]} (minus)",), factor=Constant(-1.0))
            below += turned(made, name, f"{name}/minus", minus)
    turns = len(names) if below else 0
    names += tuple(f"{name}/minus" for name in names[:turns])
    whole = PooledStep(result, names, labels, tuple(reads), call=call, turned=turns)
    alone = [_run_alone(step) if step.name in inner else step for step in steps if step.name != result]
    return [*alone, *below, whole]


def _sees_too_little(pools: Sequence[Step]) -> bool:
    """Whether a sum by positive contributions may read values below 0."""
    nonnegative: dict[str, bool] = {}
    for step in pools:
        signs = [nonnegative.get(name, False) for name in step.inputs]
        nonnegative[step.name] = step.nonnegative(signs)
        if isinstance(step, SumStep) and not (step.rule.proportional or (all(signs) and step.gives == "keeps")):
            return True
    return False


def _run_alone(step: Step) -> FreeStep:
    """Return a step that takes no relevance: a gate may be made of its value."""
    return FreeStep(step.name, (), step.labels, step.reads(), call=lambda values: step.forward(values, ())[0])
