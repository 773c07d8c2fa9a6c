"""NRRD, the format that 3D Slicer and OHIF ask for; bands of strength as a segmentation file of 3D Slicer."""

from __future__ import annotations

import io as streams
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai.errors import InputError
from neuroxai.io import Segment
from neuroxai.space import Space, Volume

_LPS = np.array([-1.0, -1.0, 1.0])
_TO_RAS = {"right-anterior-superior": (1, 1, 1), "left-posterior-superior": (-1, -1, 1)}
_TO_RAS |= {"left-anterior-superior": (-1, 1, 1), "RAS": (1, 1, 1), "LPS": (-1, -1, 1), "LAS": (-1, 1, 1)}
# of a header: other files of this machine, and lines that would be counted for years
_REFUSED = ("data file", "datafile", "line skip", "lineskip")
_LARGEST = 2**31  # bytes of voxels; a scan of 512^3 in float64 has half of it


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


def read_nrrd(path: Path) -> Volume:
    """Read a scan that was sent as NRRD: one file, packed by gzip or not at all, with its place in the world.

    Raises
    ------
    InputError
        If it is none, is in several files, has no three axes in space, or no known space.
    """
    import nrrd

    try:
        with path.open("rb") as handle:
            header = nrrd.read_header(handle)
            content = handle.read()
        encoding, space = header.get("encoding"), header.get("space")
        if refused := [key for key in _REFUSED if key in header]:
            raise InputError(f"the NRRD file says {refused[0]!r}, expected header and voxels in one file")
        if encoding not in ("raw", "gzip", "gz"):
            raise InputError(f"the NRRD file's encoding is {encoding!r:.40}, expected raw or gzip")
        if encoding != "raw":
            content = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, _LARGEST)
        data = nrrd.read_data({**header, "encoding": "raw"}, streams.BytesIO(content))
        matrix = np.column_stack((np.asarray(header["space directions"], float).T, header["space origin"]))
    except (nrrd.NRRDError, zlib.error, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the file is no NRRD scan that can be read ({error!s:.200}); send it as .nii.gz") from None
    if data.ndim != 3 or matrix.shape != (3, 4):
        raise InputError(f"the NRRD file has {data.ndim} axes, expected the three of one scan in space")
    if space not in _TO_RAS:
        raise InputError(f"the NRRD file's space is {space!r:.40}, expected one of {', '.join(_TO_RAS)}")
    if any(unit not in ("mm", "") for unit in header.get("space units", ())):
        raise InputError(f"the NRRD file's space units are {header['space units']!s:.40}, expected mm")
    affine = np.vstack((matrix * np.array(_TO_RAS[space])[:, None], (0.0, 0.0, 0.0, 1.0)))
    return Volume(np.ascontiguousarray(data), Space(data.shape, affine))


def colour_table(segments: Sequence[Segment]) -> str:
    """Return the colours as a colour table of 3D Slicer, in which names have no spaces."""
    lines = ["# Color table file neuroxai bands of relevance", "0 background 0 0 0 0"]
    for one in segments:
        red, green, blue = one.colour
        lines.append(f"{one.value} {one.name.replace(' ', '_')} {red} {green} {blue} 255")
    return "\n".join(lines) + "\n"
