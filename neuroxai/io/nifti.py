"""NIfTI in and out: any orientation, byte order and scaling; refusals that say what is wrong."""

from __future__ import annotations

import os
import struct
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike, NDArray

from neuroxai.errors import DimensionsError, HeaderWarning, InputError, NeuroxaiError, SpaceError
from neuroxai.io.dicom.opening import is_dicom
from neuroxai.io.files import atomic
from neuroxai.io.gzipped import head_of, pack, replace_head
from neuroxai.io.header import (
    MOST_HEADER,
    broken_qform,
    check_kind,
    check_most,
    check_nifti,
    check_size,
    nifti_kind,
    read_head,
    way_out,
)
from neuroxai.io.orientation import VARIABLE, Orientation, affine_of, contradiction, orientation_of
from neuroxai.space import Space, Volume

HEAD = 352  # bytes of a NIfTI-1 header and of the mark that no extension follows
_PIECE = 1 << 18  # bytes that are unpacked at a time
_CAL = 124  # where it has cal_max and cal_min


def read_volume(path: str | os.PathLike[str], dtype: DTypeLike = np.float32, check_content: bool = True) -> Volume:
    """Read a three-dimensional scan with its scaling applied, axes as stored.

    Parameters
    ----------
    path : path_like
        ``.nii`` or ``.nii.gz`` (or any image that nibabel reads with an affine).
    dtype : dtype
        Floating type of the data.
    check_content : bool
        Refuse NaN, infinite and constant images.

    Returns
    -------
    Volume
        The data and its space. A trailing axis of length one is dropped.

    Raises
    ------
    InputError
        If the file is absent, truncated, not an image, holds NaN or infinite voxels, or is constant.
    SpaceError
        If the image is not three-dimensional or its affine cannot be inverted.
    """
    image = open_image(path)
    space = space_of(image, path)
    with np.errstate(invalid="ignore", over="ignore"):
        found = image_data(image, path)
        # what was unpacked is of this call alone; a file in memory is not
        own = not isinstance(found, np.memmap)
        data = np.require(found if own else np.array(found), dtype, ["ALIGNED", "WRITEABLE"]).reshape(space.shape)
    if check_content:
        low, high = data.min(), data.max()  # what is no number, or infinite, is one of them
        if not (np.isfinite(low) and np.isfinite(high)):
            bad = int(data.size - np.isfinite(data).sum())
            raise InputError(f"{path}: {bad} of {data.size} voxels are NaN or infinite; mask or repair them first")
        if low == high:
            raise InputError(
                f"{path}: every voxel has the value {data.flat[0]:g}; the scan is empty, export or prepare it again"
            )
    return Volume(data, space)


def read_labels(path: str | os.PathLike[str]) -> Volume:
    """Read an integer label image, also when stored as floats.

    Raises
    ------
    InputError
        If values are not whole numbers or do not fit 32 bits.
    """
    volume = read_volume(path, dtype=np.float64, check_content=False)
    if not np.isfinite(volume.data).all():
        raise InputError(f"{path}: label image holds NaN or infinite values; labels are whole numbers")
    rounded = np.rint(volume.data)
    if np.abs(volume.data - rounded).max() > 1e-3:
        value = volume.data.flat[int(np.abs(volume.data - rounded).argmax())]
        raise InputError(f"{path}: label image holds the value {value:g}; labels are whole numbers, is this a map?")
    if np.abs(rounded).max() > np.iinfo(np.int32).max:
        raise InputError(f"{path}: label {np.abs(rounded).max():g} does not fit 32 bits")
    return Volume(rounded.astype(np.int32), volume.space)


def read_space(path: str | os.PathLike[str]) -> Space:
    """Read the grid alone, from the header."""
    return space_of(open_image(path), path)


