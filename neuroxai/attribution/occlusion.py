"""Patch occlusion: by how much the class score falls when a patch of the scan is replaced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

from neuroxai.attribution.occluding import OcclusionMethod
from neuroxai.attribution.occlusion_parts import Options, Recompute
from neuroxai.attribution.options import positive_integer
from neuroxai.errors import InputError
from neuroxai.lrp.targets import Target

Sizes = int | Sequence[int]


@dataclass(frozen=True)
class Patches:
    """A regular grid of patches; those at the end of an axis may be cut off."""

    low: Tensor
    high: Tensor
    counts: tuple[Tensor, ...]

    @classmethod
    def on(cls, grid: Sequence[int], patch: Sequence[int], stride: Sequence[int]) -> Patches:
        """Lay patches over a grid; the last along each axis is the first that reaches its end."""
        starts, counts = [], []
        for length, size, step in zip(grid, patch, stride, strict=True):
            axis = range(0, step * math.ceil((length - size) / step) + 1, step)
            starts.append(axis)
            count = torch.zeros(length, dtype=torch.long)
            for start in axis:
                count[start : start + size] += 1
            counts.append(count)
        low = torch.tensor(list(product(*starts)))
        return cls(low, torch.minimum(low + torch.tensor(patch), torch.tensor(grid)), tuple(counts))

    def mask(self, which: Tensor, start: Tensor, size: Sequence[int]) -> Tensor:
        """Return which voxels of windows belong to the patches, (patches, 1, *size)."""
        found = torch.ones((), dtype=torch.bool)
        for axis, length in enumerate(size):
            voxel = start[:, axis, None] + torch.arange(length)
            inside = (voxel >= self.low[which, axis, None]) & (voxel < self.high[which, axis, None])
            found = found & inside.view(len(which), 1, *(length if a == axis else 1 for a in range(len(size))))
        return found

    def painted(self, drops: Tensor, grid: Sequence[int]) -> Tensor:
        """Return each voxel's mean drop over the patches that hold it, (*grid)."""
        total = drops.new_zeros(tuple(grid))
        for drop, low, high in zip(drops, self.low.tolist(), self.high.tolist(), strict=True):
            total[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] += drop
        for axis, count in enumerate(self.counts):
            total /= count.to(total).view([-1 if a == axis else 1 for a in range(total.ndim)])
        return total


class Occlusion(OcclusionMethod):
    """Patch occlusion; see `occlusion`."""

    def __init__(self, model: nn.Module, options: Options, patch: Sizes, stride: Sizes | None) -> None:
        super().__init__(model, options)
        self._patch, self._stride = patch, patch if stride is None else stride

    def attribute(self, inputs: Tensor, target: Target = None) -> Tensor:
        """Compute the drop of one class's score for each patch, painted over its voxels.

        Parameters
        ----------
        inputs : torch.Tensor
            (batch, channels, *spatial), float32 or float64, finite. A patch covers all channels.
        target : int, sequence of int or torch.Tensor, optional
            Class index, one for all or one a sample. May be None (or 0) where the network has one output.

        Returns
        -------
        torch.Tensor
            Shaped like `inputs`, same dtype and device; what overlapping patches say of a voxel is averaged.

        Raises
        ------
        InputError
            For inputs, targets or patches that do not fit the network.

        Warns
        -----
        UserWarning
            If the model is in training mode; it is explained as in evaluation mode.
        """
        drops, patches = self._drops(inputs, target, self._patches)
        grid = inputs.shape[2:]
        maps = torch.stack([patches.painted(row, grid) for row in drops])
        return maps[:, None].expand(inputs.shape).clone()

    def _patches(self, x: Tensor) -> Patches:
        grid = tuple(x.shape[2:])
        patch, stride = _per_axis("patch", self._patch, grid), _per_axis("stride", self._stride, grid)
        patch = tuple(min(p, n) for p, n in zip(patch, grid, strict=True))
        gaps = [axis for axis, (p, s, n) in enumerate(zip(patch, stride, grid, strict=True)) if s > p < n]
        if gaps:
            raise InputError(
                f"stride {stride} is larger than patch {patch} along axis {gaps[0]}: voxels between patches would be "
                "left out; give a stride of at most the patch"
            )
        return Patches.on(grid, patch, stride)


def _per_axis(name: str, value: Sizes, grid: Sequence[int]) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * len(grid)
    if len(value) != len(grid):
        raise InputError(
            f"{name} is {tuple(value)}; one integer, or one for each of the {len(grid)} axes of the grid "
            f"{tuple(grid)}, is wanted"
        )
    return tuple(value)


def _check_sizes(name: str, value: object) -> None:
    if not isinstance(value, list | tuple):
        positive_integer(name, value)
        return
    for number in value:
        positive_integer(f"each number of {name}", number)


def occlusion(
    model: nn.Module, *, patch: Sizes = 12, stride: Sizes | None = None, value: float | Literal["mean"] = 0.0,
    score: Literal["logit", "probability"] = "logit", positive: bool = False, per_pass: int | None = None,
    recompute: Recompute = "auto",
) -> Occlusion:  # fmt: skip
    """Patch occlusion (Zeiler 2014): the drop of the class score when a patch of the scan is replaced.

    Patches lie as those of ``captum.attr.Occlusion``: they begin every `stride` voxels from the first, the last one
    along an axis is the first that reaches its end and is cut off there, and voxels in several patches get the mean of
    their drops.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    patch : int or sequence of int
        Edge of the patches in voxels, one for all axes or one an axis; a shorter axis is covered whole. Eitel & Ritter
        2019 took 50, with a stride of 25, at 1 mm.
    stride : int or sequence of int, optional
        Voxels from one patch to the next; as many as the patch has by default, so that patches do not overlap.
    value : float or "mean"
        What replaces the voxels: a number, or the mean of each scan's channel.
    score : {"logit", "probability"}
        Which score's drop is taken. The logit is what goes into a softmax or sigmoid at the network's end.
    positive : bool
        Clip drops below zero (patches that speak against the class), as Eitel & Ritter 2019 did.
    per_pass : int, optional
        Patches run at once; by default as many as keep memory small.
    recompute : {"auto", "cone", "all"}
        What is run for each patch: the voxels of each layer that it reaches, the whole network, or whichever is less.
        The results are the same.

    Raises
    ------
    InputError
        If an option does not fit.
    UnsupportedLayerError
        If `recompute` is "cone" and the network cannot be traced.
    """
    options = Options(value, score, positive, per_pass, recompute)
    _check_sizes("patch", patch)
    if stride is not None:
        _check_sizes("stride", stride)
    return Occlusion(model, options, patch, stride)
