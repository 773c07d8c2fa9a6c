"""How near does each registration arm come to the truth? A cohort simulated in known poses, prepared in all arms.

    python scripts/experiments/arms.py work --subjects 6 --figures

Makes ``work/cohort`` (``neuroxai simulate --effect atrophy --misalign --raw``; ``--cohort`` takes another), prepares it
into ``work/none``, ``work/linear`` and ``work/nonlinear``, and prints means over the scans:

``degrees``, ``pose mm``: between the affine found and the true pose; mm is the mean over the template's brain.
``tissue mm``: mean over the scan's brain of the distance in MNI152 between where the whole map, warp included, says
that a voxel's tissue comes from and where it was taken. ``brain``: Dice of the mask found with the true one on the
scan. ``effect``: Dice of the patients' truth masks, carried to MNI152, with where the effect was planted. ``seconds``:
median a scan, by the clock, checks included.

A simulated head has a natural shape of about 1 mm that is no part of its pose, though an affine rightly takes some of
it along. Three rows by the truth itself, through the same code, say what could be reached: the pose alone, the affine
that fits the true map best, and the true map (its effect is not 1, by two interpolations of a mask).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from neuroxai import io
from neuroxai.deformation import Displacement, field_space, grid_points, sample, to_voxels
from neuroxai.preprocess import BatchOptions, Mapping, PrepareOptions, find_sources, prepare_cohort
from neuroxai.preprocess.qc.similarity import dice
from neuroxai.preprocess.template import Template, load_template
from neuroxai.report import quality_figure
from neuroxai.simulate import Atrophy, Planted, RandomPose, Raw, ScanOptions, mni152_anatomy, simulate_cohort
from neuroxai.simulate.variability import draw_shape
from neuroxai.space import Space, Volume, mni152

Matrix = NDArray[np.float64]
ARMS = ("none", "linear", "nonlinear")
HEADER = ("arm", "degrees", "pose mm", "worst", "tissue mm", "brain", "least", "effect", "seconds", "flagged")


@dataclass(frozen=True, eq=False)
class Truth:
    """Where one scan's tissue was taken from: scan to changed anatomy by the pose and the natural warp."""

    pose: Matrix
    warp: Displacement
    planted: Planted
    brain: Volume
    mask: Volume

    @property
    def points(self) -> Matrix:
        """World points of the scan's brain, shape (3, n)."""
        return grid_points(self.brain.space)[:, self.brain.data.ravel() > 0]

    def changed(self, points: Matrix) -> Matrix:
        """Take points of the scan to the changed anatomy, where the effect lies."""
        return self.warp(moved(np.asarray(np.linalg.inv(self.pose), dtype=np.float64), points))

    def tissue(self, points: Matrix) -> Matrix:
        """Take points of the scan to the healthy anatomy, the template."""
        return self.planted.warp(self.changed(points))

    def mapping(self, grid: Space) -> Mapping:
        """Return the true map to the changed anatomy; the warp is undone by iteration."""
        points = grid_points(grid)
        undone = points.copy()
        for _ in range(30):
            undone -= self.warp(undone) - points
        there, back = (
            Displacement((p - points).reshape(3, *grid.shape).astype(np.float32), grid)
            for p in (undone, self.warp(points))
        )
        return Mapping(self.pose, there, back)

    def best_affine(self) -> Matrix:
        """Fit the affine from the template to the scan by least squares over the brain."""
        points = self.points
        there = np.vstack([self.tissue(points), np.ones(points.shape[1])])
        matrix = np.eye(4)
        matrix[:3] = np.linalg.lstsq(there.T, points.T, rcond=None)[0].T
        return matrix


@dataclass(frozen=True)
class Score:
    """One scan's errors; None where there is nothing to measure."""

    degrees: float
    pose_mm: float
    tissue_mm: float
    brain: float | None
    effect: float | None


def moved(matrix: Matrix, points: Matrix) -> Matrix:
    """Apply an affine to points, shape (3, n)."""
    return np.asarray(matrix[:3, :3] @ points + matrix[:3, 3:])


def truth_of(cohort: Path, participant: str, effect: Atrophy, seed: int) -> Truth:
    """Draw a participant's shape and effect again, and make sure that they are what was written."""
    anat = cohort / participant / "anat"
    brain = io.read_volume(next(anat.glob("*_desc-brain_mask.nii.gz")), check_content=False)
    mask = io.read_volume(next(anat.glob("*_desc-effect_mask.nii.gz")), check_content=False)
    record = io.read_json(next(anat.glob("*_T1w.json")))
    # the streams of `simulate_scan`
    number = int(participant.removeprefix("sub-"))
    plants, shapes = (np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, number, i))) for i in (0, 1))
    planted = effect.plant(plants, record["Participant"]["dose"] > 0)
    pose = np.asarray(record["PoseMNI152ToScan"], dtype=np.float64)
    truth = Truth(pose, draw_shape(shapes, effect.grid).warp, planted, brain, mask)
    again = np.zeros(brain.data.size, dtype=bool)
    change = sample(planted.log_jacobian, to_voxels(planted.warp.space, truth.changed(truth.points)))
    again[brain.data.ravel() > 0] = effect.truth(change, change)
    if again.any() != mask.data.any() or (again.any() and dice(again.reshape(brain.data.shape), mask.data) < 0.999):
        raise SystemExit(f"{participant}: the truth drawn again is not what the cohort holds; make the cohort anew")
    return truth


