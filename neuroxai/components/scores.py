"""Region scores of a batch of heatmaps, on the network's grid or on each scan's own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from neuroxai.components.facts import atlas_of
from neuroxai.components.resampling import resampled
from neuroxai.space import Space

SCORE_SPACES = ("network", "scan")
KEPT = 4  # scorers of scans' grids: a cohort has one or a few, or one each


class Scores:
    """Tables of region scores, worked out on the device of the heatmaps.

    Parameters
    ----------
    atlas : str or None
        "builtin", the path of a label image, or None for no scores.
    labels : str or None
        Path of the label image's names.
    space : Space
        The heatmaps' grid.
    where : {"network", "scan"}
        On that grid, or on the scan's, to which heatmap (linear) and atlas (nearest) are brought.
    """

    def __init__(self, atlas: str | None, labels: str | None, space: Space, where: str = "network") -> None:
        self.atlas = atlas_of(atlas, labels)
        self.space = space
        self.where = where
        self._scorers: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        if where == "network" and self.atlas is not None:
            self._scorer(space, torch.device("cpu"))  # an atlas that lies elsewhere is refused before anything runs

    def __call__(self, heatmaps: torch.Tensor, scans: Sequence[Space]) -> list[Any]:
        """Score heatmaps (batch, 1, *space.shape) of scans on these grids; one table a scan, or None without atlas."""
        if self.atlas is None:
            return [None] * len(scans)
        if self.where == "network":
            found = self._scorer(self.space, heatmaps.device)(heatmaps)
            frame, regions = found.to_frame(range(len(scans))), found.sum.shape[1]
            frame = frame.drop(columns="participant_id")
            return [frame.iloc[n * regions : (n + 1) * regions] for n in range(len(scans))]
        return [
            self._scorer(scan, heatmaps.device)(resampled(heatmaps[n : n + 1], self.space, scan)).to_frame()
            for n, scan in enumerate(scans)
        ]

    def _scorer(self, space: Space, device: torch.device) -> Any:
        from neuroxai.atlas import RegionScorer

        key = (space.shape, space.affine.tobytes())
        if key not in self._scorers:
            self._scorers[key] = RegionScorer(self.atlas.resampled_to(space))
            if len(self._scorers) > KEPT:
                self._scorers.popitem(last=False)
        self._scorers.move_to_end(key)
        return self._scorers[key].to(device)
