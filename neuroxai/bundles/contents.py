"""What a packed bundle may hold, for both directions."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import torch

from neuroxai.components import read_record
from neuroxai.errors import InputError
from neuroxai.explain.weights import load_checkpoint

CHECKSUMS = "checksums.txt"  # of all other files, as sha256sum writes and reads it
WEIGHTS, RECORD = "models/model.pt", "models/model.json"
REFERENCE = "models/reference.json"  # of healthy controls, if there is one (`neuroxai compare --save-reference`)
KEPT = (
    "models/heatmap_scales.json",
    "models/held_out.json",
    "models/trust.json",
)  # of earlier explanations: counts and figures, nobody's name
EXPORTS = ("models/model.pt2", "models/model.ts")
NEEDED = ("configs/metadata.json", "configs/inference.json", "docs/README.md", "LICENSE", WEIGHTS, RECORD)
SUFFIXES = {"configs": (".json", ".conf"), "docs": (".md", ".txt", ".png", ".jpg", ".svg")}
ALONE = ("LICENSE", "large_files.yml", WEIGHTS, RECORD, REFERENCE, *KEPT, CHECKSUMS, *EXPORTS)
MOST_BYTES = 2 * 2**30  # of all files together
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")  # of a path: no "..", no hidden file, no drive, no backslash


def check_name(name: str, where: object) -> None:
    """Refuse a name that a packed bundle does not have: whatever leads out, or another kind of file.

    Raises
    ------
    InputError
        If there is no place for it.
    """
    parts = name.split("/")
    known = name in ALONE or (len(parts) > 1 and name.endswith(SUFFIXES.get(parts[0], ())))
    if not known or not all(PART.fullmatch(part) for part in parts):
        raise InputError(f"{where}: {name!r} has no place in a packed bundle; take it out, or rename it")


def check_weights(bundle: Path, most_bytes: int = MOST_BYTES) -> dict[str, object]:
    """Load a bundle's weights as tensors alone; return their record.

    Raises
    ------
    InputError
        If they are no state dict, would need pickle or unfold to more than `most_bytes`, or if the record belongs to
        other weights.
    """
    path = bundle / WEIGHTS
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile:
        raise InputError(f"{path}: cannot be read as weights (no zip file); copy or train it again") from None
    if size > most_bytes:
        raise InputError(f"{path}: unfolds to {size} bytes, expected at most {most_bytes}")
    state = load_checkpoint(path)
    if not isinstance(state, dict) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InputError(f"{path}: holds no plain state dict; expected the file model.pt that training writes")
    return read_record(str(path))
