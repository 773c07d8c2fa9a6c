"""One scan's table of regions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuroxai.errors import InputError
from neuroxai.io import read_tsv
from neuroxai.report.values import Region

if TYPE_CHECKING:
    import pandas as pd


def read_regions(path: Path) -> list[Region]:
    """Read the region scores of one scan; regions without voxels on the grid are left out."""
    import pandas as pd

    frame = read_tsv(path, required=("name",), numbers=("sum", "density", "voxels"))
    for column in ("sum", "density", "voxels"):
        if not pd.api.types.is_numeric_dtype(frame[column]):
            raise InputError(f"{path}: column {column!r} holds text, wanted numbers; explain the scan again")
    known = frame[frame["sum"].notna() & frame["density"].notna()]
    if known["name"].duplicated().any():
        name = known["name"][known["name"].duplicated()].iloc[0]
        raise InputError(f"{path}: region {name!r} stands in two rows, wanted one; give the atlas a name a region")
    return [
        Region(str(r["name"]), float(r["sum"]), float(r["density"]), int(r["voxels"]), contrast)
        for r, contrast in zip(known.to_dict("records"), _contrasts(known), strict=True)
    ]


def _contrasts(table: pd.DataFrame) -> list[float]:
    """Return how far regions stand out: the table's own column, or, of older tables, as if voxels were independent."""
    if "contrast" in table and table["contrast"].dtype.kind == "f" and table["contrast"].notna().any():
        return [float(value) for value in table["contrast"].fillna(0.0)]
    n, density = table["voxels"].to_numpy(dtype=float), table["density"].to_numpy(dtype=float)
    total = n.sum()
    spread = np.where((n > 0) & (n < total), 1 / np.maximum(n, 1) - 1 / max(total, 1), np.inf)
    return [float(value) for value in (density - (density * n).sum() / max(total, 1)) / np.sqrt(spread)]
