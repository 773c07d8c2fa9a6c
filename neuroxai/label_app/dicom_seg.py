"""Bands of strength as a DICOM Segmentation, in the environment of MONAI Label.

highdicom, by which `neuroxai.io` writes DICOM, needs a later pydicom than MONAI Label; beside MONAI Label stands
pydicom-seg, by which it writes its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai.derivatives.heatmaps import RESEARCH_USE
from neuroxai.errors import InputError
from neuroxai.io import Origin, Segment
from neuroxai.space import Space, Volume

_LPS = np.array([-1.0, -1.0, 1.0])


def write_bands(path: Path, labels: Volume, segments: Sequence[Segment], origin: Origin, method: str) -> None:
    """Write a Segmentation (DICOM PS3.3 A.51) beside a series; its segments are the bands that have a voxel.

    Parameters
    ----------
    path : Path
        A DICOM file.
    labels : Volume
        uint8, on the grid of the series.
    segments : sequence of Segment
        Every band.
    origin : Origin
        The series: patient, study and frame of reference are its own.
    method : str
        Name of the attribution method.

    Raises
    ------
    InputError
        If no band has a voxel: a Segmentation holds one segment at least.
    """
    import pydicom_seg

    present = [one for one in segments if (labels.data == one.value).any()]
    if not present:
        raise InputError("the heatmap is too weak for the lowest band, so that no segment is left to write as DICOM")
    numbered = np.zeros_like(labels.data, dtype=np.uint8)  # DICOM numbers segments from 1, without a gap
    for number, one in enumerate(present, start=1):
        numbered[labels.data == one.value] = number
    template = {
        "ContentCreatorName": "neuroxai",
        "SeriesDescription": RESEARCH_USE,
        "SeriesNumber": "9002",
        "InstanceNumber": "1",
        "ContentLabel": "BANDS",
        "ContentDescription": RESEARCH_USE,
        "ClinicalTrialSeriesID": "n/a",
        "ClinicalTrialTimePointID": "n/a",
        "ClinicalTrialCoordinatingCenterName": "n/a",
        "segmentAttributes": [[_attributes(number, one, method) for number, one in enumerate(present, start=1)]],
    }
    writer = pydicom_seg.MultiClassWriter(pydicom_seg.template.from_dcmqi_metainfo(template))
    # NIfTI keeps the affine in float32: the series' own is meant
    space = origin.space if labels.space.matches(origin.space) else labels.space
    reference = str(origin.headers[0].FrameOfReferenceUID)  # pydicom-seg puts another in its place (0.4.1)
    made = writer.write(_image(numbered, space), origin.headers)
    made.SegmentSequence = sorted(made.SegmentSequence, key=lambda one: int(one.SegmentNumber))
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = reference, ""
    made.Manufacturer = "neuroxai"
    made.save_as(path)


def _attributes(number: int, segment: Segment, method: str) -> dict[str, Any]:
    return {
        "labelID": number,
        "SegmentLabel": segment.name,
        "SegmentDescription": RESEARCH_USE,
        "SegmentAlgorithmType": "AUTOMATIC",
        "SegmentAlgorithmName": method,
        "SegmentedPropertyCategoryCodeSequence": _code("309825002", "SCT", "Spatial and Relational Concept"),
        "SegmentedPropertyTypeCodeSequence": _code(f"bands-{segment.value}", "99NEUROXAI", segment.name),
        "recommendedDisplayRGBValue": list(segment.colour),
    }


def _code(value: str, scheme: str, meaning: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}


def _image(data: Any, space: Space) -> Any:
    import SimpleITK

    matrix = space.affine[:3] * _LPS[:, None]
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(space.spacing)
    image.SetOrigin(matrix[:, 3].tolist())
    image.SetDirection((matrix[:, :3] / np.array(space.spacing)).ravel().tolist())
    return image
