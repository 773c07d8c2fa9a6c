"""Heatmaps over scans: strips of slices, left and right marked on every slice, with the scale of their colours."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.canvas import blend, figure_of, grey_of, short
from neuroxai.errors import SpaceError
from neuroxai.pictures import slices
from neuroxai.space import Space, Volume

Drawing = dict[str, bytes]
"""``{"png": ..., "svg": ...}``."""
ENDS = ("against", "for")
"""What the two ends of the colour scale mean."""
FINE = 1.0
"""Millimetres of a picture's pixels, about: between coarser voxels, scan and relevance are interpolated linearly."""
WIDTH = 11.0
"""Inches of a picture of strips."""


@dataclass(frozen=True)
class Line:
    """A line of text: its colour, size in points, and whether it heads what follows."""

    text: str
    colour: str = "white"
    size: float = 7.5

    height = 0.2


@dataclass(frozen=True)
class Bar:
    """The scale of the colours, from -limit to limit."""

    limit: float
    ends: tuple[str, str] = ENDS

    height = 0.12


@dataclass(frozen=True)
class Strip:
    """Slices of one plane side by side.

    Parameters
    ----------
    plane : slices.Plane
        How they are cut.
    indices : list of int
        Which, in the RAS grid.
    picture : ndarray, shape (rows, columns) or (rows, columns, 3)
        Grey or colours, 0 to 1.
    space : Space
        The RAS grid.
    outlines : sequence of (str, ndarray)
        Colours and masks of the picture's shape.
    name : str
        At the left of the strip.
    parts : sequence of int
        Pixels of a voxel, upwards and across.
    """

    plane: slices.Plane
    indices: list[int]
    picture: NDArray[Any]
    space: Space
    outlines: Sequence[tuple[str, NDArray[Any]]] = ()
    name: str = ""
    parts: Sequence[int] = (1, 1)

    @property
    def aspect(self) -> float:
        """Height of a pixel over its width."""
        up, across = (self.space.spacing[axis] for axis in (self.plane.up, self.plane.across))
        return float(up / across * self.parts[1] / self.parts[0])

    @property
    def height(self) -> float:
        """Inches at the figure's width."""
        return float(WIDTH * self.aspect * self.picture.shape[0] / self.picture.shape[1])


def draw(rows: Sequence[Line | Strip | Bar]) -> bytes:
    """Draw lines of text, strips and colour bars below each other on black; the result is a PNG."""
    around = {Line: 0.0, Strip: 0.22, Bar: 0.32}  # inches of the text outside a row
    heights = [row.height for row in rows]
    with figure_of(WIDTH, sum(heights) + sum(around[type(row)] for row in rows) + 0.1, dark=True) as (figure, output):
        grid = figure.add_gridspec(len(rows), 10, height_ratios=heights)
        for number, row in enumerate(rows):
            if isinstance(row, Bar):
                low, high = f"{-row.limit:.2g} {row.ends[0]}".strip(), f"{row.ends[1]} {row.limit:.2g}".strip()
                draw_bar(figure.add_subplot(grid[number, 3:7]), low, high, row.limit)
                continue
            axes = figure.add_subplot(grid[number, :])
            axes.set_axis_off()
            if isinstance(row, Strip):
                _draw_strip(axes, row)
            else:
                text = axes.text(0.006, 0.1, row.text[:210], color=row.colour, fontsize=row.size, va="bottom")
                text.set_in_layout(False)
        return output()


def _draw_strip(axes: Any, strip: Strip) -> None:
    cut, picture = strip.plane, strip.picture
    axes.imshow(picture, aspect=strip.aspect, interpolation="nearest", cmap="gray", vmin=0, vmax=1)
    tile = picture.shape[1] // len(strip.indices)
    for number, index in enumerate(strip.indices):
        left = number * tile
        for colour, mask in strip.outlines:
            # a margin of nothing closes outlines at the tile's edge, slice by slice
            part = np.pad(mask[:, left : left + tile], 1)
            if part.any():
                at = np.arange(part.shape[1]) - 1 + left, np.arange(part.shape[0]) - 1
                axes.contour(*at, part, levels=[0.5], colors=[colour], linewidths=0.7).set_in_layout(False)
        if number and picture.ndim == 3:
            axes.axvline(left - 0.5, color="#5a5a5a", linewidth=0.8)
        # the first slice's letters make the room for those of all
        style = {"y": 1.015, "transform": axes.get_xaxis_transform(), "color": "white", "va": "bottom"}
        style["in_layout"] = number == 0
        place = f"{cut.axis_name} = {slices.coordinate(strip.space, cut.name, index):.0f} mm"
        axes.text(left + 0.04 * tile - 0.5, s=cut.left, ha="left", fontsize=9, fontweight="bold", **style)
        axes.text(left + 0.50 * tile - 0.5, s=place, ha="center", fontsize=7.5, **style)
        axes.text(left + 0.96 * tile - 0.5, s=cut.right, ha="right", fontsize=9, fontweight="bold", **style)
    if strip.name:
        axes.text(-0.01, 0.5, short(strip.name, 16), transform=axes.transAxes, color="white", ha="right", va="center")
    axes.set_xlim(-0.5, picture.shape[1] - 0.5)
    axes.set_ylim(picture.shape[0] - 0.5, -0.5)


