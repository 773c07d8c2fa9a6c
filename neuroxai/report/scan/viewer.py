"""What the page's viewer shows: scan, heatmap and regions as small packed arrays on one upright grid."""

from __future__ import annotations

import base64
import gzip
import json
import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas import Atlas
from neuroxai.canvas import colour_map, grey_of
from neuroxai.space import Space, Volume

MOST_VOXELS = 1_300_000  # 96 x 114 x 96 whole; finer grids are thinned out, so that a page stays small


def viewer_data(
    heatmap: Volume, scan: Volume | None, limit: float, regions: Regions | None = None, own: float | None = None
) -> str:
    """Pack one scan for ``viewer.js``; the same inputs give the same text.

    Parameters
    ----------
    heatmap : Volume
        On the network's grid.
    scan : Volume or None
        On any grid; brought to that of the heatmap.
    limit : float
        Relevance that has the end colours.
    own : float, optional
        Relevance that has them where the map is stretched; `limit` by default.
    regions : Regions, optional
        Names what is under the crosshair.

    Returns
    -------
    str
        JSON without ``<``: arrays as gzip in base64, first axis (left to right) fastest.
    """
    upright = _thinned(heatmap.reoriented("RAS"))
    space = upright.space
    data = upright.data.astype(np.float64)
    # packed on the smaller scale, so that a faint map keeps its steps; the page draws it on the larger one
    fine = limit if own is None else min(own, limit)
    share = np.clip(data / fine, -1, 1) if fine > 0 else np.zeros(data.shape)
    # 128 is no relevance, 1 and 255 the ends
    relevance = (np.rint(share * 127) + 128).astype(np.uint8)
    grey = np.zeros(space.shape, np.uint8)
    if scan is not None:
        grey = np.rint(255 * grey_of(scan.resampled_to(space).data)).astype(np.uint8)
    peak = np.unravel_index(int(np.abs(data).argmax()), data.shape)
    colours = (np.rint(255 * colour_map()((np.arange(256) - 128) / 254 + 0.5)[:, :3])).astype(int)
    record: dict[str, Any] = {
        "shape": list(space.shape),
        "spacing": [round(float(v), 6) for v in space.spacing],
        "affine": [[round(float(v), 6) for v in row] for row in space.affine[:3]],
        "start": [int(n) for n in peak],
        "limit": fine,
        "scale": limit,
        "colours": colours.ravel().tolist(),
        "scan": _packed(grey),
        "relevance": _packed(relevance),
        "labels": None,
        "names": {},
        "places": {},
    }
    if regions is not None:
        record |= regions.on(space)
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


class Regions:
    """An atlas for the viewer; packed once for all scans of a grid."""

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self._space: Space | None = None
        self._packed: dict[str, Any] = {}

    def on(self, space: Space) -> dict[str, Any]:
        """Return label image, names by number (1 and up, in the atlas's order) and a voxel inside each region."""
        if self._space is None or not space.matches(self._space):
            self._space, self._packed = space, _regions(self.atlas, space)
        return self._packed


def _regions(atlas: Atlas, space: Space) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # regions that a coarse grid loses are reported where they are scored
        on_grid = atlas.resampled_to(space)
    values = [value for value in on_grid.names if value and (on_grid.labels == value).any()][:255]
    numbers = np.zeros(space.shape, np.uint8)
    places = {}
    for number, value in enumerate(values, start=1):
        inside = np.argwhere(on_grid.labels == value)
        numbers[tuple(inside.T)] = number
        # the middle itself may lie outside a region that is bent
        middle = inside[np.abs(inside - inside.mean(axis=0)).sum(axis=1).argmin()]
        places[on_grid.names[value]] = [int(n) for n in middle]
    names = {str(number): on_grid.names[value] for number, value in enumerate(values, start=1)}
    return {"labels": _packed(numbers), "names": names, "places": places}


def _thinned(volume: Volume) -> Volume:
    step = max(1, math.ceil((volume.data.size / MOST_VOXELS) ** (1 / 3) - 1e-9))
    if step == 1:
        return volume
    affine = volume.space.affine.copy()
    affine[:3, :3] *= step
    data = np.ascontiguousarray(volume.data[::step, ::step, ::step])
    return Volume(data, Space(data.shape, affine))


def _packed(values: NDArray[np.uint8]) -> str:
    # mtime 0: same data, same text
    return base64.b64encode(gzip.compress(values.tobytes(order="F"), compresslevel=6, mtime=0)).decode("ascii")
