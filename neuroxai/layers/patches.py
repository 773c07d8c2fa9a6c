"""Patches of a grid: cut out and put back.

The functions take plain lists of numbers so that TorchScript compiles them; `PatchGrid` is the same with names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.errors import SpaceError


def split(x: Tensor, shape: list[int], patch: list[int], counts: list[int], start: list[int]) -> Tensor:
    """Cut patches out of a grid of `shape`: (batch, channels, *shape) -> (batch, patches, channels, *patch).

    Neighbouring patches touch; the first begins at `start`. What lies beyond the grid is zero. C order. In memory the
    channels of all patches stand side by side ("channels last"), which copies whole rows and suits the convolution.
    """
    axes = len(patch)
    inwards = [0]  # axes of the grid before the channels
    sizes = [x.shape[0]]
    inside = [0]
    for axis in range(axes):
        inwards.append(2 + axis)
        sizes += [counts[axis], patch[axis]]
        inside.append(2 + 2 * axis)
    inwards.append(1)
    sizes.append(x.shape[1])
    for axis in range(axes):
        inside.append(1 + 2 * axis)
    inside.append(2 * axes + 1)
    before: list[int] = []
    after: list[int] = []
    for axis in range(axes):
        before.append(-start[axis])
        after.append(start[axis] + counts[axis] * patch[axis] - shape[axis])
    x = _fitted(x.permute(inwards), before, after, 1)
    x = x.reshape(sizes).permute(inside).flatten(1 + axes, 2 * axes)  # (batch, *patch, patches, channels)
    back = [0, 1 + axes, 2 + axes]
    for axis in range(axes):
        back.append(1 + axis)
    return x.permute(back)


def join(patches: Tensor, shape: list[int], patch: list[int], counts: list[int], start: list[int]) -> Tensor:
    """Put patches back where `split` took them: transpose of `split`, and its inverse where the patches reach."""
    axes = len(counts)
    order = [0, 1 + axes]
    sizes = [patches.shape[0], patches.shape[2]]
    before: list[int] = []
    after: list[int] = []
    for axis in range(axes):
        order += [1 + axis, 2 + axes + axis]
        sizes.append(counts[axis] * patch[axis])
        before.append(start[axis])
        after.append(shape[axis] - start[axis] - counts[axis] * patch[axis])
    whole = torch.unflatten(patches, 1, counts).permute(order).reshape(sizes)
    return _fitted(whole, before, after, 2)


def _fitted(x: Tensor, before: list[int], after: list[int], first: int) -> Tensor:
    """Add zeros before and after each axis from `first` on, or cut off as many where the number is negative."""
    sides: list[int] = []
    for axis in range(len(before)):
        cut = max(-before[axis], 0)
        size = x.shape[first + axis] - cut - max(-after[axis], 0)
        if size != x.shape[first + axis]:
            x = x.narrow(first + axis, cut, size)
        sides.insert(0, max(after[axis], 0))  # torch pads the last axis first
        sides.insert(0, max(before[axis], 0))
    if sum(sides) == 0:
        return x
    return F.pad(x, [0, 0] * (x.dim() - first - len(before)) + sides)


@dataclass(frozen=True)
class PatchGrid:
    """Patches of equal size, side by side, on a grid.

    Attributes
    ----------
    shape : tuple of int
        The grid.
    patch : tuple of int
        Size of a patch.
    counts : tuple of int
        Patches along each axis.
    start : tuple of int
        Where the first patch begins.
    """

    shape: tuple[int, ...]
    patch: tuple[int, ...]
    counts: tuple[int, ...]
    start: tuple[int, ...]

    def __len__(self) -> int:
        """Count the patches."""
        return math.prod(self.counts)

    def split(self, x: Tensor) -> Tensor:
        """Cut out: (batch, channels, *shape) -> (batch, patches, channels, *patch); zero beyond the grid."""
        self.check(x.shape)
        return split(x, list(self.shape), list(self.patch), list(self.counts), list(self.start))

    def join(self, patches: Tensor) -> Tensor:
        """Put back: transpose of `split`, and its inverse where the patches reach; zero elsewhere."""
        return join(patches, list(self.shape), list(self.patch), list(self.counts), list(self.start))

    def region(self, number: int) -> tuple[slice, ...]:
        """Return where patch `number` stands; it may reach beyond the grid."""
        places = []
        for size, count, start in zip(reversed(self.patch), reversed(self.counts), reversed(self.start), strict=True):
            number, index = divmod(number, count)
            places.append(slice(start + index * size, start + (index + 1) * size))
        return tuple(reversed(places))

    def check(self, shape: Sequence[int]) -> None:
        """Refuse another grid: `shape` is that of a whole tensor, (batch, channels, *grid)."""
        if tuple(shape[2:]) != self.shape:
            raise SpaceError(
                f"the grid is {tuple(shape[2:])}, wanted {self.shape}; resample it, or build for this grid"
            )
