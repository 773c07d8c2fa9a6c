"""What is sent back for one scan: bands of strength as labels or the raw heatmap, and all figures as JSON."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai import io
from neuroxai.bands import bands, limit_of
from neuroxai.derivatives.heatmaps import RESEARCH_USE
from neuroxai.derivatives.predictions import FIT_COLUMNS
from neuroxai.derivatives.scales import common_limit
from neuroxai.errors import InputError, one_of
from neuroxai.explain import Explanation
from neuroxai.label_app.dicom_seg import write_bands
from neuroxai.label_app.nrrd_file import write_nrrd
from neuroxai.space import Volume

HEATMAPS = ("bands", "raw")
EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd")
DTYPES = ("uint8", "uint16", "int16", "int32", "float32")
_ANY_CLASS = "the class"  # names of segments are the same for every class explained: 3D Slicer knows them by name


@dataclass(frozen=True)
class FileForm:
    """How the image is written.

    Parameters
    ----------
    extension : str
        One of `EXTENSIONS`, or ``.dcm``: a DICOM Segmentation beside `origin`.
    dtype : str
        Of bands; relevance is float32 whatever is asked.
    compress : bool
        Of NRRD, by gzip.
    origin : Origin, optional
        The DICOM series that was explained.
    """

    extension: str = ".nii.gz"
    dtype: str = "uint8"
    compress: bool = True
    origin: io.Origin | None = None

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> FileForm:
        """Read what viewers ask for: ``result_extension``, ``result_dtype``, ``result_compress``.

        Raises
        ------
        InputError
            For anything that is not written.
        """
        extension, dtype = request.get("result_extension") or ".nii.gz", request.get("result_dtype") or "uint8"
        if extension not in EXTENSIONS:
            raise one_of("result_extension", extension, EXTENSIONS)
        if dtype not in DTYPES:
            raise one_of("result_dtype", dtype, DTYPES)
        return cls(extension, dtype, bool(request.get("result_compress", True)))


def all_bands() -> list[io.Segment]:
    """Return every band as a viewer's segment, before any scan was seen: value, name, colour."""
    _, found = bands(np.zeros((1, 1, 1)))
    return [io.Segment(band.value, band.name(_ANY_CLASS), band.colour) for band in found]


def labels_of() -> dict[str, int]:
    """Name every band for ``/info`` and for every answer.

    3D Slicer numbers segments by their position among these names (label = index + 1, the background left out) and
    passes over names that it has not seen in ``/info``; OHIF names segments by ``/info`` alone and drops the first one
    as the background. So all are named, in order, always alike.
    """
    return {"background": 0} | {segment.name: segment.value for segment in all_bands()}


