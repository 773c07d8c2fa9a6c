"""One subject: from seeds to scan, truth and measured volumes, every map of the anatomy sampled once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import sample
from neuroxai.simulate.anatomy import Array
from neuroxai.simulate.effects.base import Contrast, Effect, Planted
from neuroxai.simulate.pose import Matrix, RandomPose, draw_pose, posed_grid
from neuroxai.simulate.variability import HEAD_MARGIN, Raw, Shape, draw_bias, draw_shape, scan_with, with_head
from neuroxai.space import Space


@dataclass(frozen=True, eq=False)
class Scan:
    """A simulated scan with its truth.

    Parameters
    ----------
    image : ndarray of float32, shape ``space.shape``
        Intensities, brain-masked unless the scan is raw.
    mask : ndarray of bool
        Voxels that the effect changed, in the scan's own coordinates.
    log_jacobian : ndarray of float32
        Realised log-Jacobian of the effect alone, of the tissue at each voxel; 0 outside the brain.
    opacity : ndarray of float32
        Share of each voxel taken by lesion.
    space : Space
        The grid.
    columns : dict of str to float
        Dose and measured volumes, and the pose where there is one.
    brain : ndarray of bool
        Brain mask.
    pose : ndarray, shape (4, 4), or None
        From MNI152 millimetres to the scan's, where the scan is misaligned.
    bias : ndarray of float32 or None
        The receive field of a raw scan.
    """

    image: Array
    mask: NDArray[np.bool_]
    log_jacobian: Array
    opacity: Array
    space: Space
    columns: dict[str, float]
    brain: NDArray[np.bool_]
    pose: Matrix | None = None
    bias: Array | None = None


class Acquisition:
    """An effect seen on a grid: what is the same for every subject of a cohort, prepared once.

    Parameters
    ----------
    effect : Effect
        What is planted.
    space : Space
        Grid of the scans; axes along the world's. A voxel of more than 2 mm is the mean over its eight octants'
        centres. The anatomy's maps are smoothed to the distance of these points (Cardoso 2015, eq. 3).
    """

    def __init__(self, effect: Effect, space: Space) -> None:
        from scipy import ndimage

        self.effect, self.space = effect, space
        self.factor = 1 if max(space.spacing) <= 2.0 + 1e-9 else 2
        ratio = max(space.spacing) / self.factor / np.asarray(effect.anatomy.space.spacing)
        sigma = np.sqrt(np.maximum(ratio**2 - 1.0, 0.0)) / 2.3548
        self.maps: list[Array] = [np.asarray(ndimage.gaussian_filter(m, sigma)) for m in self.sources()]
        self.brain = effect.anatomy.brain.astype(np.float32)
        # where an effect's region can be at all, so that volumes are summed over few points
        self.union = np.zeros_like(self.brain)
        for roi in effect.rois.values():
            np.maximum(self.union, roi, out=self.union)

    before: ClassVar[bool] = False
    """Whether regions are also measured without the effect."""

    @property
    def suffix(self) -> str:
        """Contrast of the scans, as BIDS names it."""
        return self.effect.suffix

    def sources(self) -> list[Array]:
        """Return the maps on the anatomy's grid that intensities are made of."""
        return self.effect.maps()

    def shape(self, rng: np.random.Generator) -> Shape:
        """Draw a subject's natural shape."""
        return draw_shape(rng, self.effect.grid)

    def contrast(self, rng: np.random.Generator) -> Contrast:
        """Draw a subject's intensity function."""
        return self.effect.contrast(rng)

    def sampled(self, voxels: NDArray[np.float64]) -> list[Array]:
        """Interpolate the maps at voxel positions of the anatomy, shape (3, n)."""
        return [sample(m, voxels, mode="nearest") for m in self.maps]

    def scanned(self, rng: np.random.Generator, clean: Array, brain: NDArray[np.bool_]) -> Array:
        """Turn clean intensities into those of a scanner."""
        return scan_with(rng, clean, brain)

    def measured(self, volumes: dict[str, float], healthy: dict[str, float]) -> dict[str, float]:
        """Columns of the volumes with and without the effect, both in mm^3."""
        return _volume_columns(volumes)


