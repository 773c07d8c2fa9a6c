"""How well do scans land on the template? Tables for each arm and engine, on real scans.

    python scripts/experiments/registration.py shared/data --what scans hippocampus poses agreement

``scans``: seconds of one core, and overlap (Dice) of the scan's own brain mask, carried to MNI152, with the template's.
``hippocampus``: overlap of both hippocampi's labels (DLMUSE on IXI), carried to MNI152, with Harvard-Oxford's.
``poses``: a real scan is turned by up to 20 degrees about each axis and shifted by up to 20 mm along each, seed by
seed; error of the pose found, directly (scan to turned scan, rigid) and by way of the template (affine).
``agreement``: millimetres between where ANTs and ITK take the template's brain (affine).

Scans are corrected for their bias field, as preparation does. Brain masks are deepbet's, or what is not background in a
skull-stripped scan.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from neuroxai.deformation import Displacement, grid_points, to_voxels
from neuroxai.io import read_labels, read_volume
from neuroxai.preprocess.bias import bias_field
from neuroxai.preprocess.brain import extract_brain
from neuroxai.preprocess.intensity import foreground, is_skull_stripped
from neuroxai.preprocess.registration import Engine, create
from neuroxai.preprocess.registration.initialisation import isotropic
from neuroxai.preprocess.template import Template, load_template
from neuroxai.space import Space, Volume

Matrix = NDArray[np.float64]
SCANS = (
    "t1w/ds002748/*.nii.gz",
    "t1w/ixi/*.nii.gz",
    "t1w/open_ms_native/*.nii.gz",
    "flair/*.nii.gz",
    "flair/open_ms_native/*.nii.gz",
)
HIPPOCAMPI = (47, 48)  # MUSE: right, left
HARVARD_OXFORD = (19, 9)  # right, left: one more than the index in its list of names
ENGINES = ("ants", "itk")


def carried(moving: Volume, affine: Matrix, space: Space, warp: Displacement | None = None) -> NDArray[np.float32]:
    """Sample a moving picture where a fixed grid's points lie in it."""
    points = grid_points(space) if warp is None else warp(grid_points(space))
    voxels = to_voxels(moving.space, affine[:3, :3] @ points + affine[:3, 3:])
    values = ndimage.map_coordinates(moving.data.astype(np.float32), voxels, order=1)
    return np.asarray(values.reshape(space.shape), dtype=np.float32)


def dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    """Overlap of two masks."""
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


def brain_of(scan: Volume) -> Volume:
    """Return the scan's own brain mask."""
    return Volume(foreground(scan), scan.space) if is_skull_stripped(scan) else extract_brain(scan)


def corrected(scan: Volume, brain: Volume) -> Volume:
    """Divide a scan by its bias field."""
    return Volume(scan.data / bias_field(scan, brain.data > 0), scan.space)


def apart(one: Matrix, two: Matrix, template: Template) -> NDArray[np.float64]:
    """Millimetres between where two maps take the template's brain."""
    points = grid_points(template.brain.space)[:, template.brain.data.ravel()]
    difference = one - two
    return np.asarray(np.linalg.norm(difference[:3, :3] @ points + difference[:3, 3:], axis=0))


