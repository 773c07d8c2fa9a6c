"""Which brain masks are flagged: real ones as they are, and with faults planted into them.

    python scripts/experiments/brain_masks.py shared/data/cohorts/ds002748 [PREPARED ...]

Scans are prepared brains (what is not 0 is the mask), every second one in half A, from which limits may be chosen, the
others in half B. A row a fault: its least, median and largest value of the measure that is to find it, and how many
scans of the half are flagged by it with the defaults of the linear arm.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroxai.io import read_volume
from neuroxai.preprocess.qc.coverage import far_shares, pieces_share
from neuroxai.preprocess.qc.flags import flags, thresholds
from neuroxai.preprocess.template import load_template
from neuroxai.space import Space, Volume

Mask = NDArray[np.bool_]
# name: measure, whether voxels are added, and balls in MNI152 (centre, radius), mm
FAULTS: dict[str, tuple[str, bool, list[tuple[tuple[float, float, float], float]]]] = {
    "as it is (leak)": ("brain_leak", True, []),
    "as it is (lack)": ("brain_missing", True, []),
    "as it is (pieces)": ("brain_pieces_share", True, []),
    "into the nose, 12 ml": ("brain_leak", True, [((0, 40, -38), 10), ((0, 52, -48), 12), ((0, 58, -56), 10)]),
    "into the throat, 18 ml": ("brain_leak", True, [((0, -8, -58), 14), ((0, -4, -70), 14)]),
    "along an optic nerve to the eye, 8 ml": (
        "brain_leak", True, [*(((18 + 2 * k, 22 + 4 * k, -26 - k), 4) for k in range(8)), ((34, 58, -36), 12)],
    ),
    "an eye alone, 7 ml": ("brain_pieces_share", True, [((36, 66, -44), 12)]),
    "two islands of the scalp, 2 ml each": ("brain_pieces_share", True, [((0, -20, 97), 8), ((84, -20, 30), 8)]),
    "without a temporal pole": ("brain_missing", False, [((42, 10, -34), 24)]),
    "without the cerebellum": ("brain_missing", False, [((25, -66, -42), 30), ((-25, -66, -42), 30)]),
}  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    scans = [
        scan
        for folder in parser.parse_args().folders
        for scan in sorted(folder.glob("sub-*/anat/*desc-brain_[TF]*.nii.gz"))  # T1w, T2w, FLAIR
    ]
    template, limits = load_template(None, None), thresholds("linear")
    print("| fault | half | scans | least | median | largest | flagged |\n|---|---|---|---|---|---|---|")
    for name, (measure, added, balls) in FAULTS.items():
        for half in (0, 1):
            values, flagged = [], 0
            for scan in scans[half::2]:
                volume = read_volume(scan)
                expected = template.brain.data.astype(np.float32)
                brain = Volume(expected, template.brain.space).resampled_to(volume.space).data >= 0.5
                mask = _with(volume.data > 0, volume.space, balls, added)
                leak, missing = far_shares(Volume(mask, volume.space), Volume(brain, volume.space))
                found = {"brain_leak": leak, "brain_missing": missing, "brain_pieces_share": pieces_share(mask)}
                values.append(found[measure])
                flagged += bool(flags({measure: found[measure]}, limits))
            three = " | ".join(f"{value:.4f}" for value in (min(values), float(np.median(values)), max(values)))
            print(f"| {name} | {'AB'[half]} | {len(values)} | {three} | {flagged} |")


def _with(mask: Mask, space: Space, balls: list[tuple[tuple[float, float, float], float]], added: bool) -> Mask:
    points = space.world(np.argwhere(np.ones(space.shape, bool))).reshape(*space.shape, 3)
    for centre, radius in balls:
        inside = np.linalg.norm(points - centre, axis=-1) < radius
        mask = mask | inside if added else mask & ~inside
    return mask


if __name__ == "__main__":
    main()
