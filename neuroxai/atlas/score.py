"""Region scores: sums of heatmaps over an atlas's regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from neuroxai.atlas.atlas import Atlas
from neuroxai.errors import InputError, SpaceError

if TYPE_CHECKING:
    import pandas as pd

# Voxels that are added up at a time on the CPU: scratch that stays in the cache. A GPU takes all at once.
BLOCK = 131072
MEASURES = ("sum", "absolute", "positive", "negative", "density", "voxels")


@dataclass(frozen=True, eq=False, repr=False)
class RegionScores:
    """What a batch of heatmaps holds in each region. Tensors are float64 of shape (batch, regions).

    Parameters
    ----------
    index : tuple of int
        The regions' labels, in the order of ``atlas.names``.
    names : tuple of str
        Their names.
    sum, absolute, positive, negative : torch.Tensor
        Sums of the values, of their magnitudes, of those above zero, and of those below zero (a number <= 0).
    density : torch.Tensor
        ``sum / voxels``; NaN where a region has no voxel.
    voxels : torch.Tensor
        Voxels of each region, the same in each row.
    """

    index: tuple[int, ...]
    names: tuple[str, ...]
    sum: torch.Tensor
    absolute: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor
    density: torch.Tensor
    voxels: torch.Tensor

    def __len__(self) -> int:
        return int(self.sum.shape[0])

    def __repr__(self) -> str:
        leading = self.sum.abs().mean(0).argsort(descending=True)[:3].tolist()
        names = ", ".join(self.names[place] for place in leading)
        return f"RegionScores({len(self)} heatmaps, {len(self.names)} regions; largest sums: {names})"

    def to_frame(self, ids: Sequence[object] | None = None, wide: str | None = None) -> pd.DataFrame:
        """Return a table.

        Parameters
        ----------
        ids : sequence, optional
            One identifier a scan, for the first column ``participant_id``. May be left out for a single scan, whose
            table then has the columns of ``_regions.tsv`` alone: index, name, sum, absolute, positive, negative,
            density, voxels.
        wide : {"sum", "absolute", "positive", "negative", "density", "voxels"}, optional
            One row per scan with this measure of every region, a column each. By default one row per scan and region.

        Returns
        -------
        pandas.DataFrame
            Scans in the order given, regions in the atlas's order.

        Raises
        ------
        InputError
            If the number of identifiers is not that of the scans, or the measure is unknown.
        """
        import pandas as pd

        scans = len(self)
        if ids is None and scans != 1:
            raise InputError(f"the scores are of {scans} scans; give {scans} identifiers to tell them apart")
        if ids is not None and len(ids) != scans:
            raise InputError(f"got {len(ids)} identifiers for {scans} scans; give one a scan")
        if wide is not None and wide not in MEASURES:
            raise InputError(f"unknown measure {wide!r}; choose one of: {', '.join(MEASURES)}")
        if wide is not None:
            frame = pd.DataFrame(getattr(self, wide).cpu().numpy(), columns=list(self.names))
            if ids is not None:
                frame.insert(0, "participant_id", list(ids))
            return frame
        columns: dict[str, object] = {}
        if ids is not None:
            columns["participant_id"] = [one for one in ids for _ in self.names]
        columns["index"] = list(self.index) * scans
        columns["name"] = list(self.names) * scans
        columns.update({measure: getattr(self, measure).cpu().numpy().ravel() for measure in MEASURES})
        return pd.DataFrame(columns).astype({"voxels": "int64"})


class RegionScorer(torch.nn.Module):
    """Sum heatmaps over the regions of an atlas.

    Which voxels belong to a region is worked out once; each call gathers them and adds them up in float64, whatever
    the type of the heatmap, each voxel once, to its region's positive or negative sum. Background is left out. A label
    without voxels keeps its place, with sums of 0, a density of NaN and 0 voxels.

    Parameters
    ----------
    atlas : Atlas
        On the grid of the heatmaps; see `Atlas.resampled_to`.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from neuroxai.atlas import Atlas, RegionScorer
    >>> from neuroxai.space import Space
    >>> atlas = Atlas(np.array([[[0, 5, 5, 9]]]), {5: "Left caudate", 9: "Right caudate"}, Space((1, 1, 4), np.eye(4)))
    >>> RegionScorer(atlas)(torch.tensor([8.0, 1.0, -3.0, 2.0]).reshape(1, 1, 1, 1, 4)).density.tolist()
    [[-1.0, 2.0]]

    Notes
    -----
    Sum, density and their use are those of Boehle 2019; the sum of absolute values is that of Eitel & Ritter 2019.
    On a GPU the order of additions is not fixed, so that the last bits of a float64 may differ from call to call.
    """

    voxel: torch.Tensor
    cell: torch.Tensor
    voxels: torch.Tensor

    def __init__(self, atlas: Atlas) -> None:
        super().__init__()
        self.atlas = atlas
        position = torch.from_numpy(atlas.positions().ravel())
        voxel = torch.nonzero(position).flatten()
        # derived from the atlas, hence no part of a checkpoint
        self.register_buffer("voxel", voxel, persistent=False)
        # two cells per region: its positive sum, then its negative one
        self.register_buffer("cell", 2 * (position[voxel] - 1), persistent=False)
        self.register_buffer("voxels", torch.from_numpy(atlas.counts()), persistent=False)

    @torch.no_grad()
    def forward(self, heatmaps: torch.Tensor) -> RegionScores:
        """Score a batch of heatmaps.

        Parameters
        ----------
        heatmaps : torch.Tensor, shape (batch, 1, *atlas.space.shape)
            On the scorer's device, of any floating or integer type.

        Returns
        -------
        RegionScores
            On the same device.

        Raises
        ------
        SpaceError
            If the shape is not the atlas's.
        InputError
            If a heatmap holds NaN or infinite values, inside or outside the regions.
        """
        expected = self.atlas.space.shape
        if heatmaps.dim() != 5 or heatmaps.shape[1] != 1 or tuple(heatmaps.shape[2:]) != expected:
            raise SpaceError(
                f"heatmaps have shape {tuple(heatmaps.shape)}, the atlas wants "
                f"(batch, 1, {', '.join(map(str, expected))}); "
                "bring the atlas to the heatmaps' grid with atlas.resampled_to(space)"
            )
        if heatmaps.device != self.voxel.device:
            raise InputError(
                f"heatmaps are on {heatmaps.device}, the scorer is on {self.voxel.device}; use scorer.to(device)"
            )
        batch, regions = heatmaps.shape[0], len(self.atlas.names)
        flat = heatmaps.detach().reshape(batch, -1)
        _refuse_non_finite(flat)
        positive, negative = self._signed_sums(flat).view(batch, regions, 2).unbind(-1)
        total = positive + negative
        voxels = self.voxels.to(torch.float64).expand(batch, regions)
        # 0 / 0: a region without voxels has no density
        return RegionScores(
            index=tuple(self.atlas.names),
            names=tuple(self.atlas.names.values()),
            sum=total,
            absolute=positive - negative,
            positive=positive,
            negative=negative,
            density=total / voxels,
            voxels=voxels.clone(),
        )

    def _signed_sums(self, flat: torch.Tensor) -> torch.Tensor:
        """Positive and negative sum of each region in turn, (batch, 2 * regions)."""
        sums = torch.zeros(len(flat), 2 * len(self.atlas.names), dtype=torch.float64, device=flat.device)
        size = max(1, min(BLOCK, len(self.voxel))) if flat.device.type == "cpu" else max(1, len(self.voxel))
        # allocated once: fresh pages for each block cost more than the additions
        raw = torch.empty(size, dtype=flat.dtype, device=flat.device)
        values = torch.empty(size, dtype=torch.float64, device=flat.device)
        below = torch.empty(size, dtype=torch.bool, device=flat.device)
        cells = torch.empty(size, dtype=torch.int64, device=flat.device)
        blocks = list(zip(torch.split(self.voxel, size), torch.split(self.cell, size), strict=True))
        for row, sum_of in zip(flat, sums, strict=True):
            for voxel, cell in blocks:
                n = len(voxel)
                torch.index_select(row, 0, voxel, out=raw[:n])
                torch.signbit(raw[:n], out=below[:n])
                cells[:n].copy_(below[:n]).add_(cell)
                sum_of.scatter_add_(0, cells[:n], values[:n].copy_(raw[:n]))
        return sums


def _refuse_non_finite(flat: torch.Tensor) -> None:
    if flat.dtype.is_floating_point and not torch.isfinite(flat.sum()):
        bad = (~torch.isfinite(flat)).sum(dim=1)
        # finite values may overflow in the sum; the voxels themselves decide
        if bad.any():
            scan = int(bad.argmax())
            raise InputError(
                f"heatmap {scan} of the batch holds {int(bad[scan])} NaN or infinite values; mask or repair it first"
            )
