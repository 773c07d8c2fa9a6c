"""JSON datalists: written whole, checked for leakage whenever they are read."""

from __future__ import annotations

import math
import os
import posixpath
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroxai.errors import InputError, LeakageError, one_of
from neuroxai.io import inside, read_json, write_json
from neuroxai.io.names import entity, prefixed

Datalist = dict[str, Any]

#: The parts a split writes; a datalist may hold others.
PARTS = ("training", "validation", "test")


def parts_of(datalist: Mapping[str, Any]) -> list[str]:
    """Return the names of a datalist's parts: the usual three, and any further list of items with an image."""
    others = [
        name
        for name, value in datalist.items()
        if name not in PARTS and isinstance(value, list) and any(isinstance(i, dict) and "image" in i for i in value)
    ]
    return [name for name in PARTS if name in datalist] + others


def load_datalist(
    path: str | os.PathLike[str], part: str, base_dir: str | os.PathLike[str] | None = None
) -> list[dict[str, Any]]:
    """Read one part of a datalist for a MONAI Dataset; the whole file is checked first.

    Parameters
    ----------
    path : path_like
        The JSON file that ``neuroxai split`` wrote.
    part : str
        ``"training"``, ``"validation"`` or ``"test"``.
    base_dir : path_like, optional
        The cohort's folder, to which image paths are relative; without it the file's own folder, as in MONAI.

    Returns
    -------
    list of dict
        The items, with ``image`` as an absolute path and participant and session, if the list lacks them, from the
        image's name. All have the same keys, so that a batch can be collated: an
        unknown age is NaN, a missing session an empty text, any other missing value ``"n/a"``.

    Raises
    ------
    LeakageError
        If a subject or an image stands in two parts.
    InputError
        If the part, an image file or a field is absent, a label has no class, or training or validation holds one class
        only.
    """
    datalist = read_json(path)
    base = Path(base_dir) if base_dir is not None else Path(path).parent
    try:
        check_datalist(datalist, base, part)
    except LeakageError as error:
        raise LeakageError(f"{path}: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    items = [
        {**item, **identity_of(item, f"{path}: {part}"), "image": str(inside(base, item["image"], follow_links=False))}
        for item in datalist[part]
    ]
    keys = list(dict.fromkeys(key for item in items for key in item))
    absent = {"age": math.nan, "session_id": ""}
    for item in items:
        for key in keys:
            if item.get(key) is None:
                item[key] = absent.get(key, "n/a")
    return items


def check_datalist(
    datalist: Mapping[str, Any], base_dir: str | os.PathLike[str] | None = None, part: str | None = None
) -> None:
    """Refuse a datalist that leaks or cannot be used.

    Parameters
    ----------
    datalist : mapping
        As read from the file.
    base_dir : path_like, optional
        Look for the image files below this folder; without it files are not looked for.
    part : str, optional
        A part that must be there; only its files are then looked for.

    Raises
    ------
    LeakageError
        If a subject, an image or a group (where the list names its field) stands in two parts.
    InputError
        For anything else that `load_datalist` names.
    """
    if not isinstance(datalist, Mapping):
        raise InputError(f"a datalist is a JSON object with parts, got a {type(datalist).__name__}; run neuroxai split")
    parts = parts_of(datalist)
    if part is not None and part not in parts:
        raise one_of("part of the datalist", part, parts, "These are the parts present.")
    if not parts:
        raise InputError(f"the datalist has no part; expected one of {', '.join(PARTS)}; run neuroxai split")
    classes = datalist.get("classes")
    if not isinstance(classes, list) or len(classes) < 2 or len(set(map(str, classes))) < len(classes):
        raise InputError(f'"classes" is {classes!r}, expected a list of two or more names in the order of the labels')
    subjects: dict[str, str] = {}
    images: dict[str, str] = {}
    for name in parts:
        _check_part(name, datalist[name], classes, subjects, images)
    if datalist.get("group") is not None:
        _check_groups(datalist, parts)
    for name in ("training", "validation"):  # a network learns from the one and is chosen by the other
        if name in parts and len({item["label"] for item in datalist[name]}) < 2:
            only = classes[datalist[name][0]["label"]]
            raise InputError(f"{name} holds one class only ({only}), expected {' and '.join(classes)}; split again")
    if base_dir is not None:
        _check_files(datalist, [part] if part else parts, Path(base_dir))


