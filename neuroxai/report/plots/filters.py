"""Figure of what each hidden filter looks at: a panel for each patch and filter (Eitel 2021, figure 9)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.bands import limit_of
from neuroxai.canvas import blend, figure_of, grey_of
from neuroxai.derivatives.explained import GroupRecord, read_group
from neuroxai.errors import SpaceError
from neuroxai.io import atomic, inside, read_tsv, read_volume
from neuroxai.io.names import BidsName
from neuroxai.pictures import slices
from neuroxai.space import Volume

COLUMNS = 7  # columns of panels side by side
_TITLE, _BAR = 0.36, 0.4  # inches above each panel; below all of them


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
        One figure per method and layer; none where the folder holds no such heatmaps.

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
        record = read_group(record_file)
        table = read_tsv(group / f"{stem}_heatmaps.tsv", required=("neuron", "filter", "file"))
        scan = read_volume(group / f"{stem}_scan.nii.gz").reoriented("RAS")
        columns = list(_columns(group, table.to_dict("records"), scan))
        path = target / f"filters_{BidsName.parse(record_file.name).entities['desc']}.png"
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


def _heading(record: GroupRecord) -> str:
    options = ", ".join(f"{name} = {value}" for name, value in (record.options or {}).items())
    method = record.method + (f" ({options})" if options else "")
    return f"{record.layer}: {method} from each filter, mean of {record.scan_count} scans. Research use only."


@dataclass(frozen=True)
class Panel:
    """One picture.

    Parameters
    ----------
    title : str
        Above it.
    relevance : ndarray, shape (rows, columns)
        An axial slice of a RAS grid, as `slices.slice_image` cuts it.
    index : int
        Which slice.
    limit : float
        Colours run from -limit to limit.
    """

    title: str
    relevance: NDArray[Any]
    index: int
    limit: float


def panel_grid(columns: Sequence[Sequence[Panel]], scan: Volume, heading: str, across: int) -> bytes:
    """Draw columns of panels side by side, in as many bands as are needed; left and right marked on every panel.

    Parameters
    ----------
    columns : sequence of sequence of Panel
        Panels that belong together stand in one column.
    scan : Volume
        What lies beneath, in RAS.
    heading : str
        On top.
    across : int
        Columns in one band, at most.

    Returns
    -------
    bytes
        PNG.
    """
    grey = Volume(grey_of(scan.data), scan.space)
    (x0, x1), (y0, y1), _ = slices.bounding_box(grey.data > 0.02)
    spacing, rows = scan.space.spacing, scan.space.shape[1]
    window = (slice(rows - y1, rows - y0), slice(x0, x1))
    across = math.ceil(len(columns) / math.ceil(len(columns) / across))  # bands as equal as can be
    bands = [columns[start : start + across] for start in range(0, len(columns), across)]
    width = max(1.5, 6.0 / across)
    height = width * (y1 - y0) * spacing[1] / ((x1 - x0) * spacing[0])
    deep = [max(len(column) for column in band) for band in bands]
    total = sum(deep) * (height + _TITLE)
    with figure_of(width * across, total + _BAR + 0.3, dark=True) as (figure, output):
        figure.suptitle(heading, color="white", fontsize=8.5)
        upper, lower = figure.subfigures(2, 1, height_ratios=[total, _BAR])
        places = upper.subplots(sum(deep), across, squeeze=False)
        for axes in places.flat:
            axes.set_axis_off()
        for first, band in zip(np.cumsum([0, *deep]), bands, strict=False):
            for number, column in enumerate(band):
                for row, panel in enumerate(column):
                    _draw_panel(places[first + row, number], panel, grey, window)
        bar = lower.add_subplot(lower.add_gridspec(1, 10)[3:7])
        _draw_bar(bar, "-limit: lowers the filter's output", "raises it: limit of the panel")
        return output()


def _draw_panel(axes: Any, panel: Panel, grey: Volume, window: tuple[slice, slice]) -> None:
    under = slices.slice_image(grey, "axial", panel.index)[window]
    spacing = grey.space.spacing
    axes.imshow(
        blend(panel.relevance[window], under, panel.limit), aspect=spacing[1] / spacing[0], interpolation="nearest"
    )
    place = f"z = {slices.coordinate(grey.space, 'axial', panel.index):.0f} mm, \u00b1{panel.limit:.1e}"
    axes.set_title(f"{panel.title}\n{place}", color="white", fontsize=6.2, pad=2)
    style = {"transform": axes.transAxes, "color": "white", "va": "top", "fontsize": 7, "fontweight": "bold"}
    axes.text(0.03, 0.97, "L", ha="left", **style)
    axes.text(0.97, 0.97, "R", ha="right", **style)


def _draw_bar(axes: Any, low: str, high: str, limit: float = 1.0) -> None:
    """Draw the scale of the colours on black, with what its ends stand for."""
    ramp = np.linspace(-limit, limit, 256)[None]
    axes.imshow(blend(ramp, np.zeros(ramp.shape), limit), aspect="auto", extent=(-1, 1, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([-1, 0, 1], [low, "0", high])
    axes.tick_params(colors="white", labelsize=8, length=2)
    for spine in axes.spines.values():
        spine.set_color("white")
