"""Which scans fit a network that was trained on prepared real brains? No network is needed: its training scans tell.

    python scripts/experiments/fit.py COHORT --prepared DIR ... --other NAME=PATTERN ... [--spacing 2]

Takes the record of training scans (`neuroxai.evaluation.fit.FitRecord`) from the participants of COHORT with even
numbers, on which the thresholds were chosen, and prints how many scans of each kind fit, fit nearly or are far: those
participants against the others of them, those with odd numbers, scans that `neuroxai prepare` made of other people
(``--prepared``), files as they lie (``--other``, such as ``raw=t1w/*/*.nii.gz``), and every
third of the odd participants spoiled.
"""

from __future__ import annotations

import argparse
import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from neuroxai.components import LoadScand, NormaliseScand, ResampleToSpaced
from neuroxai.components.fit import summary_of
from neuroxai.errors import NeuroxaiError, ours
from neuroxai.evaluation.fit import LEVELS, FitRecord
from neuroxai.evaluation.fit_measures import ScanSummary, plateaus_of
from neuroxai.io import read_volume
from neuroxai.space import Space, Volume, mni152

CENTRE = np.array([0.0, -18.0, 10.0])  # mm, of the brain in MNI152 space


def spoiled(scan: Volume) -> Iterator[tuple[str, Volume]]:
    """Yield a prepared brain as it should not be."""
    data, space = scan.data, scan.space
    for axis in "xyz":
        for degrees in (-20, -10, 10, 20):
            matrix = np.eye(4)
            matrix[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
            matrix[:3, 3] = CENTRE - matrix[:3, :3] @ CENTRE
            yield f"turned by {abs(degrees)} degrees", Volume(data, Space(space.shape, matrix @ space.affine))
    brain = data != 0
    yield "z-scored with its background", Volume((data - data.mean()) / data.std(), space)
    yield "z-scored in the brain", Volume(np.where(brain, (data - data[brain].mean()) / data[brain].std(), 0), space)
    places = space.world(np.moveaxis(np.indices(space.shape), 0, -1)) - CENTRE
    for side in (places[..., 2] > 35, places[..., 2] < -40, places[..., 1] > 50, places[..., 0] < -35):
        yield "cropped", Volume(np.where(side, 0, data), space)
    yield "all negative", Volume(-data, space)
    yield "front to back", Volume(data[:, ::-1].copy(), space)
    one = data.copy()
    one[tuple(n // 2 for n in space.shape)] = 1e6
    yield "one voxel of 1e6", Volume(one, space)
    coarse = Space(
        (5, 6, 5), np.diag([40.0, 40, 40, 1]) + np.array([[0, 0, 0, -81], [0, 0, 0, -117], [0, 0, 0, -61], [0] * 4])
    )
    yield "voxels of 40 mm", scan.resampled_to(coarse)
    yield "white noise", Volume(np.random.default_rng(0).random(space.shape).astype(np.float32), space)


class Measured:
    """Scans as a network of a grid and a normalisation takes them."""

    def __init__(self, space: Space, method: str) -> None:
        self.space = space
        self.resample, self.normalise = ResampleToSpaced("image", space), NormaliseScand("image", method)
        self.load = LoadScand("image")

    def __call__(self, scan: Path | Volume) -> ScanSummary:
        """Return the summary of a file or of a scan in memory."""
        if isinstance(scan, Volume):
            import torch
            from monai.data import MetaTensor

            image = MetaTensor(
                torch.from_numpy(scan.data[None].astype(np.float32)), affine=torch.from_numpy(scan.space.affine.copy())
            )
            item: Any = {"image": image, "plateaus": plateaus_of(scan.data)}
        else:
            item = self.load({"image": str(scan)})
        return summary_of(self.normalise(self.resample(item)), "image", self.space.spacing)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--prepared", type=Path, nargs="*", default=[])
    parser.add_argument("--other", nargs="*", default=[], metavar="NAME=PATTERN")
    parser.add_argument("--spacing", type=float, default=2.0)
    parser.add_argument("--normalisation", default="minmax")
    options = parser.parse_args()
    measured = Measured(mni152(options.spacing), options.normalisation)
    found = sorted(options.cohort.rglob("*_desc-brain_*w.nii.gz"))
    even = [path for path in found if int(re.findall(r"sub-\D*(\d+)", path.name)[0]) % 2 == 0]
    odd = [path for path in found if path not in even]
    training = {path: measured(path) for path in even}
    record = FitRecord.of(list(training.values()), measured.space.spacing)
    rows: dict[str, list[tuple[str, float]]] = {}

    def add(kind: str, scan: Path | Volume, known: FitRecord = record) -> None:
        try:
            fit = known.compare(measured(scan))
            rows.setdefault(kind, []).append((fit.level, fit.distance))
        except Exception as error:  # MONAI wraps nothing here, but a file may be anything
            if not isinstance(error, NeuroxaiError) and ours(error) is None:
                raise
            rows.setdefault(kind, []).append(("refused", float("nan")))

    for path in even:  # each against the others
        others = [summary for other, summary in training.items() if other != path]
        add("cohort, even (thresholds chosen)", path, FitRecord.of(others, measured.space.spacing))
    for path in odd:
        add("cohort, odd", path)
    for folder in options.prepared:
        for path in sorted(folder.rglob("*_desc-brain_*w.nii.gz")) + sorted(folder.rglob("*_desc-brain_FLAIR.nii.gz")):
            add(f"prepared: {folder.name}", path)
    for entry in options.other:
        name, _, pattern = entry.partition("=")
        for file in sorted(glob.glob(pattern, recursive=True)):
            add(name, Path(file))
    for path in odd[::3]:
        for kind, scan in spoiled(read_volume(path)):
            add(f"odd, {kind}", scan)
    heads = ("scans", "number", "fit", "nearly", "far", "refused before", "least distance", "largest")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for kind, values in rows.items():
        counts = [sum(level == one for level, _ in values) for one in (*LEVELS, "refused")]
        distances = [distance for level, distance in values if level != "refused"] or [float("nan")]
        cells = [kind, len(values), *counts, f"{min(distances):.1f}", f"{max(distances):.1f}"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
