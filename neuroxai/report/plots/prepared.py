"""Pictures of `neuroxai prepare`: a prepared scan's quality, and a scan before and after lesion filling.

Beside the picture of a scan's quality stands a page on which the scan before, the scan after and the template lie on
one another, so that the eye sees what moves; `preparation_page` lists all scans of a folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.canvas import grey_of
from neuroxai.derivatives.explained import RESEARCH_USE
from neuroxai.derivatives.trust import counted
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import atomic, read_tsv, write_text
from neuroxai.io.names import BidsName
from neuroxai.pictures import slices
from neuroxai.pictures.page import rendered
from neuroxai.pictures.strips import Line, Strip, draw
from neuroxai.preprocess.template import Template
from neuroxai.space import Space, Volume

BRAIN, TISSUE = "#f28a1c", "#3f97f0"
"""Colours of the brain's outline and of the outline of the template's white matter """
LESIONS = "#3f97f0"
_APART = 6.0  # mm between the slices of filled lesions, at least

_SHOWN = (
    ("pearson", "r {:.2f}"),
    ("mutual_information", "NMI {:.3f}"),
    ("dice", "Dice {:.3f}"),
    ("brain_ml", "brain {:.0f} ml"),
    ("tissue_contrast", "contrast {:+.2f}"),
    ("outside_scan", "outside the scan {:.1%}"),
    ("rotation_degrees", "rotated {:.0f}\u00b0"),
    ("folded", "folded {:.2%}"),
    ("noise", "noise {:.3f}"),
)


def quality_figure(
    path: str | os.PathLike[str],
    *,
    native: tuple[Volume, Volume],
    prepared: Volume,
    template: Template,
    title: str,
    measures: Mapping[str, float | str | None],
    flags: Sequence[object] = (),
    count: int = 7,
) -> Path:
    """Draw a scan before and after preparation.

    Above, the native scan with the outline of its brain mask; below, the prepared scan with the template's outlines:
    the brain, and its white matter (the brightest 40 % of the T1w template). Each in axial, coronal and sagittal
    slices, the subject's left on the left, marked on every slice.

    Parameters
    ----------
    path : path_like
        Ending in ``.png``; written atomically.
    native : (Volume, Volume)
        The native scan and its brain mask, on one grid.
    prepared : Volume
        On the output grid.
    template : Template
        On the output grid, too.
    title : str
        For the heading.
    measures : mapping
        As `neuroxai.preprocess.qc.measures.measure` gives them.
    flags : sequence
        Each drawn as a line of text (`neuroxai.preprocess.qc.flags.Flag`).
    count : int
        Slices per plane.

    Returns
    -------
    pathlib.Path
        Same input, same bytes.

    Raises
    ------
    InputError
        If the path has another ending.
    SpaceError
        If scans and masks that belong together lie on different grids.
    """
    inside = np.asarray(template.brain.data) != 0
    reference = template.t1.data[inside]
    white = inside & (template.t1.data > np.quantile(reference, 0.6)) if reference.size else inside
    (scan, brain), tissue = native, Volume(white, template.t1.space)
    above = _strips_of(scan, {BRAIN: brain}, brain, count)
    below = _strips_of(prepared, {TISSUE: tissue, BRAIN: template.brain}, template.brain, count)
    shown = [f.format(measures[k]) for k, f in _SHOWN if isinstance(measures.get(k), (int, float))]
    heading = [Line(f"{title}   {counted(len(flags), 'flag')}", size=10.0), Line("   ".join(shown), "#c8c8c8")]
    heading += [Line(str(flag), "#ffe37a") for flag in flags]
    before = f"native scan, {scan.space.describe()}; orange: its brain mask"
    after = f"prepared scan, {prepared.space.describe()}; the template's brain orange, its white matter blue"
    target = _write_png(path, draw([*heading, _title(before), *above, _title(after), *below]))
    layers = (
        ("Before", scan.resampled_to(prepared.space)),
        ("Prepared", prepared),
        ("Template", Volume(np.where(inside, template.t1.data, 0), template.t1.space)),
    )
    outline, brain = {BRAIN: template.brain}, template.brain
    pictures = [(name, draw(_strips_of(volume, outline, brain, count), "jpeg")) for name, volume in layers]
    page = _page(
        "prepared.html",
        title=", ".join(title.split("   ")),
        flags=[str(flag) for flag in flags],
        measures=shown,
        pictures=pictures,
    )
    write_text(target.with_suffix(".html"), page)
    return target


def preparation_page(folder: str | os.PathLike[str]) -> Path:
    """Write ``index.html``: every scan of ``quality.tsv`` with its measures and flags, and a link to its own page.

    Parameters
    ----------
    folder : path_like
        Of scans that `neuroxai prepare` made.

    Returns
    -------
    pathlib.Path
    """
    root = Path(folder)
    pages = {}
    for file in sorted((root / "figures").glob("sub-*_desc-quality_*.html")):
        name = BidsName.parse(file.name)
        pages[name.participant, name.session] = f"figures/{file.name}"
    table = read_tsv(root / "quality.tsv")
    columns = [key for key, _ in _SHOWN if key in table]
    scans = [
        {
            "title": " ".join(filter(None, (row["participant_id"], row["session_id"]))),
            "page": pages.get((row["participant_id"], row["session_id"]), ""),
            "flags": row["flags"],
            "measures": [None if row[key] == "" else float(row[key]) for key in columns],
        }
        for row in table.astype(object).fillna("").to_dict("records")
    ]
    page = _page("preparation.html", ["table.js"], scans=scans, columns=columns)
    return write_text(root / "index.html", page)


def _page(template: str, scripts: Sequence[str] = (), **values: Any) -> str:
    return rendered("neuroxai.report", template, {**values, "research_use": RESEARCH_USE, "provenance": ()}, scripts)


def filling_figure(
    path: str | os.PathLike[str], *, scan: Volume, filled: Volume, lesions: Volume, name: str, count: int = 6
) -> Path:
    """Draw a scan before and after lesion filling, in the axial slices with most lesion.

    Parameters
    ----------
    path : path_like
        Ending in ``.png``; written atomically.
    scan, filled, lesions : Volume
        On one grid; `lesions` are the voxels filled, outlined in the upper row.
    name : str
        For the heading.
    count : int
        Slices, at most.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        If the path has another ending, or there are no lesions to show.
    SpaceError
        If the three lie on different grids.
    """
    for other in (filled, lesions):
        if not scan.space.matches(other.space):
            raise SpaceError(f"the scan ({scan.space.describe()}) and its filling ({other.space.describe()}) differ")
    mask = _mask_of(lesions)
    amount = mask.data.sum(axis=(0, 1), dtype=int)
    if not amount.any():
        raise InputError(f"{name}: has no lesions, so there is no filling to show")
    # slices with most lesion, but not all of them neighbours
    apart = max(1, round(_APART / mask.space.spacing[2]))
    chosen: list[int] = []
    for index in np.argsort(-amount, kind="stable"):
        if amount[index] and all(abs(int(index) - other) >= apart for other in chosen):
            chosen.append(int(index))
    indices = sorted(chosen[:count])
    before, after = scan.reoriented("RAS"), filled.reoriented("RAS")
    visible = grey_of(before.data) > 0.05
    box = slices.bounding_box(visible)
    low, high = float(before.data.min()), float(np.percentile(before.data[visible], 99.5))
    volume = int(amount.sum()) * scan.space.voxel_volume / 1000
    rows: list[Line | Strip] = [Line(f"{name}   {int(amount.sum())} voxels filled, {volume:.2f} ml", size=10.0)]
    for title, image, outlines in (
        ("before; blue: the voxels filled", before, {LESIONS: mask}),
        ("after, the same grey scale", after, {}),
    ):
        grey = Volume(np.clip((image.data - low) / ((high - low) or 1.0), 0, 1), image.space)
        rows += [_title(title), _strip_of(grey, outlines, "axial", indices, box)]
    return _write_png(path, draw(rows))


def _title(text: str) -> Line:
    return Line(text, "#a6e3ff", 8.0)


def _mask_of(volume: Volume) -> Volume:
    """Return what is not 0 as a mask in RAS."""
    return Volume((np.asarray(volume.data) != 0).astype(np.uint8), volume.space).reoriented("RAS")


def _strip_of(
    grey: Volume, outlines: Mapping[str, Volume], plane: str, indices: list[int], box: Sequence[tuple[int, int]]
) -> Strip:
    """Cut a strip; `grey` and the outlines' masks, by colour, in RAS."""
    lines = [(colour, slices.strip(mask, plane, indices, box)) for colour, mask in outlines.items()]
    return Strip(slices.PLANES[plane], indices, slices.strip(grey, plane, indices, box), grey.space, lines)


