"""A heatmap as a Parametric Map, placed and scaled so that every reader finds the same number at the same place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai.errors import InputError
from neuroxai.io.dicom.origin import Origin
from neuroxai.io.dicom.write import Description, coded, imported_highdicom, made_by, refusing, short, written
from neuroxai.space import Volume

RELEVANCE = "relevance"
"""Label of the real-world value that is relevance itself."""


@refusing
def write_parametric_map(path: str | os.PathLike[str], heatmap: Volume, origin: Origin, about: Description) -> Path:
    """Write a heatmap as a Parametric Map (DICOM PS3.3 A.75): float32, a frame a slice, frames along the normal.

    With ``about.density`` stored values are percent of the score per millilitre, the first real-world value; the second
    is relevance itself.

    Parameters
    ----------
    path : path_like
        Written whole or not at all; the same inputs give the same bytes.
    heatmap : Volume
        On the series' grid.
    origin : Origin
        The series: patient, study and frame of reference are its own.
    about : Description
        What the map is.

    Raises
    ------
    SpaceError
        If the heatmap lies on another grid.
    InputError
        If it is not finite, or highdicom is absent.
    """
    highdicom = imported_highdicom()
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes

    values = heatmap.data.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError("the heatmap holds NaN or infinite relevance; explain the scan again")
    scale = about.density or 1.0
    values = (values * np.float64(scale)).astype(np.float32)
    limit = scale * (about.limit or float(np.abs(values).max()) / scale) or 1.0
    made = highdicom.pm.ParametricMap(
        source_images=origin.headers,
        pixel_array=origin.volume(Volume(values, heatmap.space), np.float32),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=_mappings(about, (float(values.min()), float(values.max()))),
        # exact: the ordinary function does not permit windows narrower than 1
        voi_lut_transformations=[
            highdicom.VOILUTTransformation(window_center=0.0, window_width=2 * limit, voi_lut_function="LINEAR_EXACT")
        ],
        content_label="RELEVANCE",
        content_description=short(about.use),
        **made_by(origin, about, "parametric map", 0),
    )
    made.BodyPartExamined = "BRAIN"
    # dcmqi and others of dcmtk do not read a map without it (type 1 of PS3.3 A.75)
    region = Dataset()
    region.FrameLaterality, region.AnatomicRegionSequence = "U", [CodedConcept.from_code(codes.SCT.Brain)]
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [region]
    _ascending(made)
    return written(path, made, origin, about, "relevance, float")


def _ascending(made: Any) -> None:
    """Put frames in the order of the normal, row x column: highdicom sorts against it, and dcmqi does not sort."""
    cosines = np.reshape(
        made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)
    ).astype(float)
    groups = list(made.PerFrameFunctionalGroupsSequence)
    places = [np.array(group.PlanePositionSequence[0].ImagePositionPatient, float) for group in groups]
    order = np.argsort(np.array(places) @ np.cross(*cosines))
    frames = np.frombuffer(made.FloatPixelData, "<f4").reshape(len(groups), -1)
    made.FloatPixelData = frames[order].tobytes()
    made.PerFrameFunctionalGroupsSequence = [groups[place] for place in order]
    for number, group in enumerate(made.PerFrameFunctionalGroupsSequence, start=1):
        group.FrameContentSequence[0].DimensionIndexValues = number


def _mappings(about: Description, ends: tuple[float, float]) -> list[Any]:
    """Say what stored values are: percent of the score first, where they are, and relevance itself."""
    from highdicom.pm import RealWorldValueMapping
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    meant = [(RELEVANCE, about.label, codes.UCUM.NoUnits, 1 / (about.density or 1.0))]
    if about.density:
        percent = Code("%/mL", "UCUM", "percent of the score per millilitre")
        told = f"relevance x {about.density:.6g} = percent of the score per mL"
        meant.insert(0, ("% of score / mL", told, percent, 1.0))
    return [
        RealWorldValueMapping(
            lut_label=name,
            lut_explanation=short(text),
            unit=unit,
            value_range=ends,
            slope=slope,
            intercept=0.0,
            quantity_definition=coded("relevance", "Relevance of a voxel for a decision"),
        )
        for name, text, unit, slope in meant
    ]
