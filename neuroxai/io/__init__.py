"""The only room that opens files: NIfTI, tables, JSON; written whole or not at all."""

from neuroxai.io.files import atomic, inside, sha256
from neuroxai.io.names import group_name, heatmap_name, method_label, start_label
from neuroxai.io.nifti import read_labels, read_space, read_volume, write_volume
from neuroxai.io.orientation import Orientation, read_orientation
from neuroxai.io.tables import read_json, read_tsv, write_json, write_text, write_tsv

__all__ = [
    "Orientation",
    "atomic",
    "group_name",
    "heatmap_name",
    "inside",
    "method_label",
    "read_json",
    "read_labels",
    "read_orientation",
    "read_space",
    "read_tsv",
    "read_volume",
    "sha256",
    "start_label",
    "write_json",
    "write_text",
    "write_tsv",
    "write_volume",
]
