"""Whether explanations hold over repeated trainings (and their ensemble), and when a scan changes by a little noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Agreement:
    """How alike the maps of several models are, pair by pair. Matrices are symmetric, shape (models, models).

    Attributes
    ----------
    correlation : ndarray
        Pearson's, over the voxels; NaN with a constant map.
    distance : ndarray
        L2 norm of the difference of two maps, each divided by its largest magnitude (Eitel & Ritter 2019); of maps of
        zeros, those stay as they are. It grows with the square root of the number of voxels.
    overlap : ndarray or None
        Share of the `top` regions of the one that are among those of the other; None without region scores.
    """

    correlation: NDArray[np.float64]
    distance: NDArray[np.float64]
    overlap: NDArray[np.float64] | None = None

    def means(self) -> dict[str, float]:
        """Mean of each over all pairs; NaN pairs are left out."""
        pairs = np.triu_indices(len(self.correlation), 1)
        found = {"correlation": self.correlation, "distance": self.distance, "overlap": self.overlap}
        result = {}
        for name, matrix in found.items():
            if matrix is not None:
                values = matrix[pairs][np.isfinite(matrix[pairs])]
                result[name] = float(values.mean()) if values.size else float("nan")
        return result


def agreement(
    heatmaps: Sequence[NDArray[Any]],
    within: NDArray[Any] | None = None,
    regions: NDArray[Any] | None = None,
    top: int = 10,
) -> Agreement:
    """Compare the maps that repeatedly trained models give for the same scan, or their mean maps over a group.

    Parameters
    ----------
    heatmaps : sequence of ndarray, shape (*grid)
        One a model, at least two; finite.
    within : ndarray of bool, shape (*grid), optional
        Voxels to compare, for example the brain; a background of zeros counts as agreement otherwise.
    regions : ndarray, shape (models, regions), optional
        Region scores of the same maps, for example ``RegionScorer(atlas)(maps).sum``; regions with NaN come last.
    top : int
        Regions of greatest score that are compared.

    Raises
    ------
    InputError
        If there are less than two maps, one is not finite, or `top` is not from 1 to the number of regions.
    SpaceError
        If shapes differ.

    References
    ----------
    Eitel & Ritter (2019), Testing the robustness of attribution methods, iMIMIC, arXiv:1909.08856.
    """
    if len(heatmaps) < 2:
        raise InputError(f"{len(heatmaps)} heatmap is given; robustness compares two or more trainings")
    shapes = {np.shape(m) for m in heatmaps} | ({np.shape(within)} if within is not None else set())
    if len(shapes) > 1:
        raise SpaceError(f"heatmaps and mask have the shapes {sorted(shapes)}, expected one grid for all")
    kept = np.ones(np.shape(heatmaps[0]), dtype=bool) if within is None else np.asarray(within, dtype=bool)
    maps = [np.asarray(m, dtype=np.float64)[kept] for m in heatmaps]
    if not all(np.isfinite(m).all() for m in maps):
        raise InputError("a heatmap holds NaN or infinite values; explain the scan again")
    scaled = [m / (np.abs(m).max() or 1.0) for m in maps]
    flat = [m if np.ptp(m) > 0 else np.full_like(m, np.nan) for m in maps]
    correlation = _pairwise(flat, lambda a, b: float(np.corrcoef(a, b)[0, 1]), 1.0)
    distance = _pairwise(scaled, lambda a, b: float(np.linalg.norm(a - b)), 0.0)
    if regions is None:
        return Agreement(correlation, distance)
    scores = np.asarray(regions, dtype=np.float64)
    if len(scores) != len(maps) or scores.ndim != 2 or not 1 <= top <= scores.shape[1]:
        raise InputError(
            f"region scores of shape {scores.shape} do not fit {len(maps)} heatmaps and the top {top} regions, "
            "expected (models, regions), with at least that many regions"
        )
    # NaN sorts last, so those of regions without voxels are never among the top
    best = [frozenset(np.argsort(-row, kind="stable")[:top].tolist()) for row in scores]
    return Agreement(correlation, distance, _pairwise(best, lambda a, b: len(a & b) / top, 1.0))


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Relative change of each scan's map under noise: ``|R(x + noise) - R(x)| / |R(x)|`` (L2 norms).

    Attributes
    ----------
    greatest, mean : ndarray, shape (batch,)
        Over the draws of noise; NaN for a map of zeros.
    """

    greatest: NDArray[np.float64]
    mean: NDArray[np.float64]


