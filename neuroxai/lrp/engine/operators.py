"""Linear maps of layers and their transposes, with room to run several weights in one go.

An operator knows a layer's geometry but holds no weights. Weights (and signals) of several rule parts are stacked along
the output channels, so that one convolution does the work of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.layers import Strain
from neuroxai.layers.convolution import convolve


@dataclass(frozen=True)
class Operator:
    """A linear map ``x -> W x`` for any weights W of one geometry, and its transpose."""

    axis: ClassVar[int] = 1  # where the output channels stand in outputs, and in weights and biases
    weight_axis: ClassVar[int] = 0

    @property
    def blocks(self) -> int:
        """Groups of output channels, each of which is stacked by itself."""
        return int(getattr(self, "groups", 1))

    def outputs_first(self, weight: Tensor) -> Tensor:
        """Return a layer's own weights with the output channels on the first axis."""
        return weight

    def stack_weights(self, tensors: Sequence[Tensor]) -> Tensor:
        """Stack several weights (or biases) along the output channels."""
        return _stacked(tensors, self.weight_axis, self.blocks)

    def stack(self, tensors: Sequence[Tensor]) -> Tensor:
        """Stack several tensors shaped like the output."""
        return _stacked(tensors, self.axis, self.blocks)

    def split(self, stacked: Tensor, count: int) -> Sequence[Tensor]:
        """Undo `stack`."""
        if count == 1 or self.blocks == 1:
            return stacked.chunk(count, self.axis)
        grouped = torch.unflatten(stacked, self.axis, (self.blocks, -1))
        return [part.flatten(self.axis, self.axis + 1) for part in grouped.chunk(count, self.axis + 1)]

    def spread(self, bias: Tensor, like: Tensor) -> Tensor:
        """Return a bias shaped so that it adds to an output."""
        return bias.view(-1, *(1,) * (like.ndim - 2))

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Apply stacked weights."""
        raise NotImplementedError

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Apply the transpose of stacked weights to a stacked signal; the result has the input's shape."""
        raise NotImplementedError


def _stacked(tensors: Sequence[Tensor], axis: int, blocks: int) -> Tensor:
    if len(tensors) == 1:
        return tensors[0]
    if blocks == 1:
        return torch.cat(list(tensors), axis)
    return torch.cat([torch.unflatten(t, axis, (blocks, -1)) for t in tensors], axis + 1).flatten(axis, axis + 1)


@dataclass(frozen=True)
class Dense(Operator):
    """``torch.nn.Linear``: inputs (batch, ..., features), weights (outputs, features); `turned`, as in ``x @ W``."""

    axis: ClassVar[int] = -1
    turned: bool = False

    def outputs_first(self, weight: Tensor) -> Tensor:
        """Turn the weights that stand on the right of a matrix product."""
        return weight.T if self.turned else weight

    def spread(self, bias: Tensor, like: Tensor) -> Tensor:
        """Return the bias: it stands on the last axis."""
        return bias

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Matrix product."""
        return F.linear(x, weight, bias)

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Matrix product with the transpose."""
        return signal @ weight


@dataclass(frozen=True)
class Product(Operator):
    """A product with one constant tensor in any form, as einsum has it, of all samples at once: (1, *input).

    A bias is what is added to its output, in the form in which it is added.
    """

    run: Callable[[Tensor, Tensor], Tensor]  # takes the input and the constant

    def stack(self, tensors: Sequence[Tensor]) -> Tensor:
        """Stack along an axis of its own: the outputs stand on any."""
        return torch.stack(list(tensors))

    stack_weights = stack

    def split(self, stacked: Tensor, count: int) -> Sequence[Tensor]:
        """Undo `stack`."""
        return stacked.unbind()

    def spread(self, bias: Tensor, like: Tensor) -> Tensor:
        """Return the bias."""
        return bias

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply by each."""
        found = torch.stack([self.run(x[0], one)[None] for one in weight])
        return found if bias is None else torch.stack([one + b for one, b in zip(found, bias, strict=True)])

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Take the vector-Jacobian product of each, and add up."""
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            x = signal.new_zeros(shape[1:]).requires_grad_(True)
            outputs = [self.run(x, one)[None] for one in weight]
            (found,) = torch.autograd.grad(outputs, [x], list(signal), create_graph=graph)
        return found[None]


