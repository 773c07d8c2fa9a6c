"""Pictures of a scan as a series of colour secondary captures: what archives show that show nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai._version import __version__
from neuroxai.errors import InputError
from neuroxai.io.dicom.origin import Origin, identifier
from neuroxai.io.dicom.write import FIRST_SERIES, MAKER, Description, imported_highdicom, refusing, written

_TO_LPS = np.array([-1.0, -1.0, 1.0])
_TOWARDS = (("L", "R"), ("P", "A"), ("H", "F"))  # along the axes of LPS, and against them
_OBLIQUE = 0.2  # a direction's part along another axis that is named too
# of the series, beside what highdicom takes over
_ALSO_TAKEN = (
    *("StudyDescription", "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight"),
    *("PatientIdentityRemoved", "DeidentificationMethod"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
_OPPOSITE = str.maketrans("LRPAHF", "RLAPFH")


def sides(origin: Origin) -> tuple[str, str, str, str]:
    """Return what lies to the left, right, top and bottom of the series' pictures: L, R, P, A, H, F or several."""
    right, bottom = (_letters(direction) for direction in _directions(origin)[:2])
    return right.translate(_OPPOSITE), right, bottom.translate(_OPPOSITE), bottom


@refusing
def write_captures(
    folder: str | os.PathLike[str], pictures: NDArray[np.uint8], origin: Origin, about: Description, zoom: int = 1
) -> Path:
    """Write pictures of all slices as Secondary Captures (DICOM PS3.3 A.8.1), placed as the slices are.

    Parameters
    ----------
    folder : path_like
        Gets a file a slice, ``0001.dcm`` and so on, in the order of the normal.
    pictures : ndarray of uint8, shape (slices, rows, columns, 3)
        Colours. Each pixel of the scan is `zoom` x `zoom` pixels; rows below the scan's, such as a legend, may follow.
    origin : Origin
        The series.
    about : Description
        What the pictures show.
    zoom : int
        How many times larger than the scan.

    Raises
    ------
    InputError
        If there are not as many pictures as slices, or highdicom is absent.
    """
    columns, rows, slices = origin.space.shape
    if len(pictures) != slices or pictures.shape[2] != columns * zoom or pictures.shape[1] < rows * zoom:
        raise InputError(
            f"pictures have shape {pictures.shape}, expected {slices} of at least {rows * zoom} x {columns * zoom}"
        )
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for number, made in enumerate(_captures(pictures, origin, about, zoom), start=1):
        written(target / f"{number:04d}.dcm", made, origin, about, "overlay", f"overlay {number}")
    return target


def _captures(pictures: NDArray[np.uint8], origin: Origin, about: Description, zoom: int) -> Iterator[Any]:
    from pydicom.dataset import Dataset
    from pydicom.valuerep import DS

    affine = _TO_LPS[:, None] * origin.space.affine[:3]
    across, down, step = affine[:, 0] / zoom, affine[:, 1] / zoom, affine[:, 2]
    along, downward, _ = _directions(origin)
    spacing = [float(np.linalg.norm(down)), float(np.linalg.norm(across))]
    single = len(origin.headers) == len(pictures)
    for k, picture in enumerate(pictures):
        source = origin.headers[k if single else 0]
        made = imported_highdicom().sc.SCImage.from_ref_dataset(
            source,
            pixel_array=np.ascontiguousarray(picture),
            photometric_interpretation="RGB",
            bits_allocated=8,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            coordinate_system="PATIENT",
            patient_orientation=(_letters(along)[0], _letters(downward)[0]),
            pixel_spacing=spacing,
            series_instance_uid=identifier(origin.uid, about.seed, "overlay", "series"),
            sop_instance_uid=identifier(origin.uid, about.seed, f"overlay {k + 1}", "instance"),
            series_number=FIRST_SERIES + 4,
            instance_number=k + 1,
            manufacturer=MAKER,
        )
        # the centre of the first of zoom x zoom pixels lies before that of the scan's pixel
        corner = affine[:, 3] + k * step - (zoom - 1) / 2 * (across + down)
        made.PatientOrientation = [_letters(along), _letters(downward)]
        made.PixelSpacing = [DS(value, auto_format=True) for value in spacing]
        made.ImagePositionPatient = [DS(float(value), auto_format=True) for value in corner + 0.0]
        made.ImageOrientationPatient = [DS(float(value), auto_format=True) for value in (*along, *downward)]
        made.FrameOfReferenceUID = source.FrameOfReferenceUID
        made.PositionReferenceIndicator = source.get("PositionReferenceIndicator", "")
        made.SliceThickness = made.SpacingBetweenSlices = DS(float(np.linalg.norm(step)), auto_format=True)
        made.BurnedInAnnotation, made.RecognizableVisualFeatures = "YES", "YES"
        made.BodyPartExamined, made.ImageComments = "BRAIN", about.use
        made.ManufacturerModelName, made.SoftwareVersions = "neuroxai", __version__
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
        made.SourceImageSequence = [reference]
        for keyword in _ALSO_TAKEN:
            if keyword in source and keyword not in made:
                made[keyword] = source[keyword]
        for keyword in ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"):  # a clock's
            del made[keyword]
        yield made


def _directions(origin: Origin) -> NDArray[np.float64]:
    """Return the unit directions of columns, rows and slices, LPS."""
    matrix = _TO_LPS[:, None] * origin.space.affine[:3, :3]
    return np.asarray((matrix / np.linalg.norm(matrix, axis=0)).T + 0.0)


def _letters(direction: NDArray[np.float64]) -> str:
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(_TOWARDS[axis][int(direction[axis] < 0)] for axis in order if abs(direction[axis]) > _OBLIQUE)