def simulate_scan(
    acquisition: Acquisition,
    seed: np.random.SeedSequence,
    present: bool,
    misalign: RandomPose | None = None,
    raw: Raw | None = None,
) -> Scan:
    """Simulate one subject.

    Effect, shape, contrast and scanner draw from separate streams, and a control makes the same draws as a patient
    with the dose multiplied by 0; so a control is a patient of dose 0, bit for bit. The transforms are composed as
    functions of position and every map of the anatomy is interpolated once. The brain mask follows the natural shape
    only, as dura and skull do: lost tissue leaves fluid.

    Parameters
    ----------
    acquisition : Acquisition
        Prepared once for the cohort.
    seed : numpy.random.SeedSequence
        The subject's own; left as it is.
    present : bool
        Patient, or sham.
    misalign : RandomPose, optional
        Give the scan a random pose; it then lies in the scanner's space, on a grid that covers the head.
    raw : Raw, optional
        Leave the head around the brain, and the receive field on it.
    """
    # built by hand, as seed.spawn would change the seed and a second call would give another scan
    streams = [
        np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, i))) for i in range(6)
    ]
    effect, space, pose = acquisition.effect, acquisition.space, None
    planted = effect.plant(streams[0], present)
    shape = acquisition.shape(streams[1])
    if misalign is not None:
        pose = draw_pose(streams[4], misalign, effect.grid.corners().mean(0))
        # nothing is interpolated twice: the way back from the scanner is one function of position. The pose stands in
        # the place of what a registration would leave, so that it is all of the truth but the smooth warp
        shape = Shape(np.asarray(np.linalg.inv(pose.matrix), dtype=np.float64), shape.warp)
        spacing = acquisition.space.reoriented().spacing
        space = posed_grid(effect.grid, pose.matrix, spacing, HEAD_MARGIN if raw else 0.0)
    rendered = render(
        acquisition, planted, shape, acquisition.contrast(streams[2]), space, pose.matrix if pose else None
    )
    brain = rendered["brain"] >= 0.5
    # the mean over a voxel's points inside the brain, so that the rim is not dimmed by the masked outside
    clean = np.where(brain, rendered["clean"] / np.maximum(rendered["brain"], 0.5), np.float32(0.0))
    change, opacity = (np.where(brain, rendered[name], np.float32(0.0)) for name in ("log_jacobian", "opacity"))
    seen, bias = brain, None
    if raw is not None:
        clean, seen = with_head(streams[5], clean, brain, space, acquisition.suffix), np.ones_like(brain)
        bias = draw_bias(streams[5], space, clean > 0, raw.bias)
        clean = clean * bias
    measured = acquisition.measured(rendered.volumes, rendered.healthy)
    return Scan(
        image=acquisition.scanned(streams[3], clean, seen),
        mask=effect.truth(change, opacity) & brain,
        log_jacobian=change,
        opacity=opacity,
        space=space,
        columns={**planted.columns, **measured, **(pose.columns if pose else {})},
        brain=brain,
        pose=pose.matrix if pose else None,
        bias=bias,
    )


def _volume_columns(volumes: dict[str, float]) -> dict[str, float]:
    """Volumes in mm^3 by column name; both sides of a structure are also summed."""
    columns: dict[str, float] = {}
    for name, volume in volumes.items():
        if name.endswith("_left") and name.removesuffix("_left") + "_right" in volumes:
            both = name.removesuffix("_left")
            columns[f"{both}_volume_mm3"] = volume + volumes[f"{both}_right"]
    columns.update({f"{name}_volume_mm3": volume for name, volume in volumes.items()})
    return columns


_POINTS_AT_ONCE = 1_000_000


