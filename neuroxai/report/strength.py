"""How strong a scan's heatmap is beside others, on the scale that they share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neuroxai.bands import limit_of
from neuroxai.compare.explained import ExplainFolder, Item
from neuroxai.errors import InputError
from neuroxai.io import read_json, read_volume
from neuroxai.io.scales import Scale, common_limit, read_scale, scale_of
from neuroxai.report.values import Strength


def common_scale(folder: ExplainFolder, broken: Mapping[str, str]) -> Scale | None:
    """Return the scale of a folder's heatmaps: the one that its record notes, else that of the maps themselves."""
    noted = read_scale(folder.record)
    if noted is not None:
        return noted
    return scale_of(
        (*_strength_of(item), (item.true or item.predicted) == folder.patients)
        for item in folder.items
        if item.title not in broken
    )


def strength(relevance: NDArray[np.float32], scale: Scale | None) -> Strength:
    """Place one heatmap, on the network's grid, among those of a scale."""
    own, total = limit_of(relevance), float(np.abs(relevance).sum(dtype=np.float64))
    limit = common_limit(scale, own)
    if scale is None or scale.limit < limit:  # explained after the others
        return Strength(total, own, own, "this scan's own")
    whose = f"that of the {scale.scans} scans explained together" if scale.scans > 1 else "this scan's own"
    if scale.source == "bundle":
        whose = f"the bundle's, kept from {scale.scans} scans"
    middle = float(np.median(scale.patients)) if scale.patients else None
    alone = scale.source != "bundle" and scale.scans == 1
    share = None if alone else scale.weaker_than(total)
    return Strength(total, own, limit, whose, share, len(scale.patients), middle)


def _strength_of(item: Item) -> tuple[float, float]:
    """Return limit and total of a heatmap, from its sidecar where that notes them."""
    try:
        sidecar = read_json(item.sidecar)
        return float(sidecar["relevance_limit"]), float(sidecar["relevance_absolute"])
    except (InputError, KeyError, TypeError, ValueError):
        pass
    try:
        data = read_volume(item.heatmap).data
    except InputError:
        return 0.0, 0.0
    return limit_of(data), float(np.abs(data).sum(dtype=np.float64))
