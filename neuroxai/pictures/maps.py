"""Heatmaps over scans: strips of slices, left and right marked on every slice, with the scale of their colours."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from neuroxai.canvas import blend, grey_of
from neuroxai.errors import SpaceError
from neuroxai.pictures import slices
from neuroxai.pictures.strips import ENDS, Bar, Strip, draw
from neuroxai.space import Space, Volume

Drawing = dict[str, bytes]
"""``{"png": ..., "svg": ...}``."""
FINE = 1.0
"""Millimetres of a picture's pixels, about: between coarser voxels, scan and relevance are interpolated linearly."""


class HeatmapPictures:
    """Pictures of one heatmap over its scan, on whatever scale; what they share is computed once.

    Parameters
    ----------
    heatmap : Volume
        Relevance.
    scan : Volume or None
        On the same grid; None draws the heatmap alone.
    like : Volume, optional
        Heatmap on the same grid whose slices are shown, so that pictures can be compared; `heatmap` by default.

    Raises
    ------
    SpaceError
        If scan and heatmap lie on different grids.
    """

    def __init__(self, heatmap: Volume, scan: Volume | None, like: Volume | None = None) -> None:
        if scan is not None and not scan.space.matches(heatmap.space):
            raise SpaceError(f"the scan ({scan.space.describe()}) and the heatmap ({heatmap.space.describe()}) differ")
        self.heatmap = heatmap.reoriented("RAS")
        self.grey = None if scan is None else Volume(grey_of(scan.data), scan.space).reoriented("RAS")
        self._size = np.abs(self.heatmap.data if like is None else like.reoriented("RAS").data)
        self._peak = np.unravel_index(int(self._size.argmax()), self._size.shape)
        self._head = None if self.grey is None else slices.bounding_box(self.grey.data > 0.02)

    def strips(self, limit: float, planes: Sequence[str], count: int, name: str = "") -> list[Strip]:
        """Cut a strip of slices for each plane, spread over the brain, one of them through the peak."""
        space, grey = self.heatmap.space, self.grey
        box, shown = self._head, self._size > 0.05 * limit
        if box is None or shown.any():
            relevant = slices.bounding_box(shown)
            box = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(relevant, box or relevant, strict=True)]
        found = []
        for plane in planes:
            cut = slices.PLANES[plane]
            chosen = slices.choose(*box[cut.normal], count, int(self._peak[cut.normal]))
            parts = [max(1, round(space.spacing[axis] / FINE)) for axis in (cut.up, cut.across)]
            relevance = slices.strip(self.heatmap, plane, chosen, box, parts)
            under = np.zeros(relevance.shape) if grey is None else slices.strip(grey, plane, chosen, box, parts)
            found.append(Strip(cut, chosen, blend(relevance, under, limit), space, name=name, parts=parts))
        return found

    def mosaic(
        self,
        limit: float,
        planes: Sequence[str] = tuple(slices.PLANES),
        count: int = 7,
        ends: tuple[str, str] = ENDS,
        form: Literal["png", "jpeg"] = "png",
    ) -> bytes:
        """Draw one strip of slices per plane, colours from -limit to limit; as JPEG it has a third of the size."""
        return draw([*self.strips(limit, planes, count), Bar(limit, ends)], form)

    def thumbnail(self, limit: float, width: int = 96) -> bytes:
        """Axial slice through the largest relevance as a small JPEG, `width` pixels across."""
        (strip,) = self.strips(limit, ("axial",), 1)
        buffer = io.BytesIO()
        strip.image(width, max(1, round(width * strip.aspect))).save(buffer, "JPEG", quality=75)
        return buffer.getvalue()


def mosaic(
    heatmap: Volume,
    scan: Volume | None,
    limit: float,
    planes: Sequence[str] = ("axial", "coronal", "sagittal"),
    count: int = 7,
    ends: tuple[str, str] = ENDS,
) -> bytes:
    """Heatmap over the scan, one strip of slices per plane; the result is a PNG.

    Parameters
    ----------
    heatmap : Volume
        Relevance.
    scan : Volume or None
        On the same grid; None draws the heatmap alone.
    limit : float
        Colours run from -limit to limit.
    planes : sequence of str
        Of ``"axial"``, ``"coronal"``, ``"sagittal"``.
    count : int
        Slices per plane, spread over the brain; the one through the largest relevance is always among them.
    ends : (str, str)
        What the two ends of the colour scale mean.

    Raises
    ------
    SpaceError
        If scan and heatmap lie on different grids.
    """
    return HeatmapPictures(heatmap, scan).mosaic(limit, planes, count, ends)


