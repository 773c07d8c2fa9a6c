"""Run a plan: scores forward, relevance back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.graph.checks import out_of_memory
from neuroxai.lrp.plan import Plan
from neuroxai.lrp.steps import Step

# Sees each step on the way back: the step, what it kept, the relevance of its output, the relevance of its inputs.
# Returns True to end the way back there.
Watch = Callable[[Step, Any, Tensor, Sequence[Tensor]], bool]


def forward(plan: Plan, inputs: Sequence[Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """Run all steps; values that nobody reads again are let go.

    Parameters
    ----------
    plan : Plan
        The network.
    inputs : sequence of torch.Tensor
        Its inputs.

    Returns
    -------
    result : torch.Tensor
        The plan's result.
    kept : dict
        What `backward` needs, by the steps' names.

    Raises
    ------
    InputError
        Naming the layer that cannot take what arrives.
    UnsupportedLayerError
        Naming the layer that has no rule for it.
    """
    values: dict[str, Any] = dict(zip(plan.sources, inputs, strict=True))
    nonnegative = {name: bool(x.amin() >= 0) for name, x in values.items()}
    last = {name: index for index, step in enumerate(plan.steps) for name in step.reads()}
    kept: dict[str, Any] = {}
    for index, step in enumerate(plan.steps):
        signs = [nonnegative[name] for name in step.inputs]
        try:
            values[step.name], kept[step.name] = step.forward(values, signs)
        except InputError as error:
            raise InputError(f"layer {step.labels[0]!r}: {error}") from error
        except RuntimeError as error:
            if out_of_memory(error) or isinstance(error, UnsupportedLayerError):
                raise
            shapes = ", ".join(str(tuple(values[name].shape)) for name in step.inputs)
            raise InputError(f"layer {step.labels[0]!r} cannot take a tensor of shape {shapes}: {error}") from error
        nonnegative[step.name] = step.nonnegative(signs)
        for name in step.reads():
            if last[name] == index and name != plan.result:
                values.pop(name, None)
    return values[plan.result], kept


def backward(
    plan: Plan, kept: dict[str, Any], seed: Tensor, inputs: Sequence[Tensor], watch: Watch | None = None
) -> list[Tensor]:
    """Take the relevance back step by step, adding up where a value was read several times.

    Parameters
    ----------
    plan : Plan
        The network.
    kept : dict
        From `forward`; emptied on the way.
    seed : torch.Tensor
        Relevance of the plan's result.
    inputs : sequence of torch.Tensor
        Its inputs.
    watch : callable, optional
        Sees every step; see `Watch`.

    Returns
    -------
    list of torch.Tensor
        Relevance of the inputs, shaped like them; zero where the way back was ended before them.
    """
    relevance: dict[str, Tensor] = {plan.result: seed}
    for step in reversed(plan.steps):
        arrived, own = relevance.pop(step.name, None), kept.pop(step.name)
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
