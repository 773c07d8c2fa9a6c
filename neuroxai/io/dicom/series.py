"""Which series a folder holds, and which of them is meant."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuroxai.errors import InputError
from neuroxai.io.dicom.acquisition import acquisition_of
from neuroxai.io.dicom.opening import BROKEN, Where, headers, is_dicom, understood, value_of
from neuroxai.io.files import sha256

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Series:
    """A series of images that belong together by their identifier.

    Parameters
    ----------
    uid : str
        Series instance UID.
    number : int, optional
        Series number.
    description : str
        What the scanner or its operator called it; free text that may name a person, so it stays out of provenance
        files and messages.
    modality : str
        ``"MR"`` for what can be read.
    size : tuple of int
        Columns and rows of the first image, and the number of images.
    files : tuple of Path
        Where they are.
    times : str
        Repetition, echo and inversion time, by which weightings are told apart: ``TR 2300, TE 2.98, TI 900 ms``.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    size: tuple[int, int, int]
    files: tuple[Path, ...]
    times: str = ""

    @property
    def name(self) -> str:
        """For messages: without the description, which is free text, as messages end up in logs."""
        return f"{self.files[0].parent}, series {self.number} ({self.uid})"

    def describe(self) -> str:
        """One line for messages: ``3: MR, TR 2300, TE 3 ms, 192 images of 256 x 256 in 192 files (1.2.8)``."""
        number = "?" if self.number is None else self.number
        columns, rows, images = self.size
        kind = ", ".join(filter(None, (self.modality or "no modality", self.times)))
        return f"{number}: {kind}, {images} images of {columns} x {rows} in {len(self.files)} files ({self.uid})"


def list_series(folder: Where) -> list[Series]:
    """List the series of a folder and all folders below, by number.

    Parameters
    ----------
    folder : path_like or sequence of path_like
        A folder, or files.

    Raises
    ------
    InputError
        If there is no DICOM image, or a file is damaged or cannot be read.
    """
    return found(folder)[0]


def series_digest(folder: Where, series: str | int | None = None) -> str:
    """Return a checksum of a series' files, whatever they are called.

    Raises
    ------
    InputError
        As `neuroxai.io.read_series` for the choice.
    """
    sums = sorted(sha256(file) for file in chosen(list_series(folder), series, folder).files)
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def found(where: Where) -> tuple[list[Series], list[Path]]:
    """List the series, and the files that hold no DICOM image.

    Raises
    ------
    InputError
        As `list_series`; also if a file is named as the images beside it are, and is none: a slice may be lost.
    """
    groups: dict[str, list[tuple[Path, Dataset]]] = {}
    frames: dict[str, int] = {}
    skipped: list[Path] = []
    for file, header in headers(where):
        if header is None:
            skipped.append(file)
            continue
        uid = str(value_of(header, "SeriesInstanceUID"))
        members = groups.setdefault(uid, [])
        # one header a series is kept: scanners put hundreds of kilobytes of their own into each
        members.append((file, members[0][1] if members else header))
        frames[uid] = frames.get(uid, 0) + (whole(header, "NumberOfFrames") or 1)
    if not groups:
        raise InputError(f"{where}: none of {len(skipped)} files is a DICOM image; check the path")
    names = {_pattern(file) for members in groups.values() for file, _ in members}
    for file in skipped:
        if not file.name.startswith(".") and _pattern(file) in names and not is_dicom(file):
            raise InputError(
                f"{file}: is named as the images beside it, but is no DICOM file ({file.stat().st_size} bytes); a "
                "slice may be lost: copy it again, or take it away if it is none"
            )
    series = [_series(uid, members, frames[uid]) for uid, members in groups.items()]
    return sorted(series, key=lambda one: (one.number is None, one.number or 0, one.uid)), skipped


def left_out(where: Where, series: str | int | None = None) -> list[str]:
    """Say in lines what of a place is not taken: files that hold no image, and series that are not meant.

    Raises
    ------
    InputError
        As `chosen`.
    """
    candidates, skipped = found(where)
    one = chosen(candidates, series, where)
    lines = []
    if skipped:
        names = ", ".join(file.name for file in skipped[:5]) + (" and more" if len(skipped) > 5 else "")
        total = len(skipped) + sum(len(other.files) for other in candidates)
        lines.append(f"{len(skipped)} of {total} files, which hold no DICOM image: {names}")
    lines += [f"series {other.number} ({len(other.files)} files, {other.uid})" for other in candidates if other != one]
    return lines


def _pattern(file: Path) -> tuple[Path, str]:
    """Return what a file's name shares with those of the slices beside it: the ending, or all but the digits."""
    ending = re.fullmatch(r"\.[A-Za-z]\w*", file.suffix)
    return file.parent, file.suffix.lower() if ending else re.sub(r"\d+", "0", file.name)


def chosen(series: list[Series], choice: str | int | None, where: Where) -> Series:
    """Return the one series that is meant.

    Parameters
    ----------
    series : list of Series
        Those that were found.
    choice : str or int, optional
        A UID, a number, or a part of one description alone (capitals count for nothing).
    where : path_like
        For the message.

    Raises
    ------
    InputError
        If there are several and no choice, or the choice fits none or several.
    """
    if choice is None:
        fitting = series
        problem = f"{len(series)} series, expected one"
    else:
        name = str(choice).strip()
        by_uid = [one for one in series if one.uid == name]
        by_number = [one for one in series if str(one.number) == name]
        by_text = [one for one in series if name and name.lower() in one.description.lower()]
        fitting = by_uid or by_number or by_text
        problem = f"series {choice!r} fits {len(fitting) or 'none'} of {len(series)}, expected one"
    if len(fitting) == 1:
        return fitting[0]
    listed = "".join(f"\n  {one.describe()}" for one in series)
    raise InputError(f"{where}: {problem}; choose by UID, number or a part of the description:{listed}")


def whole(header: Dataset, keyword: str) -> int | None:
    """Return a whole number of a header; None where it is absent or malformed."""
    try:
        return int(header[keyword].value)
    except BROKEN:
        return None


def _series(uid: str, members: list[tuple[Path, Dataset]], images: int) -> Series:
    file, header = members[0]
    with understood(file):
        times = _times(header)
    return Series(
        uid=uid,
        number=whole(header, "SeriesNumber"),
        description=str(value_of(header, "SeriesDescription") or "").strip(),
        modality=str(value_of(header, "Modality") or "").strip(),
        size=(whole(header, "Columns") or 0, whole(header, "Rows") or 0, images),
        files=tuple(file for file, _ in members),
        times=times,
    )


def _times(header: Dataset) -> str:
    acquisition = acquisition_of(header)
    names = {"TR": "RepetitionTime", "TE": "EchoTime", "TI": "InversionTime"}
    shown = [f"{short} {acquisition[name] * 1e3:.4g}" for short, name in names.items() if name in acquisition]
    return f"{', '.join(shown)} ms" if shown else ""
