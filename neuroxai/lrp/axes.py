"""Linear maps that act on each axis on its own: average pooling, means, up-sampling, copying padding.

Each axis has a small matrix (outputs, inputs) with entries >= 0, found by applying torch's own operation on one axis to
unit vectors. So transpose, squares and patterns of the whole map are exact, whatever the options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.errors import InputError
from neuroxai.lrp.parts import Weight

LINEAR_MODES = ("linear", "bilinear", "trilinear", "area")
NEAREST_MODES = ("nearest", "nearest-exact")


@dataclass(frozen=True)
class AxesMap:
    """A linear map by one matrix an axis.

    Attributes
    ----------
    matrices : dict of int to torch.Tensor
        For each axis that changes: (outputs, inputs), entries >= 0.
    """

    matrices: dict[int, Tensor]

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """Return the output's shape."""
        return tuple(len(self.matrices[a]) if a in self.matrices else size for a, size in enumerate(x.shape))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        for axis, matrix in self.matrices.items():
            x = _along(x, axis, matrix)
        return x

    def transpose(self, signal: Tensor) -> Tensor:
        """Apply the transpose."""
        for axis, matrix in self.matrices.items():
            signal = _along(signal, axis, matrix.T)
        return signal

    def piece(self, weight: Weight) -> tuple[AxesMap, float]:
        """Return the map of a piece of the weights, and a factor (0: there is none)."""
        if weight.squared:
            return AxesMap({axis: m.square() for axis, m in self.matrices.items()}), weight.squared
        if weight.one:
            return AxesMap({axis: (m > 0).to(m.dtype) for axis, m in self.matrices.items()}), weight.one
        return self, weight.whole + weight.positive


def _along(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    lines = x.reshape(-1, x.shape[axis], x.shape[axis + 1 :].numel())
    return (matrix @ lines).reshape(*x.shape[:axis], len(matrix), *x.shape[axis + 1 :])


def _unit_vectors(x: Tensor, axis: int) -> Tensor:
    return torch.eye(x.shape[axis], dtype=x.dtype, device=x.device)[None]


def _each(value: Any, axes: int) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | torch.Size) else [value] * axes


def _grid_axes(x: Tensor, least: int = 3) -> range:
    if x.ndim < least:
        raise InputError(f"a tensor of shape {tuple(x.shape)} arrives; (batch, channels, *grid) is wanted")
    return range(2, x.ndim)


def _by_axis(x: Tensor, run: Callable[[Tensor, int], Tensor]) -> AxesMap:
    """Apply `run` to the unit vectors of each axis of the grid; it takes them and the axis' number, from 0."""
    return AxesMap({axis: run(_unit_vectors(x, axis), axis - 2)[0].T for axis in _grid_axes(x)})


def average_pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> AxesMap:
    """Return the map of ``torch.nn.functional.avg_pool1d``, ``avg_pool2d`` or ``avg_pool3d`` for inputs like `x`."""
    axes = x.ndim - 2
    stride = kernel_size if stride is None or stride == () or stride == [] else stride
    kernels, strides, paddings = _each(kernel_size, axes), _each(stride, axes), _each(padding, axes)

    def pool(units: Tensor, axis: int) -> Tensor:
        return F.avg_pool1d(units, kernels[axis], strides[axis], paddings[axis], ceil_mode, count_include_pad)

    averages = _by_axis(x, pool)
    if divisor_override is None:
        return averages
    sums, factor = averages.piece(Weight(one=1.0))
    first, *rest = sums.matrices.items()
    return AxesMap({first[0]: first[1] * (factor / divisor_override), **dict(rest)})


def adaptive_average_pool(x: Tensor, output_size: Any) -> AxesMap:
    """Return the map of ``torch.nn.functional.adaptive_avg_pool1d``, ``2d`` or ``3d`` for inputs like `x`."""
    sizes = _each(output_size, x.ndim - 2)

    def pool(units: Tensor, axis: int) -> Tensor:
        return F.adaptive_avg_pool1d(units, units.shape[-1] if sizes[axis] is None else sizes[axis])

    return _by_axis(x, pool)


def interpolate(
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> AxesMap:
    """Return the map of ``torch.nn.functional.interpolate`` in a nearest or linear mode for inputs like `x`."""
    sizes, factors = _each(size, x.ndim - 2), _each(scale_factor, x.ndim - 2)
    one_axis = mode if mode in (*NEAREST_MODES, "area") else "linear"

    def resize(units: Tensor, axis: int) -> Tensor:
        return F.interpolate(units, sizes[axis], factors[axis], one_axis, align_corners, recompute_scale_factor)

    return _by_axis(x, resize)


def copying_pad(x: Tensor, pad: Sequence[int], mode: str) -> AxesMap:
    """Return the map of ``torch.nn.functional.pad`` in a mode that copies values of `x`; the last axis comes first."""
    matrices = {}
    for number in range(len(pad) // 2):
        axis, sides = x.ndim - 1 - number, tuple(pad[2 * number : 2 * number + 2])
        matrices[axis] = F.pad(_unit_vectors(x, axis), sides, mode=mode)[0].T
    return AxesMap(matrices)


def average(x: Tensor, dim: Any = None, keepdim: bool = False, *, total: bool = False) -> AxesMap:
    """Return the map of ``torch.mean`` (`total`: ``torch.sum``) over axes of `x` that are kept with size one."""
    listed = [int(d) % x.ndim for d in _each(dim, 1)]
    return AxesMap({a: x.new_full((1, x.shape[a]), 1.0 if total else 1.0 / x.shape[a]) for a in listed})
