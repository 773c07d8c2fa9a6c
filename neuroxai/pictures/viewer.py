"""What the page's viewer shows: scan, heatmap, controls' mean and regions, packed small, each on its own grid."""

from __future__ import annotations

import base64
import gzip
import json
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas import Atlas
from neuroxai.canvas import colour_map, grey_of
from neuroxai.pictures.slices import bounding_box
from neuroxai.preprocess.mapping import Mapping
from neuroxai.preprocess.template import load_template
from neuroxai.space import Space, Volume

MOST_VOXELS = 1_600_000
"""Of the heatmap, and of the scan cropped to the head; finer ones are made coarser, so that a page stays below 2 MB."""
_TEMPLATE = "MNI152 template"
_COARSE = 2.5  # mm: a scan of larger voxels is offered the template's anatomy, too
_LABELS = 2.0  # mm: outlines of regions are drawn on voxels of at most this size


@dataclass(frozen=True, eq=False)
class Unprepared:
    """A scan before `neuroxai prepare` brought it to the network's world.

    Parameters
    ----------
    scan : Volume
        As the scanner gave it, cut to what the network's grid covers.
    heatmap : Volume
        On the same grid, as `neuroxai explain` wrote it.
    mapping : Mapping
        Between the network's world and the scan's.
    """

    scan: Volume
    heatmap: Volume
    mapping: Mapping


@dataclass
class Backdrop:
    """What the viewers of all scans share: regions by name, and what controls' heatmaps look like on average.

    Parameters
    ----------
    atlas : Atlas, optional
        Names what is under the crosshair. With one, the scans lie in MNI152 space, so that nilearn's template can stand
        in for a scan that is absent or coarse.
    controls : Volume, optional
        Mean heatmap of the controls, on the network's grid.
    titles : frozenset of str
        Whose they are.
    """

    atlas: Atlas | None = None
    controls: Volume | None = None
    titles: frozenset[str] = frozenset()
    _packed: dict[str, Any] = field(default_factory=dict, repr=False)

    def without(self, title: str, heatmap: Volume) -> Backdrop:
        """Leave a scan out of the controls' mean, so that a control is not compared with itself."""
        if self.controls is None or title not in self.titles:
            return self
        count = len(self.titles)
        data = (self.controls.data * count - heatmap.data) / (count - 1)
        return replace(self, controls=Volume(data, self.controls.space), titles=self.titles - {title})

    def inside(self, name: str, space: Space) -> NDArray[np.bool_] | None:
        """Return where a region lies on a grid; None where it is not known, or has no voxel there."""
        kept = self._packed.setdefault("inside", {})
        if self.atlas is None or name not in self.atlas.names.values():
            return None
        if name not in kept or kept[name].shape != space.shape:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # regions that a coarse grid loses are reported where they are scored
                kept[name] = self.atlas.only([name]).resampled_to(space).labels != 0
        return kept[name] if kept[name].any() else None

    def regions_over(self, space: Space, route: _Route, frame: NDArray[np.float64]) -> dict[str, Any]:
        """Return label image, names by number (1 and up, in the atlas's order) and a point inside each region."""
        if self.atlas is None:
            return {"labels": None, "names": {}, "places": {}}
        fine, kept = _refined(space), self._packed.setdefault("regions", {})
        if not kept or not fine.matches(kept["space"]):
            kept |= {"space": fine} | _regions(self.atlas, fine)
        moved = route.volume(kept["volume"], order=0)
        labels = kept["labels"] if moved.data is kept["volume"].data else _array(moved.data)
        labels = labels | {"matrix": _matrix(moved.space, frame)}
        places = dict(zip(kept["places"], route.points(list(kept["places"].values())), strict=True))
        return {"labels": labels, "names": kept["names"], "places": places}


@dataclass(frozen=True)
class _Route:
    """The way from the network's world to the one shown, onto `grid` where it is warped; None: they are one world."""

    mapping: Mapping | None
    grid: Space

    @property
    def warped(self) -> bool:
        return self.mapping is not None and self.mapping.warp is not None

    def volume(self, volume: Volume, order: int = 1) -> Volume:
        if self.mapping is None:
            return volume
        if self.warped:
            return self.mapping.carry_back(volume, self.grid, order, antialias=False)
        return Volume(volume.data, Space(volume.space.shape, self.mapping.affine @ volume.space.affine))

    def points(self, points: Sequence[Sequence[float]]) -> list[list[float]]:
        found = np.reshape(points, (-1, 3)).T
        moved = found if self.mapping is None else self.mapping.to_native(found)
        return [[round(float(mm), 3) for mm in point] for point in moved.T]


