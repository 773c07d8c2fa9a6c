"""Which regions shrink: the built-in ones, an atlas's, or those of a label map beside each scan."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neuroxai.atlas.atlas import Atlas
from neuroxai.atlas.named import get
from neuroxai.atlas.readers import load
from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.simulate import regions
from neuroxai.simulate.anatomy import Anatomy, Array, mni152_anatomy
from neuroxai.space import Space, Volume

BUILT_IN: dict[str, Callable[[Anatomy, int], Array]] = {
    "hippocampus": regions.hippocampus,
    "amygdala": regions.amygdala,
    "parahippocampal": regions.parahippocampal,
}
"""Regions that need no atlas: tubes at published coordinates times the scan's own grey matter, on both sides."""

LEAST = 8
"""Voxels that a region must have in a scan."""


@dataclass(frozen=True)
class Regions:
    """The regions chosen.

    Parameters
    ----------
    names : sequence of str
        Names in the atlas or label map, or of `BUILT_IN`; empty for the hippocampus.
    atlas : str, optional
        Name or path of an atlas in MNI152 space.
    labels : pathlib.Path, optional
        Names of the labels, of the atlas or the label maps.
    """

    names: tuple[str, ...] = ()
    atlas: str | None = None
    labels: Path | None = None

    def finder(self, label_map: Path | None = None) -> Callable[[Anatomy], Mapping[str, Array]]:
        """Return what finds the regions in an anatomy: soft maps by name, on the anatomy's grid.

        Parameters
        ----------
        label_map : pathlib.Path, optional
            The scan's own; it takes the place of an atlas.

        Raises
        ------
        InputError
            If a name is unknown.
        """
        if label_map is None and self.atlas is None:
            return _tubes(self.names)
        if not self.names:
            raise InputError("an atlas or label map has many regions; name those that shrink with --region")
        atlas = load(label_map, self.labels) if label_map is not None else get(self.atlas or "", self.labels)
        for name in self.names:
            atlas.value(name)
        if label_map is not None:
            return lambda anatomy: _labelled(atlas, self.names, anatomy, str(label_map))
        return lambda anatomy: _labelled(atlas, self.names, anatomy, f"atlas {self.atlas}")


def check_grid(label_map: Path, labels: Space, scan: Space) -> None:
    """Refuse a label map that is not on its scan's grid.

    Raises
    ------
    SpaceError
        If shape or affine differ.
    """
    if not labels.matches(scan):
        raise SpaceError(
            f"{label_map}: is on a grid of {labels.describe()}, its scan on one of {scan.describe()}, wanted the same "
            "grid (shape and affine); bring it to the scan's grid first"
        )


def slug(name: str) -> str:
    """Return a region's name as part of a column: ``Left Hippocampus`` becomes ``left_hippocampus``."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _tubes(names: Sequence[str]) -> Callable[[Anatomy], Mapping[str, Array]]:
    chosen = [name.strip().lower() for name in names] or ["hippocampus"]
    for name in chosen:
        if name not in BUILT_IN:
            raise one_of("region", name, BUILT_IN, "Or name an atlas with --atlas.")

    def find(anatomy: Anatomy) -> Mapping[str, Array]:
        anatomy = _with_prior(anatomy)
        found = {f"{n}_{side}": BUILT_IN[n](anatomy, sign) for n in chosen for side, sign in regions.SIDES.items()}
        for name, roi in found.items():
            _check(name, roi, anatomy.name, "the built-in regions")
        return found

    return find


def _with_prior(anatomy: Anatomy) -> Anatomy:
    """Let the template's grey matter have half a say, where the scan does not show fluid.

    Deep grey matter is brighter than cortex, so that by intensity alone half a real hippocampus is white matter.
    """
    template = mni152_anatomy()
    prior = Volume(template.gm, template.space).resampled_to(anatomy.space).data
    gm = (0.5 * anatomy.gm + 0.5 * prior) * np.clip(2.0 * (1.0 - anatomy.csf), 0.0, 1.0) * anatomy.brain
    return replace(anatomy, gm=np.asarray(gm, dtype=np.float32))


def _labelled(atlas: Atlas, names: Sequence[str], anatomy: Anatomy, origin: str) -> Mapping[str, Array]:
    found: dict[str, Array] = {}
    for name in names:
        mask = Volume(atlas.mask(name).astype(np.float32), atlas.space)
        roi = mask.resampled_to(anatomy.space).data * anatomy.brain
        _check(name, roi, anatomy.name, origin)
        found[slug(name)] = np.asarray(roi, dtype=np.float32)
    return found


def _check(name: str, roi: Array, scan: str, origin: str) -> None:
    size = int((roi > 0.5).sum())
    if size < LEAST:
        raise InputError(
            f"{scan}: region {name!r} of {origin} has {size} voxels in the brain, wanted {LEAST} or more; look whether "
            "scan and labels are in one space, or choose another region"
        )