def answer(
    explained: Explanation,
    classes: Sequence[str],
    heatmap: str = "bands",
    scanner: bool = False,
    form: FileForm | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Write the image that a viewer shows and gather what it tells.

    Parameters
    ----------
    explained : Explanation
        One scan's.
    classes : sequence of str
        Of the bundle.
    heatmap : {"bands", "raw"}
        Bands of strength as labels, or the relevance as float32; both on the grid of the scan.
    scanner : bool
        On the grid of the scan that the one explained was prepared from, which is what the viewer shows.
    form : FileForm, optional
        How the image is written; NIfTI by default.

    Returns
    -------
    (Path, dict)
        A temporary file, which the caller removes, and values ready for JSON: ``result`` in one line, ``prediction``,
        ``fit``, ``bands``, ``scale`` (whose limit is 100 %), ``label_names``, ``regions``, ``explanation``,
        ``research_use``.

    Raises
    ------
    InputError
        For another kind of heatmap, or a file that it cannot be written to.
    """
    form = form or FileForm()
    if heatmap not in HEATMAPS:
        raise one_of("heatmap", heatmap, HEATMAPS)
    if heatmap == "raw" and form.extension in (".seg.nrrd", ".dcm"):
        raise InputError(f"raw relevance is no segmentation ({form.extension}); ask for heatmap bands, or for .nrrd")
    shown = explained.on_scan if explained.on_scanner is None or not scanner else explained.on_scanner
    # the bands of a weak map are few, as in the reports: its own scale would make it look like a strong one
    limit = common_limit(explained.scale, limit_of(explained.on_network.data))
    labels, found = bands(shown.data, limit=limit)
    probabilities = {name: explained.prediction.probabilities[name] for name in classes}
    said = _result(explained, probabilities)
    told = {
        # first: 3D Slicer prints the answer in its Python console
        "result": f"{said}. {RESEARCH_USE}",
        "prediction": {
            "predicted": explained.prediction.predicted,
            "probabilities": probabilities,
            "score": explained.prediction.score,
            "target": explained.target,
        },
        "fit": {name: getattr(explained.prediction, name) for name in FIT_COLUMNS},
        "label_names": labels_of() if heatmap == "bands" else {},
        "bands": [
            {
                "label": band.value,
                "name": band.name(explained.target),
                "from": band.low,
                "to": None if math.isinf(band.high) else band.high,
                "voxels": band.voxels,
                "colour": list(band.colour),
            }
            for band in found
        ],
        "centroids": {},  # OHIF's plugin iterates over them
        "scale": {
            "limit": limit,
            "source": "scan" if explained.scale is None or explained.scale.limit < limit else "bundle",
        },
        "regions": [] if explained.regions is None else _rows(explained.regions),
        "explanation": explained.provenance,
        "research_use": RESEARCH_USE,
    }
    named = [io.Segment(band.value, band.name(explained.target), band.colour) for band in found]
    # bands as NRRD carry names and colours for 3D Slicer, and are plain NRRD for everybody else
    ending = ".seg.nrrd" if heatmap == "bands" and form.extension == ".nrrd" else form.extension
    handle, name = tempfile.mkstemp(prefix=f"neuroxai-{heatmap}-", suffix=ending)
    os.close(handle)
    path = Path(name)
    try:
        if ending == ".dcm":
            if form.origin is None:
                raise InputError(
                    "a DICOM Segmentation lies beside the DICOM series of its scan, and this scan is none; ask for "
                    "output image, or send the series' DICOM files as a session"
                )
            write_bands(path, Volume(labels, shown.space), named, form.origin, explained.run.method)
        elif heatmap == "bands" and ending == ".seg.nrrd":
            named[0] = io.Segment(named[0].value, f"{named[0].name} [{said}]", named[0].colour)
            segments = [(one.name, segment) for one, segment in zip(all_bands(), named, strict=True)]
            write_nrrd(path, Volume(labels.astype(form.dtype), shown.space), segments, form.compress)
        elif heatmap == "bands":
            io.write_volume(path, Volume(labels, shown.space), dtype=form.dtype, description=RESEARCH_USE)
        elif ending == ".nrrd":
            write_nrrd(path, Volume(shown.data.astype(np.float32), shown.space), compress=form.compress)
        else:
            io.write_volume(path, shown, description=RESEARCH_USE, display=limit)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path, told


def _result(explained: Explanation, probabilities: Mapping[str, float]) -> str:
    """Say the case's result in one line, so that a viewer's list of segments or its console shows it."""
    said = ", ".join(f"{name} {share:.1%}".replace("%", " %") for name, share in probabilities.items())
    fit = explained.prediction.fit
    return f"result: {said}; explained: {explained.target}; fit to the training scans: {fit or 'not known'}"


def _rows(frame: Any) -> list[dict[str, Any]]:
    """Rows of a table of regions; what is not a number is null in JSON."""
    return [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


def options_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options of the attribution method from a request: ``{"beta": 1}``, or the text ``beta=1 start=logit``.

    Raises
    ------
    InputError
        For anything else.
    """
    given = request.get("method_options") or {}
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, str):
        raise InputError(f"method_options is {given!r}, expected a mapping or text such as 'beta=1'")
    return io.parse_pairs(given.split(), "method_options:")
