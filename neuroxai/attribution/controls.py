"""A reference of healthy controls, and what scans are held against: their mean, the nearest, a fitted one, a twin.

The fitted control answers: what would this region look like, had it the rest of this brain and people's variation?
People vary about their class's mean m along principal components, x = m + B w + noise, w standard normal; patients tell
of this variation as controls do, and so do mirror images. The weights w are those that explain best, by ridge
regression, the voxels *around* a region, near ones more; the region itself and a margin take no part in its fit. What
is wrong with a region can therefore not be reproduced from it.

What a scan departs by from its fitted control is mostly not disease, but what its surroundings do not tell of a healthy
brain, of variance s^2. A healthy twin is therefore the scan less the change *expected* of a patient. Patients' changes
vary about their mean D with variance t^2, by which patients vary more than controls. D is known from n patients and m
controls, as the difference of their mean departures, with variance s^2 (1/n + 1/m); the scan's own departure is one
more measurement, of variance s^2. The expected change is K (own departure) + (1 - K) D, K = v / (v + s^2),
v = t^2 + s^2 (1/n + 1/m): empirical Bayes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuroxai.attribution.baselines import FROM_CONTROLS, Baseline
from neuroxai.errors import InputError, SpaceError, one_of

NEAREST = 5  # controls that stand for the nearest ones
LEAST = 3  # controls
COMPONENTS = 100  # kept at most: those along which people vary most
REACH = 8.0  # mm: how far from a region its fit looks, as the standard deviation of a Gaussian weight
_CUT = 3  # of them, beyond which voxels have no weight
_FOLDS = 5
_STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # of the ridge, in the controls' mean variance per voxel


@dataclass(frozen=True, eq=False)
class ControlReference:
    """What healthy controls look like on a network's grid, after its preparation.

    Parameters
    ----------
    mean : torch.Tensor, shape (1, x, y, z)
        Mean of the controls.
    components : torch.Tensor, shape (components, 1, x, y, z)
        Principal components, each times the standard deviation of people of one class along it.
    noise : float
        Variance per voxel that the fit takes for noise: the strength of its ridge, chosen on held-out controls.
    controls : int
        How many they are.
    spacing : tuple of float
        Voxel size in mm.
    scans : torch.Tensor, optional, shape (controls, 1, x, y, z)
        The controls themselves, which "nearest_controls" needs.
    change : torch.Tensor, optional, shape (1, x, y, z)
        Mean of patients less mean of the controls, which "healthy_twin" needs.
    patients : int
        How many they are.
    variety : float
        How far patients' changes differ: by which part of the controls' variance patients vary more.
    """

    mean: Tensor
    components: Tensor
    noise: float
    controls: int
    spacing: tuple[float, ...]
    scans: Tensor | None = None
    change: Tensor | None = None
    patients: int = 0
    variety: float = 0.0
    _fits: dict[bytes, list[_RegionFit]] = field(default_factory=dict, repr=False, init=False)

    @classmethod
    def of(
        cls,
        scans: Tensor,
        spacing: tuple[float, ...],
        keep_scans: bool = False,
        patients: Tensor | None = None,
        mirror: int | None = None,
    ) -> ControlReference:
        """Describe controls.

        Parameters
        ----------
        scans : torch.Tensor, shape (controls, 1, x, y, z)
            As the network takes them.
        spacing : tuple of float
            Voxel size in mm.
        keep_scans : bool
            Keep the scans too.
        patients : torch.Tensor, optional, shape (patients, 1, x, y, z)
            For "healthy_twin": of the training part too; those made of the controls' own scans tell most.
        mirror : {0, 1, 2}, optional
            The axis from left to right, of a grid whose middle is the brain's: people vary as their mirror images do.

        Raises
        ------
        InputError
            If there are fewer than `LEAST` controls, no patients where some are given, a scan holds values that are not
            finite, or all controls are alike.
        SpaceError
            If patients have another grid.
        """
        if scans.ndim != 5 or scans.shape[1] != 1 or len(scans) < LEAST:
            raise InputError(
                f"controls have shape {tuple(scans.shape)}; (controls, 1, x, y, z) with {LEAST} controls or more is "
                "expected"
            )
        for given in (scans, *(() if patients is None else (patients,))):
            if not len(given) or not bool(torch.isfinite(given).all()):
                raise InputError(f"of {len(given)} scans some are expected, and finite values; leave out damaged scans")
        scans = scans.detach().float().cpu()
        mean, components = _principal(scans)
        if not len(components):
            raise InputError(f"all {len(scans)} controls are alike; different scans are expected")
        made = cls(mean, components, _noise(scans, spacing), len(scans), tuple(spacing))
        away, classes = scans - mean, 1
        if patients is not None:
            made._check(patients)
            ill = patients.detach().float().cpu()
            made = replace(made, change=ill.mean(0) - mean, patients=len(ill), variety=_more_varied(ill, scans))
            away, classes = torch.cat([away, ill - ill.mean(0)]), 2
        if mirror is not None:
            away = torch.cat([away, away.flip(2 + mirror)])
        if len(away) > len(scans):
            made = replace(made, components=_components(away, len(away) - classes))
        return replace(made, scans=scans.clone()) if keep_scans else made

    def baselines(self, name: str, regions: NDArray[np.integer] | None = None) -> Baseline:
        """Return what a method takes as `baselines`.

        Parameters
        ----------
        name : {"mean_control", "nearest_controls", "fitted_control", "healthy_twin"}
            The controls' mean, the `NEAREST` controls nearest to each scan, the control fitted to it, or the scan less
            the change expected of a patient.
        regions : ndarray of int, shape (x, y, z), optional
            Regions 1 to n, each fitted from what is around it (`neuroxai.atlas.Atlas.positions`); None: one fit for
            the whole brain, which sees what it is to replace.

        Raises
        ------
        InputError
            If the name is unknown, nearest controls are asked for without scans, or a twin without patients.
        """
        if name == "mean_control":
            return self.mean
        if name == "nearest_controls":
            if self.scans is None:
                raise InputError(
                    "baselines are 'nearest_controls', but the reference keeps no scans; make it with them "
                    "(`neuroxai bundle controls --scans`), or take fitted_control"
                )
            return lambda x: self.nearest(x)
        if name == "fitted_control":
            return lambda x: self.fitted(x, regions)[None]
        if name == "healthy_twin":
            if self.change is None:
                raise InputError("the reference knows no patients; make it with them, or take fitted_control")
            return lambda x: self.healthy_twin(x, regions)[None]
        raise one_of("baselines from controls", name, FROM_CONTROLS)

    def nearest(self, x: Tensor, count: int = NEAREST) -> Tensor:
        """Return the nearest controls of each scan (batch, 1, x, y, z), by squared differences, nearest first."""
        self._check(x)
        if self.scans is None:
            raise InputError("the reference keeps no scans; make it with them")
        scans = self.scans.to(x)
        found = [scans[(scans - one).square().flatten(1).sum(1).argsort(stable=True)[:count]] for one in x]
        return torch.stack(found, 1)

    def fitted(self, x: Tensor, regions: NDArray[np.integer] | None = None) -> Tensor:
        """Return the control fitted to each scan (batch, 1, x, y, z); see the module.

        Voxels outside all regions come from one fit to the whole brain.
        """
        self._check(x)
        mean, parts = self.mean.to(x), self.components.to(x).flatten(1)
        away = (x - mean).flatten(1)
        made: Tensor = mean.flatten() + _weights(parts @ parts.T, away @ parts.T, self.noise) @ parts
        made = made.view(x.shape).clone()
        for one in self._local(regions):
            around = self.components.to(x)[:, 0][(slice(None), *one.box)].flatten(1)
            near = (x - mean)[:, 0][(slice(None), *one.box)].flatten(1) * one.weight.to(x)
            weights = _weights(one.gram.to(x), near @ around.T, self.noise)
            inside = one.inside.to(x.device)
            values = made[:, 0][(slice(None), *one.box)]
            filled = weights @ around[:, inside.flatten()]
            values[:, inside] = mean[0][one.box][inside] + filled
        return made

    def healthy_twin(self, x: Tensor, regions: NDArray[np.integer] | None = None) -> Tensor:
        """Return each scan (batch, 1, x, y, z) less the change expected of a patient; see the module."""
        if self.change is None:
            raise InputError("the reference knows no patients; make it with them")
        self._check(x)
        typical = (self.mean + self.change).to(x)[None]
        departures = torch.cat([x, typical]) - self.fitted(torch.cat([x, typical]), regions)
        spread = self.variety + 1 / self.controls + 1 / self.patients
        own = spread / (spread + 1)
        return x - own * departures[:-1] - (1 - own) * departures[-1:]

    def _check(self, x: Tensor) -> None:
        if x.shape[1:] != self.mean.shape:
            raise SpaceError(
                f"the scan has channels and grid {tuple(x.shape[1:])}, the controls {tuple(self.mean.shape)}; make "
                "the reference with this network"
            )

    def _local(self, regions: NDArray[np.integer] | None) -> list[_RegionFit]:
        if regions is None:
            return []
        if regions.shape != tuple(self.mean.shape[1:]):
            raise SpaceError(f"regions have the grid {regions.shape}, the controls {tuple(self.mean.shape[1:])}")
        key = regions.tobytes()
        if key not in self._fits:
            self._fits[key] = _region_fits(regions, self.components[:, 0], self.spacing)
        return self._fits[key]


@dataclass(frozen=True)
class _RegionFit:
    """What the fit of one region needs, whatever the scan."""

    box: tuple[slice, ...]  # holds the region and what is near
    weight: Tensor  # (voxels of the box,): of each voxel around the region
    inside: Tensor  # (*box): the region
    gram: Tensor  # (components, components): the components' products over these voxels


def _region_fits(regions: NDArray[np.integer], parts: Tensor, spacing: tuple[float, ...]) -> list[_RegionFit]:
    from scipy.ndimage import distance_transform_edt, find_objects

    brain = (parts != 0).any(0).numpy()
    found = []
    for number, box in enumerate(find_objects(regions), start=1):
        if box is None:
            continue
        reach = [int(np.ceil(_CUT * REACH / mm)) for mm in spacing]
        wide = tuple(slice(max(s.start - n, 0), s.stop + n) for s, n in zip(box, reach, strict=True))
        inside = regions[wide] == number
        far: NDArray[Any] = distance_transform_edt(~inside, sampling=spacing)
        margin = far > max(spacing) * 1.01  # a scan's voxels are blurred into their neighbours
        weight = np.where(margin & brain[wide] & (far < _CUT * REACH), np.exp(-0.5 * (far / REACH) ** 2), 0)
        flat = torch.from_numpy(weight.astype(np.float32)).flatten()
        around = parts[(slice(None), *wide)].flatten(1)
        found.append(_RegionFit(wide, flat, torch.from_numpy(inside), (around * flat) @ around.T))
    return found


def _principal(scans: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and components (at most one fewer than scans), each times its standard deviation."""
    mean = scans.mean(0)
    return mean, _components(scans - mean, len(scans) - 1)


