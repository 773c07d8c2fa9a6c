"""Figure of what each hidden filter looks at: a panel for each patch and filter (Eitel 2021, figure 9)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai.bands import limit_of
from neuroxai.errors import SpaceError
from neuroxai.io import atomic, inside, read_object, read_tsv, read_volume
from neuroxai.report import slices
from neuroxai.report.panels import Panel, panel_grid
from neuroxai.space import Volume

COLUMNS = 7  # columns of panels side by side


def filter_figures(explain_dir: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> list[Path]:
    """Draw the mean heatmaps of hidden filters that an explanation of ``--neuron all`` wrote.

    Parameters
    ----------
    explain_dir : path_like
        Its output folder.
    out : path_like, optional
        Where to write ``filters_METHODLAYER.png``; ``EXPLAIN_DIR/report`` by default.

    Returns
    -------
    list of pathlib.Path
        One figure a method and layer; none where the folder holds no such heatmaps.

    Raises
    ------
    InputError
        If a table names a file that is absent or cannot be read.
    SpaceError
        If a heatmap lies on another grid than the mean scan.
    """
    group = Path(explain_dir) / "group"
    target = Path(out) if out is not None else Path(explain_dir) / "report"
    figures = []
    for record_file in sorted(group.glob("group_*_heatmaps.json")):
        stem = record_file.name.removesuffix("_heatmaps.json")
        record = read_object(record_file, "record of `neuroxai explain --neuron all`")
        table = read_tsv(group / f"{stem}_heatmaps.tsv", required=("neuron", "filter", "file"))
        scan = read_volume(group / f"{stem}_scan.nii.gz").reoriented("RAS")
        columns = list(_columns(group, table.to_dict("records"), scan))
        path = target / f"filters_{stem.rpartition('_desc-')[2]}.png"
        picture = panel_grid(columns, scan, _heading(record), COLUMNS)
        with atomic(path) as temporary:
            temporary.write_bytes(picture)
        figures.append(path)
    for stale in target.glob("filters_*.png"):  # of layers that the folder does not hold any more
        if stale not in figures and re.fullmatch(r"filters_[A-Za-z0-9]+\.png", stale.name):
            stale.unlink()
    return figures


def _columns(group: Path, rows: Sequence[Mapping[Any, Any]], scan: Volume) -> Iterator[list[Panel]]:
    """Yield the panels of one patch after the other, all through its centre; one panel where there are no patches."""
    patches: dict[Any, list[Mapping[Any, Any]]] = {}
    for row in rows:
        patches.setdefault(row.get("patch", row["neuron"]), []).append(row)
    for patch, members in patches.items():
        volumes = []
        for row in members:
            volume = read_volume(inside(group, str(row["file"])), check_content=False)
            volume = volume.reoriented("RAS")
            if not volume.space.matches(scan.space):
                raise SpaceError(
                    f"{row['file']} ({volume.space.describe()}) is on another grid than the mean scan "
                    f"({scan.space.describe()}); explain the filters again"
                )
            volumes.append(volume)
        reached = np.any([volume.data != 0 for volume in volumes], axis=0)
        low, high = slices.bounding_box(reached, margin=0)[2]
        index = (low + high - 1) // 2
        name = f"patch {patch:g} ({members[0]['strain']}), " if "patch" in members[0] else ""
        yield [
            Panel(f"{name}filter {row['filter']:g}", slices.slice_image(volume, "axial", index), index, _limit(volume))
            for row, volume in zip(members, volumes, strict=True)
        ]


def _limit(volume: Volume) -> float:
    values = volume.data[volume.data != 0]
    return limit_of(values, 99.0) if values.size else 0.0


def _heading(record: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name} = {value}" for name, value in record["options"].items())
    method = record["method"] + (f" ({options})" if options else "")
    return f"{record['layer']}: {method} from each filter, mean of {record['scan_count']} scans. Research use only."
