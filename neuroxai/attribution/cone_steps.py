"""What is local in a network: windows that slide over a grid, and operations that treat each voxel on its own.

Everything that is not known here to be local is left to the network itself, which is always right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from neuroxai.attribution.traced import DROPOUTS, activation_of, pool_of
from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import operations as known
from neuroxai.lrp.pooling import MaxPool

Geometry = tuple[int, ...]
Kinds = dict[type[nn.Module], tuple[int, Any]]
_CONVOLUTIONS: Kinds = {nn.Conv1d: (1, F.conv1d), nn.Conv2d: (2, F.conv2d), nn.Conv3d: (3, F.conv3d)}
_MEANS: Kinds = {nn.AvgPool1d: (1, F.avg_pool1d), nn.AvgPool2d: (2, F.avg_pool2d), nn.AvgPool3d: (3, F.avg_pool3d)}
_MAXIMA = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_ARITHMETIC = {"add", "sub", "mul", "div", "neg"}
_UNCHANGED = {"contiguous", "clone", "detach", *DROPOUTS}


@dataclass(frozen=True)
class Sliding:
    """A convolution or pooling, without its padding.

    Parameters
    ----------
    kernel, stride, dilation, padding : tuple of int
        One number an axis; `padding` is that before the first voxel.
    fill : float
        What is padded with.
    call : callable
        Takes the windows (items, channels, *span) and slides over them without padding.
    work : int
        Multiplications for one value that is put out.
    """

    kernel: Geometry
    stride: Geometry
    dilation: Geometry
    padding: Geometry
    fill: float
    call: Callable[[Tensor], Tensor]
    work: int

    def reach(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs, first and one past the last, that read any input from ``low`` to ``high - 1``."""
        stride, padding = torch.tensor(self.stride), torch.tensor(self.padding)
        extent = torch.tensor(self._extent())
        first = -(-(low + padding - extent + 1) // stride)  # rounded up
        return first, (high - 1 + padding) // stride + 1

    def origin(self, start: Tensor) -> Tensor:
        """Return the first input that the outputs from `start` read; negative within the padding."""
        return start * torch.tensor(self.stride) - torch.tensor(self.padding)

    def span(self, size: Geometry) -> Geometry:
        """Return how many inputs, the padding counted, `size` outputs in a row read."""
        return tuple((n - 1) * s + e for n, s, e in zip(size, self.stride, self._extent(), strict=True))

    def needed(self, size: Geometry) -> Geometry:
        """Return how many inputs, from the first of the grid, the first `size` outputs read."""
        return tuple(n - p for n, p in zip(self.span(size), self.padding, strict=True))

    def padded(self, full: Tensor, size: Geometry) -> Tensor:
        """Return a whole input (channels, *grid) with all the padding that `size` outputs read."""
        pads: list[int] = []
        for grid, span, before in zip(full.shape[1:], self.span(size), self.padding, strict=True):
            pads = [before, max(span - before - grid, 0), *pads]  # F.pad begins with the last axis
        return F.pad(full, pads, value=self.fill) if any(pads) else full

    def _extent(self) -> Geometry:
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))


def sliding(node: fx.Node, modules: dict[str, nn.Module], axes: int) -> Sliding | None:
    """Return the geometry of a convolution or pooling over `axes` axes, or None for anything else."""
    if len(node.all_input_nodes) != 1 or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    try:
        pool = pool_of(node, modules)
    except UnsupportedLayerError:  # one that returns its indices
        return None
    if pool is not None:
        return _maximum(pool) if pool.axes == axes else None
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return None
    layer: Any = modules[str(node.target)]
    for kind, (its_axes, function) in _CONVOLUTIONS.items():
        if isinstance(layer, kind) and its_axes == axes:
            return _convolution(layer, function)
    for kind, (its_axes, function) in _MEANS.items():
        if isinstance(layer, kind) and its_axes == axes:
            return _mean(layer, function, axes)
    return None


def _convolution(layer: Any, function: Any) -> Sliding | None:
    if layer.padding_mode != "zeros":
        return None
    padding = layer.padding
    if padding == "valid":
        padding = (0,) * len(layer.kernel_size)
    elif padding == "same":  # an odd voxel of padding goes behind
        padding = tuple(d * (k - 1) // 2 for k, d in zip(layer.kernel_size, layer.dilation, strict=True))

    def call(x: Tensor) -> Tensor:  # reads the weights when it is called: they may have been loaded or moved since
        out: Tensor = function(x, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)
        return out

    work = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return Sliding(layer.kernel_size, layer.stride, layer.dilation, padding, 0.0, call, work)


def _maximum(pool: MaxPool) -> Sliding:
    kernel, stride, padding, dilation = (
        sizes[-pool.axes :] for sizes in (pool.kernel, pool.stride, pool.padding, pool.dilation)
    )
    call = partial(_MAXIMA[pool.axes], kernel_size=kernel, stride=stride, dilation=dilation)
    return Sliding(kernel, stride, dilation, padding, -math.inf, call, 1)


def _mean(layer: Any, function: Any, axes: int) -> Sliding | None:
    def per_axis(value: Any) -> Geometry:
        return (int(value),) * axes if isinstance(value, int) else tuple(int(v) for v in value)

    kernel, stride, padding = per_axis(layer.kernel_size), per_axis(layer.stride), per_axis(layer.padding)
    if layer.ceil_mode or (any(padding) and not layer.count_include_pad):
        return None  # what a window is divided by depends on where it lies
    divisor = getattr(layer, "divisor_override", None)
    options = {} if divisor is None else {"divisor_override": divisor}
    call = partial(function, kernel_size=kernel, stride=stride, **options)
    return Sliding(kernel, stride, (1,) * axes, padding, 0.0, call, 1)


def pointwise(node: fx.Node, modules: dict[str, nn.Module], dims: int) -> bool:
    """Whether a node treats each voxel on its own, for tensors of `dims` dimensions on one grid."""
    if node.op == "call_module":
        layer: Any = modules[str(node.target)]
        fixed = isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None
        alone = fixed or isinstance(layer, _ALONE) or known.foreign(layer) is not None
        return len(node.args) == 1 and not node.kwargs and alone
    operation = known.operation(node)
    if operation == "cat":
        axis: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        return axis in (1, 1 - dims)
    if operation in _ARITHMETIC:
        return all(isinstance(v, fx.Node | int | float) for v in (*node.args, *node.kwargs.values()))
    return operation in _UNCHANGED or activation_of(node, modules) is not None


_ALONE = (*known.ACTIVATIONS, *known.INACTIVE)


def reads_size(node: fx.Node) -> bool:
    """Whether a node reads nothing of a tensor but its shape, type or device."""
    return node.target is getattr or (node.op == "call_method" and node.target in known.SIZES)


def evaluate(node: fx.Node, values: Mapping[fx.Node, Any], modules: Mapping[str, nn.Module]) -> Any:
    """Run one node of a traced network on the values of the nodes that it reads."""
    args: Any = fx.node.map_arg(node.args, values.__getitem__)
    kwargs: Any = fx.node.map_arg(node.kwargs, values.__getitem__)
    if node.op == "call_module":
        return modules[str(node.target)](*args, **kwargs)
    if node.op == "call_function":
        return node.target(*args, **kwargs)  # type: ignore[operator]
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    found: Any = modules[""]
    for name in str(node.target).split("."):  # get_attr
        found = getattr(found, name)
    return found