def write_volume(
    path: str | os.PathLike[str],
    volume: Volume,
    dtype: DTypeLike = np.float32,
    description: str = "",
    display: float | None = None,
) -> Path:
    """Write a volume as NIfTI-1, atomically, unscaled, with the affine as sform and (where it can) qform.

    Parameters
    ----------
    path : path_like
        Ending in ``.nii`` or ``.nii.gz``.
    volume : Volume
        What to write.
    dtype : dtype
        Type on disk; values are cast, not rescaled. Truth values become unsigned bytes.
    description : str
        At most 79 characters, for the header's ``descrip``.
    display : float, optional
        Viewers show values from -display to display (the header's ``cal_min`` and ``cal_max``).

    Raises
    ------
    InputError
        If the name has another ending, or the type cannot hold the values: nothing wraps around or is cut off.
    """
    target = Path(path)
    if not target.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{target.name}: a NIfTI file name ends in .nii or .nii.gz")
    data = _cast(volume.data, np.dtype(np.uint8 if np.dtype(dtype) == bool else dtype), target)
    image = image_of(Volume(data, volume.space))
    image.header["descrip"] = description.encode("ascii", "replace")[:79]
    if display is not None:
        image.header["cal_max"], image.header["cal_min"] = display, -display
    return save_image(target, image)


def image_of(volume: Volume) -> nib.Nifti1Image:
    """Return a volume as a nibabel image, with the affine as sform and (where it can) qform."""
    return placed(nib.Nifti1Image(volume.data, volume.space.affine), volume.space)


def placed(image: nib.Nifti1Image, space: Space) -> nib.Nifti1Image:
    """Give an image its affine as sform and (where it can) qform, in mm, and return it."""
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(space.affine, code=4)
    try:
        image.set_qform(space.affine, code=4, strip_shears=False)
    except HeaderDataError:
        # a sheared affine has no quaternion: the sform carries it alone
        image.set_qform(None, code=0)
    else:
        # near half a turn, as oblique LPS scans are stored, a quaternion of three float32 is off by up to 1e-3 rad
        if not Space(space.shape, image.get_qform()).matches(space):
            image.set_qform(None, code=0)
    return image


def save_image(target: Path, image: nib.Nifti1Image) -> Path:
    """Write an image atomically; the same image gives the same bytes."""
    payload = image.to_bytes()
    if target.name.endswith(".gz"):
        payload = pack(payload, HEAD)
    with atomic(target) as temporary:
        temporary.write_bytes(payload)
    return target


def set_display(path: Path, limit: float) -> bool:
    """Give a NIfTI-1 file that we wrote the range -limit to limit for viewers (cal_min, cal_max); say if it was new."""
    stored = path.read_bytes()
    packed = path.name.endswith(".gz")
    head = bytearray(head_of(stored, HEAD) if packed else stored[:HEAD])
    shown = struct.pack("<ff", limit, -limit)
    if head[_CAL : _CAL + 8] == shown:
        return False
    head[_CAL : _CAL + 8] = shown
    with atomic(path) as temporary:
        temporary.write_bytes(replace_head(stored, bytes(head)) if packed else head + stored[HEAD:])
    return True


def _cast(values: NDArray[Any], dtype: np.dtype[Any], target: Path) -> NDArray[Any]:
    if dtype.kind not in "iuf" or dtype.itemsize > (8 if dtype.kind == "f" else 4) or dtype == np.float16:
        raise InputError(f"{target.name}: type {dtype} is not written; choose uint8, int16, int32, float32 or float64")
    if values.dtype == dtype:
        return values
    with np.errstate(invalid="ignore", over="ignore"):
        data: NDArray[Any] = values.astype(dtype)
    if dtype.kind == "f":
        lost = np.isfinite(values) & ~np.isfinite(data)
        limits = f"{dtype} (up to {np.finfo(dtype).max:.3g})"
    elif values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{target.name}: NaN or infinite voxels do not fit {dtype}; write float32 or repair them")
    else:
        lost = values != data
        limits = f"{dtype} (whole numbers {np.iinfo(dtype).min} to {np.iinfo(dtype).max})"
    if lost.any():
        raise InputError(
            f"{target.name}: the value {values[lost].flat[0]:g} does not fit {limits}; choose a wider type"
        )
    return data


