"""What is wrong with an atlas: every problem that would put a score under a wrong name."""

from __future__ import annotations

import os
import warnings
from typing import Any

from neuroxai.atlas.atlas import Atlas
from neuroxai.atlas.label_tables import some
from neuroxai.atlas.named import get
from neuroxai.atlas.sides import split_side

# mm beyond the midline from which a region is on the wrong side; share of voxels outside MNI152 that is told of
_MIDLINE, _OUTSIDE = 2.0, 0.02


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
        {"kind": _kind(str(w.message)), "text": str(w.message)} for w in caught if issubclass(w.category, UserWarning)
    ]
    names, counts, x = list(found.names.values()), found.counts(), found.centroids()[:, 0]
    if found.origin.startswith("no label table"):
        notes.append({"kind": "labels without names", "text": "there is no label table; give one with --labels"})
    empty = [name for name, voxels in zip(names, counts, strict=True) if voxels == 0]
    if empty:
        notes.append({"kind": "names without voxels", "text": f"{len(empty)} regions: {some(empty)}", "regions": empty})
    # mm by which a region lies on its own side
    own = {"left": -x, "right": x, "": abs(x)}
    wrong = [name for place, name in enumerate(names) if own[split_side(name)[0]][place] < -_MIDLINE]
    if wrong:
        text = f"{len(wrong)} regions lie on the other side of x = 0 than their name says: {some(wrong)}"
        notes.append({"kind": "hemispheres swapped", "text": text, "regions": wrong})
    outside = found.share_outside_mni152()
    if outside > _OUTSIDE and not any(note["kind"] == "outside MNI152" for note in notes):
        text = f"{outside:.1%} of the labelled voxels lie outside the brain's place in MNI152 space"
        notes.append({"kind": "outside MNI152", "text": text})
    return found, notes


def _kind(text: str) -> str:
    for words, kind in (
        ("has no name", "labels without names"),
        ("share their names", "duplicate names"),
        ("outside the brain's place", "outside MNI152"),
    ):
        if words in text:
            return kind
    return "header"
