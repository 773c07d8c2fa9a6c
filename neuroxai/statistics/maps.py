"""Heatmaps of groups: their means, how far they lie apart, and the share of relevance that lies in lesions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError, SpaceError, one_of


def voxels(heatmap: ArrayLike, mask: ArrayLike | None = None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a finite heatmap as float64 and the mask as bool; all voxels where there is no mask."""
    relevance = np.asarray(heatmap, dtype=np.float64)
    inside = np.ones(relevance.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if relevance.shape != inside.shape:
        raise SpaceError(f"mask of shape {inside.shape} does not fit a heatmap of shape {relevance.shape}")
    if not np.isfinite(relevance).all():
        raise InputError("the heatmap holds NaN or infinite values; explain the scan again")
    return relevance, inside


class GroupMeans:
    """Mean array of each group, one array at a time.

    Parameters
    ----------
    shape : tuple of int
        Shape of every array.

    Examples
    --------
    >>> means = GroupMeans((2,))
    >>> means.add([1.0, 2.0], ["patients", "TP"])
    >>> means.add([3.0, 2.0], ["patients"])
    >>> means.mean("patients").tolist(), means.count("TP"), means.mean("FP")
    ([2.0, 2.0], 1, None)
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Any, groups: Iterable[str]) -> None:
        """Add one array to each of its groups."""
        array = np.asarray(values)
        if array.shape != self.shape:
            raise SpaceError(f"array of shape {array.shape} does not fit means of shape {self.shape}")
        for group in groups:
            if group not in self._sums:
                self._sums[group] = np.zeros(self.shape)
            self._sums[group] += array
            self._counts[group] = self._counts.get(group, 0) + 1

    def count(self, group: str) -> int:
        """Arrays added to the group."""
        return self._counts.get(group, 0)

    def groups(self) -> list[str]:
        """Names of the groups, in the order in which they first came."""
        return list(self._sums)

    def mean(self, group: str) -> NDArray[np.float64] | None:
        """Mean of the group; None for an empty one."""
        return self._sums[group] / self._counts[group] if self.count(group) else None


class TableMeans:
    """Mean of a named quantity (a region's sum, say) in each group, one scan at a time; missing values are skipped."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], float] = {}
        self._squares: dict[tuple[str, str], float] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._known: set[str] = set()
        self.names: list[str] = []

    def add(self, values: Mapping[str, float], groups: Iterable[str]) -> None:
        """Add one scan's values to each of its groups; names keep the order in which they first came."""
        for name in values:
            if name not in self._known:
                self._known.add(name)
                self.names.append(name)
        for group in groups:
            for name, value in values.items():
                if np.isfinite(value):
                    key = (group, name)
                    self._sums[key] = self._sums.get(key, 0.0) + float(value)
                    self._squares[key] = self._squares.get(key, 0.0) + float(value) ** 2
                    self._counts[key] = self._counts.get(key, 0) + 1

    def mean(self, group: str, name: str) -> float | None:
        """Mean of the quantity in the group; None where no scan has it."""
        count = self._counts.get((group, name), 0)
        return self._sums[group, name] / count if count else None

    def error(self, group: str, name: str) -> float:
        """Return the standard error of the mean; 0 for fewer than two scans."""
        count = self._counts.get((group, name), 0)
        if count < 2:
            return 0.0
        mean = self._sums[group, name] / count
        spread = max(self._squares[group, name] / count - mean**2, 0.0)
        return float(np.sqrt(spread / (count - 1)))


Scale = Literal["maximum", "sum", "none"]


def scaled(heatmap: ArrayLike, by: Scale = "maximum") -> NDArray[np.float64]:
    """Divide a heatmap by its maximum or its sum, so that maps of different networks can be compared.

    Parameters
    ----------
    heatmap : array_like
        Relevance.
    by : {"maximum", "sum", "none"}
        ``"maximum"`` is what Eitel & Ritter (2019) write, ``"sum"`` what their published code does.

    Raises
    ------
    InputError
        If the scale is unknown, or the divisor is not above zero.
    """
    relevance, _ = voxels(heatmap)
    if by == "none":
        return relevance
    if by not in ("maximum", "sum"):
        raise one_of("scale", by, ("maximum", "sum", "none"))
    divisor = float(relevance.max() if by == "maximum" else relevance.sum())
    if not divisor > 0:
        raise InputError(
            f"the {by} of the heatmap is {divisor:.3g}, expected a number above zero; choose another scale, or explain "
            "a class that has positive relevance"
        )
    return np.asarray(relevance / divisor)


def l2_distance(first: ArrayLike, second: ArrayLike, scale: Scale = "maximum") -> float:
    """Euclidean norm of the difference of two average heatmaps, each scaled first (Eitel & Ritter 2019).

    It grows with the root of the number of voxels: compare only maps of one grid.

    Examples
    --------
    >>> l2_distance([[4.0, 0.0]], [[2.0, 2.0]]), round(l2_distance([[4.0, 0.0]], [[2.0, 2.0]], "sum") ** 2, 9)
    (1.0, 0.5)
    """
    one, two = scaled(first, scale), scaled(second, scale)
    if one.shape != two.shape:
        raise SpaceError(f"heatmaps of shapes {one.shape} and {two.shape} differ; bring them to one grid first")
    return float(np.linalg.norm((one - two).ravel()))


def l2_distances(heatmaps: Sequence[ArrayLike], scale: Scale = "maximum") -> NDArray[np.float64]:
    """Distance between every two average heatmaps (one a training run, say), shape (maps, maps)."""
    maps = [scaled(heatmap, scale) for heatmap in heatmaps]
    result = np.zeros((len(maps), len(maps)))
    for i in range(len(maps)):
        for j in range(i):
            result[i, j] = result[j, i] = l2_distance(maps[i], maps[j], "none")
    return result


def lesion_relevance(heatmap: ArrayLike, mask: ArrayLike) -> float:
    """Share of the positive relevance that lies inside the lesions (Eitel 2019, eq. 2).

    Parameters
    ----------
    heatmap : array_like, shape (x, y, z)
        Relevance; negative values count as zero.
    mask : array_like, same shape
        The lesions; any value but 0 is inside.

    Returns
    -------
    float
        ``sum(mask * R+) / sum(R+)``, 0 to 1; NaN where there is no positive relevance.

    Raises
    ------
    SpaceError
        If shapes differ.
    InputError
        If the heatmap is not finite.
    """
    relevance, inside = voxels(heatmap, mask)
    positive = np.maximum(relevance, 0.0)
    total = float(positive.sum())
    return float(positive[inside].sum()) / total if total > 0 else float("nan")


def lesion_coverage(mask: ArrayLike, brain: ArrayLike) -> float:
    """Share of the brain's voxels that are lesion: the uninformative baseline of the relevance in them.

    Parameters
    ----------
    mask, brain : array_like, shape (x, y, z)
        Any value but 0 is inside. Lesion voxels outside the brain do not count.

    Raises
    ------
    SpaceError
        If shapes differ.
    InputError
        If the brain has no voxel.
    """
    inside, whole = np.asarray(mask, dtype=bool), np.asarray(brain, dtype=bool)
    if inside.shape != whole.shape:
        raise SpaceError(f"lesion mask of shape {inside.shape} does not fit a brain of shape {whole.shape}")
    if not whole.any():
        raise InputError("the brain mask has no voxel; give the mask of the same grid")
    return float((inside & whole).sum() / whole.sum())