@dataclass(frozen=True)
class _Windows(Operator):
    """What runs over 1, 2 or 3 axes."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None, extra: Sequence[int] | None = None) -> Tensor:
        """Convolve; with `extra`, the padding of the output, the transposed convolution."""
        if extra is None:
            return convolve(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        return torch.convolution(x, weight, bias, self.stride, self.padding, self.dilation, True, extra, self.groups)


@dataclass(frozen=True)
class Conv(_Windows):
    """Convolution over 1, 2 or 3 axes with zero padding, weights (outputs, inputs of a group, *kernel)."""

    # the two-sided padding of uneven "same", as ``torch.nn.functional.pad`` takes it, last axis first
    uneven: tuple[int, ...] | None = None

    @classmethod
    def of(cls, axes: int, given: Mapping[str, Any], kernel: Sequence[int]) -> Conv:
        """Take the arguments of ``torch.nn.functional.conv1d``, ``conv2d`` or ``conv3d`` over `axes` axes."""
        stride, dilation = each(given.get("stride", 1), axes), each(given.get("dilation", 1), axes)
        padding, uneven = given.get("padding", 0), None
        if padding == "same":
            total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            padding = [t // 2 for t in total]
            if any(t % 2 for t in total):
                padding, uneven = 0, tuple(side for t in reversed(total) for side in (t // 2, t - t // 2))
        padding = each(0 if padding == "valid" else padding, axes)
        return cls(stride, padding, dilation, int(given.get("groups", 1)), uneven)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve."""
        return self.run(F.pad(x, self.uneven) if self.uneven else x, weight, bias)

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Transposed convolution; positions that the stride never reached get zero."""
        full = list(shape)
        for number, side in enumerate(self.uneven or ()):
            full[-1 - number // 2] += side
        # the ordinary transposed convolution: up to six times faster than autograd's backward for one input channel
        left_over = []
        for axis, (stride, pad, dilation) in enumerate(zip(self.stride, self.padding, self.dilation, strict=True)):
            reach = dilation * (weight.shape[2 + axis] - 1) + 1
            left_over.append(full[2 + axis] - ((signal.shape[2 + axis] - 1) * stride - 2 * pad + reach))
        out = self.run(signal, weight, None, left_over)
        return F.pad(out, [-p for p in self.uneven]) if self.uneven else out


@dataclass(frozen=True)
class ConvTranspose(_Windows):
    """Transposed convolution over 1, 2 or 3 axes; weights (outputs, inputs of a group, *kernel), as of `Conv`."""

    output_padding: tuple[int, ...]

    @classmethod
    def of(cls, axes: int, given: Mapping[str, Any]) -> ConvTranspose:
        """Take the arguments of ``torch.nn.functional.conv_transpose1d``, ``2d`` or ``3d`` over `axes` axes."""
        names = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
        stride, padding, extra, dilation = (each(given.get(name, least), axes) for name, least in names.items())
        return cls(stride, padding, dilation, int(given.get("groups", 1)), extra)

    def outputs_first(self, weight: Tensor) -> Tensor:
        """Swap inputs and outputs of each group: torch has them (inputs, outputs of a group, *kernel)."""
        return torch.unflatten(weight, 0, (self.groups, -1)).transpose(1, 2).flatten(0, 1)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Transposed convolution."""
        return self.run(x, self.outputs_first(weight), bias, self.output_padding)

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Convolution; output padding beyond a whole stride would give positions that no input has."""
        out = self.run(signal, self.outputs_first(weight), None)
        for axis, size in enumerate(shape[2:], 2):
            out = out.narrow(axis, 0, size)
        return out


def each(value: Any, axes: int) -> tuple[int, ...]:
    """Return one number for each axis, as torch reads a single one."""
    numbers = tuple(int(v) for v in value) if isinstance(value, list | tuple) else (int(value),)
    return numbers * axes if len(numbers) == 1 else numbers


@dataclass(frozen=True)
class Scale(Operator):
    """One factor a channel, as fixed normalisations have; weights (channels,), inputs (batch, channels, ...)."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply each channel by its factor."""
        extra = (1,) * (x.ndim - 2)
        out = x.repeat(1, weight.numel() // x.shape[1], *extra) * weight.view(-1, *extra)
        return out if bias is None else out + bias.view(-1, *extra)

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Multiply each channel by its factor and add up the stacked parts."""
        return torch.unflatten(signal * self.spread(weight, signal), 1, (-1, shape[1])).sum(1)


@dataclass(frozen=True)
class Patchwise(Operator):
    """One strain of a `PatchIndividualFilter`: weights (patches, outputs, inputs, *kernel), bias (patches, outputs)."""

    weight_axis: ClassVar[int] = 1
    strain: Strain

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Filter each patch."""
        return self.strain.forward(x, weight, bias)

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Take a signal back through the patches."""
        return self.strain.transpose(signal, weight, shape)

    def spread(self, bias: Tensor, like: Tensor) -> Tensor:
        """Put each patch's bias where its outputs stand."""
        patch = self.strain.outputs.patch
        whole = bias[None].reshape(1, *bias.shape, *(1,) * len(patch)).expand(1, *bias.shape, *patch)
        return self.strain.outputs.join(whole) if self.strain.reassemble else whole.transpose(1, 2)
