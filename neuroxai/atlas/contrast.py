"""How far a region's density stands out of a heatmap, in standard errors for a region of its size (without torch)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError, SpaceError

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
        How many regions there are; the greatest number by default.
    """

    def __init__(self, regions: ArrayLike, count: int | None = None) -> None:
        labels = np.asarray(regions)
        if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or not labels.any():
            raise InputError(f"regions are of type {labels.dtype}; whole numbers >= 0, not all 0, are expected")
        self.shape = labels.shape
        inside = labels > 0
        self._box = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(inside))
        self._inside = inside[self._box]
        self._own = labels[inside] - 1
        self.voxels = np.bincount(self._own, minlength=count or int(labels.max()))
        self.total = int(inside.sum())
        self._lags = self._drawn()
        self._pairs: dict[tuple[int, int], int] = {}

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
            if (axis, lag) not in self._pairs:
                self._pairs[axis, lag] = int(np.count_nonzero(self._inside[ahead] & self._inside[behind]))
            pairs = self._pairs[axis, lag]
            axes = "xyzt"[: values.ndim]
            product = float(np.einsum(f"{axes},{axes}->", values[ahead], values[behind]))
            own = product / pairs / variance if pairs else 0.0
            if own < least:
                break
            found.append(min(own, 1.0))
        return np.array(found)