class Rendered(dict[str, Array]):
    """Means over the voxels, by name, and volumes in mm^3."""

    def __init__(self, space: Space, volumes: list[str]) -> None:
        super().__init__({n: np.zeros(space.shape, np.float32) for n in ("clean", "brain", "log_jacobian", "opacity")})
        self.volumes = dict.fromkeys(volumes, 0.0)
        self.healthy = dict.fromkeys(volumes, 0.0)


def render(
    acquisition: Acquisition,
    planted: Planted,
    shape: Shape,
    contrast: Contrast,
    space: Space,
    pose: Matrix | None,
) -> Rendered:
    """Sample the anatomy at the points of `space`, slab by slab."""
    effect, factor = acquisition.effect, acquisition.factor
    names = [*effect.rois, "brain", *(["lesion"] if planted.opacity is not None else [])]
    result = Rendered(space, names)
    volumes, fine = result.volumes, space.voxel_volume / factor**3
    inverse, to_grid = np.linalg.inv(effect.anatomy.space.affine), np.linalg.inv(planted.warp.space.affine)
    for block in _slabs(space, effect.grid, factor, np.eye(4) if pose is None else pose):
        points = shape(_points(space, block, factor))
        brain = sample(acquisition.brain, inverse[:3, :3] @ points + inverse[:3, 3:]) >= 0.5
        points = points[:, brain]
        there = planted.warp(points)
        voxels = inverse[:3, :3] @ there + inverse[:3, 3:]
        values = {
            "clean": contrast(acquisition.sampled(voxels)),
            "brain": np.ones(points.shape[1], dtype=np.float32),
            "log_jacobian": sample(planted.log_jacobian, to_grid[:3, :3] @ points + to_grid[:3, 3:]),
        }
        if planted.opacity is not None:
            share = sample(planted.opacity, voxels)
            values["clean"] = values["clean"] + share * (np.float32(planted.brightness) - values["clean"])
            values["opacity"] = share
            volumes["lesion"] += float(share.sum(dtype=np.float64)) * fine
        volumes["brain"] += points.shape[1] * fine
        inside = voxels[:, sample(acquisition.union, voxels) > 0] if effect.rois else voxels[:, :0]
        still = inverse[:3, :3] @ points + inverse[:3, 3:] if acquisition.before else voxels
        for name, roi in effect.rois.items():
            volumes[name] += float(sample(roi, inside).sum(dtype=np.float64)) * fine
            if acquisition.before:
                result.healthy[name] += float(sample(roi, still).sum(dtype=np.float64)) * fine
        for name, value in values.items():
            result[name][block] = _block_mean(value, brain, [b.stop - b.start for b in block], factor)
    return result


def _slabs(space: Space, grid: Space, factor: int, pose: Matrix) -> Iterator[tuple[slice, ...]]:
    """Cut the voxels that cover `grid`, moved by `pose`, along x into pieces of bounded memory."""
    x, y, z = space.box_around(grid.corners() @ pose[:3, :3].T + pose[:3, 3])
    thick = max(1, _POINTS_AT_ONCE // max((y.stop - y.start) * (z.stop - z.start) * factor**3, 1))
    for start in range(x.start, x.stop, thick):
        yield slice(start, min(start + thick, x.stop)), y, z


def _points(space: Space, block: tuple[slice, ...], factor: int) -> NDArray[np.float64]:
    """World positions of a block's sampling points, `factor` per voxel and axis, shape (3, n)."""
    offsets = (np.arange(factor) + 0.5) / factor - 0.5
    axes = [(np.arange(b.start, b.stop)[:, None] + offsets).ravel() for b in block]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    return np.asarray(space.affine[:3, :3] @ voxels + space.affine[:3, 3:])


def _block_mean(values: Array, where: NDArray[np.bool_], size: list[int], factor: int) -> Array:
    """Mean over each voxel's sampling points; `values` are those of the points in `where`, the others are 0."""
    every = np.zeros(where.size, dtype=np.float32)
    every[where] = values
    x, y, z = size
    return np.asarray(every.reshape(x, factor, y, factor, z, factor).mean(axis=(1, 3, 5), dtype=np.float32))
