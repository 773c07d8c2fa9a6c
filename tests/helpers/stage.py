"""What pages presume to lie in the reader's folder, small: cohorts, bundles, scans, series, atlases."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from helpers.brains import bids_of, brain
from helpers.bundles import REPOSITORY, copy_of
from helpers.dicom import write_series
from helpers.explained import write_tables
from helpers.public import MERGE, bids, caps, oasis_folder
from helpers.studies import cohort_of, smaller
from neuroxai import io
from neuroxai.space import Volume


class Given(NamedTuple):
    """What is made once for all pages."""

    phantoms: Path
    trained: Path
    bids: Path
    prepared: Path


Maker = Callable[[Given, Path], None]


def phantoms(given: Given, target: Path) -> None:
    """A cohort with its datalist."""
    cohort_of(given.phantoms, target)
    shutil.copy(given.phantoms / "datalist.json", target)


def families(given: Given, target: Path) -> None:
    """The cohort, with a column that says who belongs together."""
    cohort_of(given.phantoms, target)
    table = io.read_tsv(target / "participants.tsv")
    table["family"] = [f"f{number // 2}" for number in range(len(table))]
    table.to_csv(target / "participants.tsv", sep="\t", index=False)


def scan(given: Given, target: Path) -> None:
    shutil.copy(given.phantoms / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz", target)


def trained(given: Given, target: Path) -> None:
    shutil.copytree(given.trained, target)


def bundle(source: Path) -> Maker:
    """A bundle's sources, or, as ``.``, the folder that is one."""

    def make(given: Given, target: Path) -> None:
        for part in copy_of(source, target.parent / f".{source.name}").iterdir():
            target.mkdir(exist_ok=True)
            shutil.move(part, target / part.name)

    return make


def heads(given: Given, target: Path) -> None:
    """A BIDS folder."""
    shutil.copytree(given.bids, target)


def head_with_lesions(given: Given, target: Path) -> None:
    """A BIDS folder of one participant with a FLAIR scan; the lesion's mask lies in ``masks`` beside it."""
    bids_of(target, 1)
    t1w = target / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    shutil.copy(t1w, t1w.with_name("sub-01_FLAIR.nii.gz"))
    volume = io.read_volume(t1w)
    lesion = np.zeros(volume.space.shape, np.uint8)
    middle = tuple(slice(n // 2 + 5, n // 2 + 8) for n in lesion.shape)
    lesion[middle] = volume.data[middle] > 0
    (target.parent / "masks").mkdir()
    # the place of a session's name stays empty where there are no sessions
    io.write_volume(target.parent / "masks" / "sub-01__lesions.nii.gz", Volume(lesion, volume.space), np.uint8)


def prepared(given: Given, target: Path) -> None:
    """What ``neuroxai prepare`` made of that BIDS folder, which it therefore finds done."""
    shutil.copytree(given.prepared, target)


def labelled(given: Given, target: Path) -> None:
    """The prepared scans, each with a label map of two structures."""
    shutil.copytree(given.prepared, target)
    for path in target.glob("sub-*/anat/*_desc-brain_T1w.nii.gz"):
        space = io.read_volume(path).space
        labels = boxes(space.shape)
        io.write_volume(
            path.with_name(path.name.replace("_desc-brain_T1w", "_dseg")), Volume(labels, space), dtype=np.int32
        )
    (target.parent / "dseg.tsv").write_text("index\tname\n1\tLeft-Hippocampus\n2\tRight-Hippocampus\n")


def boxes(shape: tuple[int, ...]) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    labels[10:14, 20:24, 15:19], labels[24:28, 20:24, 15:19] = 1, 2
    return labels


def atlas(given: Given, target: Path) -> None:
    """An atlas of one's own, with its table of names."""
    own_atlas(given.phantoms, target)


def own_atlas(phantoms: Path, target: Path) -> None:
    """Two boxes on the phantoms' grid, left and right, and ``my_atlas.tsv`` beside them."""
    space = io.read_volume(phantoms / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz").space
    io.write_volume(target, Volume(boxes(space.shape), space), dtype=np.int32)
    target.with_name("my_atlas.tsv").write_text("index\tname\n1\tLeft thing\n2\tRight thing\n")


def lesion_masks(given: Given, target: Path) -> None:
    """Lesions of two people in MNI152."""
    space = io.read_volume(given.phantoms / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz").space
    target.mkdir()
    for number in (1, 2):
        mask = (boxes(space.shape) == number).astype(np.uint8)
        io.write_volume(target / f"sub-{number:02d}_mask.nii.gz", Volume(mask, space), dtype=np.uint8)


def series(given: Given, target: Path) -> None:
    """A DICOM series of a head."""
    volume = brain()
    stored = np.clip(volume.data, 0, 30_000).astype(np.int16)
    write_series(target, Volume(stored, volume.space), SeriesDescription="t1_mprage")


def tables(given: Given, target: Path) -> None:
    """Region scores of controls and patients in ``explained``; of others, in ``other``."""
    write_tables(target)
    write_tables(target / "elsewhere", seed=1, controls=0, prefix="sub-x").rename(target / "other")


def oasis(given: Given, target: Path) -> None:
    """What nilearn keeps of OASIS."""
    oasis_folder(target)


def adni(given: Given, target: Path) -> None:
    """ADNI as Clinica leaves it, with its table of visits."""
    bids(target)
    caps(target.parent / "CAPS")
    (target.parent / "ADNIMERGE.csv").write_text(MERGE)


def a_map(given: Given, target: Path) -> None:
    """A map on the grid of the prepared scans."""
    shutil.copy(next(given.prepared.glob("sub-01/anat/*_desc-brain_T1w.nii.gz")), target)


def study(given: Given, target: Path) -> None:
    """The declaration of the published study of that name, made small."""
    smaller(target.name, target)


def link(name: str) -> Maker:
    """Another name for what a page makes."""

    def make(given: Given, target: Path) -> None:
        target.symlink_to(name)

    return make


def set_up(folder: Path, given: Given, wanted: dict[str, Maker]) -> None:
    """Put the repository's scripts and bundles and what a page presumes into a folder."""
    (folder / "scripts").symlink_to(REPOSITORY / "scripts")
    if "." not in wanted:
        for source in (REPOSITORY / "bundles").iterdir():
            copy_of(source, folder / "bundles" / source.name)
    for name, make in wanted.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        make(given, target)
