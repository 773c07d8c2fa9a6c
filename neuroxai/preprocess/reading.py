"""Read what is to be prepared, and refuse what no preparation can mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuroxai.errors import InputError, SpaceError
from neuroxai.io import is_dicom, read_labels, read_series, read_volume
from neuroxai.space import Space, Volume

LEAST_EXTENT = 100.0
"""Millimetres along every axis. An adult's brain is about 120 mm high, a whole head's thinnest clinical stack 110 to
120 mm (22 to 24 slices of 5 mm); a slab of the hippocampi (60 to 90 mm) would be stretched onto a whole brain. What
lies between is registered, and flagged where the brain is cut (`quality_flags`)."""

LEAST_VOXELS = 12


def read_scan(path: Path, series: str | None = None) -> tuple[Volume, dict[str, Any]]:
    """Read a NIfTI file or a DICOM series, and what the latter tells of the acquisition (nothing of the person).

    Raises
    ------
    InputError, SpaceError
        If the scan cannot be read, or covers too little of a head.
    """
    if path.is_dir() or is_dicom(path):
        volume, facts = read_series(path, series)
        if not np.isfinite(volume.data).all() or volume.data.min() == volume.data.max():
            raise InputError(f"{path}: the series holds no picture (constant or not finite); export it again")
    else:
        volume, facts = read_volume(path), {}
    check_extent(volume.space, str(path))
    return volume, facts


def check_extent(space: Space, name: str) -> None:
    """Refuse scans of a few slices.

    Raises
    ------
    SpaceError
        If an axis has fewer than `LEAST_VOXELS` voxels or covers less than `LEAST_EXTENT`.
    """
    for axis, (count, size) in enumerate(zip(space.shape, space.spacing, strict=True)):
        if count < LEAST_VOXELS or count * size < LEAST_EXTENT:
            raise SpaceError(
                f"{name}: {count} voxels of {size:.3g} mm along {space.orientation[axis]} cover {count * size:.3g} mm, "
                f"expected {LEAST_VOXELS} voxels and {LEAST_EXTENT:g} mm or more; give a scan of the whole head"
            )


def read_mask(path: Path, grid: Space, what: str, may_be_empty: bool = False) -> Volume:
    """Read a mask that lies on a scan's grid; axes may be permuted or flipped.

    Raises
    ------
    InputError, SpaceError
        If it is no mask, is empty, or lies on another grid.
    """
    mask = read_labels(path)
    if (mask.data < 0).any() or (not may_be_empty and not mask.data.any()):
        raise InputError(f"{path}: the {what} is {'empty' if not mask.data.any() else 'negative somewhere'}; draw it")
    if sorted(mask.space.shape) != sorted(grid.shape) or not mask.space.reoriented().matches(grid.reoriented(), 0.1):
        raise SpaceError(
            f"{path}: the {what} has {mask.space.describe()}, the scan {grid.describe()}, and they do not lie on one "
            "another; wanted a mask on the scan's grid"
        )
    on_scan = mask.reoriented(grid.orientation)
    return Volume(np.ascontiguousarray(on_scan.data > 0), grid)
