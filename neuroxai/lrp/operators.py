"""Linear maps of layers and their transposes, with room to run several weights in one go.

An operator knows a layer's geometry but holds no weights. Weights (and signals) of several rule parts are stacked along
the output channels, so that one convolution does the work of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.errors import InputError


class Operator(Protocol):
    """A linear map ``x -> W x`` for any weights W of one geometry."""

    def check(self, x: Tensor, weight: Tensor) -> None:
        """Refuse an input that the layer cannot take."""

    def stack_weights(self, weights: Sequence[Tensor]) -> Tensor:
        """Stack several weights (or biases) along the output channels."""

    def stack(self, signals: Sequence[Tensor]) -> Tensor:
        """Stack several tensors shaped like the output."""

    def split(self, stacked: Tensor, count: int) -> Sequence[Tensor]:
        """Undo `stack`."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Apply stacked weights."""

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Apply the transpose of stacked weights to a stacked signal; the result has the input's shape."""


@dataclass(frozen=True)
class Dense:
    """``torch.nn.Linear``: inputs (batch, ..., features), weights (outputs, features)."""

    def check(self, x: Tensor, weight: Tensor) -> None:
        """Refuse another number of features."""
        if x.shape[-1] != weight.shape[1]:
            raise InputError(
                f"{x.shape[-1]} features arrive, {weight.shape[1]} are wanted; the network was made for another grid "
                "(check the shape of the scan against the network's in_shape)"
            )

    def stack_weights(self, weights: Sequence[Tensor]) -> Tensor:
        """Stack along the outputs."""
        return weights[0] if len(weights) == 1 else torch.cat(list(weights))

    def stack(self, signals: Sequence[Tensor]) -> Tensor:
        """Stack along the last axis."""
        return signals[0] if len(signals) == 1 else torch.cat(list(signals), -1)

    def split(self, stacked: Tensor, count: int) -> Sequence[Tensor]:
        """Split the last axis."""
        return stacked.chunk(count, -1)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Matrix product."""
        return F.linear(x, weight, bias)

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Matrix product with the transpose."""
        return signal @ weight