def score(mapping: Mapping, truth: Truth, effect: Atrophy, template: Template, found: Volume | None) -> Score:
    """Measure a map, and the brain mask found, against the truth."""
    inside = grid_points(template.brain.space)[:, template.brain.data.ravel()]
    away = np.linalg.norm(moved(mapping.affine, inside) - moved(truth.pose, inside), axis=0)
    points = truth.points
    lost = np.linalg.norm(mapping.to_prepared(points) - truth.tissue(points), axis=0)
    overlap = None
    if truth.mask.data.any():
        grid = template.brain.space
        there = mapping.carry(Volume(truth.mask.data.astype(np.float32), truth.mask.space), grid).data >= 0.5
        change = Volume(truth.planted.log_jacobian, truth.planted.warp.space).resampled_to(grid).data
        overlap = dice(there, effect.truth(change, change) & template.brain.data)
    return Score(
        degrees_between(mapping.affine, truth.pose),
        float(away.mean()),
        float(lost.mean()),
        None if found is None else dice(found.data, truth.brain.data),
        overlap,
    )


def degrees_between(one: Matrix, two: Matrix) -> float:
    """Angle between the rotations next to two affines."""
    left, _, right = np.linalg.svd(one[:3, :3] @ np.linalg.inv(two[:3, :3]))
    return float(np.degrees(Rotation.from_matrix(left @ right).magnitude()))


def prepared(cohort: Path, out: Path, arm: str, figures: bool) -> tuple[str, Callable[[str], tuple[Mapping, Volume]]]:
    """Prepare the cohort in an arm; return seconds and flags as cells, and what was found, by participant."""
    times = [time.perf_counter()]
    sources, left_out = find_sources(cohort)
    batch = BatchOptions(draw=quality_figure if figures else None)
    summary = prepare_cohort(
        out, sources, PrepareOptions(arm=arm), left_out, batch, lambda *_: times.append(time.perf_counter())
    )
    if summary.failed:
        raise SystemExit(f"{arm}: {summary.failed}")
    flags = sorted({text.split(":")[0] for found in summary.flagged.values() for text in found})
    seconds = "-" if summary.kept else f"{statistics.median(np.diff(times)):.1f}"
    cells = " ".join([f"{seconds} | {len(summary.flagged)}", *flags])

    def found(participant: str) -> tuple[Mapping, Volume]:
        mask = out / participant / "anat" / f"{participant}_space-T1w_desc-brain_mask.nii.gz"
        target = "centred" if arm == "none" else "MNI152"
        return Mapping.load(out, participant, target=target), io.read_volume(mask, check_content=False)

    return cells, found


def row(name: str, scores: list[Score], cells: str = "- | -") -> str:
    """Make a row of the table."""

    def over(values: list[float | None], of: Callable[[list[float]], Any], form: str) -> str:
        there = [value for value in values if value is not None]
        return format(of(there), form) if there else "-"

    mean = statistics.fmean
    return " | ".join([
        f"| {name}",
        over([s.degrees for s in scores], mean, ".2f"),
        over([s.pose_mm for s in scores], mean, ".2f"),
        over([s.pose_mm for s in scores], max, ".2f"),
        over([s.tissue_mm for s in scores], mean, ".2f"),
        over([s.brain for s in scores], mean, ".3f"),
        over([s.brain for s in scores], min, ".3f"),
        over([s.effect for s in scores], mean, ".3f"),
        f"{cells} |",
    ])  # fmt: skip


def main() -> None:
    """Parse, simulate, prepare, print row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for everything; an interrupted run goes on")
    parser.add_argument("--cohort", type=Path, help="a cohort of atrophy on the template, misaligned and raw")
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="of the cohort made")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--figures", action="store_true", help="draw the quality figures")
    options = parser.parse_args()
    cohort = options.cohort or options.work / "cohort"
    if options.cohort is None:
        scan_options = ScanOptions(misalign=RandomPose(), raw=Raw())
        simulate_cohort(cohort, "atrophy", options.subjects, seed=options.seed, scan_options=scan_options)
    made = io.read_json(cohort / "dataset_description.json")["GeneratedBy"][0]["Parameters"]
    if made["effect"] != "atrophy" or made["anatomy"] != "mni152" or not {"misalign", "raw"} <= made.keys():
        parser.error(f"{cohort}: expected a cohort of --effect atrophy on the template with --misalign --raw")
    effect, template = Atrophy(mni152_anatomy()), load_template()
    names = io.read_tsv(cohort / "participants.tsv")["participant_id"]
    truths = {name: truth_of(cohort, name, effect, int(made["seed"])) for name in names}
    sizes = f"{made['misalign']['degrees']:g} degrees, {made['misalign']['millimetres']:g} mm"
    print(f"{len(truths)} scans, poses of up to {sizes}, {made['spacing']:g} mm\n", flush=True)
    print("| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|", flush=True)
    for arm in options.arms:
        cells, found = prepared(cohort, options.work / arm, arm, options.figures)
        scores = [
            score(mapping, truth, effect, template, brain)
            for truth, (mapping, brain) in ((t, found(name)) for name, t in truths.items())
        ]
        print(row(arm, scores, cells), flush=True)
    ways: dict[str, Callable[[Truth], Mapping]] = {
        "true pose": lambda truth: Mapping(truth.pose),
        "best affine": lambda truth: Mapping(truth.best_affine()),
        "true map": lambda truth: truth.mapping(field_space(mni152(2), 2.0)),
    }
    for name, way in ways.items():
        print(row(name, [score(way(t), t, effect, template, None) for t in truths.values()]), flush=True)


if __name__ == "__main__":
    main()
