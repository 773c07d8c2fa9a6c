"""Convolution and the pooling behind it as one dense convolution of *phases*.

A convolution of few input channels is slow: there is too little to do for each value that is read, and its transpose
(many channels into one) is slower still. Where a pooling of p x p x p follows, the positions of one pooling window can
stand as p^3 output channels, the p^3 positions of a block of the input as input channels, and the same convolution
runs on a grid p^3 times smaller with many channels; some products with zero are the price. With pooling 2 and a filter
of 3 it takes a third to a quarter of the time, forward and back.

The grid is worked off in slabs along its first axis, so that the full grid of the layer's output, which nobody needs
after pooling, never exists: memory stays at a slab and at the pooled tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.lrp.operators import Conv
from neuroxai.lrp.parts import Rule
from neuroxai.lrp.pooling import MaxPool
from neuroxai.lrp.propagate import Saved, collect, share_out

MOST_CHANNELS = 4  # of the input; with more, the ordinary convolution is as fast
SLAB_VALUES = 2_000_000  # of the layer's output in one slab


@dataclass(frozen=True)
class PhaseConv:
    """A convolution (stride 1) whose outputs are (batch, channels, phases, *grid); an `Operator`.

    Attributes
    ----------
    phases : tuple of int
        Phases an axis: the pooling's size, or 1 where that axis stays as it is.
    """

    kernel: tuple[int, int, int]
    phases: tuple[int, int, int]

    @property
    def taps(self) -> tuple[int, int, int]:
        """Filter size on the grid of blocks."""
        x, y, z = (-(-(k + p - 1) // p) for k, p in zip(self.kernel, self.phases, strict=True))
        return x, y, z

    @property
    def count(self) -> int:
        """Number of phases."""
        x, y, z = self.phases
        return x * y * z

    def check(self, x: Tensor, weight: Tensor) -> None:
        """Leave the check to the convolution that this stands for."""

    def stack_weights(self, weights: Sequence[Tensor]) -> Tensor:
        """Stack along the output channels."""
        return weights[0] if len(weights) == 1 else torch.cat(list(weights))

    def stack(self, signals: Sequence[Tensor]) -> Tensor:
        """Stack along the channels."""
        return signals[0] if len(signals) == 1 else torch.cat(list(signals), 1)

    def split(self, stacked: Tensor, count: int) -> Sequence[Tensor]:
        """Split the channels."""
        return stacked.chunk(count, 1)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve."""
        repeated = None if bias is None else bias.repeat(self.count)
        out = F.conv3d(self.blocks(x), self.weights(weight), repeated)
        return torch.unflatten(out, 1, (self.count, -1)).transpose(1, 2)

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Apply the transposed convolution."""
        out = F.conv_transpose3d(signal.transpose(1, 2).flatten(1, 2), self.weights(weight))
        grid = [n * p for n, p in zip(out.shape[2:], self.phases, strict=True)]
        whole = torch.unflatten(out, 1, (-1, *self.phases)).permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(len(out), -1, *grid)
        missing = [
            side for want, have in zip(reversed(shape[2:]), reversed(grid), strict=True) for side in (0, want - have)
        ]
        return F.pad(whole, missing) if any(missing) else whole

    def blocks(self, x: Tensor) -> Tensor:
        """Sort a grid (batch, channels, *grid) into blocks: (batch, channels * phases, *blocks), channels last.

        Axes whose blocks would not come out even are filled up with zeros, which only meet weights of zero.
        """
        sides = []
        for size, k, p in zip(reversed(x.shape[2:]), reversed(self.kernel), reversed(self.phases), strict=True):
            last = (size - k + 1) // p + (-(-(k + p - 1) // p)) - 1
            sides += [0, last * p - size]
        x = F.pad(x, sides) if any(sides) else x
        for axis, p in enumerate(self.phases):
            x = torch.unflatten(x, 2 + 2 * axis, (-1, p))
        ordered = x.permute(0, 2, 4, 6, 1, 3, 5, 7)
        return ordered.flatten(4).contiguous().permute(0, 4, 1, 2, 3)

    def weights(self, weight: Tensor) -> Tensor:
        """Return the filters of all phases, (phases * outputs, channels * phases, *taps), channels last."""
        shifted = []
        reach = [t * p for t, p in zip(self.taps, self.phases, strict=True)]
        for at in product(*map(range, self.phases)):
            sides = []
            for a, k, r in zip(reversed(at), reversed(self.kernel), reversed(reach), strict=True):
                sides += [a, r - k - a]
            shifted.append(F.pad(weight, sides))
        stacked = torch.cat(shifted)
        for axis, p in enumerate(self.phases):
            stacked = torch.unflatten(stacked, 2 + 2 * axis, (-1, p))
        ordered = stacked.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)
        return ordered.contiguous(memory_format=torch.channels_last_3d)


@dataclass(frozen=True)
class Windows:
    """The positions of pooling windows among phases (batch, channels, phases, *grid)."""

    pool: tuple[int, ...]
    phases: tuple[int, ...]

    def strides(self, pooled: Sequence[int]) -> tuple[int, int, int]:
        """Return the steps along the axes in the flattened grid that is pooled."""
        y, z = (n * p for n, p in zip(pooled[-2:], self.pool[1:], strict=True))
        return y * z, z, 1

    def offsets(self, winners: Tensor) -> Tensor:
        """Return how far behind its window's first value each winner lies, in the flattened grid, as int32."""
        at = winners
        for axis, (step, p) in enumerate(zip(self.strides(winners.shape), self.pool, strict=True)):
            first = torch.arange(winners.shape[2 + axis], device=winners.device) * (step * p)
            at = at - first.view(-1, *(1,) * (2 - axis))
        return at.to(torch.int32)

    def spread(self, signal: Tensor, offsets: Tensor, count: int) -> Tensor:
        """Put a signal (batch, count * channels, *pooled) at the winners, zeros elsewhere."""
        batch, channels, *grid = signal.shape
        full = [n * (p if q == 1 else 1) for n, p, q in zip(grid, self.pool, self.phases, strict=True)]
        phases = list(product(*map(range, self.phases)))
        out = signal.new_empty(batch, *full, len(phases), channels).permute(0, 5, 4, 1, 2, 3)
        offsets = torch.cat([offsets] * count, 1) if count > 1 else offsets
        nothing, strides = signal.new_zeros(()), self.strides(grid)
        inside = [p if q == 1 else 1 for p, q in zip(self.pool, self.phases, strict=True)]
        for number, phase in enumerate(phases):
            for at in product(*map(range, inside)):
                offset = sum(step * (a + b) for step, a, b in zip(strides, phase, at, strict=True))
                x, y, z = (slice(a, None, i) for a, i in zip(at, inside, strict=True))
                torch.where(offsets == offset, signal, nothing, out=out[:, :, number, x, y, z])
        return out