def over_anatomy(
    rows: Mapping[str, tuple[Volume, float]],
    anatomy: Volume,
    planes: Sequence[str] = ("axial", "coronal"),
    count: int = 8,
) -> bytes:
    """Draw maps over one anatomy of any grid, a strip per plane and map, the same slices in all; returns PNG.

    Parameters
    ----------
    rows : mapping of str to (Volume, float)
        By name: a map and the limit of its colours. It is interpolated linearly where the anatomy is finer.
    anatomy : Volume
        In the same world.
    planes : sequence of str
        Of ``"axial"``, ``"coronal"``, ``"sagittal"``.
    count : int
        Slices per plane, spread over the anatomy; the one through the first map's largest value is always among them.
    """
    upright = anatomy.reoriented("RAS")
    space, grey = upright.space, grey_of(upright.data)
    box = slices.bounding_box(grey > 0.02)
    first = next(iter(rows.values()))[0]
    peak = first.space.world(np.unravel_index(int(np.abs(first.data).argmax()), first.data.shape))
    middle = np.rint(space.voxels(peak)).astype(int)
    drawn: list[Strip | Bar] = []
    for number, (name, (volume, limit)) in enumerate(rows.items()):
        for plane in planes:
            cut = slices.PLANES[plane]
            chosen = slices.choose(*box[cut.normal], count, int(middle[cut.normal]))
            thin = [[slice(0, n) for n in space.shape] for _ in chosen]
            for part, index in zip(thin, chosen, strict=True):
                part[cut.normal] = slice(index, index + 1)
            # only the slices drawn are interpolated
            sheets = [volume.resampled_to(space.cut(part), antialias=False).data for part in thin]
            slab = np.concatenate(sheets, axis=cut.normal)
            under = np.take(grey, chosen, axis=cut.normal)
            shapes = Space(slab.shape, space.affine)
            every = range(len(chosen))
            relevance, below = (slices.strip(Volume(one, shapes), plane, every, box) for one in (slab, under))
            drawn.append(Strip(cut, chosen, blend(relevance, below, limit), space, name=name))
        last = number + 1 == len(rows)
        if last or list(rows.values())[number + 1][1] != limit:
            drawn.append(Bar(limit))
    return draw(drawn)


def maps(heatmap: Volume, scan: Volume | None, limit: float, count: int = 7, ends: tuple[str, str] = ENDS) -> Drawing:
    """Heatmap over a scan in axial and coronal slices, `mosaic`; the SVG holds the picture as it is."""
    scan = None if scan is None else dark_background(scan)
    return wrapped(mosaic(heatmap, scan, limit, planes=("axial", "coronal"), count=count, ends=ends))


def dark_background(scan: Volume) -> Volume:
    """Return a scan whose background is its darkest, also one as a network takes it, standardised: there it is 0."""
    low = scan.data.min()
    return Volume(np.where(scan.data == 0, low, scan.data), scan.space) if low < 0 else scan


def map_rows(found: Mapping[str, Volume], scan: Volume | None, count: int = 7) -> Drawing:
    """Axial slices of several maps over one scan, one row per map with its name; the same slices in all rows.

    Colours of a row run to half of its largest value.
    """
    like = Volume(np.max([np.abs(m.data) for m in found.values()], axis=0), next(iter(found.values())).space)
    rows: list[Strip | Bar] = []
    for name, heatmap in found.items():
        limit = float(np.abs(heatmap.data).max()) / 2 or 1.0
        rows += [*HeatmapPictures(heatmap, scan, like).strips(limit, ("axial",), count, name), Bar(limit)]
    return wrapped(draw(rows))


def wrapped(png: bytes) -> Drawing:
    """Add an SVG that holds a picture."""
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    data = base64.b64encode(png).decode("ascii")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{data}"/></svg>\n'
    )
    return {"png": png, "svg": svg.encode()}