@dataclass(frozen=True)
class Conv:
    """Convolution over 1, 2 or 3 axes with zero padding; `uneven` holds the two-sided padding of uneven "same"."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    uneven: tuple[int, ...] | None = None  # as torch.nn.functional.pad takes it, last axis first

    @classmethod
    def of(cls, axes: int, given: Mapping[str, Any]) -> Conv:
        """Take the arguments of ``torch.nn.functional.conv1d``, ``conv2d`` or ``conv3d`` over `axes` axes."""
        stride, dilation = each(given.get("stride", 1), axes), each(given.get("dilation", 1), axes)
        padding, groups = given.get("padding", 0), int(given.get("groups", 1))
        if padding == "valid":
            return cls(stride, (0,) * axes, dilation, groups)
        if padding == "same":
            kernel = given["kernel_size"]
            total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            if any(t % 2 for t in total):
                uneven = [side for t in reversed(total) for side in (t // 2, t - t // 2)]
                return cls(stride, (0,) * axes, dilation, groups, tuple(uneven))
            return cls(stride, tuple(t // 2 for t in total), dilation, groups)
        return cls(stride, each(padding, axes), dilation, groups)

    def check(self, x: Tensor, weight: Tensor) -> None:
        """Refuse other dimensions, channels, or a grid smaller than the kernel."""
        axes, channels = len(self.stride), weight.shape[1] * self.groups
        if x.ndim != axes + 2 or x.shape[1] != channels:
            raise InputError(
                f"a tensor of shape {tuple(x.shape)} arrives; (batch, {channels}, {', '.join('xyz'[:axes])}) is wanted"
            )
        sides = self.uneven or tuple(p for pad in reversed(self.padding) for p in (pad, pad))
        for axis in range(axes):
            size = x.shape[2 + axis] + sides[2 * (axes - 1 - axis)] + sides[2 * (axes - 1 - axis) + 1]
            reach = self.dilation[axis] * (weight.shape[2 + axis] - 1) + 1
            if size < reach:
                raise InputError(
                    f"the grid {tuple(x.shape[2:])} that arrives (with padding {size} on axis {axis}) is smaller than "
                    f"the filter's reach of {reach}; give a larger scan, or a network with padding"
                )

    def stack_weights(self, weights: Sequence[Tensor]) -> Tensor:
        """Stack along the output channels of each group."""
        if len(weights) == 1:
            return weights[0]
        if self.groups == 1:
            return torch.cat(list(weights))
        return torch.cat([w.reshape(self.groups, -1, *w.shape[1:]) for w in weights], 1).flatten(0, 1)

    def stack(self, signals: Sequence[Tensor]) -> Tensor:
        """Stack along the channels of each group."""
        return stack_channels(signals, self.groups)

    def split(self, stacked: Tensor, count: int) -> Sequence[Tensor]:
        """Split the channels of each group."""
        return split_channels(stacked, count, self.groups)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve."""
        if self.uneven:
            x = F.pad(x, self.uneven)
        convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[len(self.stride) - 1]
        out: Tensor = convolve(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        return out

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Transposed convolution; positions that the stride never reached get zero."""
        full = list(shape)
        if self.uneven:
            for axis in range(len(self.stride)):
                full[-1 - axis] += self.uneven[2 * axis] + self.uneven[2 * axis + 1]
        # the ordinary transposed convolution: up to six times faster than autograd's backward for one input channel
        left_over = []
        for axis, (stride, pad, dilation) in enumerate(zip(self.stride, self.padding, self.dilation, strict=True)):
            reach = dilation * (weight.shape[2 + axis] - 1) + 1
            left_over.append(full[2 + axis] - ((signal.shape[2 + axis] - 1) * stride - 2 * pad + reach))
        transpose: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(self.stride) - 1]
        out: Tensor = transpose(signal, weight, None, self.stride, self.padding, left_over, self.groups, self.dilation)
        if self.uneven:
            out = F.pad(out, [-p for p in self.uneven])
        return out


def each(value: Any, axes: int) -> tuple[int, ...]:
    """Return one number for each axis, as torch reads a single one."""
    numbers = tuple(int(v) for v in value) if isinstance(value, list | tuple) else (int(value),)
    return numbers * axes if len(numbers) == 1 else numbers


def stack_channels(signals: Sequence[Tensor], groups: int) -> Tensor:
    """Stack tensors along the channels of each group."""
    if len(signals) == 1:
        return signals[0]
    if groups == 1:
        return torch.cat(list(signals), 1)
    return torch.cat([s.reshape(len(s), groups, -1, *s.shape[2:]) for s in signals], 2).flatten(1, 2)


def split_channels(stacked: Tensor, count: int, groups: int) -> Sequence[Tensor]:
    """Undo `stack_channels`."""
    if count == 1:
        return (stacked,)
    if groups == 1:
        return stacked.chunk(count, 1)
    grouped = stacked.reshape(len(stacked), groups, -1, *stacked.shape[2:])
    return [part.flatten(1, 2) for part in grouped.chunk(count, 2)]


@dataclass(frozen=True)
class Scale:
    """One factor a channel, as fixed normalisations have; weights (channels,), inputs (batch, channels, ...)."""

    def check(self, x: Tensor, weight: Tensor) -> None:
        """Refuse another number of channels."""
        if x.ndim < 2 or x.shape[1] != weight.numel():
            raise InputError(f"a tensor of shape {tuple(x.shape)} arrives; {weight.numel()} channels are wanted")

    def stack_weights(self, weights: Sequence[Tensor]) -> Tensor:
        """Stack along the channels."""
        return torch.cat(list(weights))

    def stack(self, signals: Sequence[Tensor]) -> Tensor:
        """Stack along the channels."""
        return torch.cat(list(signals), 1)

    def split(self, stacked: Tensor, count: int) -> Sequence[Tensor]:
        """Split the channels."""
        return stacked.chunk(count, 1)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply each channel by its factor."""
        extra = (1,) * (x.ndim - 2)
        count = weight.numel() // x.shape[1]
        out = x.repeat(1, count, *extra) * weight.view(-1, *extra)
        return out if bias is None else out + bias.view(-1, *extra)

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Multiply each channel by its factor and add up the stacked parts."""
        scaled = signal * weight.view(-1, *(1,) * (signal.ndim - 2))
        return scaled.reshape(len(scaled), -1, *shape[1:]).sum(1)
