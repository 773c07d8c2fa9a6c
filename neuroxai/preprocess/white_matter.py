"""White matter of a scan by its intensities, with or without a map of where it usually lies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.space import Volume

MODALITIES = ("T1w", "FLAIR")

BINS = 200
"""Of the histogram between the 0.5th and the 99.5th percentile."""


def white_matter(
    scan: Volume, brain: Volume, prior: Volume | None = None, modality: str = "T1w", width: float = 2.5
) -> NDArray[np.bool_]:
    """Find white matter inside the brain.

    With a prior (the template's white matter carried to the scan) it is where the prior is above .5 and the intensity
    lies within `width` robust standard deviations of the median there, so that lesions and stray grey matter drop
    out.

    Without one the histogram of the brain decides, whose peaks grey and white matter share to some degree. T1w: the
    brightest peak that reaches half the highest; its bright flank, which no other tissue touches, gives the standard
    deviation s, and white matter runs from 1.5 s below to 2.5 s above it. FLAIR, where grey matter is a little
    brighter: the highest peak, s from its dark flank, from 2.5 s below to 1 s above. Cortex is part of it there; a
    prior is better.

    Parameters
    ----------
    scan : Volume
        Best corrected for the bias field.
    brain : Volume
        Mask on the same grid.
    prior : Volume, optional
        Probability or mask of white matter, on any grid of the same world.
    modality : {"T1w", "FLAIR"}
        Used without a prior.
    width : float
        In robust standard deviations (1.4826 times the median absolute deviation), with a prior.

    Returns
    -------
    ndarray of bool, shape ``scan.space.shape``

    Raises
    ------
    InputError
        If the modality is unknown, or brain, prior or contrast leave nothing to find.
    SpaceError
        If scan and brain mask lie on different grids.
    """
    if modality not in MODALITIES:
        raise one_of("modality", modality, MODALITIES)
    if not scan.space.matches(brain.space):
        raise SpaceError(f"the scan ({scan.space.describe()}) and the brain mask ({brain.space.describe()}) differ")
    inside = np.asarray(brain.data) != 0
    values = np.asarray(scan.data, dtype=np.float64)
    if not inside.any() or values[inside].min() == values[inside].max():
        raise InputError("the brain mask is empty or the brain has no contrast; check the brain extraction")
    if prior is not None:
        likely = inside & (prior.resampled_to(scan.space).data > 0.5)
        if not likely.any():
            raise InputError(
                f"the white-matter prior ({prior.space.describe()}) is nowhere above .5 inside the brain; was it "
                "carried to the scan?"
            )
        middle = np.median(values[likely])
        spread = 1.4826 * np.median(np.abs(values[likely] - middle))
        return np.asarray(likely & (np.abs(values - middle) <= width * spread))
    low, high = _around_peak(values[inside], modality)
    return np.asarray(inside & (values >= low) & (values <= high))


def _around_peak(values: NDArray[Any], modality: str) -> tuple[float, float]:
    """Range of intensities of white matter by the histogram's peaks."""
    from scipy import ndimage

    first, last = np.percentile(values, (0.5, 99.5))
    counts, edges = np.histogram(values, bins=BINS, range=(first, last))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 3, mode="constant")
    # fluid lies in the lowest third
    tops = [i for i in range(BINS // 3, BINS - 1) if smooth[i - 1] < smooth[i] >= smooth[i + 1]]
    if not tops:
        raise InputError(
            "the brain's intensities have no peak above fluid, so white matter cannot be told; give a prior, such as "
            "the template's white matter carried to the scan"
        )
    highest = max(smooth[top] for top in tops)
    if modality == "T1w":
        peak = max(top for top in tops if smooth[top] >= 0.5 * highest)
        free = np.flatnonzero(smooth[peak:] < smooth[peak] / 2)
        width = int(free[0]) if free.size else BINS - 1 - peak
        sides = (1.5, 2.5)
    else:
        peak = next(top for top in tops if smooth[top] == highest)
        free = np.flatnonzero(smooth[: peak + 1][::-1] < smooth[peak] / 2)
        width = int(free[0]) if free.size else peak
        sides = (2.5, 1.0)
    spread = max(width, 1) * (edges[1] - edges[0]) / np.sqrt(2 * np.log(2))
    middle = (edges[peak] + edges[peak + 1]) / 2
    return float(middle - sides[0] * spread), float(middle + sides[1] * spread)
