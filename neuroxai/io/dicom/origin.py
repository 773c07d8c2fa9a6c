"""The series that an explanation is about: what its objects take over from it."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroxai.errors import SpaceError
from neuroxai.io.dicom.files import Where, image_header, imported
from neuroxai.io.dicom.frames import Frame, frames_of
from neuroxai.io.dicom.series import chosen, found
from neuroxai.io.dicom.stack import stacked
from neuroxai.space import Space, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# of type 2: they must be there, and may be empty
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_ROOT = uuid.UUID("6f1c6a0e-1f0b-5f8e-9d63-0d2f3e1c9a55")
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Origin:
    """A series with all that describes patient, study and place.

    Parameters
    ----------
    headers : list of Dataset
        One a file, in the order of the slices; without pixels, and with empty values where they are required and
        absent.
    space : Space
        Its grid, as `neuroxai.io.read_series` gives it: columns, rows, slices.
    uid : str
        Of the series.
    """

    headers: list[Dataset]
    space: Space
    uid: str

    @property
    def date(self) -> tuple[str, str]:
        """Date and time of the study, which the objects take: a clock's would change their bytes."""
        head = self.headers[0]
        for day, hour in (("SeriesDate", "SeriesTime"), ("StudyDate", "StudyTime")):
            if head.get(day):
                return str(head[day].value), str(head.get(hour) or "000000")
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
    """Read the headers of one series.

    Raises
    ------
    InputError, SpaceError
        As `neuroxai.io.read_series`.
    """
    candidates, _ = found(where)
    one = chosen(candidates, series, where)
    headers: dict[Path, Dataset] = {}
    frames: list[Frame] = []
    for file in one.files:
        header = image_header(file)
        if header is not None:
            headers[file] = header
            frames.extend(frames_of(header, file))
    ordered, space = stacked(frames, f"{one.files[0].parent}, series {one.number} ({one.uid})")
    files: dict[Path, None] = dict.fromkeys(frame.file for frame in ordered)
    return Origin([_filled(headers[file], one.uid) for file in files], space, one.uid)


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


def _filled(header: Dataset, series: str) -> Dataset:
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    if not header.get("StudyInstanceUID"):
        header.StudyInstanceUID = identifier(series, "study")
    if not header.get("FrameOfReferenceUID"):
        # viewers then lay the objects over each other, if not over the scan
        header.FrameOfReferenceUID = identifier(series, "frame of reference")
    return header
