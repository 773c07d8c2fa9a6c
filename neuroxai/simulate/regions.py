"""Where effects are planted: soft regions at published MNI coordinates, an atlas's, or those of a scan's label map.

A built-in structure is a tube of elliptical cross-section around a curve, times the grey-matter or fluid fraction, so
that the anatomy and not the tube draws the border. Left is x < 0.

Sources of the coordinates (MNI152, mm): anterior and posterior hippocampus and amygdala of Seitzman 2020 (packaged by
nilearn); centroids of hippocampus, amygdala and parahippocampal gyrus of the AAL parcellation (Tzourio-Mazoyer 2002);
the body of the hippocampus bows laterally between head and tail along the temporal horn (Duvernoy 2013). The tests
check the result against the Harvard-Oxford atlas, which takes no part in making it.
"""

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
from neuroxai.simulate.anatomy import Anatomy, Array, mni152_anatomy
from neuroxai.space import Space, Volume

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Tube:
    """A curve on the right (x > 0) and the half-widths of its cross-section along x, y and z, all in mm."""

    curve: tuple[Point, ...]
    half_widths: Point

    def map(self, anatomy: Anatomy, side: int) -> Array:
        """Soft membership from 0 to 1 on the anatomy's grid; `side` is -1 for left, +1 for right."""
        scale = np.asarray(self.half_widths, dtype=np.float64)
        curve = np.asarray(self.curve, dtype=np.float64) * (side, 1, 1)
        result: Array = np.zeros(anatomy.space.shape, dtype=np.float32)
        ends = np.stack([curve.min(0) - 1.5 * scale, curve.max(0) + 1.5 * scale])
        box = anatomy.space.box_around(np.array(np.meshgrid(*ends.T, indexing="ij")).reshape(3, -1).T)
        grid = np.stack(np.meshgrid(*[np.arange(b.start, b.stop) for b in box], indexing="ij"), axis=-1)
        points = anatomy.space.world(grid) / scale
        distance = np.full(points.shape[:-1], np.inf)
        for start, end in zip(curve[:-1] / scale, curve[1:] / scale, strict=True):
            along = end - start
            t = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
            distance = np.minimum(distance, np.linalg.norm(points - start - t[..., None] * along, axis=-1))
        result[box] = 1.0 / (1.0 + np.exp(np.clip((distance - 1.0) / 0.08, -50, 50)))
        return result


HIPPOCAMPUS = Tube(((24, -9, -23), (25, -13, -21), (28, -24, -14), (26.5, -33, -7.5), (22, -39, -1)), (8.5, 5.5, 5.5))
AMYGDALA = Tube(((21, -3, -21), (24, -4, -18)), (7.5, 6.0, 6.5))
PARAHIPPOCAMPAL = Tube(((22, -6, -33), (23, -18, -28), (23, -30, -18), (20, -38, -9)), (8.0, 6.0, 6.0))
LATERAL_VENTRICLE = Tube(
    ((12, 28, 2), (11, 12, 16), (12, -8, 23), (17, -28, 20), (26, -42, 8), (26, -54, 8)), (11.0, 9.0, 10.0)
)
INFERIOR_HORN = Tube(((28, -41, 4), (34, -35, -4), (37, -25, -13), (34, -13, -21), (29, -7, -23)), (6.0, 5.5, 5.5))
SURROUNDINGS = Tube(HIPPOCAMPUS.curve, (19.0, 13.0, 13.0))

TUBES = (HIPPOCAMPUS, AMYGDALA, PARAHIPPOCAMPAL, LATERAL_VENTRICLE, INFERIOR_HORN)

SIDES = {"left": -1, "right": 1}


def _sharpened(fraction: Array) -> Array:
    """Tissue fractions pushed towards 0 and 1 around one half."""
    t = np.clip((fraction - 0.3) / 0.4, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def hippocampus(anatomy: Anatomy, side: int) -> Array:
    """Soft hippocampus (head, body and tail) of one side."""
    return HIPPOCAMPUS.map(anatomy, side) * _sharpened(anatomy.gm)


def amygdala(anatomy: Anatomy, side: int) -> Array:
    """Soft amygdala of one side, without what belongs to the hippocampus."""
    return AMYGDALA.map(anatomy, side) * _sharpened(anatomy.gm) * (1.0 - HIPPOCAMPUS.map(anatomy, side))


def parahippocampal(anatomy: Anatomy, side: int) -> Array:
    """Soft parahippocampal region (with entorhinal cortex) of one side."""
    others: Array = np.maximum(HIPPOCAMPUS.map(anatomy, side), AMYGDALA.map(anatomy, side))
    return PARAHIPPOCAMPAL.map(anatomy, side) * _sharpened(anatomy.gm) * (np.float32(1.0) - others)


def lateral_ventricle(anatomy: Anatomy, side: int) -> Array:
    """Soft lateral ventricle of one side: frontal horn, body, trigone and occipital horn."""
    return LATERAL_VENTRICLE.map(anatomy, side) * _sharpened(anatomy.csf) * _hemisphere(anatomy, side)


def temporal_fluid(anatomy: Anatomy, side: int) -> Array:
    """Fluid that takes the place of lost medial temporal tissue: the inferior horn and the fissures around."""
    near = np.maximum(INFERIOR_HORN.map(anatomy, side), 0.35 * SURROUNDINGS.map(anatomy, side))
    return np.asarray(near * anatomy.csf * _hemisphere(anatomy, side), dtype=np.float32)


def inferior_horn(anatomy: Anatomy, side: int) -> Array:
    """Soft inferior (temporal) horn of one side."""
    return INFERIOR_HORN.map(anatomy, side) * anatomy.csf


def _hemisphere(anatomy: Anatomy, side: int) -> Array:
    """One beyond 2 mm from the midline on the side asked for, falling to 0 at it."""
    i, j, k = np.ogrid[tuple(slice(n) for n in anatomy.space.shape)]
    row = anatomy.space.affine[0]
    x = (row[0] * i + row[1] * j + row[2] * k + row[3]).astype(np.float32)
    return np.asarray(np.clip(side * x / 2.0, 0.0, 1.0), dtype=np.float32)


BUILT_IN: dict[str, Callable[[Anatomy, int], Array]] = {
    "hippocampus": hippocampus,
    "amygdala": amygdala,
    "parahippocampal": parahippocampal,
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
            f"{label_map}: is on a grid of {labels.describe()}, its scan on one of {scan.describe()}, expected the "
            "same grid (shape and affine); bring it to the scan's grid first"
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
        found = {f"{n}_{side}": BUILT_IN[n](anatomy, sign) for n in chosen for side, sign in SIDES.items()}
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
            f"{scan}: region {name!r} of {origin} has {size} voxels in the brain, expected {LEAST} or more; look "
            "whether scan and labels are in one space, or choose another region"
        )