def draw_bar(axes: Any, low: str, high: str, limit: float = 1.0) -> None:
    """Draw the scale of the colours on black, with what its ends stand for."""
    ramp = np.linspace(-limit, limit, 256)[None]
    axes.imshow(blend(ramp, np.zeros(ramp.shape), limit), aspect="auto", extent=(-1, 1, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([-1, 0, 1], [low, "0", high])
    axes.tick_params(colors="white", labelsize=8, length=2)
    for spine in axes.spines.values():
        spine.set_color("white")


def mosaic(
    heatmap: Volume,
    scan: Volume | None,
    limit: float,
    planes: Sequence[str] = ("axial", "coronal", "sagittal"),
    count: int = 7,
    like: Volume | None = None,
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
    like : Volume, optional
        Heatmap on the same grid whose slices are shown, so that pictures can be compared; `heatmap` by default.
    ends : (str, str)
        What the two ends of the colour scale mean.

    Raises
    ------
    SpaceError
        If scan and heatmap lie on different grids.
    """
    return draw([*_strips(heatmap, scan, limit, planes, count, like), Bar(limit, ends)])


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


def thumbnail(heatmap: Volume, scan: Volume | None, limit: float, width: int = 96) -> bytes:
    """Axial slice through the largest relevance as a small JPEG, `width` pixels across."""
    from PIL import Image

    (strip,) = _strips(heatmap, scan, limit, ("axial",), 1, None)
    picture = Image.fromarray(np.rint(255 * np.clip(strip.picture, 0, 1)).astype(np.uint8))
    buffer = io.BytesIO()
    height = max(1, round(width * strip.height / WIDTH))
    picture.resize((width, height)).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def _strips(
    heatmap: Volume,
    scan: Volume | None,
    limit: float,
    planes: Sequence[str],
    count: int,
    like: Volume | None,
    name: str = "",
) -> list[Strip]:
    """Cut the strips of a mosaic."""
    if scan is not None and not scan.space.matches(heatmap.space):
        raise SpaceError(f"the scan ({scan.space.describe()}) and the heatmap ({heatmap.space.describe()}) differ")
    heat = heatmap.reoriented("RAS")
    size = np.abs(heat.data if like is None else like.reoriented("RAS").data)
    grey = None if scan is None else Volume(grey_of(scan.data), scan.space).reoriented("RAS")
    shown = size > 0.05 * limit
    box = slices.bounding_box(shown if grey is None else shown | (grey.data > 0.02))
    peak = np.unravel_index(int(size.argmax()), size.shape)
    strips = []
    for plane in planes:
        cut = slices.PLANES[plane]
        chosen = slices.choose(*box[cut.normal], count, int(peak[cut.normal]))
        parts = [max(1, round(heat.space.spacing[axis] / FINE)) for axis in (cut.up, cut.across)]
        relevance = slices.strip(heat, plane, chosen, box, parts)
        under = np.zeros(relevance.shape) if grey is None else slices.strip(grey, plane, chosen, box, parts)
        strips.append(Strip(cut, chosen, blend(relevance, under, limit), heat.space, name=name, parts=parts))
    return strips


def maps(heatmap: Volume, scan: Volume | None, limit: float, count: int = 7, ends: tuple[str, str] = ENDS) -> Drawing:
    """Heatmap over a scan in axial and coronal slices, `mosaic`; the SVG holds the picture as it is.

    The scan may be as a network takes it, standardised with a background of 0, which is then shown black.
    """
    if scan is not None and scan.data.min() < 0:
        scan = Volume(np.where(scan.data == 0, scan.data.min(), scan.data), scan.space)
    return _wrapped(mosaic(heatmap, scan, limit, planes=("axial", "coronal"), count=count, ends=ends))


def map_rows(found: Mapping[str, Volume], scan: Volume | None, count: int = 7) -> Drawing:
    """Axial slices of several maps over one scan, one row per map with its name; the same slices in all rows.

    Colours of a row run to half of its largest value.
    """
    like = Volume(np.max([np.abs(m.data) for m in found.values()], axis=0), next(iter(found.values())).space)
    rows: list[Strip | Bar] = []
    for name, heatmap in found.items():
        limit = float(np.abs(heatmap.data).max()) / 2 or 1.0
        rows += [*_strips(heatmap, scan, limit, ("axial",), count, like, name), Bar(limit)]
    return _wrapped(draw(rows))


def _wrapped(png: bytes) -> Drawing:
    """Add an SVG that holds a picture."""
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    data = base64.b64encode(png).decode("ascii")
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{data}"/></svg>\n'
    )
    return {"png": png, "svg": svg.encode()}
