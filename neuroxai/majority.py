"""Labels on another grid: each voxel takes the label that fills most of it.

Where two labels fill a voxel alike, the one that fills more of its surroundings (a box twice as wide) has it, and where
that is even too, the one of the lower value. Neither depends on the order or the direction of a grid's axes, and the
surroundings, which settle nearly all ties, know no left and right: by the lowest value alone background and left
regions, which most tables number first, would grow everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Gather = Callable[[NDArray[np.intp], float], tuple[NDArray[Any], NDArray[np.float64]]]
"""For some voxels and a width in voxels: the labels inside, shape (voxels, n), and how much of the box each fills."""

TIE = 1e-3
"""Shares that differ by less are alike: headers keep their affines in float32."""

_ALIGNED = 1e-2
"""Axes that leave the old ones by less than this many old voxels over the whole grid run along them."""
_AT_A_TIME = 1 << 20


def majority(labels: NDArray[Any], matrix: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[Any]:
    """Bring a label image to another grid; outside its field of view is background, 0.

    Parameters
    ----------
    labels : ndarray, three-dimensional
        Whole numbers or truth values.
    matrix : ndarray, shape (4, 4)
        From the new grid's voxel indices to those of `labels`.
    shape : tuple of int
        The new grid's shape.

    Returns
    -------
    ndarray
        Of the labels' type. Shares are exact where the axes of both grids run alike, in any order and direction;
        on oblique grids they are counted at points, two or more an old voxel along each axis.
    """
    linear, offset = matrix[:3, :3].copy(), matrix[:3, 3].copy()
    off = np.abs(linear) * np.array(shape) < _ALIGNED
    middle = (np.array(shape) - 1) / 2
    offset += np.where(off, linear, 0.0) @ middle
    linear[off] = 0.0
    source_axes = np.abs(linear).argmax(axis=0)
    if np.count_nonzero(linear) == 3 and sorted(source_axes) == [0, 1, 2]:
        steps, starts = linear[source_axes, range(3)], offset[source_axes]
        return _by_overlap(labels.transpose(source_axes), steps, starts, shape)
    voter = Voter(labels, matrix[:3, :3])
    result = np.zeros(shape, labels.dtype)
    rows = max(1, _AT_A_TIME // (shape[1] * shape[2]))
    for start in range(0, shape[0], rows):
        axes = np.ogrid[start : min(start + rows, shape[0]), : shape[1], : shape[2]]
        places = [row[0] * axes[0] + row[1] * axes[1] + (row[2] * axes[2] + row[3]) for row in matrix[:3]]
        result[start : start + rows] = voter(np.stack(places))
    return result


class Voter:
    """Labels of voxels that lie anywhere in a label image, all of one size and direction.

    Parameters
    ----------
    labels : ndarray, three-dimensional
        The image.
    linear : ndarray, shape (3, 3)
        The voxels' edges, as columns, in voxels of the image.
    """

    def __init__(self, labels: NDArray[Any], linear: NDArray[np.float64]) -> None:
        from scipy import ndimage

        self.linear = np.asarray(linear, dtype=np.float64)
        # a voxel centred in an old one touches the old ones this far away, and no others
        reach = np.floor(1 + np.abs(self.linear).sum(axis=1) / 2).astype(int)
        self._pad = reach + 1  # what lies beyond is background like the rim
        plain = labels.astype(np.uint8) if labels.dtype == bool else labels
        self._labels = np.pad(plain, [(int(n), int(n)) for n in self._pad])
        sizes = tuple(int(n) for n in 2 * reach + 1)
        self._even = ndimage.minimum_filter(self._labels, sizes) == ndimage.maximum_filter(self._labels, sizes)
        self._type = labels.dtype

    def __call__(self, places: NDArray[np.float64]) -> NDArray[Any]:
        """Return the labels of voxels with these centres, shape (3, ...), in voxels of the image."""
        at = self._inside(list(places.reshape(3, -1)))
        result = self._labels.take(at)
        centres = places.reshape(3, -1)[:, mixed := np.flatnonzero(~self._even.take(at))]

        def gather(rows: NDArray[np.intp], width: float) -> tuple[NDArray[Any], NDArray[np.float64]]:
            counts = 1 + np.ceil(2 * width * np.linalg.norm(self.linear, axis=0) - 1e-6).astype(int)
            axes = [((np.arange(n) + 0.5) / n - 0.5) * width for n in counts]
            points = self.linear @ np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
            found = self._labels.take(self._inside([c[rows, None] + p for c, p in zip(centres, points, strict=True)]))
            return found, np.full(found.shape, 1.0 / points.shape[1])

        result[mixed] = _decided(gather, len(mixed), self._labels.dtype)
        return result.reshape(places.shape[1:]).astype(self._type)

    def _inside(self, places: Sequence[NDArray[np.float64]]) -> NDArray[np.intp]:
        """Return flat indices into the padded image, whose rim is background."""
        flat = np.zeros(1)
        for place, pad, count in zip(places, self._pad, self._labels.shape, strict=True):
            flat = flat * count + np.clip(np.rint(place) + pad, 0, count - 1)
        return flat.astype(np.intp)


def _by_overlap(
    labels: NDArray[Any], steps: NDArray[np.float64], starts: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[Any]:
    """Vote by volumes, which are products of overlaps along the three axes."""
    plain = np.pad(labels.astype(np.uint8) if labels.dtype == bool else labels, 1)
    windows = {
        width: [
            _overlaps(n, m, step, start, width)
            for n, m, step, start in zip(shape, labels.shape, steps, starts, strict=True)
        ]
        for width in (1.0, 2.0)
    }
    low = high = plain
    for axis, (index, _) in enumerate(windows[1.0]):
        low, high = (_reduced(least, data, index, axis) for least, data in ((np.minimum, low), (np.maximum, high)))
    mixed = np.argwhere(low != high)

    def gather(rows: NDArray[np.intp], width: float) -> tuple[NDArray[Any], NDArray[np.float64]]:
        (x, wx), (y, wy), (z, wz) = (
            (i[mixed[rows, axis]], w[mixed[rows, axis]]) for axis, (i, w) in enumerate(windows[width])
        )
        found = plain[x[:, :, None, None], y[:, None, :, None], z[:, None, None, :]]
        share = wx[:, :, None, None] * wy[:, None, :, None] * wz[:, None, None, :]
        return found.reshape(len(rows), -1), share.reshape(len(rows), -1)

    low[tuple(mixed.T)] = _decided(gather, len(mixed), plain.dtype)
    return low.astype(labels.dtype)


def _reduced(least: Any, data: NDArray[Any], index: NDArray[np.intp], axis: int) -> NDArray[Any]:
    result = np.take(data, index[:, 0], axis)
    for column in index.T[1:]:
        least(result, np.take(data, column, axis), out=result)
    return np.asarray(result)


def _overlaps(
    count: int, old: int, step: float, start: float, width: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return for each new voxel along an axis the old ones that it overlaps, and their shares; the rim is voxel 0."""
    centre = step * np.arange(count) + start + 0.5  # old voxel n reaches from n to n + 1
    half = abs(step) * width / 2
    low, high = centre - half, centre + half
    first = np.floor(low + 1e-6).astype(np.intp)
    most = int((np.ceil(high - 1e-6) - first).max())
    index = first[:, None] + np.arange(max(most, 1))
    share = np.minimum(high[:, None], index + 1) - np.maximum(low[:, None], index)
    # a column too many for some voxels shows them a neighbour that counts for nothing: rather their first one twice
    index = np.where(share > 0, index, first[:, None])
    return np.clip(index + 1, 0, old + 1), np.maximum(share, 0.0) / (2 * half)