def _check_part(
    part: str, items: Any, classes: Sequence[str], subjects: dict[str, str], images: dict[str, str]
) -> None:
    if not isinstance(items, list) or not items:
        raise InputError(f"part {part!r} is {'empty' if items == [] else 'not a list'}; expected a list of items")
    own: set[str] = set()
    for number, item in enumerate(items):
        where = f"item {number} of {part}"
        if not isinstance(item, dict) or not isinstance(item.get("image"), str) or not item["image"]:
            raise InputError(f'{where} is {str(item)[:120]}; expected an object with "image" (a path) and "label"')
        subject, image = subject_of(item, where), posixpath.normpath(item["image"].replace("\\", "/"))
        if subjects.setdefault(subject, part) != part:
            raise LeakageError(
                f"{subject} stands in {subjects[subject]} and in {part}, expected one part a subject; split by subject "
                "(neuroxai split)"
            )
        if images.setdefault(image, part) != part:
            raise LeakageError(f"image {image} stands in {images[image]} and in {part}, expected one part; split again")
        # the same scan twice in training is over-sampling; elsewhere it would count twice in the metrics
        if image in own and part != "training":
            raise InputError(f"{where}: image {image} stands twice in {part}, expected once; delete one of the items")
        own.add(image)
        label = item.get("label")
        if type(label) is not int or not 0 <= label < len(classes):
            numbers = ", ".join(f"{i} ({name})" for i, name in enumerate(classes))
            raise InputError(f"{where} ({subject}): label {label!r} is no class, expected one of {numbers}")


def _check_groups(datalist: Mapping[str, Any], parts: Sequence[str]) -> None:
    """Refuse twins, or whoever else the field named by "group" joins, in two parts."""
    column = datalist["group"]
    if not isinstance(column, str) or not column:
        raise InputError(f'"group" is {column!r}, expected the name of a field of the items, such as twin; split again')
    seen: dict[str, str] = {}
    for part in parts:
        for item in datalist[part]:
            value = item.get(column)
            if value is not None and seen.setdefault(str(value), part) != part:
                raise LeakageError(
                    f"{column} {value} stands in {seen[str(value)]} and in {part}, expected one part for all who share "
                    f"it; split again (neuroxai split --group {column})"
                )


def subject_of(item: dict[str, Any], where: str) -> str:
    """Return an item's participant (``sub-<label>``), from its field or its image's name; refuse where they differ."""
    named = entity(item["image"], "sub")
    given = item.get("participant_id")
    if not named and not isinstance(given, str):
        raise InputError(f'{where} has no "participant_id", without which leakage cannot be ruled out; add it')
    subject = prefixed("sub", given) if isinstance(given, str) else f"sub-{named}"
    if named and subject != f"sub-{named}":
        raise InputError(f"{where}: participant_id is {given!r} but the image is {item['image']}; make them agree")
    return subject


def identity_of(item: dict[str, Any], where: str) -> dict[str, str]:
    """Return an item's participant and session, those of its image's name where the fields are absent or null.

    Raises
    ------
    InputError
        If a field is neither text nor a whole number.
    """
    found = {name: item.get(name) for name in ("participant_id", "session_id")}
    found = {name: value.strip() if isinstance(value, str) else value for name, value in found.items()}
    for name, value in found.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            raise InputError(f"{where}: {name} is {value!r}, expected text such as {name[:3]}-1; correct the datalist")
    subject = found["participant_id"] if isinstance(found["participant_id"], str) else subject_of(item, where)
    session = entity(item["image"], "ses")
    visit = found["session_id"] if found["session_id"] is not None else f"ses-{session}" if session else ""
    return {"participant_id": subject, **({"session_id": str(visit)} if visit != "" else {})}


def check_distinct(items: Sequence[Mapping[str, Any]]) -> None:
    """Refuse two scans of one participant and session: the results of one would take the place of the other's.

    Names that differ in capitals alone are one on many disks, as BIDS has it, and so are two spellings of an accent.

    Raises
    ------
    InputError
        If two items bear one name.
    """
    seen: dict[str, Mapping[str, Any]] = {}
    for item in items:
        who = " ".join(filter(None, (str(item["participant_id"]), str(item.get("session_id") or ""))))
        other = seen.setdefault(unicodedata.normalize("NFC", who).casefold(), item)
        if other is not item:
            raise InputError(
                f"{who}: {other['image']} and {item['image']} are scans of one name, so that one's results would "
                "replace the other's; give them participant_id and session_id that differ, or choose with --run"
            )


def _check_files(datalist: Mapping[str, Any], parts: Sequence[str], base: Path) -> None:
    if not base.is_dir():
        raise InputError(f"base folder {base} does not exist; give the cohort's folder as base_dir (--dataset_dir)")
    absent = []
    total = 0
    for part in parts:
        for item in datalist[part]:
            total += 1
            if not inside(base, item["image"], follow_links=False).is_file():
                absent.append(item["image"])
    if absent:
        raise InputError(
            f"{len(absent)} of {total} images are not below {base}, the first is {absent[0]}; give the cohort's folder "
            "as base_dir (--dataset_dir), or split again"
        )


def write_datalist(path: str | os.PathLike[str], datalist: Datalist) -> Path:
    """Check a datalist and write it, whole or not at all.

    Raises
    ------
    LeakageError
        If a subject or an image stands in two parts.
    InputError
        If it cannot be used for training, see `check_datalist`.
    """
    check_datalist(datalist)
    return write_json(path, datalist)
