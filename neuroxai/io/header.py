"""What an image's header must say before anything is read: refused here is what other programs would guess at."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from neuroxai.errors import InputError

MOST_BYTES = 1 << 30
"""Voxels of one image, unpacked: 512 x 512 x 512 of eight bytes. A head at half a millimetre has a tenth of it."""

MOST_HEADER = 1 << 24
"""Bytes before the first voxel, extensions included, and after the last."""

UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in a spatial unit by its code: unknown, as all programs take it, metre, millimetre, micron."""

# a quaternion may be longer than 1 by so much, squared, and still be one that was rounded
_ROUNDED = 1e-2
_HEAD = 544  # bytes of the longest header, and of the mark that no extension follows
_DEFLATE = 1100  # deflate packs zeros 1,032 to 1
_KINDS = {b"n+1": nib.Nifti1Image, b"ni1": nib.Nifti1Pair, b"n+2": nib.Nifti2Image, b"ni2": nib.Nifti2Pair}


def check_kind(file: Path) -> None:
    """Refuse what is absent or no regular file: a pipe or a device would be waited for, or never end.

    Raises
    ------
    InputError
        Naming what it is.
    """
    try:
        mode = os.stat(file).st_mode
    except (OSError, ValueError) as error:
        reason = (
            "no such file" if isinstance(error, FileNotFoundError | NotADirectoryError | ValueError) else str(error)
        )
        raise InputError(f"{file}: {reason}; check the path and the cohort's folder") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{file}: is a folder, expected a NIfTI file (.nii or .nii.gz)")
    if not stat.S_ISREG(mode):
        raise InputError(f"{file}: is a pipe, a socket or a device, expected a regular file; copy its content to one")


def read_head(file: Path) -> bytes:
    """Return an image's first bytes, unpacked; the header's where that is a file of its own."""
    pair = file.name.lower().removesuffix(".gz")
    if pair.endswith(".img"):
        beside = [file.with_name(file.name[: len(pair) - 4] + end) for end in (".hdr", ".HDR", ".hdr.gz")]
        file = next((path for path in beside if path.is_file()), file)
    with ImageOpener(str(file)) as handle:
        head: bytes = handle.read(MOST_HEADER if file.suffix.lower() == ".hdr" else _HEAD)
    return head


def way_out(file: Path) -> str:
    """Say what to do with a file that cannot be opened: its name may not be that of its content."""
    with file.open("rb") as handle:
        head, name = handle.read(_HEAD), file.name.lower()
    if name.endswith(".nii") and head.startswith(b"\x1f\x8b"):
        return "it is packed: add .gz to its name"
    if name.endswith(".nii.gz") and nifti_kind(head) is not None:
        return "it is not packed: take .gz off its name"
    if name.endswith(".img") and not any(file.with_suffix(end).is_file() for end in (".hdr", ".HDR", ".hdr.gz")):
        return "its header, a file .hdr of the same name, is not beside it: copy both"
    return "copy or convert it again"


