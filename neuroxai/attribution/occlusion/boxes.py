"""Parts of an input that are occluded, and boxes on a feature map's grid: where it may differ once one is.

All boxes of a batch have one size, so that they are computed as one batch; a box may be larger than what differs inside
it. Coordinates are integers on the CPU, values stay on the network's device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from neuroxai.graph.receptive_field import Window


@dataclass(frozen=True)
class Boxes:
    """One box for each item, all of one size."""

    low: Tensor  # (items, axes), first voxel that may differ
    high: Tensor  # one past the last
    start: Tensor  # (items, axes), first voxel of the box, which holds all that may differ
    size: tuple[int, ...]  # of the box

    @classmethod
    def within(cls, low: Tensor, high: Tensor, limit: Sequence[int]) -> Boxes:
        """Return the smallest boxes of one size that hold ``low`` to ``high``, as far as a grid of `limit` goes."""
        grid = torch.tensor(limit)
        low, high = low.clamp(min=0), torch.minimum(high, grid)
        size = torch.minimum((high - low).amax(0).clamp(min=1), grid)
        start = torch.minimum(low, grid - size)
        return cls(low, high, start, tuple(size.tolist()))

    @classmethod
    def around(cls, several: Sequence[Boxes], limit: Sequence[int]) -> Boxes:
        """Return boxes that hold all that differs in several on one grid."""
        low = torch.stack([boxes.low for boxes in several]).amin(0)
        return cls.within(low, torch.stack([boxes.high for boxes in several]).amax(0), limit)

    def behind(self, window: Window, limit: Sequence[int]) -> Boxes:
        """Return where the output of a sliding window differs: all outputs that read a voxel that may differ."""
        stride, padding = torch.tensor(window.stride), torch.tensor(window.padding)
        first = -(-(self.low + padding - torch.tensor(span(window, (1,) * len(limit))) + 1) // stride)  # rounded up
        return Boxes.within(first, (self.high - 1 + padding) // stride + 1, limit)

    def same_place(self, other: Boxes) -> bool:
        """Whether the boxes cover the same voxels."""
        return self.size == other.size and torch.equal(self.start, other.start)


def span(window: Window, size: Sequence[int]) -> tuple[int, ...]:
    """Return how many inputs, the padding counted, `size` outputs in a row read."""
    geometry = zip(size, window.stride, window.kernel, window.dilation, strict=True)
    return tuple((n - 1) * stride + (kernel - 1) * dilation + 1 for n, stride, kernel, dilation in geometry)


def windows(full: Tensor, start: Tensor, size: Sequence[int]) -> Tensor:
    """Copy windows (items, channels, *size) out of a map (channels, *grid), from their first voxels (items, axes)."""
    view = full
    for axis, length in enumerate(size, start=1):
        view = view.unfold(axis, length, 1)
    view = view.movedim(0, len(size))  # (*places, channels, *size), no copy yet
    return view[tuple(start.to(full.device).unbind(1))]


def paste(target: Tensor, origin: Tensor, values: Tensor, boxes: Boxes) -> None:
    """Write the values of boxes, (items, channels, *boxes.size), into windows of the same map, as far as they overlap.

    The windows, `target`, (items, channels, *window), are changed in place; `origin`, (items, axes), is their first
    voxel.
    """
    # items whose box lies at the same place of its window are written together: nearly all of a regular grid of patches
    places, which = torch.unique(boxes.start - origin, dim=0, return_inverse=True)
    for number, place in enumerate(places.tolist()):
        into, out_of = [], []
        for at, length, room in zip(place, boxes.size, target.shape[2:], strict=True):
            first, end = max(at, 0), max(min(at + length, room), max(at, 0))
            into.append(slice(first, end))
            out_of.append(slice(first - at, end - at))
        items: slice | Tensor = slice(None)
        if len(places) > 1:
            items = (which == number).nonzero().flatten().to(target.device)
        target[(items, slice(None), *into)] = values[(items, slice(None), *out_of)]


@dataclass(frozen=True)
class Parts:
    """Parts of an input that are occluded one at a time: boxes, or inside its box the region of a label image."""

    low: Tensor  # (parts, axes), first voxel of each part's box
    high: Tensor  # one past its last; the same where a region has no voxel
    grid: tuple[int, ...]  # the input's
    regions: Tensor | None = None  # (*grid), at each voxel 0 for background, else 1 + the number of its part
    density: bool = False  # whether a drop is divided by the part's voxels where it is painted

    @classmethod
    def patches(cls, grid: Sequence[int], patch: Sequence[int], stride: Sequence[int]) -> Parts:
        """Lay patches over a grid; the last along each axis is the first that reaches its end, and may be cut off."""
        axes = zip(grid, patch, stride, strict=True)
        starts = [range(0, step * math.ceil((length - size) / step) + 1, step) for length, size, step in axes]
        low = torch.tensor(list(product(*starts)))
        return cls(low, torch.minimum(low + torch.tensor(patch), torch.tensor(grid)), tuple(grid))

    def mask(self, which: Tensor, start: Tensor, size: Sequence[int]) -> Tensor:
        """Return which voxels of windows belong to the parts `which`, (parts, 1, *size)."""
        if self.regions is not None:
            return windows(self.regions[None], start, size) == 1 + which.view(-1, 1, *(1 for _ in size))
        found = torch.ones((), dtype=torch.bool)
        for axis, length in enumerate(size):
            voxel = start[:, axis, None] + torch.arange(length)
            inside = (voxel >= self.low[which, axis, None]) & (voxel < self.high[which, axis, None])
            found = found & inside.view(len(which), 1, *(length if a == axis else 1 for a in range(len(size))))
        return found

    def holding(self, voxels: Tensor) -> Tensor:
        """Return which parts hold any of some voxels (*grid), (parts,)."""
        return torch.tensor([bool((voxels[box] & own).any()) for box, own in self._each()])

    def painted(self, drops: Tensor) -> Tensor:
        """Return each voxel's mean drop over the parts that hold it, (batch, *grid), of the parts' (batch, parts)."""
        total, count = drops.new_zeros(len(drops), *self.grid), drops.new_zeros(self.grid)
        for drop, (box, own) in zip(drops.unbind(1), self._each(), strict=True):
            drop = drop / own.sum().clamp(min=1).to(drop) if self.density else drop
            total[(slice(None), *box)] += drop.view(-1, *(1 for _ in box)) * own.to(total)
            count[box] += own.to(total)
        return total / count.clamp(min=1)

    def _each(self) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
        """Give each part's box, and which of its voxels are the part's own."""
        for number, (low, high) in enumerate(zip(self.low.tolist(), self.high.tolist(), strict=True)):
            box = tuple(map(slice, low, high))
            yield box, torch.ones((), dtype=torch.bool) if self.regions is None else self.regions[box] == 1 + number
