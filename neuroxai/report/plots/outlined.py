"""Strips of slices with outlines on them, sections of strips below a heading, as PNG files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.canvas import figure_of
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import atomic
from neuroxai.report.plots import slices
from neuroxai.space import Space, Volume

_WIDTH, _GAP, _TEXT = 11.0, 0.2, 0.17


@dataclass(frozen=True)
class Strip:
    """Slices of one plane side by side.

    Parameters
    ----------
    plane : slices.Plane
        How they are cut.
    indices : list of int
        Which, in the RAS grid.
    picture : ndarray, shape (rows, columns)
        Grey, 0 to 1.
    outlines : list of (str, ndarray)
        Colours and masks of the picture's shape.
    space : Space
        The RAS grid.
    """

    plane: slices.Plane
    indices: list[int]
    picture: NDArray[Any]
    outlines: list[tuple[str, NDArray[Any]]]
    space: Space

    @property
    def height(self) -> float:
        """Inches at the figure's width."""
        spacing = self.space.spacing
        rows, columns = self.picture.shape
        return float(_WIDTH * rows * spacing[self.plane.up] / (columns * spacing[self.plane.across]))


@dataclass(frozen=True)
class Line:
    """A line of the heading: its text, colour and size in points."""

    text: str
    colour: str = "white"
    size: float = 7.5


def mask_of(volume: Volume) -> Volume:
    """Return what is not 0 as a mask in RAS."""
    return Volume((np.asarray(volume.data) != 0).astype(np.uint8), volume.space).reoriented("RAS")


def strip_of(
    grey: Volume, outlines: Mapping[str, Volume], plane: str, indices: list[int], box: Sequence[tuple[int, int]]
) -> Strip:
    """Cut a strip; `grey` and the outlines' masks, by colour, in RAS."""
    lines = [(colour, slices.strip(mask, plane, indices, box)) for colour, mask in outlines.items()]
    return Strip(slices.PLANES[plane], indices, slices.strip(grey, plane, indices, box), lines, grey.space)


def strips_of(image: Volume, outlines: Mapping[str, Volume], brain: Volume, count: int) -> list[Strip]:
    """Cut axial, coronal and sagittal strips around a brain, each of `count` slices at most.

    Raises
    ------
    SpaceError
        If image, brain and outlines lie on different grids.
    """
    for other in (*outlines.values(), brain):
        if not image.space.matches(other.space):
            raise SpaceError(f"the scan ({image.space.describe()}) and a mask ({other.space.describe()}) differ")
    inside = mask_of(brain).data != 0
    box = slices.bounding_box(inside, margin=max(2, int(10 / min(image.space.spacing))))
    # what lies around the box would only cost time
    upright = _cropped(image.reoriented("RAS"), box)
    inside = inside[tuple(slice(low, high) for low, high in box)]
    masks = {colour: _cropped(mask_of(mask), box) for colour, mask in outlines.items()}
    grey, within = scaled(upright, inside), slices.bounding_box(inside, margin=0)
    whole = [(0, size) for size in inside.shape]
    planes = slices.PLANES.values()
    return [strip_of(grey, masks, p.name, slices.choose(*within[p.normal], count), whole) for p in planes]


def _cropped(volume: Volume, box: Sequence[tuple[int, int]]) -> Volume:
    data = volume.data[tuple(slice(low, high) for low, high in box)]
    affine = volume.space.affine.copy()
    affine[:3, 3] = volume.space.world([low for low, _ in box])
    return Volume(data, Space(data.shape, affine))


def scaled(image: Volume, inside: NDArray[np.bool_]) -> Volume:
    """Scale to 0 to 1 by the brain's intensities, so that bright fat does not leave the brain black."""
    low = float(image.data.min())
    brain = image.data[inside]
    high = float(np.percentile(brain, 99.8)) if brain.size else float(image.data.max())
    scaled = (np.asarray(image.data, np.float32) - low) / ((high - low) or 1.0)
    return Volume(np.clip(scaled, 0, 1), image.space)


def draw(heading: Sequence[Line], sections: Sequence[tuple[str, Sequence[Strip]]]) -> bytes:
    """Draw a heading and, below, sections of a title and strips; the result is a PNG."""
    total = 0.1 + _TEXT * len(heading) * 1.1
    total += sum(_TEXT * 1.6 + sum(strip.height + _GAP for strip in strips) for _, strips in sections)
    with figure_of(_WIDTH, total) as (figure, output):
        figure.patch.set_facecolor("black")
        top = total - 0.05
        for line in heading:
            top -= _TEXT * 1.1
            figure.text(
                0.006, (top + 0.03) / total, line.text[:210], color=line.colour, fontsize=line.size, va="bottom"
            )
        for title, strips in sections:
            top -= _TEXT * 1.6
            figure.text(0.006, (top + 0.05) / total, title, color="#a6e3ff", fontsize=8, va="bottom")
            for strip in strips:
                top -= strip.height + _GAP
                _draw_strip(figure, strip, (0, top / total, 1, strip.height / total))
        return output()


def _draw_strip(figure: Any, strip: Strip, place: tuple[float, float, float, float]) -> None:
    cut, indices, picture, lines = strip.plane, strip.indices, strip.picture, strip.outlines
    spacing = strip.space.spacing
    axes = figure.add_axes(place)
    aspect = spacing[cut.up] / spacing[cut.across]
    axes.imshow(picture, aspect=aspect, interpolation="nearest", cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    width = picture.shape[1] // len(indices)
    for number, index in enumerate(indices):
        left = number * width
        for colour, mask in lines:
            # a margin of nothing closes outlines at the tile's edge, slice by slice
            tile = np.pad(mask[:, left : left + width], 1)
            if tile.any():
                rows, columns = np.arange(tile.shape[0]) - 1, np.arange(tile.shape[1]) - 1 + left
                axes.contour(columns, rows, tile, levels=[0.5], colors=[colour], linewidths=0.7)
        at = {"y": 1.012, "transform": axes.get_xaxis_transform(), "color": "white", "va": "bottom"}
        place_mm = f"{cut.axis_name} = {slices.coordinate(strip.space, cut.name, index):.0f} mm"
        axes.text(left + 0.03 * width - 0.5, s=cut.left, ha="left", fontsize=8, fontweight="bold", **at)
        axes.text(left + 0.50 * width - 0.5, s=place_mm, ha="center", fontsize=6.5, **at)
        axes.text(left + 0.97 * width - 0.5, s=cut.right, ha="right", fontsize=8, fontweight="bold", **at)
    axes.set_xlim(-0.5, picture.shape[1] - 0.5)
    axes.set_ylim(picture.shape[0] - 0.5, -0.5)


def write_png(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a PNG atomically.

    Raises
    ------
    InputError
        If the name has another ending.
    """
    target = Path(path)
    if target.suffix != ".png":
        raise InputError(f"{target.name}: a figure's name ends in .png")
    with atomic(target) as temporary:
        temporary.write_bytes(content)
    return target
