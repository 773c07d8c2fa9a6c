"""Region scores of a batch of heatmaps, on the network's grid or on each scan's own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from neuroxai.atlas.contrast import RegionContrast
from neuroxai.errors import one_of
from neuroxai.explain.options import SCORE_SPACES
from neuroxai.space import Space, Volume

KEPT = 4  # scorers of scans' grids: a cohort has one or a few, or one each


def atlas_of(atlas: str | None, labels: str | None) -> Any:
    """Return an atlas (a name of `neuroxai.atlas.NAMES` or a label image's path); None without."""
    from neuroxai.atlas import get

    return None if atlas is None else get(atlas, labels)


class Scorers:
    """An atlas's scorers on any grid; those of the last few grids are kept.

    Parameters
    ----------
    atlas : Atlas
        Brought to each grid (`Atlas.resampled_to`).
    """

    def __init__(self, atlas: Any) -> None:
        self.atlas = atlas
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._contrasts: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def on(self, space: Space, device: torch.device) -> Any:
        """Return the `neuroxai.atlas.RegionScorer` of a grid, on a device."""
        from neuroxai.atlas import RegionScorer

        key = (space.shape, space.affine.tobytes())
        if key not in self._kept:
            self._kept[key] = RegionScorer(self.atlas.resampled_to(space))
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key].to(device)

    def contrast_on(self, space: Space) -> Any:
        """Return the `neuroxai.atlas.contrast.RegionContrast` of a grid."""
        key = (space.shape, space.affine.tobytes())
        if key not in self._contrasts:
            atlas = self.on(space, torch.device("cpu")).atlas
            self._contrasts[key] = RegionContrast(atlas.positions(), len(atlas.names))
            if len(self._contrasts) > KEPT:
                self._contrasts.popitem(last=False)
        return self._contrasts[key]


def scorers_of(atlas: str | None, labels: str | None, space: Space | None) -> Scorers | None:
    """Return the scorers of an atlas (as `atlas_of` takes it), or None without.

    One that does not lie on `space` is refused here, before anything runs.
    """
    if atlas is None:
        return None
    scorers = Scorers(atlas_of(atlas, labels))
    if space is not None:
        scorers.on(space, torch.device("cpu"))
    return scorers


class Scores:
    """Tables of region scores, worked out on the device of the heatmaps; those of the scan's grid by the processor.

    Parameters
    ----------
    atlas : str or None
        "builtin", the path of a label image, or None for no scores.
    labels : str or None
        Path of the label image's names.
    space : Space
        The heatmaps' grid.
    where : {"network", "scan"}
        On that grid, or on the scan's, to which heatmap (linear) and atlas (majority) are brought.

    Raises
    ------
    InputError
        If `where` is another word.
    """

    def __init__(self, atlas: str | None, labels: str | None, space: Space, where: str = "network") -> None:
        if where not in SCORE_SPACES:
            raise one_of("space of the scores", where, SCORE_SPACES)
        self.space = space
        self.where = where
        self.scorers = scorers_of(atlas, labels, space if where == "network" else None)

    def __call__(self, heatmaps: torch.Tensor, scans: Sequence[Space]) -> list[Any]:
        """Score heatmaps (batch, 1, *space.shape) of scans on these grids; one table a scan, or None without atlas."""
        if self.scorers is None:
            return [None] * len(scans)
        if self.where == "network":
            found = self.scorers.on(self.space, heatmaps.device)(heatmaps)
            frame, regions = found.to_frame(range(len(scans))), found.sum.shape[1]
            frame = frame.drop(columns="participant_id")
            tables = [frame.iloc[n * regions : (n + 1) * regions] for n in range(len(scans))]
            return [self._with_contrast(table, heatmaps[n], self.space) for n, table in enumerate(tables)]
        tables = []
        for one, scan in zip(heatmaps, scans, strict=True):
            own = Volume(one[0].detach().cpu().numpy(), self.space).resampled_to(scan)
            heatmap = torch.from_numpy(own.data)[None]
            table = self.scorers.on(scan, heatmap.device)(heatmap[None]).to_frame()
            tables.append(self._with_contrast(table, heatmap, scan))
        return tables

    def _with_contrast(self, table: Any, heatmap: torch.Tensor, space: Space) -> Any:
        """Add how far each region stands out for its size, which is what regions are ranked by."""
        assert self.scorers is not None
        found = self.scorers.contrast_on(space)(heatmap[0].detach().cpu().numpy())
        return table.assign(contrast=found)
