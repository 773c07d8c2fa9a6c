"""One image plane of a file: where it lies and how its numbers are scaled, from either kind of MR file.

Classic files hold one plane each and say so at the top; enhanced ones hold many, described in functional groups
(DICOM PS3.3 C.7.6.16): what all planes share stands once, what differs stands per frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroxai.errors import InputError
from neuroxai.io.dicom.opening import BROKEN, value_of
from neuroxai.io.dicom.series import whole

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# functional group and keyword of what tells images at one place apart; at the top of classic files
_TRAITS = {
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "ImageType": ("MRImageFrameTypeSequence", "FrameType"),
    "ComplexImageComponent": ("MRImageFrameTypeSequence", "ComplexImageComponent"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
}


@dataclass(frozen=True)
class Frame:
    """A plane; millimetres, LPS.

    Parameters
    ----------
    file : Path
        Its file.
    index : int
        Its place in the file, from 0.
    size : tuple of int
        Rows and columns.
    position : tuple of float
        Centre of the first pixel.
    orientation : tuple of float
        Direction of a row (along which columns count), then of a column.
    spacing : tuple of float
        Between rows, between columns.
    scaling : tuple of float
        Slope and intercept.
    gap : float, optional
        Distance of slices that the file names.
    number : int, optional
        Instance number of a classic file.
    announced : int, optional
        Images that the acquisition has by a classic file.
    uid : str
        SOP instance UID of the file.
    reference : str
        UID of the frame of reference, in which positions are meant.
    traits : dict
        What may tell it from others at the same place.
    """

    file: Path
    index: int
    size: tuple[int, int]
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    scaling: tuple[float, float]
    gap: float | None = None
    number: int | None = None
    announced: int | None = None
    uid: str = ""
    reference: str = ""
    traits: dict[str, str] = field(default_factory=dict)


def frames_of(header: Dataset, file: Path) -> Iterator[Frame]:
    """Yield the planes of one file.

    Raises
    ------
    InputError
        If the file holds colours, phases, a mosaic, a localiser or another modality, or does not say where it lies.
    """
    _check_kind(header, file)
    rows, columns = whole(header, "Rows"), whole(header, "Columns")
    if not rows or not columns:
        raise InputError(f"{file}: {rows} rows and {columns} columns, expected an image; export the series again")
    enhanced = "PerFrameFunctionalGroupsSequence" in header or "SharedFunctionalGroupsSequence" in header
    count = whole(header, "NumberOfFrames") or 1
    if count > 1 and not enhanced:
        raise InputError(
            f"{file}: {count} images in one file without functional groups, so their places are unknown; "
            "export the series as enhanced MR, or one image a file"
        )
    groups = len(header.get("PerFrameFunctionalGroupsSequence") or ())
    if enhanced and groups != count:
        raise InputError(f"{file}: {count} images, but functional groups for {groups}; export the series again")
    for index in range(count):
        part = _Part(header, index if enhanced else None, file)
        yield Frame(
            file=file,
            index=index,
            size=(rows, columns),
            position=part.numbers("PlanePositionSequence", "ImagePositionPatient", 3),
            orientation=part.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
            spacing=part.numbers("PixelMeasuresSequence", "PixelSpacing", 2),
            scaling=part.scaling(),
            gap=next(iter(part.numbers("PixelMeasuresSequence", "SpacingBetweenSlices", 1, needed=False)), None),
            number=None if enhanced else whole(header, "InstanceNumber"),
            announced=None if enhanced else whole(header, "ImagesInAcquisition"),
            uid=str(value_of(header, "SOPInstanceUID") or ""),
            reference=str(value_of(header, "FrameOfReferenceUID") or ""),
            traits=part.traits(),
        )


class _Part:
    """One frame's attributes, wherever they stand."""

    def __init__(self, header: Dataset, index: int | None, file: Path) -> None:
        self.header, self.index, self.file = header, index, file

    def value(self, group: str, keyword: str) -> Any:
        if self.index is None:
            holders = [self.header]
        else:
            per_frame = self.header.PerFrameFunctionalGroupsSequence[self.index]
            shared = self.header.get("SharedFunctionalGroupsSequence") or [{}]
            holders = [(holder.get(group) or [{}])[0] for holder in (per_frame, shared[0])]
        for holder in holders:
            try:
                value = holder.get(keyword)
            except BROKEN as error:
                raise InputError(f"{self.file}: {keyword} is malformed ({error}); export the series again") from None
            if value is not None and value != "":
                return value
        return None

    def numbers(self, group: str, keyword: str, count: int, needed: bool = True) -> tuple[float, ...]:
        value = self.value(group, keyword)
        if value is None and not needed:
            return ()
        try:
            found = tuple(float(number) for number in ([] if value is None else np.atleast_1d(value)))
        except (ValueError, TypeError):
            found = ()
        if len(found) != count or not np.isfinite(found).all():
            where = f"{self.file}" + ("" if self.index is None else f", image {self.index + 1}")
            raise InputError(
                f"{where}: {keyword} is {'absent' if value is None else value}, expected {count} numbers; "
                "without it places or values are unknown, export the series again from the scanner"
            )
        return found

    def scaling(self) -> tuple[float, float]:
        group = "PixelValueTransformationSequence"
        slope = next(iter(self.numbers(group, "RescaleSlope", 1, needed=False)), 1.0)
        intercept = next(iter(self.numbers(group, "RescaleIntercept", 1, needed=False)), 0.0)
        if slope == 0:
            raise InputError(f"{self.file}: RescaleSlope is 0, expected another number; export the series again")
        return slope, intercept

    def traits(self) -> dict[str, str]:
        values = {
            name: self.value(group, name if self.index is None else keyword)
            for name, (group, keyword) in _TRAITS.items()
        }
        return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) or np.ndim(value) == 0 else "/".join(str(part) for part in value)


def _check_kind(header: Dataset, file: Path) -> None:
    modality = str(value_of(header, "Modality") or "none")
    if modality != "MR":
        raise InputError(f"{file}: modality {modality}, expected MR; choose a magnetic resonance series")
    samples, meaning = (
        whole(header, "SamplesPerPixel"),
        str(value_of(header, "PhotometricInterpretation") or "MONOCHROME2"),
    )
    if (samples or 1) != 1 or meaning != "MONOCHROME2":
        raise InputError(
            f"{file}: {samples} samples a pixel, {meaning}; expected grey values (MONOCHROME2): "
            "a picture made for the eye, choose the series that was scanned"
        )
    if "ModalityLUTSequence" in header:
        raise InputError(f"{file}: grey values go through a table (ModalityLUTSequence), expected slope and intercept")
    kinds = {str(part).strip().upper() for part in np.atleast_1d(value_of(header, "ImageType") or ())}
    component = str(value_of(header, "ComplexImageComponent") or "").upper()
    for what, seen in {
        "a localiser": "LOCALIZER" in kinds,
        "a mosaic of slices": "MOSAIC" in kinds,
        "phases": "P" in kinds or "PHASE" in kinds or component == "PHASE",
    }.items():
        if seen:
            raise InputError(
                f"{file}: ImageType {_text(value_of(header, 'ImageType') or '')}: {what}; expected an anatomical scan"
            )
