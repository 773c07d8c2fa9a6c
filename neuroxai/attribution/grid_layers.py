"""Which layers still have a grid, found by running the network once."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuroxai.errors import InputError, one_of


def check_name(model: nn.Module, name: str) -> None:
    """Refuse a layer that is not there.

    Raises
    ------
    InputError
        Naming the layers that are.
    """
    names = [known for known, _ in model.named_modules(remove_duplicate=False) if known]
    if name not in names:
        raise one_of("layer", name, names)


def grid_layer(scores: nn.Module, x: Tensor, wanted: str | None = None) -> str:
    """Return the layer to explain by: the one wanted, or the last with the grid of the last convolution that has one.

    Parameters
    ----------
    scores : torch.nn.Module
        With the network as its ``network``.
    x : torch.Tensor
        (batch, channels, *spatial).
    wanted : str, optional
        Qualified name of a layer; it must run once and put out a grid.

    Raises
    ------
    InputError
        If the layer wanted does not fit, or the network keeps no grid behind any convolution.
    """
    network: Any = scores.network
    modules = dict(network.named_modules())
    calls = _calls(scores, network, x)
    if wanted is not None:
        _check(network, wanted, calls, x)
        return wanted
    times = Counter(name for name, _ in calls)
    anchor = None
    for index, (name, out) in enumerate(calls):
        grid = _grid(out, x)
        if grid is not None and grid.numel() > 1 and _convolves(modules[name]):
            anchor = index, grid
    if anchor is None:
        raise InputError(
            f"no convolution of {type(network).__name__} has a grid of more than one cell for inputs of shape "
            f"{tuple(x.shape)}; Grad-CAM needs one. Use another method, or larger inputs"
        )
    fits = [name for name, out in calls[anchor[0] :] if _grid(out, x) == anchor[1] and name and times[name] == 1]
    if not fits:
        raise InputError("the last convolution with a grid runs several times; name another layer with layer=")
    return fits[-1]


def _calls(scores: nn.Module, network: nn.Module, x: Tensor) -> list[tuple[str, Any]]:
    """Run the network and return its layers' names and the shapes that they put out, in the order they end."""
    found: list[tuple[str, Any]] = []
    handles = []

    def keep(name: str, module: nn.Module, inputs: Any, out: Any) -> None:
        found.append((name, out.shape if isinstance(out, Tensor) else type(out).__name__))

    for name, module in network.named_modules():
        handles.append(module.register_forward_hook(partial(keep, name)))
    try:
        with torch.no_grad():
            scores(x[:1])
    finally:
        for handle in handles:
            handle.remove()
    return found


def _check(network: nn.Module, wanted: str, calls: list[tuple[str, Any]], x: Tensor) -> None:
    layer = network.get_submodule(wanted)
    names = {name for name, module in network.named_modules() if module is layer}  # a shared layer runs as the first
    shapes = [shape for name, shape in calls if name in names]
    if len(shapes) != 1:
        raise InputError(f"layer {wanted!r} runs {len(shapes)} times in the network; one that runs once is wanted")
    if _grid(shapes[0], x) is None:
        got = tuple(shapes[0]) if isinstance(shapes[0], torch.Size) else f"a {shapes[0]}"
        raise InputError(f"layer {wanted!r} puts out {got}; (batch, channels, *grid of {x.ndim - 2} axes) is wanted")


def _grid(shape: Any, x: Tensor) -> torch.Size | None:
    return shape[2:] if isinstance(shape, torch.Size) and len(shape) == x.ndim and x.ndim > 2 else None


def _convolves(module: nn.Module) -> bool:
    """Whether a layer has filters with a spatial extent of their own: a convolution of any kind."""
    return any(p.ndim > 2 for p in module.parameters(recurse=False))
