"""Boxes on a feature map's grid: where it may differ once a part of the input is occluded.

All boxes of a batch have one size, so that they are computed as one batch; a box may be larger than what differs inside
it. Coordinates are integers on the CPU, values stay on the network's device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

    Parameters
    ----------
    target : torch.Tensor, shape (items, channels, *window)
        Changed in place.
    origin : torch.Tensor, shape (items, axes)
        First voxel of each window.
    values, boxes
        What is written, and where.
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