def viewer_data(
    heatmap: Volume,
    scan: Volume | None,
    limit: float,
    backdrop: Backdrop | None = None,
    own: float | None = None,
    leading: str = "",
    before: Unprepared | None = None,
) -> str:
    """Pack one scan for ``viewer.js``; the same inputs give the same text.

    Planes run along the axes of the scan (of the heatmap where there is none), made upright. Where the scan is known as
    it was before it was prepared, all is shown in that scan's world. Coordinates of the
    planes are mm along these axes; ``to_world`` takes them to the world, each volume's ``matrix`` to its voxels.

    Parameters
    ----------
    heatmap : Volume
        On the network's grid.
    scan : Volume or None
        On a grid of its own in the same world.
    limit : float
        Relevance that has the end colours.
    backdrop : Backdrop, optional
        What all scans of a report share.
    own : float, optional
        Relevance that has them where the map is stretched; `limit` by default.
    leading : str
        The region that stands out most for the class, where the viewer starts; at the map's peak by default.
    before : Unprepared, optional
        The scan before it was prepared.

    Returns
    -------
    str
        JSON without ``<``: arrays as gzip in base64, first axis (left to right) fastest.
    """
    backdrop = backdrop or Backdrop()
    heat = _thinned(heatmap.reoriented("RAS"))
    route = _Route(None, heat.space) if before is None else _Route(before.mapping, _coarser(before.scan.space))
    pictures = _pictures(scan, before, route, backdrop.atlas is not None)
    shown = pictures["This scan"].space if "This scan" in pictures else heat.space
    # what explain wrote for the scan's own grid is right where the way there is warped, too
    written = before.heatmap.reoriented("RAS") if before is not None and route.warped else None
    relevance = route.volume(heat) if written is None else _thinned(written)
    frame = np.eye(4)
    frame[:3, :3] = shown.affine[:3, :3] / shown.spacing
    # packed on the smaller scale, so that a faint map keeps its steps; the page draws it on the larger one
    fine = limit if own is None else min(own, limit)
    colours = colour_map()((np.arange(256) - 128) / 254 + 0.5)
    record: dict[str, Any] = {
        "to_world": _rows(frame),
        "box": _extent(shown, frame),
        "step": round(min(shown.spacing), 6),
        "start": route.points([_start(heat, backdrop.inside(leading, heat.space))])[0],
        "limit": fine,
        "scale": limit,
        "colours": np.rint(255 * colours[:, :3]).astype(int).ravel().tolist(),
        "pictures": {name: _grey(name, one, frame) for name, one in pictures.items()},
        "relevance": _signed(relevance, fine, frame),
        "controls": None,
        **backdrop.regions_over(heat.space, route, frame),
    }
    if backdrop.controls is not None:
        mean = _thinned(backdrop.controls.reoriented("RAS"))
        record["controls"] = _signed(route.volume(mean), fine, frame)
        record["controls"]["n"] = len(backdrop.titles)
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def leading_region(regions: Iterable[tuple[str, float, float]]) -> str:
    """Return the region that stands out most for the class; empty where none does.

    Parameters
    ----------
    regions : iterable of (str, float, float)
        Name, contrast (density in standard errors, which ranks regions) and density.
    """
    known = (one for one in regions if one[1] == one[1])  # a region without a voxel has none
    name, _, density = max(known, key=lambda one: (one[1], one[0]), default=("", 0.0, 0.0))
    return name if density > 0 else ""


def _pictures(scan: Volume | None, before: Unprepared | None, route: _Route, template: bool) -> dict[str, Volume]:
    """Return what the heatmap can be laid over, upright and in the world shown, the first by default."""
    volumes = {"This scan": scan}
    if before is not None:
        volumes = {"This scan": before.scan}
        if not route.warped:
            volumes["This scan, prepared"] = None if scan is None else route.volume(scan)
    pictures = {name: _cropped(one.reoriented("RAS")) for name, one in volumes.items() if one is not None}
    if template and not route.warped and (not pictures or max(pictures["This scan"].space.spacing) > _COARSE):
        pictures[_TEMPLATE] = route.volume(_template())
    return pictures


def _start(heat: Volume, inside: NDArray[np.bool_] | None) -> list[float]:
    """Return the world's point of the largest relevance inside a region; of the smoothed map where there is none.

    A single voxel's peak is often noise.
    """
    from scipy import ndimage

    size = ndimage.gaussian_filter(heat.data.astype(np.float64), 1.0, mode="constant")
    size = np.abs(size) if inside is None else np.where(inside, size, -np.inf)
    peak = np.unravel_index(int(size.argmax()), size.shape)
    return [float(mm) for mm in heat.space.world(peak)]


