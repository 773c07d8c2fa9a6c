"""Explanations as DICOM objects beside the series: Parametric Map, Segmentation, structured report."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from neuroxai._version import __version__
from neuroxai.errors import InputError, NeuroxaiError
from neuroxai.io.dicom.opening import BROKEN
from neuroxai.io.dicom.origin import Origin, identifier, settle
from neuroxai.io.files import atomic
from neuroxai.space import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

P = ParamSpec("P")

SCHEME = "99NEUROXAI"  # codes of ours: there are none for relevance
RELEVANCE = "relevance"  # label of the real-world value that is relevance itself
_MAKER = "neuroxai developers"
_FIRST_SERIES = 9001  # above what scanners number


@dataclass(frozen=True)
class Description:
    """What the objects say of themselves.

    Parameters
    ----------
    label : str
        The map in one line, such as ``lrp_alpha_beta for AD``.
    method : str
        Name of the attribution method.
    options : mapping
        Its options, for the algorithm's identification.
    target : str
        The class explained.
    seed : str
        Whatever decides the content; identifiers are derived from it and from the series.
    density : float, optional
        By what relevance is multiplied to give percent of the score per millilitre, in which maps are stored then:
        relevance of single voxels is a number that viewers round to 0, and depends on the grid. Left as it is by
        default.
    limit : float, optional
        Relevance that counts as 100 % in pictures; the map's largest by default.
    use : str
        What every object says of its use, in at most 64 letters.
    """

    label: str
    method: str
    options: Mapping[str, Any]
    target: str
    seed: str
    density: float | None = None
    limit: float | None = None
    use: str = "For research use only; not a medical device."


@dataclass(frozen=True)
class Segment:
    """One segment: its value in the label image, its name, its colour (red, green, blue, 0 to 255), and more of it."""

    value: int
    name: str
    colour: tuple[int, int, int]
    text: str = ""


def _refusing(write: Callable[P, Path]) -> Callable[P, Path]:
    """Turn what highdicom and pydicom raise on values that are not valid into a refusal."""

    @wraps(write)
    def writing(*arguments: P.args, **named: P.kwargs) -> Path:
        try:
            with warnings.catch_warnings():
                # they repeat the patient's name
                warnings.simplefilter("ignore")
                return write(*arguments, **named)
        except (NeuroxaiError, OSError):
            raise
        except BROKEN as error:
            raise InputError(
                f"no DICOM object can be made beside this series ({error}); leave out --dicom-out, or export it again"
            ) from error

    return writing


@_refusing
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
    highdicom = _highdicom()
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
        content_description=_short(about.use),
        **_made_by(origin, about, "parametric map", 0),
    )
    made.BodyPartExamined = "BRAIN"
    # dcmqi and others of dcmtk do not read a map without it (type 1 of PS3.3 A.75)
    region = Dataset()
    region.FrameLaterality, region.AnatomicRegionSequence = "U", [CodedConcept.from_code(codes.SCT.Brain)]
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [region]
    _ascending(made)
    return _written(path, made, origin, about, "relevance, float")


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
            lut_explanation=_short(text),
            unit=unit,
            value_range=ends,
            slope=slope,
            intercept=0.0,
            quantity_definition=_code("relevance", "Relevance of a voxel for a decision"),
        )
        for name, text, unit, slope in meant
    ]


@_refusing
def write_segmentation(
    path: str | os.PathLike[str],
    labels: Volume,
    segments: Sequence[Segment],
    origin: Origin,
    about: Description,
    kind: str = "bands",
) -> Path:
    """Write a label image as a binary Segmentation (DICOM PS3.3 A.51), one segment a value that it holds.

    Parameters
    ----------
    path, origin, about
        As for `write_parametric_map`.
    labels : Volume
        Whole numbers on the series' grid, 0 for background.
    segments : sequence of Segment
        Names and colours; values that the image does not hold are left out.
    kind : {"bands", "regions"}
        Bands of a heatmap, or an atlas's regions.

    Raises
    ------
    InputError
        If the image holds none of the segments, or a value without a name.
    """
    highdicom = _highdicom()
    from pydicom.sr.codedict import codes

    values = np.asarray(labels.data)
    present = {int(value) for value in np.unique(values)} - {0}
    nameless = present - {segment.value for segment in segments}
    if nameless:
        raise InputError(f"the label image holds {min(nameless)}, which has no name; name every value that it holds")
    chosen = [segment for segment in sorted(segments, key=lambda one: one.value) if segment.value in present]
    if not chosen:
        raise InputError("the label image holds no segment at all; there is nothing to be written")
    # segments are numbered from 1 without gaps
    table = np.zeros(max(present) + 1, np.uint16)
    for number, segment in enumerate(chosen, start=1):
        table[segment.value] = number
    numbers = table[values.astype(np.int64)]
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=about.method if kind == "bands" else "atlas registration",
        family=_code("attribution", "Attribution of a decision to voxels")
        if kind == "bands"
        else codes.DCM.ArtificialIntelligence,
        version=__version__,
        source="neuroxai",
        parameters={str(key): str(value) for key, value in about.options.items()} or None,
    )
    anatomy = kind == "regions"
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=_short(segment.name),
            segmented_property_category=codes.SCT.AnatomicalStructure
            if anatomy
            else codes.SCT.SpatialAndRelationalConcept,
            segmented_property_type=_code(f"{kind}-{segment.value}", segment.name),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            display_color=highdicom.color.CIELabColor.from_rgb(*segment.colour),
        )
        for number, segment in enumerate(chosen, start=1)
    ]
    for made_of, segment in zip(described, chosen, strict=True):
        if segment.text:
            made_of.SegmentDescription = segment.text
    dtype = np.uint8 if len(chosen) < 256 else np.uint16
    made = highdicom.seg.Segmentation(
        source_images=origin.headers,
        pixel_array=origin.volume(Volume(numbers, labels.space), dtype),
        segmentation_type="BINARY",
        segment_descriptions=described,
        content_label=kind.upper(),
        content_description=_short(about.use),
        **_made_by(origin, about, f"segmentation {kind}", 1 if kind == "bands" else 2),
    )
    return _written(path, made, origin, about, f"{kind} of relevance" if kind == "bands" else "atlas regions")


@_refusing
def write_report(
    path: str | os.PathLike[str], origin: Origin, about: Description, lines: Mapping[str, str | float]
) -> Path:
    """Write the summary as an Enhanced SR (DICOM PS3.3 A.35.2): a flat list, preliminary and unverified.

    Parameters
    ----------
    path, origin, about
        As for `write_parametric_map`.
    lines : mapping of str to str or float
        What is said, in order, after the use; floats become numbers without unit.
    """
    highdicom = _highdicom()
    from pydicom.sr.codedict import codes

    # continuous content is one sentence to viewers, who then show neither names nor units
    root = highdicom.sr.ContainerContentItem(name=codes.LN.DiagnosticImagingReport, is_content_continuous=False)
    items = highdicom.sr.ContentSequence()
    for number, (name, value) in enumerate([("Use", about.use), *lines.items()]):
        concept = _code(f"line-{number}", name)
        if isinstance(value, float):
            items.append(
                highdicom.sr.NumContentItem(
                    name=concept, value=value, unit=codes.UCUM.NoUnits, relationship_type="CONTAINS"
                )
            )
        else:
            items.append(highdicom.sr.TextContentItem(name=concept, value=value, relationship_type="CONTAINS"))
    root.ContentSequence = items
    uids = _uids(origin, about, "report")
    made = highdicom.sr.EnhancedSR(
        evidence=origin.headers,
        content=root,
        series_instance_uid=uids[0],
        sop_instance_uid=uids[1],
        series_number=_FIRST_SERIES + 3,
        instance_number=1,
        manufacturer=_MAKER,
        is_complete=True,
    )
    return _written(path, made, origin, about, "summary")


def _made_by(origin: Origin, about: Description, what: str, number: int) -> dict[str, Any]:
    series, instance = _uids(origin, about, what)
    return {
        "series_instance_uid": series,
        "sop_instance_uid": instance,
        "series_number": _FIRST_SERIES + number,
        "instance_number": 1,
        "manufacturer": _MAKER,
        "manufacturer_model_name": "neuroxai",
        "software_versions": __version__,
        "device_serial_number": "none",
    }


def _uids(origin: Origin, about: Description, what: str) -> tuple[str, str]:
    return identifier(origin.uid, about.seed, what, "series"), identifier(origin.uid, about.seed, what, "instance")


def _written(path: str | os.PathLike[str], made: Dataset, origin: Origin, about: Description, what: str) -> Path:
    if "ContentLabel" in made and "ContentCreatorName" not in made:
        made.ContentCreatorName = ""
    made.SeriesDescription = _short(f"neuroxai {what}: {about.label} (research only)")
    settle(made, origin, f"{origin.uid} {about.seed} {what}")
    target = Path(path)
    with atomic(target) as temporary:
        made.save_as(temporary, enforce_file_format=True)
    return target


def _code(value: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=value[:16], scheme_designator=SCHEME, meaning=_short(meaning))


def _short(text: str, length: int = 64) -> str:
    """Cut to what a DICOM string may hold, and leave out what separates values."""
    plain = " ".join(text.replace("\\", "/").split())
    return plain if len(plain) <= length else plain[: length - 3] + "..."


def _highdicom() -> Any:
    try:
        import highdicom
    except ImportError:
        raise InputError("DICOM objects need highdicom, which is absent; pip install 'neuroxai[dicom]'") from None
    return highdicom