@dataclass(frozen=True)
class PooledConv:
    """A convolution and its pooling, worked off slab by slab.

    Only the way back uses phases. Forward they would be faster too, but they add up the products of a filter in another
    order at each position, and equal patches of a scan (its background) would no longer give equal values: ties must go
    to the first, as they do in torch's pooling.
    """

    conv: Conv
    pool: MaxPool
    back: PhaseConv
    windows: Windows
    padding: tuple[int, ...]  # as torch.nn.functional.pad takes it

    @classmethod
    def of(cls, conv: Conv, weight: Tensor, pool: MaxPool, rule: Rule) -> PooledConv | None:
        """Return the phases of a convolution and pooling, or None where they do not pay or do not fit."""
        unit = (1, 1, 1)
        plain = conv.stride == unit and conv.dilation == unit and conv.groups == 1
        even = pool.stride == pool.kernel and pool.dilation == unit and not any(pool.padding) and not pool.ceil
        small = weight.ndim == 5 and weight.shape[1] <= MOST_CHANNELS and max((*pool.kernel, 0)) <= 6
        if not (plain and even and small) or pool.axes != 3:
            return None
        constant = any(isinstance(term.input, float) for part in rule.parts for term in part.terms)
        if constant and (conv.uneven or any(conv.padding)):
            return None  # the padding, filled in beforehand, would take part
        padding = conv.uneven or tuple(side for p in reversed(conv.padding) for side in (p, p))
        kernel = (weight.shape[2], weight.shape[3], weight.shape[4])
        # with windows of 3 and more, phases along all axes would cost more products than they save
        x, y, z = pool.kernel if max(pool.kernel) <= 2 else (1, 1, pool.kernel[2])
        without = replace(conv, padding=(0, 0, 0), uneven=None)
        return cls(without, pool, PhaseConv(kernel, (x, y, z)), Windows(pool.kernel, (x, y, z)), padding)

    def pooled(self, grid: Sequence[int]) -> list[int]:
        """Return the grid after convolution and pooling."""
        return [(n - k + 1) // p for n, k, p in zip(grid, self.back.kernel, self.pool.kernel, strict=True)]

    def slabs(self, x: Tensor, outputs: int) -> Iterator[tuple[int, slice, Tensor]]:
        """Give sample, pooled rows and the part of the (padded) input that they read."""
        rows, *others = self.pooled(x.shape[2:])
        window = self.pool.kernel
        each = outputs * window[0] * window[1] * window[2] * others[0] * others[1]
        height = max(1, min(rows, SLAB_VALUES // max(1, each)))
        height = -(-rows // -(-rows // height))  # slabs of about equal height
        reach = [n * p + k - 1 for n, p, k in zip((rows, *others), window, self.back.kernel, strict=True)]
        for sample in range(len(x)):
            for first in range(0, rows, height):
                last = min(first + height, rows)
                start, stop = first * window[0], last * window[0] + self.back.kernel[0] - 1
                yield sample, slice(first, last), x[sample : sample + 1, :, start:stop, : reach[1], : reach[2]]

    def share_out(
        self,
        rule: Rule,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        nonnegative: bool,
        between: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Saved, Tensor]:
        """Run layer and pooling.

        Parameters
        ----------
        rule, x, weight, bias, nonnegative
            As `neuroxai.lrp.propagate.share_out` takes them.
        between : callable
            What happens between layer and pooling, at each position by itself.

        Returns
        -------
        output : torch.Tensor
            Pooled.
        kept : Saved
            With the winners' denominators.
        offsets : torch.Tensor
            Where in its window each winner lay.
        """
        padded = F.pad(x, self.padding) if any(self.padding) else x
        parts = len(rule.parts)
        shape = (len(x), len(weight), *self.pooled(padded.shape[2:]))

        def room(dtype: torch.dtype) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=x.device, memory_format=torch.channels_last_3d)

        output, offsets, own = room(x.dtype), room(torch.int32), None
        denominators = [room(x.dtype) for _ in range(parts)]
        for sample, rows, slab in self.slabs(padded, len(weight) * max(1, parts)):
            made, kept = share_out(rule, self.conv, slab, weight, bias, nonnegative)
            pooled, winners = self.pool(between(made))
            output[sample, :, rows], offsets[sample, :, rows] = pooled[0], self.windows.offsets(winners.indices)[0]
            for place, value in zip(denominators, kept.denominators, strict=True):
                place[sample, :, rows] = winners.gather(value)[0]
            if kept.output is not None:
                own = room(x.dtype) if own is None else own
                own[sample, :, rows] = winners.gather(kept.output)[0]
        return output, Saved(padded, weight, bias, nonnegative, denominators, own), offsets

    def collect(self, rule: Rule, kept: Saved, offsets: Tensor, relevance: Tensor) -> Tensor:
        """Take relevance of the pooled output back to the input."""
        total = torch.zeros_like(kept.x)
        for sample, rows, slab in self.slabs(kept.x, len(kept.weight) * max(1, len(rule.parts))):
            one = slice(sample, sample + 1)
            here = offsets[one, :, rows]
            own = None if kept.output is None else kept.output[one, :, rows]
            inside = Saved(
                slab, kept.weight, kept.bias, kept.nonnegative, [d[one, :, rows] for d in kept.denominators], own
            )

            def spread(stacked: Tensor, count: int, here: Tensor = here) -> Tensor:
                return self.windows.spread(stacked, here, count)

            share = collect(rule, self.back, inside, relevance[one, :, rows], spread)
            start = rows.start * self.pool.kernel[0]
            x, y, z = share.shape[2:]
            total[one, :, start : start + x, :y, :z] += share
        if not any(self.padding):
            return total
        return F.pad(total, [-side for side in self.padding])
