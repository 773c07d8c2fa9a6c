"""Measure how FLAIR intensity follows T1w intensity, both relative to white matter, on pairs of one session.

    python scripts/experiments/flair_curve.py --head MNI152_T1_2mm.nii.gz \
        --tissue MNI152_T1_2mm_Brain_FAST_seg.nii.gz --pair T1W.nii.gz FLAIR.nii.gz [--pair ...]

Each T1w is brought rigidly onto its FLAIR (the coarser image), a template with skull and its tissue classes (0 to 3,
3 white matter) by an affine. Inside the brain, lesions left out (FLAIR above 1.35 times white matter where T1w is not
fluid), the median FLAIR is taken in bins of the T1w intensity. Needs antspyx.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ants
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

KNOTS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2])


def curve_of(head_path: str, tissue_path: str, t1_path: str, flair_path: str) -> NDArray[np.float64]:
    """Median FLAIR over white matter at each of `KNOTS`; NaN where fewer than 200 voxels."""
    flair = ants.n4_bias_field_correction(ants.image_read(flair_path))
    t1 = ants.n4_bias_field_correction(ants.image_read(t1_path))
    t1 = ants.registration(flair, t1, "Rigid", random_seed=1)["warpedmovout"]
    found = ants.registration(t1, ants.image_read(head_path), "Affine", random_seed=1)["fwdtransforms"]
    tissue = ants.apply_transforms(t1, ants.image_read(tissue_path), found, "nearestNeighbor").numpy()
    inside = tissue > 0.5
    inside = ndimage.binary_erosion(inside, iterations=3)
    a, b = t1.numpy(), flair.numpy()
    core = inside & (ndimage.binary_erosion(tissue > 2.5))
    a, b = a / np.median(a[core]), b / np.median(b[core])
    usable = inside & ~((b > 1.35) & (a > 0.5)) & (a > 0)
    print(f"{Path(t1_path).name}: {usable.sum()} voxels, white matter core {core.sum()}")
    values = []
    for knot in KNOTS:
        near = b[usable & (np.abs(a - knot) < 0.05)]
        values.append(np.median(near) if near.size >= 200 else np.nan)
    print("  " + " ".join(f"{k:.1f}:{v:.3f}" for k, v in zip(KNOTS, values, strict=True)))
    return np.array(values)


def main() -> None:
    """Print the curve of each pair and the mean over pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs=2, action="append", required=True, metavar=("T1W", "FLAIR"))
    parser.add_argument("--head", required=True, help="T1w template with skull")
    parser.add_argument("--tissue", required=True, help="its tissue classes")
    options = parser.parse_args()
    curves = np.array([curve_of(options.head, options.tissue, *pair) for pair in options.pair])
    print("mean over pairs")
    print("  " + " ".join(f"{k:.1f}:{v:.2f}" for k, v in zip(KNOTS, np.nanmean(curves, axis=0), strict=True)))


if __name__ == "__main__":
    main()
