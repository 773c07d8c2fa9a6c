"""One scan's table of regions."""

from __future__ import annotations

from pathlib import Path

from neuroxai.errors import InputError
from neuroxai.io import read_tsv
from neuroxai.report.values import Region


def read_regions(path: Path) -> list[Region]:
    """Read the region scores of one scan; regions without voxels on the grid are left out."""
    import pandas as pd

    frame = read_tsv(path, required=("name", "sum", "density", "voxels"))
    for column in ("sum", "density", "voxels"):
        if not pd.api.types.is_numeric_dtype(frame[column]):
            raise InputError(f"{path}: column {column!r} holds text, wanted numbers; explain the scan again")
    known = frame[frame["sum"].notna() & frame["density"].notna()]
    if known["name"].duplicated().any():
        name = known["name"][known["name"].duplicated()].iloc[0]
        raise InputError(f"{path}: region {name!r} stands in two rows, wanted one; give the atlas a name a region")
    return [
        Region(str(r["name"]), float(r["sum"]), float(r["density"]), int(r["voxels"])) for r in known.to_dict("records")
    ]
