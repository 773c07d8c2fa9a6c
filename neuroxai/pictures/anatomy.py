"""What maps are drawn over: the head as it was scanned, with its heatmap in that space; the template beneath means."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from neuroxai.derivatives.prepared import record_of
from neuroxai.errors import InputError
from neuroxai.io import read_volume, sha256
from neuroxai.pictures.viewer import Unprepared
from neuroxai.preprocess.mapping import Mapping, native_of
from neuroxai.preprocess.template import load_template
from neuroxai.space import Space, Volume

_ALIKE = 0.5  # correlation of mean scan and template above which one may stand for the other
_BRIGHTEST = 99.5  # percentile of the brain's intensities that is white


def beneath_means(scan: Volume, in_mni: bool) -> tuple[Volume, str]:
    """Return what mean maps are drawn over, and its name: the template at 1 mm, or the mean scan.

    Parameters
    ----------
    scan : Volume
        The mean scan.
    in_mni : bool
        Whether it is known to lie in MNI152 space; the template is taken if the mean scan looks like it, too.
    """
    if in_mni:
        template = _template()
        there = template.resampled_to(scan.space, antialias=False).data
        if np.corrcoef(there.ravel(), scan.data.ravel())[0, 1] > _ALIKE:
            return template, "the MNI152 template at 1 mm"
    return scan, "the mean scan"


@cache
def _template() -> Volume:
    return load_template(spacing=1).t1


def unprepared(source: Path | None, network: Space, relevance: Callable[[str], Volume | None]) -> Unprepared | None:
    """Find the scan that a prepared one was made from.

    Parameters
    ----------
    source : pathlib.Path or None
        The prepared scan.
    network : Space
        The network's grid.
    relevance : callable
        Takes the modality ("T1w", "FLAIR") and returns the heatmap on the original's grid, or None.

    Returns
    -------
    Unprepared or None
        None where the scan was not prepared, or its original or its heatmap is not there or has changed: what was
        prepared is then shown instead, which is right as well.
    """
    record = None if source is None else record_of(source)
    if source is None or record is None:
        return None
    original = Path(record.sources.get("scan", ""))
    try:
        native = native_of(source)
        if native is None or not original.is_file() or sha256(original) != record.inputs.get("scan"):
            return None
        heatmap = relevance(record.modality)
        scan = None if heatmap is None else read_volume(original)
    except InputError:
        return None
    if heatmap is None or scan is None:
        return None
    if not (scan.space.matches(heatmap.space) and scan.space.matches(native.space)):
        return None
    affine = native.mapping.affine
    box = scan.space.box_around(Space(network.shape, affine @ network.affine).corners())
    space = scan.space.cut(box)
    head, drawn = (Volume(np.ascontiguousarray(one.data[box]), space) for one in (scan, heatmap))
    return Unprepared(windowed(head, read_volume(source), native.mapping), drawn, native.mapping)


def windowed(head: Volume, brain: Volume, mapping: Mapping) -> Volume:
    """Cut a head's intensities at the brightest of its brain, beside which fat of the scalp would darken the brain.

    Parameters
    ----------
    head : Volume
        In the scanner's world.
    brain : Volume
        The same scan, prepared: 0 outside the brain.
    mapping : Mapping
        Between the two.
    """
    mask = Volume((brain.data != 0).astype(np.uint8), brain.space)
    inside = head.data[mapping.carry_back(mask, head.space, order=0).data != 0]
    if not inside.size:
        return head
    return Volume(np.minimum(head.data, np.percentile(inside, _BRIGHTEST).astype(head.data.dtype)), head.space)
