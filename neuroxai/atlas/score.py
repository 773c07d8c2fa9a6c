"""Heatmaps over an atlas's regions: `RegionScorer` sums them, `RegionContrast` says how far a region stands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from neuroxai.atlas.atlas import Atlas
from neuroxai.errors import InputError, SpaceError

if TYPE_CHECKING:
    import pandas as pd

# Voxels that are added up at a time on the CPU: scratch that stays in the cache. A GPU takes all at once.
BLOCK = 131072
MEASURES = ("sum", "absolute", "positive", "negative", "density", "voxels")


@dataclass(frozen=True, eq=False)
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

    def to_frame(self, ids: Sequence[object] | None = None, wide: str | None = None) -> pd.DataFrame:
        """Return a table.

        Parameters
        ----------
        ids : sequence, optional
            One identifier a scan, for the first column ``participant_id``. May be left out for a single scan, whose
            table then has the columns of ``_regions.tsv`` alone: index, name, sum, absolute, positive, negative,
            density, voxels.
        wide : {"sum", "absolute", "positive", "negative", "density", "voxels"}, optional
            One row a scan with this measure of every region, a column each. By default one row a scan and region.

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
        # two cells a region: its positive sum, then its negative one
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
        wanted = self.atlas.space.shape
        if heatmaps.dim() != 5 or heatmaps.shape[1] != 1 or tuple(heatmaps.shape[2:]) != wanted:
            raise SpaceError(
                f"heatmaps have shape {tuple(heatmaps.shape)}, the atlas wants "
                f"(batch, 1, {', '.join(map(str, wanted))}); "
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


#: Pairs of voxels drawn for a mean correlation, the furthest lag looked at, and the correlation that ends it.
PAIRS, REACH, LEAST = 3000, 12, 0.05


class RegionContrast:
    """Densities in standard errors, so that no region leads a map of noise for its size alone.

    ``contrast = (density - m) / sqrt(s^2 (c_rr - 2 c_rB + c_BB))``: `m` and `s` are mean and standard deviation over
    the voxels of all regions B, and `c` the mean correlation of two voxels of the region r, of r and B, and of B.
    Correlation is that of the map itself along each axis, lag by lag until it falls below `LEAST`, multiplied over the
    axes. For white noise this is ``(density - m) / (s sqrt(1 / n_r - 1 / n_B))``. In a stationary map that knows
    nothing, all regions have contrasts of mean 0 and about one variance, whatever their size.

    Parameters
    ----------
    regions : array_like of int, shape (*grid)
        The number of each voxel's region, from 1; 0 for background (`Atlas.positions`).
    count : int, optional
        How many regions there are; the greatest number if left out.
    """

    def __init__(self, regions: ArrayLike, count: int | None = None) -> None:
        labels = np.asarray(regions)
        if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or not labels.any():
            raise InputError(f"regions are of type {labels.dtype}; whole numbers >= 0, not all 0, are wanted")
        self.shape = labels.shape
        inside = labels > 0
        self._box = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(inside))
        self._inside = inside[self._box]
        self._own = labels[inside] - 1
        self.voxels = np.bincount(self._own, minlength=count or int(labels.max()))
        self.total = int(inside.sum())
        self._lags = self._drawn()

    def _drawn(self) -> NDArray[np.int16]:
        """Lags of pairs (2, regions + 1, pairs, axes): within each region and from it to all; last, of all."""
        rng = np.random.default_rng(0)
        places = np.argwhere(self._inside).astype(np.int16)
        order = np.argsort(self._own, kind="stable")
        found = np.zeros((2, len(self.voxels) + 1, PAIRS, places.shape[1]), dtype=np.int16)
        ends = [*np.cumsum(self.voxels), self.total]
        for row, (n, end) in enumerate(zip([*self.voxels, self.total], ends, strict=True)):
            members = places[order[end - n : end]]
            if n > 1:
                one = rng.integers(n, size=PAIRS)
                # another voxel of the region than the first
                two = (one + rng.integers(1, n, size=PAIRS)) % n
                found[0, row] = np.abs(members[one] - members[two])
            if n:
                one, two = rng.integers(n, size=PAIRS), rng.integers(self.total, size=PAIRS)
                found[1, row] = np.abs(members[one] - places[two])
        return found

    def __call__(self, heatmap: ArrayLike) -> NDArray[np.float64]:
        """Return each region's contrast; NaN for a region without a voxel, or where nothing can stand out.

        Raises
        ------
        SpaceError
            If the heatmap has another shape.
        """
        whole = np.asarray(heatmap)
        if whole.shape != self.shape:
            raise SpaceError(f"heatmap has shape {whole.shape}, the regions {self.shape}; bring them to one grid")
        values = whole[self._box].astype(np.float64)
        values = np.where(self._inside, values - values[self._inside].mean(), 0.0)
        variance = float((values**2).sum()) / self.total
        if not variance > 1e-24 * float(np.abs(whole).max()) ** 2:
            return np.full(len(self.voxels), np.nan)
        factors, mean = self.scatter([self._correlations(values, axis, variance) for axis in range(values.ndim)])
        sums = np.bincount(self._own, values[self._inside], minlength=len(self.voxels))
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = variance / (1 - mean) * np.where(factors > 1e-12, factors, np.nan)
            return np.asarray(sums / self.voxels / np.sqrt(spread))

    def scatter(self, correlations: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], float]:
        """Variance of each region's density about the mean of all, and of that mean, over the variance of a voxel.

        Parameters
        ----------
        correlations : list of ndarray
            Along each axis: correlation of voxels at lags 0, 1, ...; 0 beyond.
        """
        n = self.voxels.astype(np.float64)
        with np.errstate(divide="ignore"):
            same = np.where(n > 0, 1 / n, np.nan)
        if all(len(axis) == 1 for axis in correlations):  # no pair but a voxel with itself
            return same - 1 / self.total, 1 / self.total
        product = np.ones(self._lags.shape[:3], dtype=np.float32)
        for axis, values in enumerate(correlations):
            table = np.zeros(max(int(self._lags[..., axis].max()) + 1, len(values)), dtype=np.float32)
            table[: len(values)] = values
            product *= table[self._lags[..., axis]]
        within, across = product.mean(axis=2, dtype=np.float64)
        mean = float(1 / self.total + (1 - 1 / self.total) * within[-1])
        return same + (1 - same) * within[:-1] - 2 * across[:-1] + mean, mean

    def _correlations(self, values: NDArray[np.float64], axis: int, variance: float) -> NDArray[np.float64]:
        # a correlation that chance alone would give is none
        found, least = [1.0], max(LEAST, 3 / np.sqrt(self.total))
        for lag in range(1, min(REACH, values.shape[axis] - 1) + 1):
            ahead, behind = (
                tuple(cut if a == axis else slice(None) for a in range(values.ndim))
                for cut in (slice(lag, None), slice(None, -lag))
            )
            pairs = int((self._inside[ahead] & self._inside[behind]).sum())
            own = float((values[ahead] * values[behind]).sum()) / pairs / variance if pairs else 0.0
            if own < least:
                break
            found.append(min(own, 1.0))
        return np.array(found)
