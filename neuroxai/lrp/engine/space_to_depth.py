"""Convolution and the pooling behind it, taken back as one dense convolution from space to depth.

A convolution of few input channels is slow: there is too little to do for each value that is read, and its transpose
(many channels into one) is slower still. Where a pooling of p x p x p follows, the positions of one pooling window can
stand as p^3 output channels, the p^3 positions of a block of the input as input channels, and the same convolution
runs on a grid p^3 times smaller with many channels; some products with zero are the price. With pooling 2 and a filter
of 3 it takes a third to a quarter of the time.

The grid is worked off in slabs along its first axis, so that the full grid of the layer's output, which nobody needs
after pooling, never exists: memory stays at a slab and at the pooled tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.lrp.engine import propagate
from neuroxai.lrp.engine.operators import Conv, Operator
from neuroxai.lrp.engine.propagate import Saved
from neuroxai.lrp.rules import Rule

Pool = Callable[[Tensor], tuple[Tensor, Any]]  # returns its output, and the winners
MOST_CHANNELS = 4  # of the input; with more, the ordinary convolution is as fast
SLAB_VALUES = 2_000_000  # of the layer's output in one slab


@dataclass(frozen=True)
class SpaceToDepthConv(Operator):
    """A convolution (stride 1) whose outputs are (batch, channels, positions in a block, *blocks): its transpose."""

    kernel: tuple[int, ...]  # the filter's size
    # positions of a block along each axis: the pooling's size, or 1 where that axis stays as it is
    block: tuple[int, ...]

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Apply the transposed convolution."""
        out = F.conv_transpose3d(signal.transpose(1, 2).flatten(1, 2), self.weights(weight))
        grid = [n * p for n, p in zip(out.shape[2:], self.block, strict=True)]
        whole = torch.unflatten(out, 1, (-1, *self.block)).permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(len(out), -1, *grid)
        missing = [
            side for want, have in zip(reversed(shape[2:]), reversed(grid), strict=True) for side in (0, want - have)
        ]
        return F.pad(whole, missing) if any(missing) else whole

    def weights(self, weight: Tensor) -> Tensor:
        """Return the filters of all positions: (positions * outputs, channels * positions, *taps), channels last."""
        reach = [-(-(k + p - 1) // p) * p for k, p in zip(self.kernel, self.block, strict=True)]
        shifted = []
        for at in product(*map(range, self.block)):
            sides = []
            for a, k, r in zip(reversed(at), reversed(self.kernel), reversed(reach), strict=True):
                sides += [a, r - k - a]
            shifted.append(F.pad(weight, sides))
        stacked = torch.cat(shifted)
        for axis, p in enumerate(self.block):
            stacked = torch.unflatten(stacked, 2 + 2 * axis, (-1, p))
        ordered = stacked.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)
        return ordered.contiguous(memory_format=torch.channels_last_3d)


@dataclass(frozen=True)
class PooledConv:
    """A convolution and its pooling, worked off slab by slab.

    Only the backward pass goes from space to depth. In the forward pass that would be faster too, but it adds up the
    products of a filter in another order at each position, and equal patches of a scan (its background) would no longer
    give equal values: ties must go to the first, as they do in torch's pooling.
    """

    conv: Conv  # the convolution, without its padding
    pool: Pool  # the pooling
    window: tuple[int, ...]  # the pooling's size
    back: SpaceToDepthConv  # the convolution in the backward pass
    padding: tuple[int, ...]  # the convolution's, as ``torch.nn.functional.pad`` takes it

    @classmethod
    def of(cls, conv: Conv, weight: Tensor, pool: Pool, window: tuple[int, ...], rule: Rule) -> PooledConv | None:
        """Return the fast path of a convolution and pooling, or None where it does not pay or does not fit."""
        plain = conv.stride == conv.dilation == (1, 1, 1) and conv.groups == 1
        if not plain or weight.ndim != 5 or weight.shape[1] > MOST_CHANNELS or max(window) > 6:
            return None
        if torch.is_grad_enabled():  # it writes into tensors of its own, of which autograd sees nothing
            return None
        constants = [term.input for part in rule.parts for term in part.terms if term.constant]
        if constants and (conv.uneven or any(conv.padding)):
            return None  # the padding, filled in beforehand, would take part
        if {"low", "high"} & {*constants}:
            return None  # a slab's bounds are not the scan's
        padding = conv.uneven or tuple(side for p in reversed(conv.padding) for side in (p, p))
        # with windows of 3 and more, blocks along all axes would cost more products than they save
        block = window if max(window) <= 2 else (1, 1, window[2])
        without = replace(conv, padding=(0, 0, 0), uneven=None)
        return cls(without, pool, window, SpaceToDepthConv(tuple(weight.shape[2:]), block), padding)

    def pooled(self, grid: Sequence[int]) -> list[int]:
        """Return the grid after convolution and pooling."""
        return [(n - k + 1) // p for n, k, p in zip(grid, self.back.kernel, self.window, strict=True)]

    def slabs(self, x: Tensor, outputs: int) -> Iterator[tuple[slice, slice, Tensor]]:
        """Give the sample, its pooled rows and the part of the (padded) input that they read."""
        rows, *others = self.pooled(x.shape[2:])
        x0, y0, z0 = self.window
        of_row = outputs * x0 * y0 * z0 * others[0] * others[1]
        height = max(1, min(rows, SLAB_VALUES // max(1, of_row)))
        height = -(-rows // -(-rows // height))  # slabs of about equal height
        reach = [n * p + k - 1 for n, p, k in zip((rows, *others), self.window, self.back.kernel, strict=True)]
        for sample in range(len(x)):
            for first in range(0, rows, height):
                last = min(first + height, rows)
                start, stop = first * x0, last * x0 + self.back.kernel[0] - 1
                one = slice(sample, sample + 1)
                yield one, slice(first, last), x[one, :, start:stop, : reach[1], : reach[2]]

    def forward(
        self, rule: Rule, x: Tensor, weight: Tensor, bias: Tensor | None, nonnegative: bool,
        between: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Saved, Tensor]:  # fmt: skip
        """Run layer, what happens `between` at each position by itself, and pooling.

        Returns the pooled output, the winners' denominators, and where in its window each winner lay.
        """
        padded = F.pad(x, self.padding) if any(self.padding) else x
        parts = len(rule.parts)
        shape = (len(x), len(weight), *self.pooled(padded.shape[2:]))

        def room(dtype: torch.dtype) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=x.device, memory_format=torch.channels_last_3d)

        output, offsets, own = room(x.dtype), room(torch.int32), None
        denominators = [room(x.dtype) for _ in range(parts)]
        for one, rows, slab in self.slabs(padded, len(weight) * max(1, parts)):
            made, saved = propagate.forward(rule, self.conv, slab, weight, bias, nonnegative)
            output[one, :, rows], winners = self.pool(between(made))
            offsets[one, :, rows] = self._offsets(winners.indices)
            for place, value in zip(denominators, saved.denominators, strict=True):
                place[one, :, rows] = winners.gather(value)
            if saved.output is not None:
                own = room(x.dtype) if own is None else own
                own[one, :, rows] = winners.gather(saved.output)
        return output, Saved(padded, weight, bias, nonnegative, denominators, own), offsets

    def backward(self, rule: Rule, saved: Saved, offsets: Tensor, relevance: Tensor) -> Tensor:
        """Take relevance of the pooled output back to the input."""
        total = torch.zeros_like(saved.x)
        for one, rows, slab in self.slabs(saved.x, len(saved.weight) * max(1, len(rule.parts))):
            here = offsets[one, :, rows]
            own = None if saved.output is None else saved.output[one, :, rows]
            inside = replace(saved, x=slab, denominators=[d[one, :, rows] for d in saved.denominators], output=own)

            def spread(stacked: Tensor, count: int, here: Tensor = here) -> Tensor:
                return self._spread(stacked, here, count)

            share = propagate.backward(rule, self.back, inside, relevance[one, :, rows], spread)
            start = rows.start * self.window[0]
            x, y, z = share.shape[2:]
            total[one, :, start : start + x, :y, :z] += share
        return F.pad(total, [-side for side in self.padding]) if any(self.padding) else total

    def _strides(self, pooled: Sequence[int]) -> tuple[int, int, int]:
        """Return the steps along the axes in the flattened grid that is pooled."""
        y, z = (n * p for n, p in zip(pooled[-2:], self.window[1:], strict=True))
        return y * z, z, 1

    def _offsets(self, winners: Tensor) -> Tensor:
        """Return how far behind its window's first value each winner lies, in the flattened grid, as int32."""
        at = winners
        for axis, (step, p) in enumerate(zip(self._strides(winners.shape), self.window, strict=True)):
            first = torch.arange(winners.shape[2 + axis], device=winners.device) * (step * p)
            at = at - first.view(-1, *(1,) * (2 - axis))
        return at.to(torch.int32)

    def _spread(self, signal: Tensor, offsets: Tensor, count: int) -> Tensor:
        """Put a signal (batch, count * channels, *pooled) at the winners, zeros elsewhere, as `back` takes it."""
        batch, channels, *grid = signal.shape
        # along each axis, the places of a window are positions of a block, or lie side by side in the grid
        inside = [p if q == 1 else 1 for p, q in zip(self.window, self.back.block, strict=True)]
        full = [n * p for n, p in zip(grid, inside, strict=True)]
        out = signal.new_zeros(batch, *full, *self.back.block, channels)
        steps = [
            step if q == 1 else out.stride(4 + a)
            for a, (step, q) in enumerate(zip(out.stride()[1:4], self.back.block, strict=True))
        ]
        strides = self._strides(grid)
        places = torch.zeros(sum(s * (p - 1) for s, p in zip(strides, self.window, strict=True)) + 1, dtype=torch.int64)
        for at in product(*map(range, self.window)):
            places[sum(s * a for s, a in zip(strides, at, strict=True))] = sum(
                s * a for s, a in zip(steps, at, strict=True)
            )
        index = places.to(signal.device)[offsets.permute(0, 2, 3, 4, 1)]
        if count > 1:
            index = torch.cat([index] * count, -1)
        jumps = (out.stride(0), *(s * p for s, p in zip(out.stride()[1:4], inside, strict=True)), 1)
        first = torch.zeros((), dtype=torch.int64, device=signal.device)
        for n, jump in zip((batch, *grid, channels), jumps, strict=True):
            first = first[..., None] + torch.arange(n, device=signal.device) * jump
        index += first
        # one by one: what is not a winner is written once, as zero
        out.view(-1).scatter_(0, index.flatten(), signal.permute(0, 2, 3, 4, 1).flatten())
        return out.flatten(4, 6).permute(0, 5, 4, 1, 2, 3)
