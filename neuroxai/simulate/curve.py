"""From T1w to FLAIR intensity, both relative to white matter.

Measured on three sessions of two patients with multiple sclerosis (Lesjak 2017), T1w brought rigidly onto FLAIR,
lesions left out: medians in bins, mean over the sessions, by

    python scripts/experiments/flair_curve.py --head MNI152_T1_2mm.nii.gz \
        --tissue MNI152_T1_2mm_Brain_FAST_seg.nii.gz \
        --pair long_patient01_study1_T1W.nii.gz long_patient01_study1_FLAIR.nii.gz \
        --pair long_patient01_study2_T1W.nii.gz long_patient01_study2_FLAIR.nii.gz \
        --pair long_patient12_study1_T1W.nii.gz long_patient12_study1_FLAIR.nii.gz
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuroxai.simulate.anatomy import Array

T1W = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
FLAIR = (0.0, 0.06, 0.14, 0.22, 0.26, 0.42, 0.64, 0.86, 1.08, 1.11, 1.0, 0.94, 0.91)
"""FLAIR intensity at each T1w intensity of `T1W`; fluid is dark, grey matter brighter than white matter."""


@dataclass(frozen=True)
class Curve:
    """FLAIR intensity at T1w intensities, white matter being 1 in both.

    Parameters
    ----------
    t1w, flair : tuple of float
        Knots, rising, and values there; linear between, constant beyond.
    """

    t1w: tuple[float, ...] = T1W
    flair: tuple[float, ...] = FLAIR

    def __call__(self, maps: list[Array]) -> Array:
        """Give each T1w intensity the FLAIR intensity that goes with it."""
        return np.interp(maps[0], self.t1w, self.flair).astype(np.float32)
