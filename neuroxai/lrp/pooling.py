"""Max-pooling, by windows or adaptive: the winner takes all relevance of its window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuroxai.errors import InputError, UnsupportedLayerError


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    return (int(value),) * axes if isinstance(value, int) else tuple(int(v) for v in value)


@dataclass(frozen=True)
class MaxPool:
    """Geometry of a max-pooling over 1, 2 or 3 axes (one axis is run as two, the first of size 1)."""

    axes: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil: bool

    @classmethod
    def of(
        cls,
        axes: int,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> MaxPool:
        """Take the arguments of ``torch.nn.MaxPool*d`` or ``torch.nn.functional.max_pool*d``.

        Raises
        ------
        UnsupportedLayerError
            If the indices are part of the network.
        """
        if return_indices:
            raise UnsupportedLayerError("max-pooling that returns its indices has no relevance rule")
        kernel = _per_axis(kernel_size, axes)
        no_stride = stride is None or (isinstance(stride, list | tuple) and not stride)
        values = [kernel, kernel if no_stride else _per_axis(stride, axes)]
        values += [_per_axis(padding, axes), _per_axis(dilation, axes)]
        if axes == 1:
            values = [(1, *values[0]), (1, *values[1]), (0, *values[2]), (1, *values[3])]
        return cls(axes, values[0], values[1], values[2], values[3], bool(ceil_mode))

    def __call__(self, x: Tensor) -> tuple[Tensor, Winners]:
        """Pool and remember the winners.

        Raises
        ------
        InputError
            If a window holds padding alone.
        """
        pool: Any = torch.ops.aten.max_pool3d_with_indices if self.axes == 3 else torch.ops.aten.max_pool2d_with_indices
        out, winners = _pooled(self, x, pool, self.kernel, self.stride, self.padding, self.dilation, self.ceil)
        if max(self.dilation) > 1 and bool(torch.isneginf(out).any()):  # torch's winner is outside, too
            raise InputError(
                f"a dilated max-pooling window lies wholly outside the grid {tuple(x.shape[2:])} that arrives, and has "
                "no winner; give a larger scan"
            )
        return out, winners


@dataclass(frozen=True)
class AdaptiveMaxPool:
    """Max-pooling to a given output grid over 1, 2 or 3 axes (one axis is run as two, the first of size 1)."""

    axes: int
    output: tuple[int | None, ...]

    @classmethod
    def of(cls, axes: int, output_size: Any, return_indices: bool = False) -> AdaptiveMaxPool:
        """Take the arguments of ``torch.nn.AdaptiveMaxPool*d`` or ``torch.nn.functional.adaptive_max_pool*d``.

        Raises
        ------
        UnsupportedLayerError
            If the indices are part of the network.
        """
        if return_indices:
            raise UnsupportedLayerError("max-pooling that returns its indices has no relevance rule")
        given = tuple(output_size) if isinstance(output_size, list | tuple) else (output_size,) * axes
        return cls(axes, (1, *given) if axes == 1 else given)

    def __call__(self, x: Tensor) -> tuple[Tensor, Winners]:
        """Pool and remember the winners."""
        grid = x.shape[2:] if self.axes > 1 else (1, *x.shape[2:])
        size = [n if wanted is None else wanted for wanted, n in zip(self.output, grid, strict=True)]
        pool: Any = torch.ops.aten.adaptive_max_pool3d if self.axes == 3 else torch.ops.aten.adaptive_max_pool2d
        return _pooled(self, x, pool, size)


Pool = MaxPool | AdaptiveMaxPool


def _pooled(pool: Pool, x: Tensor, run: Any, *options: Any) -> tuple[Tensor, Winners]:
    if pool.axes == 1:
        x = x.unsqueeze(-2)
    out, indices = run(x, *options)
    winners = Winners(pool, indices, x.shape, _format_of(x))
    return (out.squeeze(-2) if pool.axes == 1 else out), winners


@dataclass(frozen=True)
class Winners:
    """Where the maxima of one pooling lay."""

    pool: Pool
    indices: Tensor
    shape: torch.Size
    memory_format: torch.memory_format

    def gather(self, values: Tensor) -> Tensor:
        """Read values of the full grid at the winners; result shaped like the pooled output."""
        if self.pool.axes == 1:
            values = values.unsqueeze(-2)
        if self.memory_format == torch.contiguous_format:
            out = values.flatten(2).gather(2, self.indices.flatten(2)).view(self.indices.shape)
        else:  # channels last: flattening the grid must not copy it
            order = (0, *range(2, values.ndim), 1)
            index = self.indices.permute(order)
            flat = values.permute(order).flatten(1, -2).gather(1, index.flatten(1, -2))
            out = flat.view(index.shape).permute(0, -1, *range(1, values.ndim - 1))
        return out.squeeze(-2) if self.pool.axes == 1 else out

    def scatter(self, values: Tensor, indices: Tensor | None = None) -> Tensor:
        """Add values at the winners into zeros of the full grid; `indices` stands in for stacked channels."""
        indices = self.indices if indices is None else indices
        if self.pool.axes == 1:
            values = values.unsqueeze(-2)
        shape = (self.shape[0], values.shape[1], *self.shape[2:])
        out = torch.empty(shape, dtype=values.dtype, device=values.device, memory_format=self.memory_format).zero_()
        if self.memory_format == torch.contiguous_format:
            out.flatten(2).scatter_add_(2, indices.flatten(2), values.flatten(2))
        else:
            order = (0, *range(2, values.ndim), 1)
            flat = [t.permute(order).flatten(1, -2) for t in (out, indices, values)]
            flat[0].scatter_add_(1, flat[1], flat[2])  # flat[0] is a view of out
        return out.squeeze(-2) if self.pool.axes == 1 else out


def _format_of(x: Tensor) -> torch.memory_format:
    if x.is_contiguous():
        return torch.contiguous_format
    last = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
    return last if x.is_contiguous(memory_format=last) else torch.contiguous_format
