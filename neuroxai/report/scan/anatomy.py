"""What a heatmap is drawn over: the head as it was scanned where it is at hand, else the scan given to the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroxai.derivatives.explain_folder import Item
from neuroxai.derivatives.prepared import record_of
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_volume, sha256
from neuroxai.preprocess.mapping import native_of
from neuroxai.space import Space, Volume


@dataclass(frozen=True, eq=False)
class Unprepared:
    """A scan before `neuroxai prepare` brought it to the network's world.

    Parameters
    ----------
    scan : Volume
        As the scanner gave it, cut to what the network's grid covers.
    heatmap : Volume
        On the same grid, as `neuroxai explain` wrote it.
    affine : ndarray, shape (4, 4), or None
        Takes the network's world to the scan's; None where the map between them is warped.
    """

    scan: Volume
    heatmap: Volume
    affine: NDArray[np.float64] | None


def unprepared(item: Item, source: Path | None, network: Space) -> Unprepared | None:
    """Find the scan that a prepared one was made from, and the heatmap in its space.

    None where the scan was not prepared, or its original or its heatmap is not there or has changed: the page then
    shows the prepared scan, which is right as well.
    """
    record = None if source is None else record_of(source)
    if source is None or record is None:
        return None
    original = Path(record.sources.get("scan", ""))
    drawn = item.files.heatmap(record.modality)
    if not original.is_file() or not drawn.is_file():
        return None
    try:
        native = native_of(source)
        if native is None or sha256(original) != record.inputs.get("scan"):
            return None
        scan, heatmap = read_volume(original), read_volume(drawn)
    except InputError:
        return None
    if not (scan.space.matches(heatmap.space) and scan.space.matches(native.space)):
        return None
    affine = native.mapping.affine
    box = scan.space.box_around(Space(network.shape, affine @ network.affine).corners())
    space = scan.space.cut(box)
    head, relevance = (Volume(np.ascontiguousarray(one.data[box]), space) for one in (scan, heatmap))
    return Unprepared(head, relevance, affine if native.mapping.warp is None else None)


def drawn(item: Item, heatmap: Volume, scan: Volume | None, before: Unprepared | None) -> tuple[Volume, Volume | None]:
    """Return heatmap and scan to draw, on the scan's own grid; the heatmap as written for it, else interpolated.

    Raises
    ------
    SpaceError
        If the heatmap that was written for the scan lies on another grid.
    """
    if before is not None:
        return before.heatmap, before.scan
    if scan is None:
        return heatmap, None
    if item.native_heatmap.is_file():
        native = read_volume(item.native_heatmap)
        if not native.space.matches(scan.space):
            raise SpaceError(
                f"{item.native_heatmap} ({native.space.describe()}) is on another grid than its scan "
                f"({scan.space.describe()}); explain the scan again"
            )
        return native, scan
    return heatmap if scan.space.matches(heatmap.space) else heatmap.resampled_to(scan.space, antialias=False), scan
