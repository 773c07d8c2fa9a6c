"""Region occlusion: by how much the class score falls when a region of an atlas is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuroxai.atlas import Atlas
from neuroxai.attribution.base import check_option
from neuroxai.attribution.occlusion.boxes import windows
from neuroxai.attribution.occlusion.method import OcclusionMethod, Parts, Recompute
from neuroxai.checks import FLAG
from neuroxai.errors import InputError, SpaceError
from neuroxai.lrp.given import Target

Labels = Atlas | Tensor | NDArray[np.integer]


@dataclass(frozen=True)
class Regions(Parts):
    """The regions of a label image; of no extent where a region has no voxel."""

    values: tuple[int, ...]  # their labels
    numbers: Tensor  # at each voxel 0 for background, else 1 + the place of its region in `values`
    density: bool

    @classmethod
    def of(cls, labels: Labels | None, density: bool) -> Regions:
        """Read a label image.

        Raises
        ------
        InputError
            If labels are not whole numbers >= 0 or there is no region.
        """
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
        low, high = ([[getattr(s, end) for s in box] for box in boxes] for end in ("start", "stop"))
        return cls(torch.tensor(low), torch.tensor(high), values, torch.from_numpy(numbers), density)

    def mask(self, which: Tensor, start: Tensor, size: Sequence[int]) -> Tensor:
        """Return which voxels of windows belong to the regions, (regions, 1, *size)."""
        return windows(self.numbers[None], start, size) == 1 + which.view(-1, 1, *(1 for _ in size))

    def holding(self, voxels: Tensor) -> Tensor:
        """Return which regions hold any of some voxels (*grid), (regions,)."""
        return self._voxels(voxels) > 0

    def painted(self, drops: Tensor) -> Tensor:
        """Return each voxel's drop, (batch, *grid), of those of the regions, (batch, regions)."""
        drops = drops / self._voxels(...).clamp(min=1).to(drops) if self.density else drops
        painted: Tensor = nn.functional.pad(drops, (1, 0))[:, self.numbers.to(drops.device)]  # 0 is the background
        return painted

    def _voxels(self, of: Any) -> Tensor:
        return torch.bincount(self.numbers[of].flatten(), minlength=len(self.values) + 1)[1:]


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


class RegionOcclusion(OcclusionMethod):
    """Atlas-region occlusion (Rieke 2018): the drop of the class score when a region of an atlas is replaced.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    labels : Atlas, torch.Tensor or numpy.ndarray
        The regions on the network's grid, one integer a voxel, 0 for background; for all samples. Must be given.
    value, score, positive, perturbations_per_eval, recompute
        As `neuroxai.attribution.occlusion.patches.Occlusion` takes them, of regions in place of patches.
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
        perturbations_per_eval: int | None = None, recompute: Recompute = "auto",
    ) -> None:  # fmt: skip
        super().__init__(model, value, score, positive, perturbations_per_eval, recompute)
        check_option("density", density, FLAG)
        self._regions = Regions.of(labels, density)

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
        return drops, self._regions.values

    def _parts(self, x: Tensor) -> Regions:
        grid, expected = tuple(x.shape[2:]), tuple(self._regions.numbers.shape)
        if grid != expected:
            raise SpaceError(
                f"inputs of shape {tuple(x.shape)} have the grid {grid}, the labels of region_occlusion {expected}; "
                "bring the atlas to the network's grid with atlas.resampled_to(space)"
            )
        return self._regions
