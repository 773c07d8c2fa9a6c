"""What all statistics check of their input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError, SpaceError


def table(values: ArrayLike, what: str, least: int = 1) -> NDArray[np.float64]:
    """Return values of shape (scans, regions) as float64, or say what is wrong with them."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise InputError(f"{what} have shape {array.shape}, wanted (scans, regions); give one row a scan")
    if len(array) < least:
        raise InputError(f"{what}: {len(array)} scans, wanted {least} or more")
    return array


def same_columns(first: NDArray[Any], second: NDArray[Any]) -> None:
    """Refuse two tables of different regions."""
    if first.shape[-1] != second.shape[-1]:
        raise InputError(
            f"{first.shape[-1]} regions against {second.shape[-1]}; score both with one atlas, in one order"
        )


def voxels(heatmap: ArrayLike, mask: ArrayLike | None = None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a finite heatmap as float64 and the mask as bool; all voxels where there is no mask."""
    relevance = np.asarray(heatmap, dtype=np.float64)
    inside = np.ones(relevance.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if relevance.shape != inside.shape:
        raise SpaceError(f"mask of shape {inside.shape} does not fit a heatmap of shape {relevance.shape}")
    if not np.isfinite(relevance).all():
        raise InputError("the heatmap holds NaN or infinite values; explain the scan again")
    return relevance, inside
