"""Read an atlas: a label image and the table of its names, whichever of the usual formats it is in."""

from __future__ import annotations

import logging
import os
import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroxai.atlas.atlas import Atlas
from neuroxai.atlas.label_tables import LabelTable, read_table, some
from neuroxai.atlas.sides import is_background
from neuroxai.errors import DimensionsError, InputError
from neuroxai.io import read_labels
from neuroxai.space import Volume

_log = logging.getLogger(__name__)
# A map of per cent passes for labels 1 to 100: at least so many values, and neighbours that differ so often, as
# regions' do not.
_MAP_VALUES, _MAP_DIFFERS, _MAP_VOXELS = 20, 0.7, 500


class AtlasWarning(UserWarning):
    """Something doubtful about an atlas.

    Parameters
    ----------
    kind : str
        In two or three words, for tables.
    text : str
        The whole message.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def load(image: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None) -> Atlas:
    """Read an atlas.

    Parameters
    ----------
    image : path_like
        A three-dimensional NIfTI image of whole numbers, of any storage type.
    labels : path_like, optional
        Its names: BIDS ``dseg.tsv`` or another table with a header (CAT12, FastSurfer, AtlasPack, Slicer), XML of FSL,
        SPM or the Julich-Brain atlas, a colour table of FreeSurfer, FSLeyes, MRtrix or Slicer, an ITK-SNAP label
        description, a workbench label list, JSON, or text with an index and a name a line. Without it a file of the
        same stem beside the image is used (.tsv, .xml, .txt, .label, .lut, .csv, .ctbl), and failing that names
        ``region 17``.

    Returns
    -------
    Atlas
        With the rule that links names to values in ``atlas.origin``. Values named Background, Unknown, Clear Label
        or Unclassified become background. Names without voxels stay, except those of a general FreeSurfer colour
        table.

    Raises
    ------
    InputError
        If the image holds no label, or per cent of one; or the table is in no known format, contradicts the image,
        gives one value two names, or can be read in two ways between which the image's values do not decide.
    SpaceError
        If the image is four-dimensional (probabilistic) or its affine cannot be inverted.

    Warns
    -----
    AtlasWarning
        If labels have no name or are called background, names occur twice, the table counts from 0 where the image
        counts from 1, the sides of names settled how it is read, or the labels lie outside the brain's place in MNI152
        space.

    Notes
    -----
    A table is fitted to the values that the image holds: they settle which column is the index, and whether a table
    whose index 0 names a region counts from 0. In FSL XML the first region has index 0. In a maximum-probability image
    (``<type>Probabilistic``) its value is 1; in a label image (``<type>Label``, such as JHU-ICBM-labels with index 0
    "Unclassified") values are the indices.
    """
    volume = _read_image(image)
    values = [int(v) for v in np.unique(volume.data)]
    if values[0] < 0:
        raise InputError(f"{image}: holds the label {values[0]}; labels are 0 (background) and above, is this a map?")
    values = [v for v in values if v > 0]
    if not values:
        raise InputError(f"{image}: every voxel is 0, so there is no region; export or convert the label image again")
    table_path = Path(labels) if labels is not None else _beside(Path(image))
    table = (
        LabelTable({}, "no label table, named by value")
        if table_path is None
        else (read_table(table_path, values, lambda: _places(volume)))
    )
    if table.by_places:
        text = (
            f"{table_path}: can be read in two ways; taken is {table.rule}, since by that alone the labels of {image} "
            f"lie on the sides that their names say ({table.names.get(values[0])!r} is label {values[0]}). "
            "Correct the table to be sure"
        )
        warnings.warn(AtlasWarning("table read by sides", text), stacklevel=2)
    elif table.shifted:
        text = (
            f"{table_path}: counts from 0 while the labels of {image} count from 1, which the image's values prove: "
            f"{table.names[values[0]]!r} is label {values[0]}. Add 1 to every index of the table to be sure"
        )
        warnings.warn(AtlasWarning("table counts from 0", text), stacklevel=2)
    names = {v: n for v, n in table.names.items() if v > 0 and not is_background(n)}
    background = [v for v, n in table.names.items() if is_background(n)]
    data = np.where(np.isin(volume.data, background), 0, volume.data) if background else volume.data
    present = set(values) - set(background)
    if not present:
        raise InputError(f"{table_path}: calls every label of {image} background, so there is no region; correct it")
    nothing = sorted(set(values) & set(background))
    if nothing:
        text = (
            f"{table_path}: {len(nothing)} labels of the image are called background (labels {some(nothing)}: "
            f"{some([table.names[v] for v in nothing])}), and their {np.isin(volume.data, nothing).sum()} voxels are "
            "in no region; rename them if they are regions"
        )
        warnings.warn(AtlasWarning("labels taken for background", text), stacklevel=2)
    nameless = sorted(v for v in present if _is_empty(names.get(v, "")))
    if nameless and table_path is not None:
        if len(nameless) == len(present):
            raise InputError(
                f"{table_path}: names none of the labels of {image} ({some(nameless)}); it names "
                f"{some(sorted(table.names))}. Is it the table of another atlas?"
            )
        text = (
            f"{table_path}: has no name for {len(nameless)} labels of the image ({some(nameless)}); "
            "they are called 'region VALUE'"
        )
        warnings.warn(AtlasWarning("labels without names", text), stacklevel=2)
    _refuse_per_cent(volume, image, len(nameless) * 2 > len(present))
    unused = sorted(set(names) - present)
    if table.general and unused and sorted(names) == list(range(1, len(names) + 1)):
        # a list of one atlas's regions, not of all that FreeSurfer knows: that of another number of regions?
        text = f"{table_path}: {len(unused)} of its {len(names)} names have no label in the image ({some(unused)})"
        warnings.warn(AtlasWarning("names without voxels", text), stacklevel=2)
    names = {v: n for v, n in names.items() if v in present or not (table.general or _is_empty(n))}
    names.update({v: f"region {v}" for v in nameless})
    names = _distinct(names, table_path)
    atlas = Atlas(data, names, volume.space, table.rule)
    _log.info("%s: %d regions; %s", image, len(atlas.names), table.rule)
    outside = atlas.share_outside_mni152()
    if outside > 0.25:
        text = (
            f"{image}: {outside:.0%} of the labelled voxels lie outside the brain's place in MNI152 space (the affine "
            f"puts voxel 0 at {np.round(atlas.space.affine[:3, 3], 1).tolist()} mm); if the atlas is meant for MNI152 "
            "its header is wrong: repair the affine, or use it only with scans on the same grid"
        )
        warnings.warn(AtlasWarning("outside MNI152", text), stacklevel=2)
    return atlas


def _is_empty(name: str) -> bool:
    # "n/a" is how BIDS writes that there is none
    return name.strip("? ").casefold() in ("", "n/a")


def _read_image(path: str | os.PathLike[str]) -> Volume:
    try:
        return read_labels(path)
    except DimensionsError as error:
        file = Path(path)
        names = [file.name.replace("-prob-", f"-maxprob-thr{percent}-") for percent in (25, 50, 0)]
        here = [name for name in names if name != file.name and file.with_name(name).is_file()]
        example = f"beside it lies {here[0]}" if here else "for example HarvardOxford-sub-maxprob-thr25-1mm.nii.gz"
        raise DimensionsError(
            f"{error}. A probabilistic atlas has one map a region: use its maximum-probability image ({example})"
        ) from None


def _places(volume: Volume) -> dict[int, NDArray[np.float64]]:
    """Return the centre of each label in world mm."""
    inside = np.argwhere(volume.data > 0)
    values, place = np.unique(volume.data[tuple(inside.T)], return_inverse=True)
    counts = np.bincount(place)
    centres = np.stack([np.bincount(place, inside[:, axis]) / counts for axis in range(3)], axis=-1)
    return dict(zip(map(int, values), volume.space.world(centres), strict=True))


def _refuse_per_cent(volume: Volume, image: str | os.PathLike[str], nameless: bool) -> None:
    """Refuse one map of a probabilistic atlas, whose per cent are whole numbers and pass for labels."""
    data = volume.data
    values = np.unique(data)
    if not nameless or values[-1] > 100 or len(values) < _MAP_VALUES or np.count_nonzero(data) < _MAP_VOXELS:
        return
    both = (data[1:] > 0) & (data[:-1] > 0)
    differs = float((data[1:] != data[:-1])[both].mean()) if both.any() else 0.0
    if differs > _MAP_DIFFERS:
        raise InputError(
            f"{image}: {differs:.0%} of neighbouring voxels have different values of 1 to {values[-1]}, as in a map of "
            "per cent and not as in labels; use the maximum-probability image of the atlas "
            "(for example HarvardOxford-sub-maxprob-thr25-1mm.nii.gz), or threshold the map to 0 and 1"
        )


def _beside(image: Path) -> Path | None:
    stem = re.sub(r"\.(nii(\.gz)?|mgz|mgh|img|hdr)$", "", image.name)
    candidates = [image.with_name(stem + end) for end in (".tsv", ".xml", ".txt", ".label", ".lut", ".csv", ".ctbl")]
    return next((path for path in candidates if path.is_file()), None)


def _distinct(names: dict[int, str], path: Path | None) -> dict[int, str]:
    seen: dict[str, list[int]] = {}
    for value, name in names.items():
        seen.setdefault(name.casefold(), []).append(value)
    shared = {value for values in seen.values() if len(values) > 1 for value in values}
    if shared:
        text = (
            f"{path}: labels {some(sorted(shared))} share their names with others; their value is added to the name, "
            f"as in '{names[min(shared)]} ({min(shared)})'"
        )
        warnings.warn(AtlasWarning("duplicate names", text), stacklevel=3)
    return {value: f"{name} ({value})" if value in shared else name for value, name in names.items()}
