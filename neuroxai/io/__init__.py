"""The only room that opens files: NIfTI, DICOM, transforms, tables, JSON; written whole or not at all."""

from neuroxai.io.derivative import claim, source_of
from neuroxai.io.dicom import (
    Description,
    Origin,
    Segment,
    Series,
    is_dicom,
    list_series,
    read_origin,
    read_parametric_map,
    read_segmentation,
    read_series,
    write_parametric_map,
    write_report,
    write_segmentation,
)
from neuroxai.io.files import atomic, content_sha256, copy_file, inside, is_temporary, link_file, named_path, sha256
from neuroxai.io.names import group_name, heatmap_name, method_label, start_label, transform_name
from neuroxai.io.nifti import read_labels, read_orientation, read_space, read_volume, write_volume
from neuroxai.io.orientation import Orientation
from neuroxai.io.outputs import check_file, check_folder, json_of, table_of
from neuroxai.io.rows import delimited
from neuroxai.io.tables import (
    parse_json,
    parse_pairs,
    read_json,
    read_object,
    read_tsv,
    write_json,
    write_text,
    write_tsv,
)
from neuroxai.io.transforms import read_affine, read_warp, write_affine, write_warp

__all__ = [
    "Description",
    "Orientation",
    "Origin",
    "Segment",
    "Series",
    "atomic",
    "check_file",
    "check_folder",
    "claim",
    "content_sha256",
    "copy_file",
    "delimited",
    "group_name",
    "heatmap_name",
    "inside",
    "is_dicom",
    "is_temporary",
    "json_of",
    "link_file",
    "list_series",
    "method_label",
    "named_path",
    "parse_json",
    "parse_pairs",
    "read_affine",
    "read_json",
    "read_labels",
    "read_object",
    "read_orientation",
    "read_origin",
    "read_parametric_map",
    "read_segmentation",
    "read_series",
    "read_space",
    "read_tsv",
    "read_volume",
    "read_warp",
    "sha256",
    "source_of",
    "start_label",
    "table_of",
    "transform_name",
    "write_affine",
    "write_json",
    "write_parametric_map",
    "write_report",
    "write_segmentation",
    "write_text",
    "write_tsv",
    "write_volume",
    "write_warp",
]