def _strips_of(image: Volume, outlines: Mapping[str, Volume], brain: Volume, count: int) -> list[Strip]:
    """Cut axial, coronal and sagittal strips around a brain, each of `count` slices at most.

    Raises
    ------
    SpaceError
        If image, brain and outlines lie on different grids.
    """
    for other in (*outlines.values(), brain):
        if not image.space.matches(other.space):
            raise SpaceError(f"the scan ({image.space.describe()}) and a mask ({other.space.describe()}) differ")
    inside = _mask_of(brain).data != 0
    box = slices.bounding_box(inside, margin=max(2, int(10 / min(image.space.spacing))))
    # what lies around the box would only cost time
    upright = _cropped(image.reoriented("RAS"), box)
    inside = inside[tuple(slice(low, high) for low, high in box)]
    masks = {colour: _cropped(_mask_of(mask), box) for colour, mask in outlines.items()}
    grey, within = _scaled(upright, inside), slices.bounding_box(inside, margin=0)
    whole = [(0, size) for size in inside.shape]
    planes = slices.PLANES.values()
    return [_strip_of(grey, masks, p.name, slices.choose(*within[p.normal], count), whole) for p in planes]


def _cropped(volume: Volume, box: Sequence[tuple[int, int]]) -> Volume:
    data = volume.data[tuple(slice(low, high) for low, high in box)]
    affine = volume.space.affine.copy()
    affine[:3, 3] = volume.space.world([low for low, _ in box])
    return Volume(data, Space(data.shape, affine))


def _scaled(image: Volume, inside: NDArray[np.bool_]) -> Volume:
    """Scale to 0 to 1 by the brain's intensities, so that bright fat does not leave the brain black."""
    low = float(image.data.min())
    brain = image.data[inside]
    high = float(np.percentile(brain, 99.8)) if brain.size else float(image.data.max())
    scaled = (np.asarray(image.data, np.float32) - low) / ((high - low) or 1.0)
    return Volume(np.clip(scaled, 0, 1), image.space)


def _write_png(path: str | os.PathLike[str], content: bytes) -> Path:
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
