"""Hold a record against its model, and say why a call cannot take what arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuroxai.errors import NeuroxaiError, UnsupportedLayerError


def out_of_memory(error: Exception) -> bool:
    """Whether an error of torch tells of too little memory rather than of a tensor that does not fit."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def refuse_quantised(model: nn.Module) -> None:
    """Refuse a network with a layer that computes in integers, of which torch gives no gradient, or one of zeros."""
    for name, module in model.named_modules():
        if ".quantized" in type(module).__module__:
            raise UnsupportedLayerError(
                f"layer {name!r} ({type(module).__name__}) computes in integers, and has neither gradient nor rule; "
                "explain the network as it was before it was quantised, or use occlusion or a method about regions"
            )


def exported(model: object, error: Exception, given: Sequence[Any]) -> str:
    """Say what an exported program expects whose guard refuses what is given, and the way out; "" for other errors."""
    modules = model.modules() if isinstance(model, nn.Module) and isinstance(error, AssertionError) else ()
    program = next((module for module in modules if "_guards_fn" in module._modules), None)
    if program is None:
        return ""
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"]  # type: ignore[union-attr]
    sizes, got = ([v.shape for v in several if isinstance(v, Tensor)] for several in (values, given))
    expected, shapes = ", ".join(str(tuple(size)) for size in sizes), ", ".join(str(tuple(size)) for size in got)
    batches = f" (a batch of {got[0][0]} for one of {sizes[0][0]})" if sizes and got and got[0] and sizes[0] else ""
    return (
        f"an input of shape {shapes} is given to a program that was exported for {expected}{batches}; give as many "
        "scans, or export it with dynamic_shapes"
    )


def misfit(operation: str, args: Any, kwargs: Any) -> str:
    """Return what a call of an operation of `neuroxai.graph.operations` was given, and what it expects if known."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    shape = str(tuple(tensors[0].shape)) if tensors else ""
    if len(tensors) > 1 and operation == "linear" and tensors[0].shape[-1] != tensors[1].shape[1]:
        return (
            f"{tensors[0].shape[-1]} features arrive, expected {tensors[1].shape[1]}; the network was made for another "
            "grid (check the shape of the scan against the network's in_shape)"
        )
    if len(tensors) > 1 and operation.startswith("conv") and operation[-2:-1].isdigit():
        axes = int(operation[-2])
        groups = kwargs.get("groups", args[6] if len(args) > 6 else 1)
        inputs = tensors[1].shape[0] if "transpose" in operation else tensors[1].shape[1] * int(groups)
        if tensors[0].ndim != axes + 2 or tensors[0].shape[1] != inputs:
            return f"a tensor of shape {shape} arrives, expected (batch, {inputs}, {', '.join('xyz'[:axes])})"
        return (
            f"the grid {tuple(tensors[0].shape[2:])} that arrives is smaller than what the filter "
            f"{tuple(tensors[1].shape[2:])} reaches; give a larger scan, or a network with padding"
        )
    return f"{operation} cannot take a tensor of shape {shape}"


def check_scores(scores: Tensor, reference: Tensor, elsewhere: Callable[[], Tensor] | None = None) -> None:
    """Hold a record's output against the model's own, relative to the spread of the model's.

    Parameters
    ----------
    scores, reference : torch.Tensor, shape (batch, classes)
        The record's and the model's.
    elsewhere : callable, optional
        Gives the model's output for other inputs. It is asked where the two differ: a network that cannot decide
        about a scan has scores near 0, all alike, so that rounding is large beside them; how much its scores change
        with its input says how large they are.

    Raises
    ------
    UnsupportedLayerError
        If they differ: the model does something that recording does not see.
    """

    def centred(values: Tensor) -> Tensor:
        return values - values.mean(-1, keepdim=True) if values.shape[-1] > 1 else values

    def limit() -> float:
        return 1e-3 * spread + 1e-5 * size + 1e-12

    size = float(reference.abs().max())
    spread = float(centred(reference).abs().max())
    off = float((scores.reshape(reference.shape) - reference).abs().max())
    if off > limit() and elsewhere is not None:
        try:
            changes = float(centred(elsewhere() - reference).abs().max())
        except NeuroxaiError:  # it cannot be followed there
            changes = 0.0
        spread = max(spread, changes)
    if off > limit():
        raise UnsupportedLayerError(
            f"the recorded network's output differs from the model's by {off:.3g} (its outputs spread over "
            f"{spread:.3g}): its forward depends on something that recording does not see; rewrite it with functions "
            "of torch, or use a gradient method"
        )
