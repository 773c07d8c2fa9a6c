"""Strips of slices with left and right marked on each, lines of text and the scale of the colours, as one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuroxai.canvas import blend, font, png_of, short
from neuroxai.pictures import slices
from neuroxai.space import Space

WIDTH = 1100
"""Pixels of a picture."""
ENDS = ("against", "for")
"""What the two ends of the colour scale mean."""
_MARGIN, _NAMED = 8, 132  # pixels beside a strip; at its left where it has a name


@dataclass(frozen=True)
class Line:
    """A line of text: its colour, and its size in points."""

    text: str
    colour: str = "white"
    size: float = 7.5

    @property
    def height(self) -> int:
        """Pixels."""
        return 22

    def draw(self, canvas: Any, pencil: Any, top: int) -> None:
        """Write it into a picture."""
        place = (_MARGIN, top + self.height - 4)
        pencil.text(place, self.text[:210], self.colour, font(self.size), anchor="ld")


@dataclass(frozen=True)
class Bar:
    """The scale of the colours, from -limit to limit."""

    limit: float
    ends: tuple[str, str] = ENDS
    height = 46

    def draw(self, canvas: Any, pencil: Any, top: int) -> None:
        """Draw it into a picture, with what its ends stand for."""
        from PIL import Image

        left, right, high = round(0.3 * WIDTH), round(0.7 * WIDTH), 12
        ramp = np.tile(np.linspace(-self.limit, self.limit, right - left), (high, 1))
        canvas.paste(Image.fromarray(_bytes(blend(ramp, np.zeros(ramp.shape), self.limit))), (left, top + 8))
        pencil.rectangle((left - 1, top + 7, right, top + 8 + high), outline="white")
        low, top_end = f"{-self.limit:.2g} {self.ends[0]}".strip(), f"{self.ends[1]} {self.limit:.2g}".strip()
        for place, text in ((left, low), ((left + right) // 2, "0"), (right, top_end)):
            pencil.text((place, top + 12 + high), text, "white", font(8), anchor="ma")


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
        At the left of the strip, in one line or several.
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
    above = 20

    @property
    def aspect(self) -> float:
        """Height of the strip over its width."""
        up, across = (self.space.spacing[axis] for axis in (self.plane.up, self.plane.across))
        pixel = up / across * self.parts[1] / self.parts[0]
        return float(pixel * self.picture.shape[0] / self.picture.shape[1])

    @property
    def left(self) -> int:
        """Pixels at its left."""
        return _NAMED if self.name else _MARGIN

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the slices on a picture."""
        width = WIDTH - _MARGIN - self.left
        return width, max(1, round(width * self.aspect))

    @property
    def height(self) -> int:
        """Pixels, with the letters above."""
        return self.above + self.size[1] + 6

    def draw(self, canvas: Any, pencil: Any, top: int) -> None:
        """Draw it into a picture."""
        (width, height), left, first = self.size, self.left, top + self.above
        canvas.paste(self.image(width, height), (left, first))
        tile, pixels = width / len(self.indices), self.picture.shape[1] // len(self.indices)
        scale = np.array([width / self.picture.shape[1], height / self.picture.shape[0]])
        for number, index in enumerate(self.indices):
            start = left + number * tile
            for colour, mask in self.outlines:
                part = mask[:, number * pixels : (number + 1) * pixels]
                for line in _outlines(part):
                    at = (line + 0.5) * scale + (start, first)
                    pencil.line([tuple(point) for point in at.tolist()], colour, 1)
            if number and self.picture.ndim == 3:
                pencil.line((start, first, start, first + height), "#5a5a5a", 1)
            place = f"{self.plane.axis_name} = {slices.coordinate(self.space, self.plane.name, index):.0f} mm"
            for share, text, anchor, letters in (
                (0.04, self.plane.left, "ls", font(9, bold=True)),
                (0.50, place, "ms", font(7.5)),
                (0.96, self.plane.right, "rs", font(9, bold=True)),
            ):
                pencil.text((start + share * tile, first - 5), text, "white", letters, anchor=anchor)
        if self.name:
            name = "\n".join(short(line, 16) for line in self.name.split("\n"))
            pencil.text((left - 8, first + height / 2), name, "white", font(9), anchor="rm", align="right")

    def image(self, width: int, height: int) -> Any:
        """Return the slices alone as a `PIL.Image`; voxels that are enlarged much keep their edges."""
        from PIL import Image

        plain = Image.fromarray(_bytes(self.picture))
        how = Image.Resampling.NEAREST if width > 2 * plain.width else Image.Resampling.BILINEAR
        return plain.resize((width, height), how)


def draw(rows: Sequence[Line | Strip | Bar], form: Literal["png", "jpeg"] = "png") -> bytes:
    """Draw lines of text, strips and colour bars below each other on black."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (WIDTH, sum(row.height for row in rows) + 8))
    pencil, top = ImageDraw.Draw(canvas), 4
    for row in rows:
        row.draw(canvas, pencil, top)
        top += row.height
    if form == "png":
        return png_of(canvas)
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def _bytes(picture: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(255 * np.clip(picture, 0, 1)), np.uint8)


def _outlines(mask: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Return the lines around what is in a mask, in pixels (across, down); closed at the picture's edge."""
    from contourpy import contour_generator

    if not mask.any():
        return []
    found = contour_generator(z=np.pad(mask.astype(np.float64), 1)).lines(0.5)
    return [np.asarray(line) - 1 for line in found]
