"""Scans of known truth, and all that is measured of one heatmap of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas.contrast import RegionContrast
from neuroxai.errors import SpaceError
from neuroxai.evaluation.heatmaps.faithfulness import Order, perturbation_curve, random_areas, region_order, voxel_order
from neuroxai.evaluation.heatmaps.localisation import chance_level, localisation_metrics, outside_share
from neuroxai.evaluation.heatmaps.twin_swap import MOST

if TYPE_CHECKING:
    from torch import Tensor, nn

    from neuroxai.atlas import Atlas

PLANTED = 0.5
"""Share of a region that an effect fills where it counts as planted there."""
LEVEL = 0.05
"""Of the flags of regions: false discovery rate within a scan, and p of single regions."""


@dataclass(frozen=True, eq=False)
class KnownTruth:
    """Scans of known truth, and how they are looked at.

    Parameters
    ----------
    scans : torch.Tensor, shape (scans, 1, *grid)
        As the networks take them; 0 outside the brain.
    truths : ndarray of bool, shape (scans, *grid)
        Where each scan's effect is.
    target : int
        The class that the effect supports.
    spacing : sequence of float
        Voxel edge lengths in mm.
    tolerance : float
        Of the truth and of the brain's border, in mm.
    atlas : Atlas, optional
        On the scans' grid: for deleting regions and for the overlap of the top regions.
    top : int
        Regions that count as top.
    fill : {"zero", "blur"} or torch.Tensor, shape (1, *grid)
        What voxels are replaced by.
    steps, repeats, draws : int
        Steps of a curve, random orders, draws of noise.
    region_steps : int, optional
        Steps in which regions are deleted, several at a time; one region a step by default.
    seed : int
        Of all that is random.
    twins : torch.Tensor, shape (scans, 1, *grid), optional
        Each scan without the effect (`neuroxai simulate --from`): for the twin swap.
    controls : torch.Tensor, shape (controls, 1, *grid), optional
        Healthy scans that no network was trained on, the twins first: for the flags of regions.

    Raises
    ------
    SpaceError
        If scans, truths, twins and atlas have different grids.
    """

    scans: Tensor
    truths: NDArray[np.bool_]
    target: int = 1
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    tolerance: float = 0.0
    atlas: Atlas | None = None
    top: int = 10
    fill: Any = "zero"
    steps: int = 20
    repeats: int = 5
    draws: int = 3
    seed: int = 0
    twins: Tensor | None = None
    controls: Tensor | None = None
    region_steps: int | None = None

    def __post_init__(self) -> None:
        grid = np.shape(self.truths)[1:]
        if tuple(self.scans.shape) != (len(self.truths), 1, *grid):
            raise SpaceError(
                f"scans of shape {tuple(self.scans.shape)} do not fit truths of shape {np.shape(self.truths)}, "
                "expected (scans, 1, *grid) and (scans, *grid)"
            )
        if self.twins is not None and self.twins.shape != self.scans.shape:
            raise SpaceError(
                f"twins have the shape {tuple(self.twins.shape)}, the scans {tuple(self.scans.shape)}; one twin a scan "
                "on its grid is expected"
            )
        if self.atlas is not None and self.atlas.space.shape != grid:
            raise SpaceError(
                f"the atlas has the grid {self.atlas.space.shape}, the scans {grid}; use atlas.resampled_to(space)"
            )

    def brain(self, n: int) -> NDArray[np.bool_]:
        """Voxels of a scan that are not 0."""
        return np.asarray((self.scans[n, 0] != 0).cpu().numpy())

    def place(self, n: int, heatmap: NDArray[Any]) -> dict[str, float]:
        """Localisation of a scan's heatmap, and the share of it outside the brain."""
        brain = self.brain(n)
        found = localisation_metrics(heatmap, self.truths[n], brain, spacing=self.spacing, tolerance=self.tolerance)
        return found | {"outside_brain": outside_share(heatmap, brain, spacing=self.spacing, tolerance=self.tolerance)}

    def areas(self, network: nn.Module, n: int, heatmap: NDArray[Any]) -> dict[str, float]:
        """Areas of deletion, insertion and, with an atlas, region deletion."""
        return {
            key: perturbation_curve(network, self.scans[n], order, target=self.target, fill=self.fill, mode=mode).area
            for key, (order, mode) in self._orders(n, heatmap).items()
        }

    def random(self, network: nn.Module, n: int) -> dict[str, float]:
        """Mean areas of random orders."""
        options: dict[str, Any] = {"repeats": self.repeats, "seed": self.seed + n, "target": self.target}
        return {
            key: float(np.mean(random_areas(network, self.scans[n], order, fill=self.fill, mode=mode, **options)))
            for key, (order, mode) in self._orders(n, np.zeros(self.truths[n].shape)).items()
        }

    def contrasts(self, heatmaps: NDArray[Any]) -> NDArray[np.float64] | None:
        """How far regions of heatmaps (maps, *grid) stand out, shape (maps, regions); None without an atlas.

        Densities would lead by a region's small size in noise, and the top regions of two uninformative maps agree by
        more than chance.
        """
        if self.atlas is None:
            return None
        contrast = RegionContrast(self.atlas.positions(), len(self.atlas.names))
        found = np.array([contrast(heatmap) for heatmap in heatmaps])
        # in a map of one value no region stands out
        return np.where(np.isnan(found) & (contrast.voxels > 0), 0.0, found)

    def planted(self, n: int) -> NDArray[np.bool_]:
        """Regions of the atlas that a scan's effect lies in, shape (regions,).

        Those of which it fills at least half; where there is none, as with lesions, the one that it fills most.
        """
        assert self.atlas is not None
        labels = self.atlas.positions()
        count = len(self.atlas.names) + 1
        size = np.maximum(np.bincount(labels.ravel(), minlength=count), 1)
        share = (np.bincount(labels.ravel(), self.truths[n].ravel(), minlength=count) / size)[1:]
        found: NDArray[np.bool_] = share >= PLANTED
        return found if found.any() else (share > 0) & (share == share.max())

    def chance(self) -> dict[str, float]:
        """Mean over the scans of what an uninformative map gets."""
        ones, rows = np.ones(self.truths[0].shape), []
        for n, truth in enumerate(self.truths):
            level = chance_level(truth, self.brain(n), spacing=self.spacing, tolerance=self.tolerance)
            rows.append(level | {"outside_brain": self.place(n, ones)["outside_brain"]})
        result = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        zero = ("deletion", "insertion", "region_deletion", "between_trainings", "randomised_top", "randomised_all")
        result |= dict.fromkeys(zero, 0.0)
        if self.atlas is not None:
            count = len(self.atlas.names)
            result |= {"top_overlap": self.top / count} if count > self.top else {}
            result["region_first"] = float(np.mean([self.planted(n).mean() for n in range(len(self.truths))]))
            if count > MOST:
                swap = {"rho": 0.0, "top": MOST / count, "overlap": MOST / count}
                result |= {f"{who}swap_{key}": value for key, value in swap.items() for who in ("", "sham_", "others_")}
            result |= dict.fromkeys(("sham_flagged", "sham_alarms"), LEVEL)
        return result

    def _orders(self, n: int, heatmap: NDArray[Any]) -> dict[str, tuple[Order, Any]]:
        voxels = voxel_order(heatmap, self.steps, self.brain(n), self.seed + n)
        orders: dict[str, tuple[Order, Any]] = {"deletion": (voxels, "deletion"), "insertion": (voxels, "insertion")}
        if self.atlas is not None:
            regions = region_order(heatmap, self.atlas.positions(), self.seed + n)
            orders["region_deletion"] = (coarser(regions, self.region_steps or regions.steps), "deletion")
        return orders


def coarser(order: Order, steps: int) -> Order:
    """Return an order in at most so many steps, each of several of its own: a curve of fewer points."""
    if order.steps <= steps:
        return order
    ends = np.rint(np.linspace(0, order.steps, steps + 1)).astype(np.int64)
    turn = np.where(order.turn > 0, np.searchsorted(ends, order.turn, side="left"), 0)
    return Order(turn, order.shares[ends], order.whole)
