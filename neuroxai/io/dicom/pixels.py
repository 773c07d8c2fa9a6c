"""Stored pixels of a file: pydicom decodes the plain syntaxes and RLE, ITK (GDCM) the JPEG family."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.io.dicom.opening import BROKEN, opened

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PLAIN = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",
}
# baseline, extended and lossless JPEG; JPEG-LS; JPEG 2000
_BY_ITK = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91)}
_DESCRIBING = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MULTI_FRAME_WORDS = "1.2.840.10008.5.1.4.1.1.7.3"


def stored_pixels(file: Path) -> NDArray[Any]:
    """Read a file's pixels as they are stored, shape (frames, rows, columns), no scaling applied.

    Raises
    ------
    InputError
        If pixels are absent, cut off, or compressed in a way that cannot be decoded here.
    """
    dataset = opened(file)
    if "PixelData" not in dataset:
        raise InputError(f"{file}: has no pixels, is it cut off? Copy it again from its source")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            syntax = dataset.file_meta.TransferSyntaxUID
            plain = str(syntax) in _PLAIN
            if not plain and str(syntax) not in _BY_ITK:
                raise InputError(
                    f"{file}: pixels are stored as {syntax.name}, which is not decoded here; store them uncompressed, "
                    "for example with gdcmconv --raw"
                )
            if plain and dataset["PixelData"].is_undefined_length and not syntax.is_encapsulated:
                raise InputError(f"{file}: pixels are compressed, but no transfer syntax says how; export them again")
            pixels = dataset.pixel_array if plain else _by_itk(dataset, file)
    except InputError:
        raise
    except BROKEN as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[-1][:160]
        raise InputError(f"{file}: pixels are cut off or damaged ({first}); copy it again from its source") from None
    return np.asarray(pixels).reshape(-1, int(dataset.Rows), int(dataset.Columns))


def _by_itk(dataset: Dataset, file: Path) -> NDArray[Any]:
    try:
        import itk
    except ImportError:
        name = dataset.file_meta.TransferSyntaxUID.name
        raise InputError(f"{file}: {name} needs ITK, which is absent; pip install 'neuroxai[prepare]'") from None
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import generate_frames
    from pydicom.uid import generate_uid

    frames = int(dataset.get("NumberOfFrames") or 1)
    whole = sum(1 for _ in generate_frames(dataset.PixelData, number_of_frames=frames))
    if whole != frames:
        raise ValueError(f"{whole} of {frames} images are there")
    # a copy of the pixels alone: nothing of the patient reaches the disk, and GDCM, which scales some kinds of MR and
    # not others, finds nothing to scale by
    bare = Dataset()
    for keyword in _DESCRIBING:
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    bare.SOPClassUID = _MULTI_FRAME_WORDS if frames > 1 else _SECONDARY_CAPTURE
    bare.SOPInstanceUID = generate_uid()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pixels.dcm"
        bare.save_as(copy, enforce_file_format=True)
        image = itk.imread(str(copy), itk.F if int(dataset.BitsStored) <= 24 else itk.D)
    return np.asarray(itk.array_from_image(image))
