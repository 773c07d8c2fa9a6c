"""What is wrong with an atlas: every problem that would put a score under a wrong name."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from neuroxai.atlas.atlas import Atlas
from neuroxai.atlas.label_tables import some
from neuroxai.atlas.named import get
from neuroxai.atlas.sides import hemispheres, key_of

# mm beyond the midline from which a region is on the wrong side; share of voxels outside MNI152 that is reported; share
# of a region's voxels on one side of the midline from which it belongs to one hemisphere
_MIDLINE, _OUTSIDE, _ONE_SIDED = 2.0, 0.02, 0.95


def problems(
    atlas: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None
) -> tuple[Atlas, list[dict[str, Any]]]:
    """Read an atlas and list what is doubtful about it.

    Parameters
    ----------
    atlas : str or path_like
        A label image or a named atlas.
    labels : path_like, optional
        The image's names.

    Returns
    -------
    Atlas
        As read.
    list of dict
        One entry a kind of problem, with "kind", "text" and, where it is known, "regions" (names).

    Raises
    ------
    InputError, SpaceError
        If image or table cannot be read as an atlas at all.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = get(atlas, labels)
    # what the reader tells of: labels without names, duplicate names, a header without origin or orientation
    notes: list[dict[str, Any]] = [
        {"kind": getattr(w.message, "kind", "header"), "text": str(w.message)}
        for w in caught
        if issubclass(w.category, UserWarning)
    ]
    names, counts = list(found.names.values()), found.counts()
    if found.origin.startswith("no label table"):
        notes.append({"kind": "labels without names", "text": "there is no label table; give one with --labels"})
    empty = [name for name, voxels in zip(names, counts, strict=True) if voxels == 0]
    if empty:
        notes.append({"kind": "names without voxels", "text": f"{len(empty)} regions: {some(empty)}", "regions": empty})
    notes += _sides(found)
    outside = found.share_outside_mni152()
    if outside > _OUTSIDE and not any(note["kind"] == "outside MNI152" for note in notes):
        text = f"{outside:.1%} of the labelled voxels lie outside the brain's place in MNI152 space"
        notes.append({"kind": "outside MNI152", "text": text})
    return found, notes


def sides(atlas: Atlas) -> dict[str, int]:
    """Count the regions whose names say left, right, and neither."""
    read = [side for side, _ in hemispheres(atlas.names.values()).values()]
    return {"left": read.count("left"), "right": read.count("right"), "none": read.count("")}


def _sides(atlas: Atlas) -> list[dict[str, Any]]:
    """Hold the sides that names say against the places of the regions."""
    split = hemispheres(atlas.names.values())
    x = dict(zip(split, atlas.centroids()[:, 0], strict=True))
    pairs: dict[str, dict[str, str]] = {}
    for name, (side, rest) in split.items():
        if side and np.isfinite(x[name]):
            pairs.setdefault(key_of(rest), {})[side] = name
    both = [pair for pair in pairs.values() if len(pair) == 2]
    # scans of one person need not have their midline at 0; pairs show where it is
    middle = float(np.median([(x[p["left"]] + x[p["right"]]) / 2 for p in both])) if len(both) > 2 else 0.0
    # a pair is judged by itself, a region without its other side by the midline
    beyond = {name: {"left": 1, "right": -1, "": 0}[side] * (x[name] - middle) for name, (side, _) in split.items()}
    for pair in both:
        beyond.update(dict.fromkeys(pair.values(), x[pair["left"]] - x[pair["right"]]))
    wrong = [name for name in split if beyond[name] > _MIDLINE]
    notes: list[dict[str, Any]] = []
    if wrong:
        text = f"{len(wrong)} regions lie on the other side of x = {middle:.0f} mm than their name says: {some(wrong)}"
        notes.append({"kind": "hemispheres swapped", "text": text, "regions": wrong})
    left = _share_left_of(atlas, middle)
    unread = [n for n, (side, _) in split.items() if not side and not 1 - _ONE_SIDED < left[n] < _ONE_SIDED]
    if unread:
        text = (
            f"{len(unread)} of {len(split)} regions lie in one hemisphere but their names do not say which, so that "
            f"left and right of them cannot be checked or merged: {some(unread)}"
        )
        notes.append({"kind": "sides not read", "text": text, "regions": unread})
    return notes


def _share_left_of(atlas: Atlas, x: float) -> dict[str, float]:
    """Share of each region's voxels left of a plane; one half where it has none."""
    inside = np.argwhere(atlas.labels > 0)
    region = atlas.positions()[tuple(inside.T)] - 1
    beside = atlas.space.world(inside)[:, 0] - x
    weight = np.where(np.abs(beside) < 1e-6, 0.5, beside < 0)
    counts = atlas.counts()
    left = np.bincount(region, weight, len(counts))
    return dict(zip(atlas.names.values(), np.where(counts > 0, left / np.maximum(counts, 1), 0.5), strict=True))
