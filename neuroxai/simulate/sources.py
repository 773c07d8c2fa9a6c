"""Which of the user's scans effects are planted in: the healthy ones of a table, one a participant."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neuroxai.cohort import LeftOut, find_scans
from neuroxai.cohort.people import controls_of, describe
from neuroxai.cohort.table import value_of
from neuroxai.errors import InputError, one_of
from neuroxai.io.names import entity, suffix_of, without_run


@dataclass(frozen=True)
class Source:
    """A healthy person's scan.

    Parameters
    ----------
    participant_id : str
        ``sub-01``.
    scan : pathlib.Path
        The file.
    suffix : str
        Its contrast.
    age : float or None
        Years.
    sex : str or None
        As the table says.
    label_map : pathlib.Path or None
        The label image beside the scan.
    """

    participant_id: str
    scan: Path
    suffix: str
    age: float | None
    sex: str | None
    label_map: Path | None = None


@dataclass(frozen=True)
class Sources:
    """The scans found, who was left out, what was understood, and the folder of the scans."""

    scans: list[Source]
    left_out: list[LeftOut]
    notes: list[str]
    folder: Path | None = None


def find_sources(
    table: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    healthy: Sequence[str] = (),
    target: str | None = None,
    suffix: str | None = "T1w",
    desc: str | None = None,
    label_maps: str | None = None,
    run: str | None = None,
) -> Sources:
    """Find the healthy participants of a table and the first scan of each.

    Parameters
    ----------
    table : path_like
        participants.tsv.
    folder : path_like, optional
        BIDS derivatives with the prepared scans; default the table's folder.
    healthy : sequence of str
        Classes that count as healthy; default the one with a well-known name of controls, or everybody where the
        table has no class.
    target : str, optional
        Column with the class; default ``diagnosis`` or ``group``.
    suffix, desc : str, optional
        Choose among several files, see `neuroxai.cohort.find_scans`.
    label_maps : str, optional
        A glob inside the folder that finds one label image per scan, such as ``sub-*/anat/*_dseg.nii.gz``.
    run : {"first", "last", "all"}, optional
        Which of several runs of a scan; without it such scans are left out. One scan of each participant is taken.

    Raises
    ------
    InputError
        If no scan is found, a class is unknown, it is not clear who is healthy, or a label image is absent.
    """
    file = Path(table)
    if file.is_dir():
        file = file / "participants.tsv"
    root = Path(folder) if folder is not None else file.parent
    if not file.is_file():
        raise InputError(f"{file}: no such table; give the participants.tsv of prepared scans (--from)")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder of the prepared scans (--scans)")
    scans, left_out = find_scans(root, suffix, desc, run=run)
    known = describe(file, [(s.participant_id, s.session_id) for s in scans], target, need_class=False)
    left_out = [*left_out, *known.left_out]
    classes = _healthy(known.scans["class"].tolist(), healthy, known.target)
    maps = _label_maps(root, label_maps, run)
    images = {(s.participant_id, s.session_id): s.image for s in scans}
    found: dict[str, Source] = {}
    later = 0
    for row in known.scans.to_dict("records"):
        person, session = str(row["participant_id"]), value_of(row["session_id"])
        if classes is not None and row["class"] not in classes:
            continue
        if person in found:
            later += 1
            continue
        image = root / images[person, session]
        label_map = maps.get((person, session)) or maps.get((person, without_run(session))) or maps.get((person, None))
        if label_maps and label_map is None:
            raise InputError(f"{image}: {label_maps!r} finds no label map for {person}; widen --label-maps")
        age, sex = row["age"], row["sex"]
        found[person] = Source(
            person,
            image,
            suffix_of(image.name),
            None if age is None or age != age else float(age),
            sex if isinstance(sex, str) else None,
            label_map,
        )
    if not found:
        raise InputError(
            f"{file}: no scan of a healthy participant was found in {root}; see --healthy, --suffix and --desc"
        )
    notes = [*known.notes, *([f"{later} later scans of the same participants not used"] if later else [])]
    if classes is None:
        notes.append("the table has no class, so everybody counts as healthy")
    return Sources([found[name] for name in sorted(found)], left_out, notes, root)


def _healthy(classes: Sequence[str | None], asked: Sequence[str], target: str) -> set[str] | None:
    counts = Counter(name for name in classes if name is not None)
    for name in asked:
        if name not in counts:
            raise one_of(f"class for --healthy (column {target!r})", name, counts)
    if asked:
        return set(asked)
    if not counts:
        return None
    return {controls_of(counts, option="--healthy")}


def _label_maps(root: Path, pattern: str | None, run: str | None) -> dict[tuple[str, str | None], Path]:
    if pattern is None:
        return {}
    scans, _ = find_scans(root, pattern=pattern, run=run)
    return {(s.participant_id, s.session_id): root / s.image for s in scans if entity(s.image, "sub")}
