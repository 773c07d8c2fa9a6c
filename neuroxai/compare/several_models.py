"""The same scan explained by several trained models: what holds for all, and what hangs on one training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroxai.compare.scores import Region, read_regions
from neuroxai.derivatives.explain_folder import ExplainFolder, Item, read_folder
from neuroxai.errors import InputError
from neuroxai.io import read_volume
from neuroxai.space import Volume

_TOP = 10


@dataclass(frozen=True)
class SeveralModels:
    """Agreement of models about one scan.

    Parameters
    ----------
    probabilities : sequence of float
        Of the class explained, the report's own model first.
    voxels : float or None
        Mean correlation of the heatmaps over voxels, all pairs of models (Pearson).
    ranking : float or None
        Mean rank correlation of the regions' densities for their size, all pairs (Spearman).
    unstable : sequence of str
        Of the ten regions that stand out most, those whose sign differs between models.
    """

    probabilities: Sequence[float]
    voxels: float | None
    ranking: float | None
    unstable: Sequence[str]

    @property
    def mean(self) -> float:
        """Mean probability."""
        return float(np.mean(self.probabilities))

    @property
    def lowest(self) -> float:
        """Lowest probability."""
        return min(self.probabilities)

    @property
    def highest(self) -> float:
        """Highest probability."""
        return max(self.probabilities)


class Models:
    """Other explain folders of the same scans.

    Raises
    ------
    InputError
        If a folder cannot be used, or explains by another method or another class.
    """

    def __init__(self, folder: ExplainFolder, others: Sequence[str | Path]) -> None:
        self.positive = folder.positive
        self.folders = [read_folder(path) for path in others]
        for path, other in zip(others, self.folders, strict=True):
            for what, own, theirs in (
                ("method", folder.record.method, other.record.method),
                ("options", folder.record.options, other.record.options),
                ("class explained", folder.positive, other.positive),
            ):
                if own != theirs:
                    raise InputError(
                        f"{path}: its {what} is {theirs}, that of {folder.path} {own}; explain the scans in one way by "
                        "each model"
                    )
        self.items = [{item.title: item for item in other.items} for other in self.folders]

    def __call__(self, item: Item, heatmap: Volume, regions: Sequence[Region]) -> SeveralModels | None:
        """Compare the models' answers on one scan; None where no other folder has it.

        Raises
        ------
        InputError
            If a heatmap cannot be read, or lies on another grid.
        """
        others = [items[item.title] for items in self.items if item.title in items]
        if not others:
            return None
        maps, tables = [heatmap.data.astype(np.float64).ravel()], [{r.name: r for r in regions}]
        for other in others:
            volume = read_volume(other.heatmap)
            if not volume.space.matches(heatmap.space):
                raise InputError(
                    f"{other.heatmap}: lies on another grid than {item.heatmap}; compare models of one grid"
                )
            maps.append(volume.data.astype(np.float64).ravel())
            tables.append({r.name: r for r in read_regions(other.regions)} if other.regions.is_file() else {})
        names = [name for name in tables[0] if all(name in table for table in tables)]
        contrasts = np.array([[table[name].contrast for name in names] for table in tables])
        top = sorted(names, key=lambda name: (-abs(tables[0][name].contrast), name))[:_TOP]
        return SeveralModels(
            probabilities=[item.probabilities[self.positive], *(o.probabilities[self.positive] for o in others)],
            voxels=_pairwise(np.array(maps)),
            ranking=_pairwise(contrasts.argsort(axis=1).argsort(axis=1).astype(float)) if len(names) > 2 else None,
            unstable=[name for name in top if len({np.sign(table[name].density) for table in tables}) > 1],
        )


def _pairwise(rows: NDArray[np.float64]) -> float | None:
    """Mean correlation of all pairs of rows; None where one does not vary."""
    if not (rows.std(axis=1) > 0).all():
        return None
    table = np.atleast_2d(np.corrcoef(rows))
    return float(table[np.triu_indices(len(rows), 1)].mean())
