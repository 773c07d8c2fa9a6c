"""Finding DICOM files and opening their headers."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroxai.errors import InputError, NeuroxaiError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Where = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

# what pydicom raises on damaged files and malformed values: almost anything, kinds of its own that share no base too
BROKEN = (Exception,)
_DIRECTORY = "1.2.840.10008.1.3.10"


def headers(where: Where) -> Iterator[tuple[Path, Dataset | None]]:
    """Yield every file and its header without pixels; None for one that holds no image (any other file, DICOMDIR).

    Parameters
    ----------
    where : path_like or sequence of path_like
        A folder, searched through all folders below, or files.

    Raises
    ------
    InputError
        If there is nothing, a file cannot be read, or a DICOM file is cut off: a slice may be missing then.
    """
    for file in _files(where):
        yield file, image_header(file)


def image_header(file: Path) -> Dataset | None:
    """Read a header; None if the file is not DICOM or is no image."""
    try:
        if not _begins(file):
            return None
        header = opened(file, stop_before_pixels=True)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); repair the link or its rights") from None
    if str(header.file_meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY:
        return None
    kind = value_of(header, "SOPClassUID")
    cut = not isinstance(kind, str) or not kind or not value_of(header, "SeriesInstanceUID")
    if not cut and "Rows" not in header:
        # reports and presentation states have no rows; an image without them ends too soon
        cut = imported().uid.UID(kind).name.endswith("Image Storage")
    if cut:
        raise InputError(f"{file}: the DICOM header is cut off or damaged; copy the file again, or take it away")
    return header if "Rows" in header else None


@contextmanager
def understood(file: Path) -> Iterator[None]:
    """Turn what pydicom raises on values that do not fit their representation into a refusal that names the file."""
    try:
        yield
    except NeuroxaiError:
        raise
    except BROKEN as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(
            f"{file}: the DICOM header is malformed ({reason}); export the series again, or take the file away"
        ) from error


def value_of(header: Dataset, keyword: str) -> Any:
    """Return a header's value; None where it is absent or cannot be made sense of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return header.get(keyword)
    except BROKEN:
        return None


def is_dicom(place: str | os.PathLike[str]) -> bool:
    """Say whether a file, or any file of a folder and the folders below, is DICOM by its first bytes."""
    path = Path(place)
    inside = (Path(base) / name for base, _, names in os.walk(path) for name in names) if path.is_dir() else (path,)
    return any(_may_be_dicom(file) for file in inside if file.name != "DICOMDIR")


def is_series(place: str | os.PathLike[str]) -> bool:
    """Say whether a place is a DICOM file or a folder with some, and no cohort: that has scans in folders ``sub-*``."""
    path = Path(place)
    if not (path.is_file() or path.is_dir()) or next(
        (file for folder in path.glob("sub-*") for file in folder.rglob("*.nii*")), None
    ):
        return False
    return is_dicom(path)


def opened(file: Path, stop_before_pixels: bool = False) -> Dataset:
    """Open one DICOM file, with or without its mark; pydicom's remarks on odd values are not passed on."""
    pydicom = imported()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bare = _begins(file) == "bare"
            dataset: Dataset = pydicom.dcmread(file, stop_before_pixels=stop_before_pixels, force=bare)
    except OSError:
        raise
    except BROKEN as error:
        raise InputError(f"{file}: damaged DICOM file ({error}); copy it again, or take it away") from None
    if "TransferSyntaxUID" not in dataset.file_meta:
        # pydicom has seen by the first elements how they are written
        implicit, little = dataset.original_encoding
        uid = pydicom.uid
        plain = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = plain if little else uid.ExplicitVRBigEndian
    return dataset


def _begins(file: Path) -> str:
    """How a file begins: ``marked`` (DICM), ``bare`` (its first element stands at once), or empty: no DICOM.

    Raises
    ------
    InputError
        If it goes on as DICOM does, but its mark is damaged.
    """
    with file.open("rb") as handle:
        start = handle.read(140)
    if start[128:132] == b"DICM":
        return "marked"
    if re.match(rb"\x02\x00\x00\x00UL\x04\x00", start[132:]):
        raise InputError(
            f"{file}: the mark in bytes 129 to 132 is {start[128:132]!r}, expected b'DICM', though DICOM follows; "
            "copy it again, or take it away"
        )
    # group 2 or 8, a low even or group-length element; then a representation in two letters, or a short length
    first = re.match(rb"(\x02|\x08)\x00[\x00-\x7f]\x00(?:[A-Z]{2}|[\x00-\xff][\x00-\x0f]\x00\x00)", start, re.DOTALL)
    return "bare" if first and len(start) == 140 else ""


def _may_be_dicom(file: Path) -> bool:
    try:
        return bool(_begins(file))
    except InputError:
        return True
    except OSError:
        return False


def imported() -> Any:
    """Import pydicom, an optional dependency."""
    try:
        import pydicom
    except ImportError:
        raise InputError("DICOM needs pydicom, which is absent; pip install 'neuroxai[prepare]'") from None
    return pydicom


def _files(where: Where) -> list[Path]:
    if not isinstance(where, str | os.PathLike):
        files = [Path(file) for file in where]
        if not files:
            raise InputError("an empty list of DICOM files; give a folder, or the files of one series")
    elif Path(where).is_dir():
        files = sorted(Path(base) / name for base, _, names in os.walk(where, onerror=_refuse) for name in names)
        if not files:
            raise InputError(f"{where}: the folder holds no file, expected a DICOM series; check the path")
        return files
    else:
        files = [Path(where)]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such file or folder; give the folder of a DICOM series")
        if file.name == "DICOMDIR":
            raise InputError(f"{file}: is an index of DICOM files, expected the files; give the folder {file.parent}")
    return sorted(files)


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: the folder cannot be read ({error.strerror}); change its rights")
