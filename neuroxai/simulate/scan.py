"""One subject: from seeds to scan, truth and measured volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import sample
from neuroxai.simulate.anatomy import Array
from neuroxai.simulate.effect import Contrast, Effect
from neuroxai.simulate.head import HEAD_MARGIN, Raw, draw_bias, with_head
from neuroxai.simulate.nature import Shape, draw_shape, scan_with
from neuroxai.simulate.pose import Matrix, Misalign, corners, draw_pose, posed_grid
from neuroxai.simulate.render import render
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
    misalign: Misalign | None = None,
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
    misalign : Misalign, optional
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
        pose = draw_pose(streams[4], misalign, corners(effect.grid).mean(0))
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
