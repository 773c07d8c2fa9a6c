"""Finding DICOM files and opening their headers."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroxai.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Where = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

# what pydicom raises on damaged files and malformed values
BROKEN = (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, struct.error)
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
        with file.open("rb") as handle:
            if handle.read(132)[128:] != b"DICM":
                return None
        header = opened(file, stop_before_pixels=True)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); repair the link or its rights") from None
    if str(header.file_meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY:
        return None
    kind = header.get("SOPClassUID")
    cut = kind is None or not header.get("SeriesInstanceUID")
    if not cut and "Rows" not in header:
        # reports and presentation states have no rows; an image without them ends too soon
        cut = kind.name.endswith("Image Storage")
    if cut:
        raise InputError(f"{file}: the DICOM header is cut off or damaged; copy the file again, or take it away")
    return header if "Rows" in header else None


def is_dicom(place: str | os.PathLike[str]) -> bool:
    """Say whether a file, or the first of a folder that is no hidden one, bears DICOM's mark (``DICM``)."""
    path = Path(place)
    if path.is_dir():
        inside = (Path(base) / name for base, _, names in os.walk(path) for name in sorted(names))
        path = next((file for file in inside if not file.name.startswith(".") and file.name != "DICOMDIR"), path)
    try:
        with path.open("rb") as handle:
            return handle.read(132)[128:] == b"DICM"
    except OSError:
        return False


def opened(file: Path, stop_before_pixels: bool = False) -> Dataset:
    """Open one DICOM file; pydicom's remarks on odd values are not passed on."""
    pydicom = imported()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset: Dataset = pydicom.dcmread(file, stop_before_pixels=stop_before_pixels)
    except OSError:
        raise
    except (pydicom.errors.InvalidDicomError, *BROKEN) as error:
        raise InputError(f"{file}: damaged DICOM file ({error}); copy it again, or take it away") from None
    return dataset


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
            raise InputError(f"{where}: the folder holds no file, wanted a DICOM series; check the path")
        return files
    else:
        files = [Path(where)]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such file or folder; give the folder of a DICOM series")
        if file.name == "DICOMDIR":
            raise InputError(f"{file}: is an index of DICOM files, wanted the files; give the folder {file.parent}")
    return sorted(files)


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: the folder cannot be read ({error.strerror}); change its rights")
