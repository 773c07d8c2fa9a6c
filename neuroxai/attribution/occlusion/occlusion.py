"""Patch and region occlusion: by how much the class score falls when a patch or an atlas region is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuroxai.atlas import Atlas
from neuroxai.attribution.base import check_option
from neuroxai.attribution.baselines import Baseline
from neuroxai.attribution.occlusion.boxes import Parts
from neuroxai.attribution.occlusion.drops import OcclusionMethod, Recompute
from neuroxai.checks import FLAG, whole
from neuroxai.errors import InputError, SpaceError
from neuroxai.lrp.given import Target

Sizes = int | Sequence[int]
Labels = Atlas | Tensor | NDArray[np.integer]


def _per_axis(name: str, value: Sizes, grid: Sequence[int]) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * len(grid)
    if len(value) != len(grid):
        raise InputError(
            f"{name} is {tuple(value)}; one integer, or one for each of the {len(grid)} axes of the grid "
            f"{tuple(grid)}, is expected"
        )
    return tuple(value)


def _regions(labels: Labels | None, density: bool) -> tuple[Parts, tuple[int, ...]]:
    """Return the regions of a label image, and their labels; refuse labels without a region or not whole and >= 0."""
    from scipy.ndimage import find_objects

    if isinstance(labels, Atlas):
        values, numbers = tuple(labels.names), labels.positions()
    else:
        array = _integers(labels)
        found, numbers = np.unique(array, return_inverse=True)
        numbers = numbers.reshape(array.shape) + (found[0] != 0)
        values = tuple(int(v) for v in found if v)
    if not values:
        raise InputError("labels hold no region: every voxel is 0, the background")
    nowhere = (slice(0, 0),) * numbers.ndim
    boxes = [box or nowhere for box in find_objects(numbers, max_label=len(values))]
    low, high = (torch.tensor([[getattr(s, end) for s in box] for box in boxes]) for end in ("start", "stop"))
    return Parts(low, high, numbers.shape, torch.from_numpy(numbers), density), values


def _integers(labels: object) -> NDArray[np.integer]:
    expected = "an integer array on the network's grid (0 = background) or a neuroxai.atlas.Atlas is expected"
    if not isinstance(labels, Tensor | np.ndarray):
        raise InputError(f"labels are {'not given' if labels is None else f'a {type(labels).__name__}'}; {expected}")
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"labels are of type {array.dtype}; {expected}: round them first")
    if array.size == 0 or array.min() < 0:
        least = f"the least is {array.min()}" if array.size else "there is none"
        raise InputError(f"labels must be 0 (background) or above, {least}; {expected}")
    return array


class Occlusion(OcclusionMethod):
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
        Clip drops below zero (of patches that contradict the class), as Eitel & Ritter 2019 did.
    perturbations_per_eval : int, optional
        Patches run at once; by default as many as keep memory small.
    recompute : {"auto", "receptive_field", "all"}
        What is run for each patch: the voxels of each layer that it reaches, the whole network, or whichever is less.
        The results are the same.
    baselines : float, str, torch.Tensor, list or callable, optional
        What replaces the voxels, in place of `value`: as
        `neuroxai.attribution.gradient.gradients.integrated_gradients` takes them; drops are averaged over several.

    Raises
    ------
    InputError
        If an option does not fit.
    UnsupportedLayerError
        When called, if `recompute` is "receptive_field" and the network cannot be recorded.
    """

    def __init__(
        self, model: nn.Module, *, patch: Sizes = 12, stride: Sizes | None = None, value: float | Literal["mean"] = 0.0,
        score: Literal["logit", "probability"] = "logit", positive: bool = False,
        perturbations_per_eval: int | None = None, recompute: Recompute = "auto", baselines: Baseline | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model, value, score, positive, perturbations_per_eval, recompute, baselines)
        self._patch, self._stride = patch, patch if stride is None else stride
        for name, size in (("patch", patch), ("stride", self._stride)):
            several = isinstance(size, list | tuple)
            for number in size if isinstance(size, list | tuple) else (size,):
                check_option(f"each number of {name}" if several else name, number, whole(1))

    def _parts(self, x: Tensor) -> Parts:
        grid = tuple(x.shape[2:])
        patch, stride = _per_axis("patch", self._patch, grid), _per_axis("stride", self._stride, grid)
        patch = tuple(min(p, n) for p, n in zip(patch, grid, strict=True))
        gaps = [axis for axis, (p, s, n) in enumerate(zip(patch, stride, grid, strict=True)) if s > p < n]
        if gaps:
            raise InputError(
                f"stride {stride} is larger than patch {patch} along axis {gaps[0]}: voxels between patches would be "
                "left out; give a stride of at most the patch"
            )
        return Parts.patches(grid, patch, stride)


