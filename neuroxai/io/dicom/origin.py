"""The series that an explanation is about: what its objects take over from it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroxai.errors import InputError, SpaceError
from neuroxai.io.dicom.cleaning import cleaned, compression, is_uid, uid_of
from neuroxai.io.dicom.frames import Frame
from neuroxai.io.dicom.opening import Where, imported, value_of
from neuroxai.io.dicom.read import planes
from neuroxai.space import Space, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SINGLE = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7")
_MULTI_FRAME = (
    *(f"1.2.840.10008.5.1.4.1.1.4.{kind}" for kind in (1, 3, 4)),
    *(f"1.2.840.10008.5.1.4.1.1.7.{kind}" for kind in (1, 2, 3, 4)),
)
_ROOT = uuid.UUID("6f1c6a0e-1f0b-5f8e-9d63-0d2f3e1c9a55")
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Origin:
    """A series with all that describes patient, study and place.

    Parameters
    ----------
    headers : list of Dataset
        One a file, in the order of the slices: its identifiers and place, and what is valid of patient, study and
        scanner (`neuroxai.io.dicom.cleaning`).
    space : Space
        Its grid, as `neuroxai.io.read_series` gives it: columns, rows, slices.
    uid : str
        Of the series.
    remarks : tuple of str
        What the objects cannot take over as it stands.
    """

    headers: list[Dataset]
    space: Space
    uid: str
    remarks: tuple[str, ...] = ()

    @property
    def date(self) -> tuple[str, str]:
        """Date and time of the study, which the objects take: a clock's would change their bytes."""
        head = self.headers[0]
        for day, hour in (("SeriesDate", "SeriesTime"), ("StudyDate", "StudyTime")):
            if head.get(day):
                return str(head[day].value), str(head.get(hour) or "") or "000000"
        return "19000101", "000000"

    def volume(self, map_: Volume, dtype: Any) -> Any:
        """Return a map on this grid as highdicom's volume: slices, rows, columns, LPS.

        Raises
        ------
        SpaceError
            If the map lies on another grid.
        """
        import highdicom

        if not map_.space.matches(self.space):
            raise SpaceError(
                f"the heatmap lies on {map_.space.describe()}, the series on {self.space.describe()}; explain the "
                "series itself"
            )
        affine = (_TO_LPS @ self.space.affine)[:, [2, 1, 0, 3]]
        return highdicom.Volume(
            np.ascontiguousarray(map_.data.transpose(2, 1, 0), dtype=dtype),
            affine=affine,
            coordinate_system="PATIENT",
            frame_of_reference_uid=str(self.headers[0].FrameOfReferenceUID),
        )


def read_origin(where: Where, series: str | int | None = None) -> Origin:
    """Read of one series what its objects refer to and take over.

    Raises
    ------
    InputError, SpaceError
        As `neuroxai.io.read_series`; also if its images are of several patients or studies, lack identifiers, or are
        of a kind beside which no objects are written.
    """
    named: dict[Path, Dataset] = {}
    shared: list[tuple[Dataset, list[str]]] = []
    whose: dict[str, set[str]] = {"PatientID": set(), "StudyInstanceUID": set()}

    def see(header: Dataset, file: Path) -> None:
        if not shared:
            shared.append(cleaned(header))
        for keyword, values in whose.items():
            values.add(str(value_of(header, keyword) or ""))
        named[file] = _named(header, file)

    one, ordered, space, _ = planes(where, series, see)
    several = [keyword for keyword, values in whose.items() if len(values) > 1]
    if several:
        raise InputError(
            f"{one.name}: images differ in {several[0]}, expected one, as objects belong to one patient and study; "
            "take the others out of the series"
        )
    if len({str(header.SOPInstanceUID) for header in named.values()}) < len(named):
        raise InputError(f"{one.name}: files share a SOPInstanceUID, expected one each; export the series again")
    frames: dict[Path, list[Frame]] = {}
    for frame in ordered:
        frames.setdefault(frame.file, []).append(frame)
    about, left = shared[0]
    about.StudyInstanceUID = named[ordered[0].file].get("StudyInstanceUID") or identifier(one.uid, "study")
    references = {frame.reference for frame in ordered}
    known = len(references) == 1 and is_uid(ordered[0].reference)
    # viewers then lay the objects over each other, if not over the scan
    about.FrameOfReferenceUID = ordered[0].reference if known else identifier(one.uid, "frame of reference")
    thickness = float(space.spacing[2])
    headers = []
    for file, planes_of_file in frames.items():
        header = named[file]
        header.update(about)
        _place(header, planes_of_file, thickness)
        headers.append(header)
    if header.SOPClassUID in _MULTI_FRAME and len(headers) > 1:
        raise InputError(
            f"{one.name}: {len(headers)} files of {header.SOPClassUID.name}, expected one; objects are written beside "
            "one enhanced file or a classic series, export it as either"
        )
    remarks = [f"{keyword} of the series is not valid DICOM, so the objects leave it empty" for keyword in left]
    if not known:
        remarks.append("the series has no one frame of reference, so viewers may not lay the objects over it")
    return Origin(headers, space, one.uid, tuple(remarks))