def _components(away: Tensor, freedom: int) -> Tensor:
    """Return the principal components of departures from the mean, by their degrees of freedom."""
    flat = away.flatten(1).double()
    values, vectors = torch.linalg.eigh(flat @ flat.T)
    kept = values > 1e-9 * values[-1].clamp(min=1e-30)
    parts: Tensor = (vectors[:, kept].T.flip(0)[:COMPONENTS] @ flat) / freedom**0.5
    return parts.float().view(-1, *away.shape[1:])


def _more_varied(patients: Tensor, controls: Tensor) -> float:
    """Return by which part of the controls' variance patients vary more: t^2 / s^2."""
    if len(patients) < 2:
        return 0.0
    return max(float(patients.var(0).sum() / controls.var(0).sum()) - 1, 0.0)


def _weights(gram: Tensor, products: Tensor, noise: float) -> Tensor:
    """Return ridge weights (batch, components): the most probable ones where noise has this variance per voxel."""
    ridge = noise * torch.eye(len(gram), dtype=torch.float64, device=gram.device)
    solved: Tensor = torch.linalg.solve(gram.double() + ridge, products.double().T).T.to(products)
    return solved


def _noise(scans: Tensor, spacing: tuple[float, ...]) -> float:
    """Choose the ridge as it is used: cubes in held-out controls are predicted from what is around them."""
    cubes = _cubes((scans != 0).float().mean(0)[0].numpy() > 0.5, spacing)
    folds = min(_FOLDS, len(scans) - 1)
    unit = float(scans.var(0).mean()) or 1.0
    errors = np.zeros(len(_STRENGTHS))
    for fold in range(folds):
        held = torch.arange(len(scans)) % folds == fold
        mean, parts = _principal(scans[~held])
        own = ControlReference(mean, parts, unit, int((~held).sum()), spacing)
        for number, strength in enumerate(_STRENGTHS):
            guess = replace(own, noise=strength * unit).fitted(scans[held], cubes)
            errors[number] += float((guess - scans[held])[..., torch.from_numpy(cubes > 0)].square().sum())
    return float(_STRENGTHS[int(errors.argmin())] * unit)


def _cubes(brain: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.int32]:
    """Give every third cube in the brain, of twice the fit's reach along an edge, a number; else one in the middle."""
    cubes = np.zeros(brain.shape, np.int32)
    edges = [max(round(2 * REACH / mm), 1) for mm in spacing]
    for corner in np.ndindex(*(max(n // (3 * edge), 1) for n, edge in zip(brain.shape, edges, strict=True))):
        box = tuple(slice((3 * c + 1) * edge, (3 * c + 2) * edge) for c, edge in zip(corner, edges, strict=True))
        if brain[box].mean() > 0.5 if brain[box].size else False:
            cubes[box] = cubes.max() + 1
    if not cubes.any():
        cubes[tuple(slice(n // 3, max(2 * n // 3, n // 3 + 1)) for n in brain.shape)] = 1
    return cubes
