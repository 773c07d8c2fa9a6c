"""NRRD, the format that 3D Slicer and OHIF ask for; bands of strength as a segmentation file of 3D Slicer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai.io import Segment
from neuroxai.space import Volume

_LPS = np.array([-1.0, -1.0, 1.0])


def write_nrrd(path: Path, volume: Volume, segments: Sequence[tuple[str, Segment]] = (), compress: bool = True) -> Path:
    """Write a volume with its place in the world, in NRRD's left-posterior-superior axes.

    Parameters
    ----------
    path : Path
        Ending in ``.nrrd``.
    volume : Volume
        In RAS+ mm; the type of its data is written as it is.
    segments : sequence of (str, Segment), optional
        Of a label image: stable identifier, and value, name and colour. Readers other than 3D Slicer see the labels.
    compress : bool
        By gzip.
    """
    import nrrd

    matrix = volume.space.affine[:3] * _LPS[:, None] + 0.0  # no -0
    header: dict[str, Any] = {
        "space": "left-posterior-superior",
        "space directions": matrix[:, :3].T,
        "space origin": matrix[:, 3],
        "kinds": ["domain"] * 3,
        "encoding": "gzip" if compress else "raw",
    }
    extent = " ".join(f"0 {size - 1}" for size in volume.space.shape)
    for number, (identifier, segment) in enumerate(segments):
        header |= {
            f"Segment{number}_ID": identifier,
            f"Segment{number}_Name": segment.name,
            f"Segment{number}_Color": " ".join(f"{part / 255:.6f}" for part in segment.colour),
            f"Segment{number}_LabelValue": str(segment.value),
            f"Segment{number}_Layer": "0",
            f"Segment{number}_Extent": extent,
        }
    if segments:
        header |= {
            "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
            "Segmentation_MasterRepresentation": "Binary labelmap",
            "Segmentation_SourceRepresentation": "Binary labelmap",
            "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        }
    nrrd.write(str(path), np.asarray(volume.data), header, index_order="F")
    return path


def colour_table(segments: Sequence[Segment]) -> str:
    """Return the colours as a colour table of 3D Slicer, in which names have no spaces."""
    lines = ["# Color table file neuroxai bands of relevance", "0 background 0 0 0 0"]
    for one in segments:
        red, green, blue = one.colour
        lines.append(f"{one.value} {one.name.replace(' ', '_')} {red} {green} {blue} 255")
    return "\n".join(lines) + "\n"