def max_sensitivity(
    explain: Callable[[Tensor], Tensor],
    scans: Tensor,
    *,
    radius: float = 0.02,
    draws: int = 10,
    within: Tensor | None = None,
    seed: int = 0,
) -> Sensitivity:
    """Add small noise to scans and see by how much their maps change at most (Yeh 2019).

    Parameters
    ----------
    explain : callable
        Takes scans and returns maps of the same shape, for example
        ``lambda x: method.attribute(x, target=1)``.
    scans : torch.Tensor
        (batch, channels, *grid), on any device.
    radius : float
        Noise is uniform between plus and minus this share of each scan's own range.
    draws : int
        Draws of noise; the maximum is over these, and so a lower bound.
    within : torch.Tensor of bool, optional
        Where there is noise, a shape that the scans' fits, for example ``scans != 0``: a skull-stripped background has
        none.
    seed : int
        Of the noise, which is drawn on the CPU and the same on all devices.

    Raises
    ------
    InputError
        If radius or draws are not positive, or maps have another shape.

    References
    ----------
    Yeh et al. (2019), On the (in)fidelity and sensitivity of explanations, NeurIPS, arXiv:1901.09392, definition 2; the
    norm of the map, by which we divide, makes methods comparable.
    """
    import torch

    if not radius > 0 or draws < 1:
        raise InputError(f"radius is {radius} and draws is {draws}; both must be positive")
    generator = torch.Generator().manual_seed(seed)
    flat = scans.flatten(1)
    span = (flat.amax(1) - flat.amin(1)).view(-1, *(1 for _ in scans.shape[1:]))
    before = _maps(explain, scans)
    changes = []
    for _ in range(draws):
        noise = torch.rand(scans.shape, generator=generator, dtype=torch.float64).to(scans.device) * 2 - 1
        noise = (noise * radius * span).to(scans)
        moved = scans + (noise if within is None else noise * within)
        changes.append(np.linalg.norm(_maps(explain, moved) - before, axis=1))
    size = np.linalg.norm(before, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(size > 0, np.stack(changes) / size, np.nan)
    return Sensitivity(relative.max(axis=0), relative.mean(axis=0))


def _maps(explain: Callable[[Tensor], Tensor], scans: Tensor) -> NDArray[np.float64]:
    found = explain(scans)
    if found.shape != scans.shape:
        raise InputError(f"maps have shape {tuple(found.shape)}, expected that of the scans, {tuple(scans.shape)}")
    return np.asarray(found.detach().flatten(1).double().cpu().numpy())


def _pairwise(items: Sequence[Any], compare: Callable[[Any, Any], float], same: float) -> NDArray[np.float64]:
    result = np.full((len(items), len(items)), same)
    for i, j in combinations(range(len(items)), 2):
        result[i, j] = result[j, i] = compare(items[i], items[j])
    return result


class Ensemble:
    """Mean heatmap and stability map of models that come one at a time; memory does not grow with their number.

    Parameters
    ----------
    shape : tuple of int
        Of every heatmap.
    neutral : float
        A model is neutral about a voxel whose magnitude is below this share of its own map's largest magnitude.
    scaled : bool
        Divide each map by its largest magnitude before it enters the mean: logits of repeated trainings differ in
        size, and the loudest model would lead (Eitel & Ritter 2019 scale by the maximum).

    Raises
    ------
    InputError
        If `neutral` is not from 0 to below 1.

    Examples
    --------
    >>> ensemble = Ensemble((3,), neutral=0.1)
    >>> ensemble.add([1.0, -2.0, 0.1])
    >>> ensemble.add([1.0, 2.0, 0.1])
    >>> ensemble.mean().tolist(), ensemble.stability().tolist()
    ([1.0, 0.0, 0.1], [1.0, 0.0, 0.0])
    """

    def __init__(self, shape: tuple[int, ...], neutral: float = 0.05, scaled: bool = False) -> None:
        if not 0 <= neutral < 1:
            raise InputError(f"neutral is {neutral}, expected a share of the maximum, from 0 to below 1")
        self.shape, self.neutral, self.scaled, self.count = tuple(shape), neutral, scaled, 0
        self._sum = np.zeros(self.shape)
        self._votes = np.zeros(self.shape, dtype=np.int64)

    def add(self, heatmap: Any) -> None:
        """Add one model's heatmap of the scan.

        Raises
        ------
        SpaceError
            If its shape is another.
        InputError
            If it holds NaN or infinite values.
        """
        values = np.asarray(heatmap, dtype=np.float64)
        if values.shape != self.shape:
            raise SpaceError(f"heatmap of shape {values.shape} does not fit an ensemble of shape {self.shape}")
        if not np.isfinite(values).all():
            raise InputError("the heatmap holds NaN or infinite values; explain the scan again")
        largest = float(np.abs(values).max())
        self._sum += values / largest if self.scaled and largest > 0 else values
        self._votes += np.where(np.abs(values) >= self.neutral * largest, np.sign(values), 0).astype(np.int64)
        self.count += 1

    def mean(self) -> NDArray[np.float64]:
        """Mean heatmap.

        Raises
        ------
        InputError
            If no heatmap was added.
        """
        self._refuse_empty()
        return self._sum / self.count

    def stability(self) -> NDArray[np.float64]:
        """Sign agreement of the models, 0 to 1: ``|models for - models against| / models``.

        1 where all models give a voxel the same sign, 0 where they cancel out or all are neutral. Of n models that toss
        coins, the mean is about ``sqrt(2 / (pi n))``; for five, 3/8.

        Raises
        ------
        InputError
            If no heatmap was added.
        """
        self._refuse_empty()
        return np.abs(self._votes) / self.count

    def _refuse_empty(self) -> None:
        if not self.count:
            raise InputError("the ensemble is empty; add each model's heatmap first")
