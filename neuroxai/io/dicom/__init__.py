"""DICOM in and out: the only place that knows it.

What identifies a patient is neither returned nor written to any other file; objects that are written beside a series
carry its patient and study, so that they find their place in an archive.
"""

from neuroxai.io.dicom.captures import sides, write_captures
from neuroxai.io.dicom.opening import is_dicom, is_series
from neuroxai.io.dicom.origin import Origin, read_origin
from neuroxai.io.dicom.parametric_map import write_parametric_map
from neuroxai.io.dicom.read import read_series
from neuroxai.io.dicom.readback import read_parametric_map, read_segmentation
from neuroxai.io.dicom.series import Series, chosen, left_out, list_series, series_digest
from neuroxai.io.dicom.write import Description, Segment, write_report, write_segmentation

__all__ = [
    "Description",
    "Origin",
    "Segment",
    "Series",
    "chosen",
    "is_dicom",
    "is_series",
    "left_out",
    "list_series",
    "read_origin",
    "read_parametric_map",
    "read_segmentation",
    "read_series",
    "series_digest",
    "sides",
    "write_captures",
    "write_parametric_map",
    "write_report",
    "write_segmentation",
]