def _decided(gather: Gather, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Let the labels inside each voxel vote; ties go to the surroundings, then to the lower value."""
    result = np.zeros(count, dtype)
    for rows in _tiles(gather, np.arange(count), 1.0):
        row, value, alike = _votes(*gather(rows, 1.0))
        result[rows] = _lowest(row, value, alike)
        counts = np.bincount(row[alike])
        alike &= counts[row] > 1
        tied, place = np.unique(row[alike], return_inverse=True)
        known, rank = np.unique(value[alike], return_inverse=True)
        candidates = place * len(known) + rank
        for few in _tiles(gather, np.arange(len(tied)), 2.0, rows[tied]):
            row, value, share = _shares(*gather(rows[tied[few]], 2.0))
            rank = np.searchsorted(known, value).clip(max=len(known) - 1)
            stands = (known[rank] == value) & np.isin(few[row] * len(known) + rank, candidates)
            row, value, share = row[stands], value[stands], share[stands]
            if not len(row):
                continue
            # a tied label that the surroundings' points miss has nothing to add
            found = np.unique(row)
            result[rows[tied[few[found]]]] = _lowest(row, value, _alike(row, share))
    return result


def _tiles(
    gather: Gather, rows: NDArray[np.intp], width: float, asked: NDArray[np.intp] | None = None
) -> Iterator[NDArray[np.intp]]:
    """Cut into parts of a bounded number of labels."""
    if not len(rows):
        return
    inside: int = gather((rows if asked is None else asked)[:1], width)[0].size
    tile = max(1, _AT_A_TIME // inside)
    for start in range(0, len(rows), tile):
        yield rows[start : start + tile]


def _shares(
    labels: NDArray[Any], shares: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[Any], NDArray[np.float64]]:
    """Sum up the shares of each label of each row; three lists by row and rising label: row, label, sum."""
    order = np.argsort(labels, axis=1, kind="stable")
    labels, shares = np.take_along_axis(labels, order, 1), np.take_along_axis(shares, order, 1)
    first = np.ones(labels.shape, dtype=bool)
    first[:, 1:] = labels[:, 1:] != labels[:, :-1]
    starts = np.flatnonzero(first)
    return starts // labels.shape[1], labels.ravel()[starts], np.add.reduceat(shares.ravel(), starts)


def _votes(
    labels: NDArray[Any], shares: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[Any], NDArray[np.bool_]]:
    row, value, share = _shares(labels, shares)
    return row, value, _alike(row, share)


def _alike(row: NDArray[np.intp], share: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which labels have the largest share of their row, or as good as that."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    most = np.maximum.reduceat(share, starts)
    return np.asarray(share >= np.repeat(most, np.diff(starts, append=len(row))) - TIE)


def _lowest(row: NDArray[np.intp], value: NDArray[Any], stands: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the first label of each row that stands; labels rise within a row."""
    row, value = row[stands], value[stands]
    return value[np.flatnonzero(np.diff(row, prepend=-1))]
