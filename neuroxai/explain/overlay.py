"""The overlay of a heatmap over every slice of its scan, for archives that show pictures alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from neuroxai.canvas import blend, colour_map, grey_of
from neuroxai.space import Volume

_NARROWEST = 256  # pixels; smaller pictures are enlarged, so that the legend can be read
_FONT = 12
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def overlay(
    scan: Volume, heatmap: Volume, limit: float, sides: Sequence[str], lines: Sequence[str]
) -> tuple[NDArray[np.uint8], int]:
    """Draw every slice of a scan under its heatmap, with sides and a legend.

    Parameters
    ----------
    scan, heatmap : Volume
        On one grid: columns, rows, slices.
    limit : float
        Relevance that has the end colours.
    sides : sequence of str
        Marks of the left, right, top and bottom edge.
    lines : sequence of str
        Below the picture, with a bar of the colours; broken where they are too long.

    Returns
    -------
    (ndarray of uint8, int)
        Pictures, shape (slices, rows and legend, columns, 3), and how many times they are larger than the scan.
    """
    grey = grey_of(scan.data)
    columns, rows, slices = grey.shape
    zoom = -(-_NARROWEST // columns)
    width, height = columns * zoom, rows * zoom
    legend = _legend(width, lines)
    pictures = np.zeros((slices, height + len(legend), width, 3), np.uint8)
    pictures[:, height:] = legend
    for k in range(slices):
        colours = np.rint(255 * blend(heatmap.data[:, :, k].T, grey[:, :, k].T, limit)).astype(np.uint8)
        picture = Image.fromarray(colours.repeat(zoom, axis=0).repeat(zoom, axis=1))
        draw = ImageDraw.Draw(picture)
        for text, place, anchor in zip(
            sides,
            ((3, height / 2), (width - 3, height / 2), (width / 2, 2), (width / 2, height - 2)),
            ("lm", "rm", "ma", "md"),
            strict=True,
        ):
            draw.text(place, text, _WHITE, _font(_FONT + 4), anchor, stroke_width=2, stroke_fill=_BLACK)
        pictures[k, :height] = np.asarray(picture)
    return pictures, zoom


def _legend(width: int, lines: Sequence[str]) -> NDArray[np.uint8]:
    """Draw a bar of the colours with its two ends, and lines of text below."""
    font, step = _font(_FONT), _FONT + 4
    broken = [part for line in lines for part in _broken(line, width - 8, font)]
    picture = Image.new("RGB", (width, 10 + step * len(broken) + 4))
    bar = np.rint(255 * colour_map()(np.linspace(0, 1, width - 8))[:, :3]).astype(np.uint8)
    picture.paste(Image.fromarray(np.repeat(bar[None], 6, axis=0)), (4, 3))
    draw = ImageDraw.Draw(picture)
    for n, line in enumerate(broken):
        draw.text((4, 11 + n * step), line, _WHITE, font)
    return np.asarray(picture)


def _broken(line: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    parts = [""]
    for word in line.split():
        longer = f"{parts[-1]} {word}".strip()
        if parts[-1] and font.getlength(longer) > width:
            parts.append(word)
        else:
            parts[-1] = longer
    return parts


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
