"""Transposed convolutions as operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.errors import InputError
from neuroxai.lrp.operators import Operator, each, split_channels, stack_channels


@dataclass(frozen=True)
class ConvTranspose:
    """Transposed convolution over 1, 2 or 3 axes; weights (inputs, outputs of a group, *kernel)."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, axes: int, given: Mapping[str, Any]) -> ConvTranspose:
        """Take the arguments of ``torch.nn.functional.conv_transpose1d``, ``2d`` or ``3d`` over `axes` axes."""
        names = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
        stride, padding, extra, dilation = (each(given.get(name, least), axes) for name, least in names.items())
        return cls(stride, padding, extra, dilation, int(given.get("groups", 1)))

    def check(self, x: Tensor, weight: Tensor) -> None:
        """Refuse other dimensions or channels."""
        axes = len(self.stride)
        if x.ndim != axes + 2 or x.shape[1] != weight.shape[0]:
            wanted = f"(batch, {weight.shape[0]}, {', '.join('xyz'[:axes])})"
            raise InputError(f"a tensor of shape {tuple(x.shape)} arrives; {wanted} is wanted")

    def stack_weights(self, weights: Sequence[Tensor]) -> Tensor:
        """Stack weights along the outputs of a group, biases along the outputs of each group."""
        if len(weights) == 1:
            return weights[0]
        if weights[0].ndim == 1:
            return torch.cat([b.reshape(self.groups, -1) for b in weights], 1).flatten()
        return torch.cat(list(weights), 1)

    def stack(self, signals: Sequence[Tensor]) -> Tensor:
        """Stack along the channels of each group."""
        return stack_channels(signals, self.groups)

    def split(self, stacked: Tensor, count: int) -> Sequence[Tensor]:
        """Split the channels of each group."""
        return split_channels(stacked, count, self.groups)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Transposed convolution."""
        run: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(self.stride) - 1]
        options = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        out: Tensor = run(x, weight, bias, *options)
        return out

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Convolution; output padding beyond a whole stride would give positions that no input has."""
        convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[len(self.stride) - 1]
        out: Tensor = convolve(signal, weight, None, self.stride, self.padding, self.dilation, self.groups)
        return out[(slice(None), slice(None), *(slice(size) for size in shape[2:]))]


def scaled(operator: Operator, weight: Tensor, factor: Tensor) -> Tensor:
    """Multiply the weights of each output channel by a factor, (channels,), as folding a normalisation in does."""
    if not isinstance(operator, ConvTranspose):
        return weight * factor.view(-1, *(1,) * (weight.ndim - 1))
    of_group = factor.view(operator.groups, 1, -1).expand(-1, len(weight) // operator.groups, -1)
    return weight * of_group.reshape(len(weight), -1, *(1,) * (weight.ndim - 2))