def open_image(path: str | os.PathLike[str]) -> Any:
    """Open an image lazily; refuse what cannot be used, warn where its header contradicts itself or has no sides."""
    file = Path(path)
    check_kind(file)
    try:
        head = read_head(file)
        kind = nifti_kind(head)
        if kind is not None:
            check_nifti(head, kind, file)
        image = nib.load(file) if kind is None else kind.from_filename(file)
        if not isinstance(image, nib.spatialimages.SpatialImage):
            raise InputError(f"{file}: is a {type(image).__name__}, expected an image of voxels such as NIfTI")
        check_size(image, file)
    except NeuroxaiError:
        raise
    except Exception as error:  # strangers' bytes make readers raise almost anything
        if is_dicom(file):
            raise InputError(
                f"{file}: is DICOM, expected NIfTI; `neuroxai prepare` and `neuroxai explain` take a DICOM series"
            ) from None
        raise InputError(f"{file}: cannot be read as an image ({_first_line(error)}); {way_out(file)}") from None
    if kind is not None:
        _warn(image, file)
    return image


def _warn(image: Any, file: Path) -> None:
    header = image.header
    if not (header["sform_code"] or header["qform_code"]):
        if not os.environ.get(VARIABLE):
            warnings.warn(
                f"{file}: the header has neither sform nor qform, so left and right are a guess; "
                "convert the scan again from its source, or say how its axes run with --orientation",
                HeaderWarning,
                stacklevel=4,
            )
    elif header["sform_code"] and header["qform_code"]:
        broken = broken_qform(header)
        shape = (*image.shape, 1, 1, 1)[:3]
        conflict = f"{broken}" if broken else contradiction(orientation_of(image, shape))
        if conflict:
            warnings.warn(
                f"{file}: the header's {conflict}; the sform is used, look whether left is left in it",
                HeaderWarning,
                stacklevel=4,
            )


def read_orientation(path: str | os.PathLike[str]) -> Orientation:
    """Read the affines of an image's header; of another format than NIfTI the one it has.

    Raises
    ------
    InputError
        If the file is absent or not an image.
    SpaceError
        If the image is not three-dimensional or its affine cannot be inverted.
    """
    image = open_image(path)
    return orientation_of(image, space_of(image, path).shape)


def space_of(image: Any, path: str | os.PathLike[str]) -> Space:
    """Return the grid of an opened image, in mm; refuse more than three axes that are longer than one."""
    shape = tuple(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise DimensionsError(
            f"{path}: has {len(shape)} dimensions {shape}, expected 3; extract one volume first (such as with fslroi)"
        )
    affine = affine_of(image, path)
    try:
        return Space(shape, affine)
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from None


def image_data(image: Any, path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an opened image's data, scaling applied; `InputError` if they are damaged or no real numbers."""
    file = Path(path)
    check_most(image, file)
    try:
        if file.name.lower().endswith((".nii.gz", ".mgz")):
            # nibabel stops before the checksum at the end; damaged voxels would come in unseen
            data = _voxels(image, _unpacked(file, check_size(image, file)))
        else:
            data = np.asanyarray(image.dataobj)
    except NeuroxaiError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}: is truncated or damaged ({_first_line(error)}); copy it again from its source"
        ) from None
    if data.dtype.kind not in "iufb":
        raise InputError(
            f"{path}: holds {'colours' if data.dtype.fields else 'complex numbers'}, expected one real number per "
            "voxel; export one channel, or the magnitude"
        )
    return data


def _voxels(image: Any, unpacked: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the voxels of an opened image from its whole content."""
    place = image.dataobj
    size = int(np.prod(place.shape)) * place.dtype.itemsize
    if (place.slope, place.inter) != (1, 0) or len(unpacked) < place.offset + size:
        return np.asanyarray(type(image).from_bytes(unpacked.tobytes()).dataobj)
    # nibabel copies all twice on the way
    return np.ndarray(place.shape, place.dtype, unpacked, place.offset, order="F")


def _unpacked(file: Path, needed: int) -> NDArray[np.uint8]:
    """Unpack to the end, but not much beyond what the header describes, which alone is returned."""
    # piece by piece into one array: numpy asks for large pages, which a new bytes object of this size does not get
    data, filled, beyond = np.empty(needed, np.uint8), 0, 0
    with igzip.open(file) as handle:
        while piece := handle.read1(_PIECE):
            taken = min(len(piece), needed - filled)
            data[filled : filled + taken] = np.frombuffer(piece, np.uint8, taken)
            filled, beyond = filled + taken, beyond + len(piece) - taken
            if beyond > MOST_HEADER:
                raise InputError(
                    f"{file}: unpacks to more than {MOST_HEADER:,} bytes beyond the {needed:,} that its header "
                    "describes; copy it again from its source"
                )
    return data[:filled]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