def nifti_kind(head: bytes) -> Any:
    """Return nibabel's class for a NIfTI header, one that takes rounded quaternions; None for other formats."""
    kind = _KINDS.get(head[344:347])
    if kind is None and head[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c"):
        kind = _KINDS.get(head[4:7])
    if kind is None:
        return None
    header = type(kind.header_class.__name__, (kind.header_class,), {"get_qform_quaternion": _quaternion})
    return type(kind.__name__, (kind,), {"header_class": header})


def _quaternion(header: Any) -> NDArray[np.float64]:
    """Fill a header's quaternion up to 1; one that rounding made longer is half a turn, and brought back to 1."""
    vector = np.array([float(header[f"quatern_{letter}"]) for letter in "bcd"])
    square = float(vector @ vector)
    rest = 0.0 if square >= 1 - 1e-7 else np.sqrt(1 - square)
    return np.array([rest, *(vector / np.sqrt(square) if rest == 0 else vector)])


def check_nifti(head: bytes, kind: Any, file: Path) -> None:
    """Refuse a NIfTI header whose place, unit, codes, sizes or scaling are none, or are read in several ways.

    Raises
    ------
    InputError
        Naming the field, what it holds and what is expected.
    """
    own = kind.header_class
    raw = own(head[: own.sizeof_hdr], check=False)
    single = bool(own.is_single)
    if single != (file.name.lower().removesuffix(".gz").rsplit(".", 1)[-1] not in ("hdr", "img")):
        _refuse(file, "magic", raw["magic"].item(), "the one of its ending: .nii is one file, .hdr and .img are two")
    offset, least = float(raw["vox_offset"]), own.single_vox_offset if single else 0
    if not least <= offset <= MOST_HEADER + least:
        _refuse(file, "vox_offset", offset, f"{least} to {MOST_HEADER + least}, where the voxels begin in the file")
    count = int(raw["dim"][0])
    if not (1 <= count <= 7 and (raw["dim"][1 : count + 1] >= 1).all()):
        _refuse(file, "dim", raw["dim"].tolist(), "1 to 7 axes with one voxel or more each")
    for name in ("sform_code", "qform_code"):
        if not 0 <= int(raw[name]) <= 5:
            _refuse(file, name, int(raw[name]), "0 to 5")
    if int(raw["xyzt_units"]) & 7 not in UNITS:
        _refuse(file, "xyzt_units", int(raw["xyzt_units"]) & 7, "1 (metre), 2 (millimetre), 3 (micron) or 0 (unknown)")
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    # NaN and 0 are how programs write that there is no scaling
    if np.isinf(slope) or (np.isfinite(slope) and slope != 0 and not np.isfinite(intercept)):
        _refuse(file, "scl_slope and scl_inter", (slope, intercept), "finite numbers, or 0 for none")
    if int(raw["sform_code"]) == 0:
        reason = broken_qform(raw)
        if reason:
            raise InputError(
                f"{file}: the header has no sform, and its {reason}; convert the scan again from its source"
            )
    if single:
        _check_extensions(head, int(offset), own, file)


def broken_qform(raw: Any) -> str:
    """Say what is wrong with a header's voxel sizes or, where it counts, its quaternion; nothing if they are right."""
    sizes = raw["pixdim"][1:4].astype(float)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        return f"pixdim holds the voxel sizes {sizes.tolist()}, expected numbers above 0"
    if int(raw["qform_code"]) == 0:
        return ""
    quaternion = np.array([float(raw[f"quatern_{letter}"]) for letter in "bcd"])
    place = np.array([float(raw[f"qoffset_{letter}"]) for letter in "xyz"])
    if not (np.isfinite(quaternion).all() and np.isfinite(place).all()):
        return "qform holds NaN or infinite values"
    length = float(quaternion @ quaternion)
    if length > 1 + _ROUNDED:
        return f"quaternion has the length {np.sqrt(length):.4g}, expected 1 or less"
    if float(raw["pixdim"][0]) not in (-1.0, 0.0, 1.0):
        return f"pixdim[0] is {float(raw['pixdim'][0]):g}, expected 1 or -1 (it swaps left and right)"
    return ""


def check_size(image: Any, file: Path) -> int:
    """Return the bytes of an opened image up to its last voxel; refuse what its file cannot hold.

    Raises
    ------
    InputError
        Naming both sizes.
    """
    voxels = int(np.prod([int(n) for n in image.shape], dtype=object))
    needed = int(getattr(image.dataobj, "offset", 0)) + voxels * int(image.get_data_dtype().itemsize)
    entry = image.file_map.get("image")
    stored = Path(entry.filename) if entry is not None and entry.filename else file
    if not stored.is_file():
        raise InputError(f"{stored}: no such file beside {file.name}; copy both files of the image")
    size = stored.stat().st_size
    packed = stored.suffix.lower() in (".gz", ".mgz", ".bz2", ".zst")
    if needed > size * (_DEFLATE if packed else 1) and stored.suffix.lower() not in (".bz2", ".zst"):
        shape = " x ".join(str(n) for n in image.shape)
        raise InputError(
            f"{file}: is truncated or damaged: the header's {shape} voxels take {needed:,} bytes, the file has "
            f"{size:,}{' packed' if packed else ''}; copy it again from its source"
        )
    return needed


def check_most(image: Any, file: Path) -> None:
    """Refuse an image that unpacks to more than `MOST_BYTES`."""
    needed = check_size(image, file)
    if needed > MOST_BYTES + MOST_HEADER:
        raise InputError(
            f"{file}: unpacks to {needed:,} bytes, expected at most {MOST_BYTES:,}; crop it, or give it larger voxels"
        )


def _check_extensions(head: bytes, offset: int, own: Any, file: Path) -> None:
    """Walk from extension to extension, as nibabel will: one of size 0 would take it over the whole file."""
    place = own.sizeof_hdr + 4
    if len(head) < place or head[own.sizeof_hdr] == 0 or offset == place:
        return
    with ImageOpener(str(file)) as handle:
        block = handle.read(offset)
    order = own(head[: own.sizeof_hdr], check=False).endianness
    while place + 16 <= offset:
        size = int(np.frombuffer(block[place : place + 4].ljust(4, b"\0"), f"{order}i4")[0])
        if size < 8 or place + size > offset:
            _refuse(file, f"extension at byte {place}", size, f"a size of 8 to {offset - place} bytes")
        place += size


def _refuse(file: Path, field: str, got: object, expected: str) -> None:
    raise InputError(
        f"{file}: the header's {field} is {got}, expected {expected}; convert the scan again from its source"
    )