def timed(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """Return a result and the seconds of one core that it took."""
    begin = time.process_time()
    return call(*arguments, **options), time.process_time() - begin


def files(data: Path, patterns: tuple[str, ...]) -> list[Path]:
    """List the scans."""
    return [path for pattern in patterns for path in sorted(data.glob(pattern))]


def scans(data: Path, template: Template) -> Iterator[list[str]]:
    """Dice and seconds by scan and arm."""
    yield ["scan", "arm", "engine", "seconds", "Dice"]
    ants = create("ants")
    for path in files(data, SCANS):
        scan = read_volume(path)
        brain, seconds = timed(brain_of, scan)
        row = [path.name.removesuffix(".nii.gz")]
        yield [*row, "brain mask", "", f"{seconds:.1f}", ""]
        scan, seconds = timed(corrected, scan, brain)
        yield [*row, "bias field", "", f"{seconds:.1f}", ""]
        for name in ENGINES:
            engine = create(name)
            for arm, mask in (("linear", brain), ("linear, head as it is", None)):
                affine, seconds = timed(engine.affine, template.t1, scan, moving_mask=mask)
                there = carried(brain, affine, template.brain.space) >= 0.5
                yield [*row, arm, name, f"{seconds:.1f}", f"{dice(there, template.brain.data):.3f}"]
        affine = ants.affine(template.t1, scan, moving_mask=brain)
        (warp, _), seconds = timed(ants.deformable, template.t1, scan, affine, moving_mask=brain)
        there = carried(brain, affine, template.brain.space, warp) >= 0.5
        yield [*row, "non-linear (after linear)", "ants", f"{seconds:.1f}", f"{dice(there, template.brain.data):.3f}"]


def hippocampus(data: Path, template: Template) -> Iterator[list[str]]:
    """Dice of the hippocampi with the atlas's by arm."""
    yield ["scan", "linear", "non-linear"]
    atlas = read_labels(data / "atlases" / "HarvardOxford-sub-maxprob-thr25-2mm.nii.gz")
    expected = [atlas.data == value for value in HARVARD_OXFORD]
    ants, found = create("ants"), []
    for path in files(data, ("t1w/ixi/*.nii.gz",)):
        scan = read_volume(path)
        labels = read_labels(data / "labelmaps" / "ixi_dlmuse" / path.name.replace("_ds", "_ds_DLMUSE"))
        brain = brain_of(scan)
        scan = corrected(scan, brain)
        affine = ants.affine(template.t1, scan, moving_mask=brain)
        warp, _ = ants.deformable(template.t1, scan, affine, moving_mask=brain)
        row = []
        for way in (None, warp):
            sides = [
                dice(carried(Volume(labels.data == value, labels.space), affine, atlas.space, way) >= 0.5, there)
                for value, there in zip(HIPPOCAMPI, expected, strict=True)
            ]
            row.append(float(np.mean(sides)))
        found.append(row)
        yield [path.name[:6], *(f"{v:.3f}" for v in row)]
    yield ["mean", *(f"{v:.3f}" for v in np.mean(found, axis=0))]


def poses(data: Path, template: Template, seeds: int) -> Iterator[list[str]]:
    """Errors of recovered poses."""
    yield ["engine", "way", "degrees, mean", "degrees, worst", "mm, mean", "mm, worst"]
    scan = isotropic(read_volume(next(iter(files(data, ("t1w/ixi/*.nii.gz",))))), 2.0)
    brain = brain_of(scan)
    middle = scan.space.world(np.argwhere(brain.data).mean(0))
    for name in ENGINES:
        engine = create(name)
        before = engine.affine(template.t1, scan, moving_mask=brain)
        errors: dict[str, list[tuple[float, float]]] = {"rigid, to itself": [], "affine, by the template": []}
        for seed in range(seeds):
            true = random_pose(seed, middle)
            undone = np.asarray(np.linalg.inv(true), dtype=np.float64)
            turned, mask = (
                Volume(carried(v, undone, scan.space), scan.space)
                for v in (scan, Volume(brain.data.astype(np.float32), brain.space))
            )
            mask = Volume(mask.data >= 0.5, mask.space)
            errors["rigid, to itself"].append(pose_error(engine.rigid(scan, turned, seed), true, middle))
            after = engine.affine(template.t1, turned, seed, moving_mask=mask)
            errors["affine, by the template"].append(pose_error(after @ np.linalg.inv(before), true, middle))
        for way, pairs in errors.items():
            mean, worst = np.mean(pairs, axis=0), np.max(pairs, axis=0)
            yield [name, way, *(f"{v:.2f}" for v in (mean[0], worst[0], mean[1], worst[1]))]


def random_pose(seed: int, middle: NDArray[np.float64]) -> Matrix:
    """Draw a turn of up to 20 degrees about each axis and a shift of up to 20 mm along each."""
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-20, 20, 3), degrees=True).as_matrix()
    pose[:3, 3] = middle + rng.uniform(-20, 20, 3) - pose[:3, :3] @ middle
    return pose


def pose_error(found: Matrix, true: Matrix, middle: NDArray[np.float64]) -> tuple[float, float]:
    """Degrees and, in the middle of the brain, millimetres between two poses."""
    left, _, right = np.linalg.svd(found[:3, :3] @ true[:3, :3].T)
    degrees = np.degrees(Rotation.from_matrix(left @ right).magnitude())
    difference = found - true
    return float(degrees), float(np.linalg.norm(difference[:3, :3] @ middle + difference[:3, 3]))


def agreement(data: Path, template: Template) -> Iterator[list[str]]:
    """Millimetres between the engines' affine maps."""
    yield ["scan", "mm, mean", "mm, largest"]
    engines: list[Engine] = [create(name) for name in ENGINES]
    for path in files(data, SCANS):
        scan = read_volume(path)
        brain = brain_of(scan)
        scan = corrected(scan, brain)
        one, two = (engine.affine(template.t1, scan, moving_mask=brain) for engine in engines)
        distance = apart(one, two, template)
        yield [path.name.removesuffix(".nii.gz"), f"{distance.mean():.2f}", f"{distance.max():.2f}"]


def main() -> None:
    """Parse, measure, print row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the real scans")
    what = ["scans", "hippocampus", "poses", "agreement"]
    parser.add_argument("--what", nargs="+", default=what, choices=what)
    parser.add_argument("--spacing", type=float, default=2.0, choices=[1.0, 2.0], help="of the template, mm")
    parser.add_argument("--seeds", type=int, default=20, help="poses")
    arguments = parser.parse_args()
    template = load_template(spacing=arguments.spacing)
    tables = {
        "scans": lambda: scans(arguments.data, template),
        "hippocampus": lambda: hippocampus(arguments.data, template),
        "poses": lambda: poses(arguments.data, template, arguments.seeds),
        "agreement": lambda: agreement(arguments.data, template),
    }
    for name in arguments.what:
        for number, row in enumerate(tables[name]()):
            print("| " + " | ".join(row) + " |", flush=True)
            if number == 0:
                print("|---" * len(row) + "|", flush=True)
        print()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"memory: {peak:.2f} GiB at most")


if __name__ == "__main__":
    main()
