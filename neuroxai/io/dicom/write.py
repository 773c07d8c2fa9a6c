"""Explanations as DICOM objects beside the series: Segmentation, structured report, and what all have in common."""

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
MAKER = "neuroxai developers"
FIRST_SERIES = 9001  # above what scanners number


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


def refusing(write: Callable[P, Path]) -> Callable[P, Path]:
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


@refusing
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
    highdicom = imported_highdicom()
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
        family=coded("attribution", "Attribution of a decision to voxels")
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
            segment_label=short(segment.name),
            segmented_property_category=codes.SCT.AnatomicalStructure
            if anatomy
            else codes.SCT.SpatialAndRelationalConcept,
            segmented_property_type=coded(f"{kind}-{segment.value}", segment.name),
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
        content_description=short(about.use),
        **made_by(origin, about, f"segmentation {kind}", 1 if kind == "bands" else 2),
    )
    return written(path, made, origin, about, f"{kind} of relevance" if kind == "bands" else "atlas regions")


@refusing
def write_report(
    path: str | os.PathLike[str], origin: Origin, about: Description, lines: Mapping[str, str | float]
) -> Path:
    """Write the summary as an Enhanced SR (DICOM PS3.3 A.35.2): a flat list, preliminary and unverified.

    Parameters
    ----------
    path, origin, about
        As for `write_parametric_map`.
    lines : mapping of str to str or float
        What is said, in order, after the use; floats are shares, written as numbers in percent.
    """
    highdicom = imported_highdicom()
    from pydicom.sr.codedict import codes

    # continuous content is one sentence to viewers, who then show neither names nor units
    root = highdicom.sr.ContainerContentItem(name=codes.LN.DiagnosticImagingReport, is_content_continuous=False)
    items = highdicom.sr.ContentSequence()
    for number, (name, value) in enumerate([("Use", about.use), *lines.items()]):
        concept = coded(f"line-{number}", name)
        if isinstance(value, float):
            items.append(
                highdicom.sr.NumContentItem(
                    name=concept,
                    value=float(f"{100 * value:.6g}"),
                    unit=codes.UCUM.Percent,
                    relationship_type="CONTAINS",
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
        series_number=FIRST_SERIES + 3,
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
    )
    return written(path, made, origin, about, "summary")


def made_by(origin: Origin, about: Description, what: str, number: int) -> dict[str, Any]:
    """Return identifiers, number and maker of an object, as highdicom takes them."""
    series, instance = _uids(origin, about, what)
    return {
        "series_instance_uid": series,
        "sop_instance_uid": instance,
        "series_number": FIRST_SERIES + number,
        "instance_number": 1,
        "manufacturer": MAKER,
        "manufacturer_model_name": "neuroxai",
        "software_versions": __version__,
        "device_serial_number": "none",
    }


def _uids(origin: Origin, about: Description, what: str) -> tuple[str, str]:
    return identifier(origin.uid, about.seed, what, "series"), identifier(origin.uid, about.seed, what, "instance")


def written(
    path: str | os.PathLike[str], made: Dataset, origin: Origin, about: Description, what: str, which: str = ""
) -> Path:
    """Give an object its description and what is no clock's, and write it whole or not at all."""
    if "ContentLabel" in made and "ContentCreatorName" not in made:
        made.ContentCreatorName = ""
    made.SeriesDescription = short(f"neuroxai {what}: {about.label}", 48) + " (research only)"
    settle(made, origin, f"{origin.uid} {about.seed} {which or what}")
    target = Path(path)
    with atomic(target) as temporary:
        made.save_as(temporary, enforce_file_format=True)
    return target


def coded(value: str, meaning: str) -> Any:
    """Return a code of ours."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value=value[:16], scheme_designator=SCHEME, meaning=short(meaning))


def short(text: str, length: int = 64) -> str:
    """Cut to what a DICOM string may hold, and leave out what separates values."""
    plain = " ".join(text.replace("\\", "/").split())
    return plain if len(plain) <= length else plain[: length - 3] + "..."


def imported_highdicom() -> Any:
    """Import highdicom, an optional dependency."""
    try:
        import highdicom
    except ImportError:
        raise InputError("DICOM objects need highdicom, which is absent; pip install 'neuroxai[dicom]'") from None
    return highdicom
