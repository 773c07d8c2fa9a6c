"""From T1w to FLAIR intensity, both relative to white matter: a measured curve, or one learnt from pairs of scans.

The curve was measured on three sessions of two patients with multiple sclerosis (Lesjak 2017), T1w brought rigidly
onto FLAIR, lesions left out: medians in bins, mean over the sessions, by

    python scripts/experiments/flair_curve.py --head MNI152_T1_2mm.nii.gz \
        --tissue MNI152_T1_2mm_Brain_FAST_seg.nii.gz \
        --pair long_patient01_study1_T1W.nii.gz long_patient01_study1_FLAIR.nii.gz \
        --pair long_patient01_study2_T1W.nii.gz long_patient01_study2_FLAIR.nii.gz \
        --pair long_patient12_study1_T1W.nii.gz long_patient12_study1_FLAIR.nii.gz
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.io import read_volume
from neuroxai.io.names import entity, suffix_of
from neuroxai.simulate.anatomy import Array, anatomy_of

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


LEAST_VOXELS = 200
"""Fewer voxels in a bin tell nothing."""

_LESION, _FLUID = 1.35, 0.5
"""FLAIR above `_LESION` where T1w is above `_FLUID` is taken for a lesion, white matter being 1 in both."""


def learn_curve(folder: Path) -> Curve:
    """Learn the curve from all sessions that have both contrasts.

    Parameters
    ----------
    folder : pathlib.Path
        Holds, at any depth, scans from `neuroxai prepare` of both modalities (such as ``prepared/t1w`` and
        ``prepared/flair``): brain-extracted, in MNI152 space, pairs on one grid.

    Returns
    -------
    Curve
        Median FLAIR in bins of the T1w intensity, the mean over pairs; 0 where T1w is 0.

    Raises
    ------
    InputError
        If there is no pair, a pair lies on two grids, or no bin is filled.
    """
    curves = [_curve_of(t1w, flair) for t1w, flair in pairs_in(folder)]
    counts = np.isfinite(curves).sum(axis=0)
    known = counts > 0
    known[0] = True
    if known.sum() < 4:
        raise InputError(
            f"{folder}: its pairs fill {int(known.sum()) - 1} of {len(T1W) - 1} bins of intensity; look at the scans"
        )
    means = np.where(known, np.nansum(curves, axis=0) / np.maximum(counts, 1), 0.0)
    values = np.interp(T1W, np.asarray(T1W)[known], means[known])
    return Curve(T1W, tuple(round(float(v), 4) for v in values))


def pairs_in(folder: Path) -> list[tuple[Path, Path]]:
    """Find T1w and FLAIR scans of the same participant and session, sorted.

    Raises
    ------
    InputError
        If there is none, or one of a pair is there twice.
    """
    found: dict[tuple[str | None, str | None], dict[str, Path]] = {}
    for path in sorted(p for p in folder.rglob("sub-*.nii*") if suffix_of(p.name) in ("T1w", "FLAIR")):
        key = entity(path.name, "sub"), entity(path.name, "ses")
        one = found.setdefault(key, {})
        if suffix_of(path.name) in one:
            raise InputError(
                f"{path} and {one[suffix_of(path.name)]}: two of one kind, expected one; give a folder with one"
            )
        one[suffix_of(path.name)] = path
    pairs = [(one["T1w"], one["FLAIR"]) for one in found.values() if len(one) == 2]
    if not pairs:
        raise InputError(f"{folder}: no participant has both a T1w and a FLAIR scan below it; prepare both modalities")
    return pairs


def _curve_of(t1w: Path, flair: Path) -> NDArray[np.float64]:
    """Median FLAIR over white matter at each knot; NaN where a bin is nearly empty."""
    one, other = read_volume(t1w), read_volume(flair)
    if not one.space.matches(other.space):
        raise InputError(f"{flair} ({other.space.describe()}) is on another grid than {t1w.name}; prepare both alike")
    anatomy, _ = anatomy_of(one, t1w.name)
    # where T1w is 1, so that FLAIR is 1 there too
    core = anatomy.brain & (np.abs(anatomy.t1 - 1.0) < 0.05) & (other.data > 0)
    if core.sum() < LEAST_VOXELS:
        raise InputError(f"{t1w}: {int(core.sum())} voxels of white matter, expected {LEAST_VOXELS}; look at the scan")
    a, b = anatomy.t1, other.data / np.median(other.data[core])
    usable = anatomy.brain & (other.data > 0) & ~((b > _LESION) & (a > _FLUID))
    values = np.full(len(T1W), np.nan)
    values[0] = 0.0
    for n, knot in enumerate(T1W[1:], start=1):
        near = b[usable & (np.abs(a - knot) < 0.05)]
        if near.size >= LEAST_VOXELS:
            values[n] = np.median(near)
    return values
