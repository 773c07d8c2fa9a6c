"""Means over groups of a cohort that is streamed: constant memory, float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import SpaceError


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
