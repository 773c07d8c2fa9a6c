"""Which series a folder holds, and which of them is meant."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neuroxai.errors import InputError
from neuroxai.io.dicom.files import BROKEN, Where, headers
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
        What the scanner or its operator called it; free text, so it stays out of provenance files.
    modality : str
        ``"MR"`` for what can be read.
    size : tuple of int
        Columns and rows of the first image, and the number of images.
    files : tuple of Path
        Where they are.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    size: tuple[int, int, int]
    files: tuple[Path, ...]

    def describe(self) -> str:
        """One line for lists and messages: ``3: t1_mprage (MR, 192 images of 256 x 256 in 192 files, 1.2.840...)``."""
        number = "?" if self.number is None else self.number
        columns, rows, images = self.size
        return (
            f"{number}: {self.description or 'without description'} ({self.modality or 'no modality'}, "
            f"{images} images of {columns} x {rows} in {len(self.files)} files, {self.uid})"
        )


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


def found(where: Where) -> tuple[list[Series], int]:
    """List the series, and count the files that hold no DICOM image."""
    groups: dict[str, list[tuple[Path, Dataset]]] = {}
    frames: dict[str, int] = {}
    skipped = 0
    for file, header in headers(where):
        if header is None:
            skipped += 1
            continue
        uid = str(header.SeriesInstanceUID)
        members = groups.setdefault(uid, [])
        # one header a series is kept: scanners put hundreds of kilobytes of their own into each
        members.append((file, members[0][1] if members else header))
        frames[uid] = frames.get(uid, 0) + (whole(header, "NumberOfFrames") or 1)
    if not groups:
        raise InputError(
            f"{where}: none of {skipped} files is a DICOM image; check the path "
            "(files without the DICM mark in bytes 129 to 132 are not taken: convert them, for example with dcmtk)"
        )
    series = [_series(uid, members, frames[uid]) for uid, members in groups.items()]
    return sorted(series, key=lambda one: (one.number is None, one.number or 0, one.uid)), skipped


def chosen(series: list[Series], wanted: str | int | None, where: Where) -> Series:
    """Return the one series that is meant.

    Parameters
    ----------
    series : list of Series
        Those that were found.
    wanted : str or int, optional
        A UID, a number, or a part of one description alone (capitals count for nothing).
    where : path_like
        For the message.

    Raises
    ------
    InputError
        If there are several and no choice, or the choice fits none or several.
    """
    if wanted is None:
        fitting = series
        problem = f"{len(series)} series, wanted one"
    else:
        name = str(wanted).strip()
        by_uid = [one for one in series if one.uid == name]
        by_number = [one for one in series if str(one.number) == name]
        by_text = [one for one in series if name and name.lower() in one.description.lower()]
        fitting = by_uid or by_number or by_text
        problem = f"series {wanted!r} fits {len(fitting) or 'none'} of {len(series)}, wanted one"
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
    header = members[0][1]
    return Series(
        uid=uid,
        number=whole(header, "SeriesNumber"),
        description=str(header.get("SeriesDescription") or "").strip(),
        modality=str(header.get("Modality") or "").strip(),
        size=(whole(header, "Columns") or 0, whole(header, "Rows") or 0, images),
        files=tuple(file for file, _ in members),
    )
