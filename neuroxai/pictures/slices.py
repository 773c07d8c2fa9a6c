"""Slices as pictures show them: neurological convention, the subject's left on the left side of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.space import Space, Volume


@dataclass(frozen=True)
class Plane:
    """How a plane is cut and shown, in terms of the axes of a RAS grid.

    Parameters
    ----------
    name : str
        ``"axial"``, ``"coronal"`` or ``"sagittal"``.
    normal, across, up : int
        World axis (0 right, 1 front, 2 up) cut through, running to the picture's right and to its top.
    left, right : str
        What lies at the picture's left and right edge.
    """

    name: str
    normal: int
    across: int
    up: int
    left: str
    right: str

    @property
    def axis_name(self) -> str:
        """Name of the coordinate of a slice."""
        return "xyz"[self.normal]


PLANES = {
    "axial": Plane("axial", 2, 0, 1, "L", "R"),
    "coronal": Plane("coronal", 1, 0, 2, "L", "R"),
    "sagittal": Plane("sagittal", 0, 1, 2, "P", "A"),
}


def slice_image(volume: Volume, plane: str, index: int) -> NDArray[Any]:
    """Cut one slice as a picture: row 0 at the top, column 0 at the left.

    Parameters
    ----------
    volume : Volume
        In any orientation; its axes are first permuted and flipped to the nearest of RAS.
    plane : {"axial", "coronal", "sagittal"}
        Front is up in axial slices, the head's top in the others; front is right in sagittal slices.
    index : int
        Along the plane's normal, in the RAS grid.

    Returns
    -------
    ndarray, shape (rows, columns)
        Axial and coronal: the subject's left in the low columns.
    """
    return _upright(volume.reoriented("RAS"), PLANES[plane], index)


def _upright(grid: Volume, cut: Plane, index: int) -> NDArray[Any]:
    # the axes that remain keep their order, and in each plane the lower one runs across
    return np.asarray(np.take(grid.data, index, axis=cut.normal).T[::-1])


def coordinate(space: Space, plane: str, index: int) -> float:
    """World coordinate in mm of a slice's centre along the plane's normal; `index` in the RAS grid."""
    axis = PLANES[plane].normal
    grid = space.reoriented("RAS")
    middle = (np.array(grid.shape) - 1) / 2
    middle[axis] = index
    return float(grid.world(middle)[axis])


def bounding_box(inside: NDArray[np.bool_], margin: int = 1) -> list[tuple[int, int]]:
    """First and one-past-last index along each axis; the whole array where nothing is inside."""
    box = []
    for axis, size in enumerate(inside.shape):
        present = np.flatnonzero(inside.any(axis=tuple(a for a in range(inside.ndim) if a != axis)))
        low, high = (int(present[0]), int(present[-1]) + 1) if present.size else (0, size)
        box.append((max(low - margin, 0), min(high + margin, size)))
    return box


def choose(low: int, high: int, count: int, peak: int | None = None) -> list[int]:
    """Spread `count` slices evenly over [low, high), keeping off the ends; the one next to `peak` moves onto it."""
    count = min(count, high - low)
    inner = np.linspace(low, high - 1, count + 2)[1:-1] if high - low > count else np.arange(low, high)
    chosen = np.rint(inner).astype(int)
    if peak is not None and low <= peak < high:
        chosen[int(np.abs(chosen - peak).argmin())] = peak
    return [int(i) for i in np.unique(chosen)]


def strip(
    volume: Volume,
    plane: str,
    indices: Sequence[int],
    box: Sequence[tuple[int, int]],
    parts: Sequence[int] = (1, 1),
) -> NDArray[Any]:
    """Lay slices side by side, each cropped to the box; `indices` and `box` in the RAS grid.

    With `parts`, each voxel becomes so many pixels upwards and across, interpolated linearly between voxels' centres.
    """
    from PIL import Image

    grid = volume.reoriented("RAS")
    cut = PLANES[plane]
    (c0, c1), (r0, r1) = box[cut.across], box[cut.up]
    rows = grid.space.shape[cut.up]
    tiles = [_upright(grid, cut, i)[rows - r1 : rows - r0, c0:c1] for i in indices]
    if max(parts) > 1:
        size = (parts[1] * (c1 - c0), parts[0] * (r1 - r0))
        # the picture's edges stay where they are, and not the outermost voxels' centres
        plain = [Image.fromarray(np.ascontiguousarray(tile, np.float32)) for tile in tiles]
        tiles = [np.asarray(tile.resize(size, Image.Resampling.BILINEAR)) for tile in plain]
    return np.concatenate(tiles, axis=1)
