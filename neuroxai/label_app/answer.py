"""What is sent back for one scan: a label image or the raw heatmap, and all figures as JSON."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai import io
from neuroxai.bands import Band, bands, limit_of
from neuroxai.derivatives.heatmaps import RESEARCH_USE
from neuroxai.derivatives.predictions import FIT_COLUMNS
from neuroxai.derivatives.scales import common_limit
from neuroxai.errors import InputError, one_of
from neuroxai.explain import Explanation
from neuroxai.space import Volume

HEATMAPS = ("bands", "raw")


def labels_of(classes: Sequence[str]) -> dict[str, int]:
    """Name every band for ``/info``, before any scan was seen."""
    _, all_bands = bands(np.zeros((1, 1, 1)))
    return {band.name(classes[1]): band.value for band in all_bands}


def answer(
    explained: Explanation, classes: Sequence[str], heatmap: str = "bands", scanner: bool = False
) -> tuple[Path, dict[str, Any]]:
    """Write the image that a viewer shows and gather what it tells.

    Parameters
    ----------
    explained : Explanation
        One scan's.
    classes : sequence of str
        Of the bundle.
    heatmap : {"bands", "raw"}
        Bands of strength as uint8 labels, or the relevance as float32; both on the grid of the scan.
    scanner : bool
        On the grid of the scan that the one explained was prepared from, which is what the viewer shows.

    Returns
    -------
    (Path, dict)
        A temporary NIfTI file, which the caller removes, and values ready for JSON: ``prediction``, ``fit``,
        ``bands``, ``scale`` (whose limit is 100 %), ``label_names``, ``regions``, ``explanation``, ``research_use``.

    Raises
    ------
    InputError
        For another kind of heatmap.
    """
    if heatmap not in HEATMAPS:
        raise one_of("heatmap", heatmap, HEATMAPS)
    shown = explained.on_scan if explained.on_scanner is None or not scanner else explained.on_scanner
    # the bands of a weak map are few, as in the reports: its own scale would make it look like a strong one
    limit = common_limit(explained.scale, limit_of(explained.on_network.data))
    labels, found = bands(shown.data, limit=limit)
    handle, name = tempfile.mkstemp(prefix=f"neuroxai-{heatmap}-", suffix=".nii.gz")
    os.close(handle)
    path = Path(name)
    if heatmap == "bands":
        io.write_volume(path, Volume(labels, shown.space), dtype=np.uint8, description=RESEARCH_USE)
    else:
        io.write_volume(path, shown, description=RESEARCH_USE, display=limit)
    probabilities = {name: explained.prediction.probabilities[name] for name in classes}
    present = [band for band in found if band.voxels]
    return path, {
        "prediction": {
            "predicted": explained.prediction.predicted,
            "probabilities": probabilities,
            "score": explained.prediction.score,
            "target": explained.target,
        },
        "fit": {name: getattr(explained.prediction, name) for name in FIT_COLUMNS},
        "label_names": label_names(explained, probabilities, present),
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
        "scale": {
            "limit": limit,
            "source": "scan" if explained.scale is None or explained.scale.limit < limit else "bundle",
        },
        "regions": [] if explained.regions is None else _rows(explained.regions),
        "explanation": explained.provenance,
        "research_use": RESEARCH_USE,
    }


def label_names(explained: Explanation, probabilities: Mapping[str, float], present: Sequence[Band]) -> dict[str, int]:
    """Name the labels that the image holds; the first carries the result, so that a viewer's list of segments says it.

    Viewers give names in the order of values to the labels that an image holds, so absent bands are left out. Their
    values stay: two bands of one image never share a name.
    """
    said = "result: " + ", ".join(f"{name} {share:.1%}" for name, share in probabilities.items())
    return {
        f"{band.name(explained.target)} [{said.replace('%', ' %')}]"
        if n == 0
        else band.name(explained.target): band.value
        for n, band in enumerate(present)
    }


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