def _signed(volume: Volume, limit: float, frame: NDArray[np.float64]) -> dict[str, Any]:
    """Pack relevance: 128 is none, 1 and 255 the ends."""
    data = volume.data.astype(np.float64)
    share = np.clip(data / limit, -1, 1) if limit > 0 else np.zeros(data.shape)
    return _array((np.rint(share * 127) + 128).astype(np.uint8)) | {"matrix": _matrix(volume.space, frame)}


def _grey(name: str, volume: Volume, frame: NDArray[np.float64]) -> dict[str, Any]:
    packed = _packed_template() if name == _TEMPLATE else _bytes_of(volume)
    return packed | {"matrix": _matrix(volume.space, frame)}


def _bytes_of(volume: Volume) -> dict[str, Any]:
    return _array(np.rint(255 * grey_of(volume.data)).astype(np.uint8))


@cache
def _template() -> Volume:
    """Return nilearn's template at 2 mm."""
    return load_template(spacing=2).t1.reoriented("RAS")


@cache
def _packed_template() -> dict[str, Any]:
    return _bytes_of(_template())


def _regions(atlas: Atlas, space: Space) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        on_grid = atlas.resampled_to(space)
    values = [value for value in on_grid.names if value and (on_grid.labels == value).any()][:255]
    numbers = np.zeros(space.shape, np.uint8)
    places = {}
    for number, value in enumerate(values, start=1):
        inside = np.argwhere(on_grid.labels == value)
        numbers[tuple(inside.T)] = number
        # the middle itself may lie outside a region that is bent
        middle = inside[np.abs(inside - inside.mean(axis=0)).sum(axis=1).argmin()]
        places[on_grid.names[value]] = space.world(middle).tolist()
    names = {str(number): on_grid.names[value] for number, value in enumerate(values, start=1)}
    return {"volume": Volume(numbers, space), "labels": _array(numbers), "names": names, "places": places}


def _refined(space: Space) -> Space:
    """Return the grid in whole parts of its voxels, of at most `_LABELS` mm, over the same field of view."""
    parts = [max(1, math.ceil(size / _LABELS - 1e-9)) for size in space.spacing]
    return _covering(space, [count * n for count, n in zip(space.shape, parts, strict=True)])


def _coarser(space: Space) -> Space:
    """Return an upright grid over the same field of view, of voxels of `_LABELS` mm."""
    upright = space.reoriented("RAS")
    shape = [max(1, round(n * mm / _LABELS)) for n, mm in zip(upright.shape, upright.spacing, strict=True)]
    return _covering(upright, shape)


def _covering(space: Space, shape: Sequence[int]) -> Space:
    """Return the grid of another shape over the same field of view."""
    scale = [count / other for count, other in zip(space.shape, shape, strict=True)]
    change = np.diag([*scale, 1.0])
    change[:3, 3] = [(n - 1) / 2 for n in scale]
    return Space(shape, space.affine @ change)


def _cropped(volume: Volume) -> Volume:
    """Cut a volume to what is not background, and make it coarser if it is large."""
    grey = grey_of(volume.data)
    box = [slice(*ends) for ends in bounding_box(grey > 0.02, margin=2)]
    cut = Volume(np.ascontiguousarray(volume.data[tuple(box)]), volume.space.cut(box))
    factor = (cut.data.size / MOST_VOXELS) ** (1 / 3)
    if factor <= 1:
        return cut
    shape = [max(1, math.floor(count / factor)) for count in cut.space.shape]
    return cut.resampled_to(_covering(cut.space, shape))


def _thinned(volume: Volume) -> Volume:
    step = max(1, math.ceil((volume.data.size / MOST_VOXELS) ** (1 / 3) - 1e-9))
    affine = volume.space.affine.copy()
    affine[:3, :3] *= step
    data = np.ascontiguousarray(volume.data[::step, ::step, ::step])
    return Volume(data, Space(data.shape, affine))


def _matrix(space: Space, frame: NDArray[np.float64]) -> list[list[float]]:
    """Return what takes the planes' millimetres to voxels."""
    return _rows(np.linalg.solve(space.affine, frame))


def _extent(space: Space, frame: NDArray[np.float64]) -> list[list[float]]:
    """Return the grid's outer ends along the planes' axes, mm."""
    ends = np.linalg.solve(frame[:3, :3], space.corners().T).T
    return [[round(float(low), 3), round(float(high), 3)] for low, high in zip(ends.min(0), ends.max(0), strict=True)]


def _rows(matrix: NDArray[Any]) -> list[list[float]]:
    return [[round(float(value), 9) for value in row] for row in matrix[:3]]


def _array(values: NDArray[np.uint8]) -> dict[str, Any]:
    # mtime 0: same data, same text
    packed = gzip.compress(values.tobytes(order="F"), compresslevel=6, mtime=0)
    return {"shape": list(values.shape), "data": base64.b64encode(packed).decode("ascii")}
