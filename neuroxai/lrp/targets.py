"""Checks of inputs and targets that all attribution methods share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from neuroxai.errors import InputError
from neuroxai.graph.eval_copy import HALF

Target = int | Sequence[int] | Tensor | None
P = ParamSpec("P")
R = TypeVar("R")


def captum_call(function: Callable[P, R]) -> Callable[P, R]:
    """Make an ``attribute`` as captum's own are: its NoiseTunnel asks for the function that was wrapped."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return call


def checked_input(inputs: Tensor, model: nn.Module, half: bool = False) -> Tensor:
    """Return the inputs detached, after refusing what no method can explain.

    Parameters
    ----------
    inputs : torch.Tensor
        (batch, channels, *spatial) or (batch, features), float32 or float64, on the model's device.
    model : torch.nn.Module
        The network, for its device and dtype.
    half : bool
        Let float16 and bfloat16 through, for methods that compute in float32 by themselves.

    Raises
    ------
    InputError
        For anything but a finite, non-empty batch of the model's dtype and device.
    """
    if not isinstance(inputs, Tensor):
        raise InputError(f"inputs are a {type(inputs).__name__}; one torch.Tensor (batch, channels, ...) is wanted")
    if inputs.ndim < 2 or inputs.numel() == 0:
        raise InputError(f"inputs have shape {tuple(inputs.shape)}; a non-empty batch (batch, channels, ...) is wanted")
    if inputs.dtype not in (torch.float32, torch.float64) and not (half and inputs.dtype in HALF):
        raise InputError(f"inputs are {inputs.dtype}; float32 or float64 is wanted: inputs.float(), model.float()")
    for name, parameter in model.named_parameters():
        if parameter.dtype != inputs.dtype or parameter.device != inputs.device:
            raise InputError(
                f"inputs are {inputs.dtype} on {inputs.device}, but parameter {name!r} is {parameter.dtype} on "
                f"{parameter.device}; bring both to the same dtype and device with .to()"
            )
    inputs = inputs.detach()
    low, high = torch.aminmax(inputs)  # one pass; NaN and infinity come through
    if not math.isfinite(low) or not math.isfinite(high):
        count = int((~torch.isfinite(inputs)).sum())
        raise InputError(f"inputs hold {count} values that are NaN or infinite; repair the scan before explaining it")
    return inputs


def class_scores(outputs: object) -> Tensor:
    """Return the network's output as (batch, outputs).

    Raises
    ------
    InputError
        If the output is no tensor, has other dimensions or is not finite.
    """
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"the network returns a {type(outputs).__name__}; wrap it so that it returns one tensor of scores"
        )
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    if outputs.ndim != 2:
        raise InputError(f"the network's output has shape {tuple(outputs.shape)}; (batch, classes) is wanted")
    if not bool(torch.isfinite(outputs).all()):
        raise InputError("the network's output is NaN or infinite for this input; check its weights")
    return outputs


def probabilities(scores: Tensor, link: str | None) -> Tensor:
    """Return the probabilities of scores (batch, outputs): by the network's own link, else softmax (one: sigmoid)."""
    sigmoid = link == "sigmoid" or (link is None and scores.shape[1] == 1)
    return scores.sigmoid() if sigmoid else scores.softmax(1)


def target_indices(target: Target, batch: int, device: torch.device) -> Tensor:
    """Return one class index a sample, shape (batch,), not yet held against the number of outputs.

    Raises
    ------
    InputError
        If the target is neither an integer nor one integer a sample.
    """
    wanted = f"an integer or one integer for each of the {batch} samples is wanted"
    if target is None:
        return torch.zeros(batch, dtype=torch.long, device=device)
    if isinstance(target, Tensor | np.ndarray):
        indices = torch.as_tensor(target, device=device)
    elif isinstance(target, list | tuple) and all(is_index(t) for t in target):
        indices = torch.tensor([int(t) for t in target], dtype=torch.long, device=device)
    elif is_index(target):
        indices = torch.tensor(target, device=device)
    else:
        raise InputError(f"target is {target!r}; {wanted}")
    if indices.dtype == torch.bool or indices.is_floating_point() or indices.is_complex():
        raise InputError(f"target has dtype {indices.dtype}; {wanted}")
    if indices.ndim == 0:
        indices = indices.expand(batch)
    if indices.shape != (batch,):
        raise InputError(f"target has shape {tuple(indices.shape)}; {wanted}")
    return indices.long()


def check_target(target: Target, indices: Tensor, outputs: int) -> None:
    """Refuse targets that the network does not have.

    Raises
    ------
    InputError
        Naming the number of outputs.
    """
    if target is None and outputs > 1:
        raise InputError(f"target is None, but the network has {outputs} outputs; give target=0 to {outputs - 1}")
    wrong = indices[(indices < 0) | (indices >= outputs)]
    if wrong.numel():
        has = "1 output: target must be 0 or None" if outputs == 1 else f"{outputs} outputs: 0 to {outputs - 1}"
        raise InputError(f"target {int(wrong[0])} does not exist; the network has {has}")


def is_index(value: object) -> bool:
    """Whether a value is an integer (True and False are none)."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def out_of_memory(error: Exception) -> bool:
    """Whether an error of torch tells of too little memory rather than of a tensor that does not fit."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
