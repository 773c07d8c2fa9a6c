"""Whether a map lies in MNI152 space, as the atlases that come by name do."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from neuroxai.errors import SpaceError
from neuroxai.io.names import entity, suffix_of
from neuroxai.space import Volume

_OWN = ("t1w", "t2w", "flair", "pdw", "bold", "dwi", "individual", "native", "scanner")
"""Spaces of BIDS that are each participant's own, and suffixes of scans, which lie there where no space is named."""

OUTSIDE = 0.25
"""Share of a map's magnitude outside the template's brain from which it is asked about: heads have .3 and more."""
_MARGIN = 4  # voxels of 2 mm around the template's brain: other brains are larger


def check_place(file: Path) -> None:
    """Refuse a map whose name says that it lies in the participant's own space.

    Raises
    ------
    SpaceError
        Naming the space.
    """
    space = entity(file.name, "space")
    if space is not None and space.lower() in _OWN:
        raise SpaceError(
            f"{file}: lies in the participant's own space ({space}, by its name), the atlas in MNI152 space: sums "
            "would stand under wrong names. Give the map of space network or orig, or a label image of the "
            "same space (--atlas)"
        )
    if space is None and entity(file.name, "desc") is None and suffix_of(file.name).lower() in _OWN:
        raise SpaceError(
            f"{file}: is a scan as the scanner left it, by its name ({suffix_of(file.name)}, no space), the atlas lies "
            "in MNI152 space. Give a heatmap, or a scan that `neuroxai prepare` made"
        )


def doubt_of(file: Path, volume: Volume) -> str | None:
    """Return what speaks against a map's lying in MNI152 space, where its name says nothing; else None."""
    if entity(file.name, "space") is not None:
        return None
    magnitude = np.abs(volume.data.astype(np.float64))
    total = float(magnitude.sum())
    outside = float(magnitude[_brain().resampled_to(volume.space).data < 0.5].sum()) / total if total > 0 else 0.0
    if outside < OUTSIDE:
        return None
    return (
        f"{file}: {outside:.0%} of the map's magnitude lies outside the brain of the MNI152 template, in whose space "
        "the atlas lies; a map of another space stands under wrong names"
    )


@lru_cache(maxsize=1)
def _brain() -> Volume:
    from scipy import ndimage

    from neuroxai.preprocess.template import load_template

    brain = load_template(spacing=2).brain
    return Volume(ndimage.binary_dilation(brain.data, iterations=_MARGIN).astype(np.float32), brain.space)
