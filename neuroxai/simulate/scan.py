"""One subject: from seeds to scan, truth and measured volumes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from neuroxai.simulate.anatomy import Array
from neuroxai.simulate.diffeomorphism import sample
from neuroxai.simulate.effect import Contrast, Effect, Planted
from neuroxai.simulate.nature import Shape, draw_shape, scan_with
from neuroxai.space import Space

_POINTS_AT_ONCE = 1_000_000


@dataclass(frozen=True, eq=False)
class Scan:
    """A simulated scan with its truth.

    Parameters
    ----------
    image : ndarray of float32, shape ``space.shape``
        Brain-masked intensities.
    mask : ndarray of bool
        Voxels that the effect changed, in the scan's own coordinates.
    log_jacobian : ndarray of float32
        Realised log-Jacobian of the effect alone, of the tissue at each voxel; 0 outside the brain.
    opacity : ndarray of float32
        Share of each voxel taken by lesion.
    space : Space
        The grid.
    columns : dict of str to float
        Dose and measured volumes.
    """

    image: Array
    mask: NDArray[np.bool_]
    log_jacobian: Array
    opacity: Array
    space: Space
    columns: dict[str, float]


def simulate_scan(effect: Effect, space: Space, seed: np.random.SeedSequence, present: bool) -> Scan:
    """Simulate one subject.

    Effect, shape and scanner draw from three separate streams, and a control makes the same draws as a patient with
    the dose multiplied by 0; so a control is a patient of dose 0, bit for bit. All maps are composed as functions of
    position and every map of the anatomy is interpolated once.

    Parameters
    ----------
    effect : Effect
        Prepared once for the cohort.
    space : Space
        Grid of the scan; a diagonal affine.
    seed : numpy.random.SeedSequence
        The subject's own.
    present : bool
        Patient, or sham.
    """
    # built by hand instead of seed.spawn, which would change the seed object: a second call must give the same scan
    streams = [
        np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, i))) for i in range(4)
    ]
    planted = effect.plant(streams[0], present)
    shape = draw_shape(streams[1], effect.grid)
    rendered = _render(effect, space, planted, shape, effect.contrast(streams[2]))
    return Scan(
        image=scan_with(streams[3], rendered.clean, rendered.brain),
        mask=effect.truth(rendered.log_jacobian, rendered.opacity) & rendered.brain,
        log_jacobian=np.where(rendered.brain, rendered.log_jacobian, np.float32(0.0)),
        opacity=np.where(rendered.brain, rendered.opacity, np.float32(0.0)),
        space=space,
        columns={**planted.columns, **_volume_columns(rendered.volumes)},
    )


@dataclass(eq=False)
class _Rendered:
    clean: Array
    brain: NDArray[np.bool_]
    log_jacobian: Array
    opacity: Array
    volumes: dict[str, float]


def _render(effect: Effect, space: Space, planted: Planted, shape: Shape, contrast: Contrast) -> _Rendered:
    """Sample the anatomy at the scan's points; a voxel of more than 2 mm is the mean over points at most 2 mm apart."""
    factor = max(1, ceil(max(space.spacing) / 2.0 - 1e-9))
    step = max(space.spacing) / factor
    maps = [_antialiased(m, effect, step) for m in effect.maps()]
    zeros = np.zeros(space.shape, dtype=np.float32)
    totals = {"clean": zeros, "brain": zeros.copy(), "log_jacobian": zeros.copy(), "opacity": zeros.copy()}
    volumes = dict.fromkeys([*effect.rois, "brain", *(["lesion"] if planted.opacity is not None else [])], 0.0)
    fine = space.voxel_volume / factor**3
    low, high = _overlap(space, effect.grid)
    inverse = np.linalg.inv(effect.anatomy.space.affine)
    to_grid = np.linalg.inv(effect.grid.affine)
    brain_map = effect.anatomy.brain.astype(np.float32)
    plane = int(np.prod((high - low)[1:])) * factor**3
    thick = max(1, _POINTS_AT_ONCE // max(plane, 1))
    for start in range(int(low[0]), int(high[0]), thick):
        block = (slice(start, min(start + thick, int(high[0]))), *(slice(int(a), int(b)) for a, b in zip(low[1:], high[1:], strict=True)))
        size = [b.stop - b.start for b in block]
        at = _points(space, block, factor)
        healthy_shape = shape(at)
        there = planted.warp(healthy_shape)
        voxels = inverse[:3, :3] @ there + inverse[:3, 3:]
        brain = sample(brain_map, voxels) >= 0.5
        clean = contrast([sample(m, voxels) for m in maps])
        change = sample(planted.log_jacobian, to_grid[:3, :3] @ healthy_shape + to_grid[:3, 3:])
        values = {"clean": clean, "brain": brain.astype(np.float32), "log_jacobian": change}
        if planted.opacity is not None:
            share = sample(planted.opacity, voxels)
            values["clean"] = clean + share * (np.float32(planted.brightness) - clean)
            values["opacity"] = share * brain
            volumes["lesion"] += float(values["opacity"].sum(dtype=np.float64)) * fine
        values["clean"] = values["clean"] * brain
        for name, roi in effect.rois.items():
            volumes[name] += float(sample(roi, voxels).sum(dtype=np.float64)) * fine
        volumes["brain"] += float(brain.sum()) * fine
        for name, value in values.items():
            totals[name][block] = _block_mean(value, size, factor)
    brain_share = totals["brain"]
    inside = brain_share >= 0.5
    # the mean over the points inside the brain, so that the brain's rim is not dimmed by the masked outside
    clean = np.where(inside, totals["clean"] / np.maximum(brain_share, 0.5), np.float32(0.0)).astype(np.float32)
    return _Rendered(clean, inside, totals["log_jacobian"], totals["opacity"], volumes)


def _antialiased(values: Array, effect: Effect, step: float) -> Array:
    """Smooth a map of the anatomy to the width of the sampling step (Cardoso 2015), before it is interpolated once."""
    from scipy import ndimage

    ratio = step / np.asarray(effect.anatomy.space.spacing)
    sigma = np.sqrt(np.maximum(ratio**2 - 1.0, 0.0)) / 2.3548
    if sigma.max() < 0.1:
        return values
    return np.asarray(ndimage.gaussian_filter(values, sigma), dtype=np.float32)


def _points(space: Space, block: tuple[slice, ...], factor: int) -> NDArray[np.float64]:
    """World positions of a block's sampling points, `factor` per voxel and axis, shape (3, n)."""
    offsets = (np.arange(factor) + 0.5) / factor - 0.5
    axes = [(np.arange(b.start, b.stop)[:, None] + offsets).ravel() for b in block]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    return np.asarray(space.affine[:3, :3] @ voxels + space.affine[:3, 3:])


def _block_mean(values: Array, size: list[int], factor: int) -> Array:
    """Mean over each voxel's sampling points."""
    x, y, z = size
    return np.asarray(values.reshape(x, factor, y, factor, z, factor).mean(axis=(1, 3, 5), dtype=np.float32))


def _overlap(space: Space, grid: Space) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Voxel ranges of `space` that cover `grid`."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij")).reshape(3, -1).T
    voxels = space.voxels(grid.world(corners))
    low = np.clip(np.floor(voxels.min(0)).astype(int), 0, space.shape)
    high = np.clip(np.ceil(voxels.max(0)).astype(int) + 1, 0, space.shape)
    return low, high


def _volume_columns(volumes: dict[str, float]) -> dict[str, float]:
    """Volumes in mm^3 by column name; both sides of a structure are also summed."""
    columns: dict[str, float] = {}
    for name, volume in volumes.items():
        if name.endswith("_left"):
            both = name.removesuffix("_left")
            columns[f"{both}_volume_mm3"] = volume + volumes[f"{both}_right"]
    columns.update({f"{name}_volume_mm3": volume for name, volume in volumes.items()})
    return columns