class RegionOcclusion(OcclusionMethod):
    """Atlas-region occlusion (Rieke 2018): the drop of the class score when a region of an atlas is replaced.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    labels : Atlas, torch.Tensor or numpy.ndarray
        The regions on the network's grid, one integer a voxel, 0 for background; for all samples. Must be given.
    value, score, positive, perturbations_per_eval, recompute, baselines
        As `Occlusion` takes them, of regions in place of patches.
    density : bool
        Divide the drop that is painted over a region by its number of voxels.

    Raises
    ------
    InputError
        If an option does not fit.
    UnsupportedLayerError
        When called, if `recompute` is "receptive_field" and the network cannot be recorded.
    """

    def __init__(
        self, model: nn.Module, *, labels: Labels | None = None, value: float | Literal["mean"] = 0.0,
        score: Literal["logit", "probability"] = "logit", positive: bool = False, density: bool = False,
        perturbations_per_eval: int | None = None, recompute: Recompute = "auto", baselines: Baseline | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model, value, score, positive, perturbations_per_eval, recompute, baselines)
        check_option("density", density, FLAG)
        self._regions, self._labels = _regions(labels, density)

    def scores(
        self, inputs: Tensor, target: Target = None, additional_forward_args: Any = None
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Compute the drop of one class's score for each region.

        Parameters
        ----------
        inputs, target, additional_forward_args
            As ``attribute`` takes them; one input, on the grid of the labels.

        Returns
        -------
        torch.Tensor
            (batch, regions), same dtype and device as `inputs`; 0 for a region without voxels. Not divided by voxels.
        tuple of int
            The regions' labels.

        Raises
        ------
        SpaceError
            If the inputs are on another grid than the labels.
        InputError
            For inputs or targets that do not fit the network.
        """
        _, ((drops, _),) = self._drops(inputs, target, additional_forward_args)
        return drops, self._labels

    def _parts(self, x: Tensor) -> Parts:
        grid, expected = tuple(x.shape[2:]), self._regions.grid
        if grid != expected:
            raise SpaceError(
                f"inputs of shape {tuple(x.shape)} have the grid {grid}, the labels of region_occlusion {expected}; "
                "bring the atlas to the network's grid with atlas.resampled_to(space)"
            )
        return self._regions


def region_swap(
    model: nn.Module, *, labels: Labels | None = None, baselines: Baseline = "fitted_control",
    score: Literal["logit", "probability"] = "logit", positive: bool = False, density: bool = True,
    perturbations_per_eval: int | None = None, recompute: Recompute = "auto",
) -> RegionOcclusion:  # fmt: skip
    """Region occlusion by what healthy controls have there (after Chang 2019): what a region's abnormality adds.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    labels, score, positive, perturbations_per_eval, recompute
        As `RegionOcclusion` takes them.
    baselines : str, float, torch.Tensor, list or callable
        What a region gets: what `neuroxai.attribution.ControlReference.baselines` makes, other scans, a constant.
    density : bool
        Spread a region's drop over its voxels, so that the map's sum over a region is the region's drop.

    Raises
    ------
    InputError
        If an option does not fit.
    """
    return RegionOcclusion(
        model, labels=labels, baselines=baselines, score=score, positive=positive, density=density,
        perturbations_per_eval=perturbations_per_eval, recompute=recompute,
    )  # fmt: skip
