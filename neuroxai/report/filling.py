"""A scan before and after lesion filling."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from neuroxai.canvas import grey_of
from neuroxai.errors import InputError, SpaceError
from neuroxai.report import slices
from neuroxai.report.outlined import Line, draw, mask_of, strip_of, write_png
from neuroxai.space import Volume

LESIONS = "#3f97f0"
_APART = 6.0  # mm between the slices shown, at least


def filling_figure(
    path: str | os.PathLike[str], *, scan: Volume, filled: Volume, lesions: Volume, name: str, count: int = 6
) -> Path:
    """Draw a scan before and after lesion filling, in the axial slices with most lesion.

    Parameters
    ----------
    path : path_like
        Ending in ``.png``; written atomically.
    scan, filled, lesions : Volume
        On one grid; `lesions` are the voxels filled, outlined in the upper row.
    name : str
        For the heading.
    count : int
        Slices, at most.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        If the path has another ending, or there are no lesions to show.
    SpaceError
        If the three lie on different grids.
    """
    for other in (filled, lesions):
        if not scan.space.matches(other.space):
            raise SpaceError(f"the scan ({scan.space.describe()}) and its filling ({other.space.describe()}) differ")
    mask = mask_of(lesions)
    amount = mask.data.sum(axis=(0, 1), dtype=int)
    if not amount.any():
        raise InputError(f"{name}: has no lesions, so there is no filling to show")
    # slices with most lesion, but not all of them neighbours
    apart = max(1, round(_APART / mask.space.spacing[2]))
    chosen: list[int] = []
    for index in np.argsort(-amount, kind="stable"):
        if amount[index] and all(abs(int(index) - other) >= apart for other in chosen):
            chosen.append(int(index))
    indices = sorted(chosen[:count])
    before, after = scan.reoriented("RAS"), filled.reoriented("RAS")
    visible = grey_of(before.data) > 0.05
    box = slices.bounding_box(visible)
    low, high = float(before.data.min()), float(np.percentile(before.data[visible], 99.5))
    sections = []
    for title, image, outlines in (
        ("before; blue: the voxels filled", before, {LESIONS: mask}),
        ("after, the same grey scale", after, {}),
    ):
        grey = Volume(np.clip((image.data - low) / ((high - low) or 1.0), 0, 1), image.space)
        sections.append((title, [strip_of(grey, outlines, "axial", indices, box)]))
    volume = int(amount.sum()) * scan.space.voxel_volume / 1000
    return write_png(
        path, draw([Line(f"{name}   {int(amount.sum())} voxels filled, {volume:.2f} ml", size=10.0)], sections)
    )
