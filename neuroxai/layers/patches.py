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


def split(x: Tensor, places: Tensor, grids: list[list[list[int]]]) -> Tensor:
    """Cut patches out of a grid: (batch, channels, *shape) -> (batch, patches, channels, *patch).

    `places` is what the function of that name returns for `grids`. In memory the channels of all patches stand side by
    side ("channels last"): whole rows are copied, once for all grids, and the convolution wants them so.
    """
    rows = x.flatten(2).transpose(1, 2)  # (batch, voxels, channels)
    beyond = False
    patches = 0
    for grid in grids:  # shape, patch, counts, start
        many = 1
        for axis, size in enumerate(grid[0]):
            beyond = beyond or grid[3][axis] + grid[2][axis] * grid[1][axis] > size
            many *= grid[2][axis]
        patches += many
    if beyond:  # places beyond the grid point to one voxel more
        rows = torch.cat([rows, rows.new_zeros(rows.shape[0], 1, rows.shape[2])], 1)
    cut = rows.contiguous().index_select(1, places)
    cut = cut.reshape([rows.shape[0]] + grids[0][1] + [patches, rows.shape[2]])
    return cut.movedim([-2, -1], [1, 2])


def places(grids: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Return where in the flattened grid the voxels of patches stand, (voxels of a patch x patches), for `split`.

    Each of `grids` is the shape of the grid, the size of a patch (the same in all), the number of patches along each
    axis and where the first begins (not below 0). The patches of one grid follow those of the other, in C order. A
    place beyond the shape gets the number of voxels.
    """
    found = []
    for shape, patch, counts, start in grids:
        step = voxels = math.prod(shape)
        axes = len(shape)
        numbers = torch.zeros([1] * (2 * axes), dtype=torch.int64)  # (*patch, *counts)
        for axis in range(axes):
            step //= shape[axis]
            along = torch.arange(start[axis], start[axis] + counts[axis] * patch[axis])
            along = torch.where(along < shape[axis], along * step, voxels).reshape(counts[axis], patch[axis])
            sizes = [1] * (2 * axes)
            sizes[axis], sizes[axes + axis] = patch[axis], counts[axis]
            numbers = numbers + along.T.reshape(sizes)
        found.append(numbers.clamp(max=voxels).reshape(math.prod(patch), math.prod(counts)))
    return torch.cat(found, 1).flatten()


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
        Where the first patch begins, not below 0.
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
        grids = [[list(numbers) for numbers in (self.shape, self.patch, self.counts, self.start)]]
        return split(x, places(grids).to(x.device), grids)

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
                f"the grid is {tuple(shape[2:])}, expected {self.shape}; resample it, or build for this grid"
            )