def identifier(*parts: str) -> str:
    """Make a UID under 2.25 (ISO/IEC 9834-8) from texts: the same texts, the same UID."""
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"2.25.{uuid.uuid5(_ROOT, digest).int}"


def settle(made: Dataset, origin: Origin, seed: str) -> None:
    """Take clock and chance out of an object: dates are the study's, identifiers that were drawn are derived."""
    date, time = origin.date
    for element in made.iterall():
        if element.VR == "DA" and element.keyword in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
            element.value = date
        elif element.VR == "TM" and element.keyword in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
            element.value = time
        elif element.VR == "DT" and element.keyword in ("ContributionDateTime", "ObservationDateTime"):
            element.value = date + time.split(".")[0]
    drawn: dict[str, str] = {}
    prefix = imported().uid.PYDICOM_ROOT_UID
    known = {str(value) for header in origin.headers for value in _identifiers(header)}
    for element in made.iterall():
        if element.VR == "UI" and element.keyword not in ("SOPClassUID", "ReferencedSOPClassUID"):
            values = element.value if isinstance(element.value, list) else [element.value]
            fixed = []
            for value in map(str, values):
                foreign = value in known or not value.startswith(("1.2.826.0.1.3680043.10.511.3.", prefix))
                fixed.append(value if foreign else drawn.setdefault(value, identifier(seed, "drawn", str(len(drawn)))))
            element.value = fixed if len(fixed) > 1 else fixed[0]
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in made:
            del made[keyword]


def _identifiers(header: Dataset) -> list[str]:
    keywords = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
    return [str(header[keyword].value) for keyword in keywords if keyword in header]


def _named(header: Dataset, file: Path) -> Dataset:
    """Return what identifies one file, and what its pixels went through."""
    from pydicom.dataset import Dataset

    made = Dataset()
    try:
        for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            setattr(made, keyword, uid_of(header, keyword))
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    if made.SOPClassUID not in _SINGLE + _MULTI_FRAME:
        raise InputError(
            f"{file}: is {made.SOPClassUID.name}, and DICOM objects are written beside MR images alone; leave out "
            "--dicom-out, or export the series as MR images"
        )
    if not made.SOPInstanceUID:
        raise InputError(f"{file}: has no SOPInstanceUID, so no object can refer to it; export the series again")
    made.Modality = "MR"
    made.Rows, made.Columns = int(header.Rows), int(header.Columns)
    for keyword, value in compression(header).items():
        setattr(made, keyword, value)
    return made


def _place(header: Dataset, frames: Sequence[Frame], thickness: float) -> None:
    """Say where a file's planes lie, as its kind of file does it."""
    from pydicom.dataset import Dataset
    from pydicom.valuerep import DS

    def item(**values: Any) -> Dataset:
        made = Dataset()
        for keyword, value in values.items():
            setattr(made, keyword, value)
        return made

    def decimals(values: Sequence[float]) -> list[Any]:
        return [DS(float(value), auto_format=True) for value in values]

    (thick,) = decimals([thickness])
    measures = {"PixelSpacing": decimals(frames[0].spacing), "SliceThickness": thick, "SpacingBetweenSlices": thick}
    direction = {"ImageOrientationPatient": decimals(frames[0].orientation)}
    if header.SOPClassUID in _SINGLE:
        places = {"ImagePositionPatient": decimals(frames[0].position)}
        for keyword, value in (measures | direction | places).items():
            setattr(header, keyword, value)
        return
    header.NumberOfFrames = len(frames)
    header.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[item(**measures)], PlaneOrientationSequence=[item(**direction)])
    ]
    header.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=decimals(frame.position))])
        for frame in sorted(frames, key=lambda frame: frame.index)
    ]
