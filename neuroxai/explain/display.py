"""An explanation in a notebook: a table with a picture, and the interactive viewer as a page that stands alone."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroxai.atlas import Atlas, get
from neuroxai.bands import limit_of
from neuroxai.derivatives.heatmaps import RESEARCH_USE
from neuroxai.errors import InputError
from neuroxai.io import write_text
from neuroxai.pictures.maps import mosaic
from neuroxai.pictures.page import data_uri, rendered
from neuroxai.pictures.text import number, percent
from neuroxai.pictures.viewer import Backdrop, Unprepared, leading_region, viewer_data
from neuroxai.space import Volume

_MOST = 5  # regions in a notebook's table


@dataclass(frozen=True)
class View:
    """A page that stands alone: seen where a notebook shows it, or saved and opened in any browser.

    Parameters
    ----------
    html : str
        The page.
    height : int
        Pixels in a notebook.
    """

    html: str
    height: int = 760

    def _repr_html_(self) -> str:
        page = html.escape(self.html, quote=True)
        return (
            f'<iframe srcdoc="{page}" title="Heatmap" style="width: 100%; height: {self.height}px; border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"View({len(self.html) / 1e6:.1f} MB of HTML; .save(path) writes it)"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page."""
        return write_text(Path(path), self.html)


@dataclass(frozen=True)
class Shown:
    """What the viewer's template shows."""

    title: str
    target: str
    viewer: str
    provenance: tuple[tuple[str, str], ...]
    research_use: str = RESEARCH_USE


def view_of(
    title: str,
    target: str,
    heatmap: Volume,
    scan: Volume | None,
    before: Unprepared | None = None,
    atlas: Any = None,
    leading: str = "",
    facts: Mapping[str, str] | None = None,
) -> View:
    """Make the page of one heatmap.

    Parameters
    ----------
    title, target : str
        Heading, and the class explained.
    heatmap, scan : Volume
        On the network's grid, and the scan on its own.
    before : Unprepared, optional
        The head as it was scanned, of a scan that was prepared.
    atlas : optional
        As the run notes it: its names are shown where it is at hand.
    leading : str
        The region to start in.
    facts : mapping of str to str, optional
        How it was made.
    """
    data = viewer_data(heatmap, scan, limit_of(heatmap.data), Backdrop(_named(atlas)), leading=leading, before=before)
    shown = Shown(title, target, data, tuple((facts or {}).items()))
    return View(rendered("neuroxai.pictures", "explanation.html", shown, ["viewer.js"]))


def _named(noted: Any) -> Atlas | None:
    name = noted.get("name") if isinstance(noted, Mapping) else noted
    try:
        return get(name) if isinstance(name, str) else None
    except InputError:
        return None


def summary_html(
    title: str, probabilities: Mapping[str, float], target: str, regions: Any, heatmap: Volume, scan: Volume | None
) -> str:
    """Return a table of probabilities and leading regions with slices of the heatmap, as notebooks show it."""
    drawn = heatmap if scan is None else heatmap.resampled_to(scan.space, antialias=False)
    picture = data_uri(mosaic(drawn, scan, limit_of(heatmap.data), count=5))
    rows = "".join(f"<tr><td>{html.escape(c)}</td><td>{percent(p)}</td></tr>" for c, p in probabilities.items())
    found = ""
    if leading_of(regions):
        first = regions.sort_values("contrast", ascending=False).head(_MOST)
        pairs = zip(first["name"], first["sum"], strict=True)
        listed = (f"{html.escape(str(name))} ({number(float(total), 2)})" for name, total in pairs)
        found = f"<p>Most for {html.escape(target)} (sum of relevance): {'; '.join(listed)}</p>"
    return (
        f"<div><p><b>{html.escape(title)}</b>: relevance for {html.escape(target)}. {RESEARCH_USE}</p>"
        f"<table><thead><tr><th>class</th><th>probability</th></tr></thead><tbody>{rows}</tbody></table>{found}"
        f'<img src="{picture}" alt="Slices of the scan with the relevance in colour; left is on the left" '
        'style="max-width: 100%"></div>'
    )


def leading_of(regions: Any) -> str:
    """Return the region of a table that stands out most for the class; empty where none does."""
    if regions is None:
        return ""
    return leading_region(zip(regions["name"], regions["contrast"], regions["density"], strict=True))
