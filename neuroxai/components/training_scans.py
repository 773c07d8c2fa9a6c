"""What training scans look like: kept beside the weights, and looked at before anything is learnt from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from numpy.typing import NDArray

from neuroxai.components.data import ScanDataset
from neuroxai.components.fit import summary_of
from neuroxai.derivatives.dataset import from_template
from neuroxai.derivatives.predictions import FAR
from neuroxai.errors import UnfitError
from neuroxai.evaluation.fit import MOST_SCANS, FitRecord
from neuroxai.evaluation.fit_measures import ScanSummary, outside_of, presence_of
from neuroxai.io import read_beside
from neuroxai.preprocess.template import load_template
from neuroxai.space import Space, mni152

_log = logging.getLogger("neuroxai")

OUTSIDE = 0.17
"""Share of a scan's signal outside the template's brain from which it is no brain in MNI152 space: prepared ones have
up to .14, turned by 20 degrees .13, only centred .12, shifted by 20 mm .16 to .23, heads with skull .19 to .51."""
_NAMED = 3  # scans that a message names


def look_at(training: ScanDataset, validation: ScanDataset | None, space: Space, accept: bool) -> dict[str, Any]:
    """Describe the training scans for ``model.json`` before training, and say what is not as it should be.

    Of more than `MOST_SCANS` every so many is measured, before augmentation. Single scans that are no brains in MNI152
    space, or far from the others, are named; of the validation part, too.

    Parameters
    ----------
    training, validation : ScanDataset
        The scans.
    space : Space
        The network's grid.
    accept : bool
        Train even if most scans are no brains in MNI152 space.

    Returns
    -------
    dict
        ``fit``: of `FitRecord.to_dict`, None where fewer than two scans can be read. ``simulated``: whether all
        training scans were simulated in the template's anatomy.

    Raises
    ------
    UnfitError
        If most scans are no brains in MNI152 space, and this is not accepted.
    """
    scans = _measured(training, space)
    if len(scans) < 2:
        return {"fit": None, "simulated": False}
    record = FitRecord.of([summary for _, summary in scans], space.spacing)
    # only the package's own grid is known to lie in MNI152 space
    brain = _template_brain(space.spacing[0]) if space.matches(mni152(space.spacing[0])) else None
    shares = [_share_outside(item, summary, brain) for item, summary in scans]
    if median(shares) >= OUTSIDE and not accept:
        worst = scans[shares.index(max(shares))][0]["image"]
        raise UnfitError(
            f"{sum(share >= OUTSIDE for share in shares)} of {len(scans)} training scans are no brains in MNI152 "
            f"space, such as {worst}: {median(shares):.0%} of their signal lies outside the template's brain (median), "
            f"expected less than {OUTSIDE:.0%}. Prepare them first (`neuroxai prepare`), and train on the prepared "
            "ones; with `--accept_unfit true` the network is trained on them all the same"
        )
    for part, found in (("training", scans), ("validation", _measured(validation, space))):
        _name_the_odd(part, found, record, brain)
    return {"fit": record.to_dict(), "simulated": all(from_template(Path(item["image"])) for item, _ in scans)}


@lru_cache(maxsize=1)
def _template_brain(spacing: float) -> NDArray[Any]:
    return presence_of(load_template(spacing=spacing).brain.data, (spacing,) * 3)


def _share_outside(item: dict[str, Any], summary: ScanSummary, brain: NDArray[Any] | None) -> float:
    # a brain alone, as its sidecar says, may lie elsewhere by intent: without registration
    stripped = read_beside(Path(item["image"])).get("SkullStripped") is True
    return 0.0 if brain is None or stripped else outside_of(summary, brain)


def _measured(dataset: ScanDataset | None, space: Space) -> list[tuple[dict[str, Any], ScanSummary]]:
    if dataset is None:
        return []
    every = -(-len(dataset) // MOST_SCANS) or 1
    prepared = ((dataset.data[number], dataset.prepared(number)) for number in range(0, len(dataset), every))
    return [(item, summary_of(found, "image", space.spacing)) for item, found in prepared if isinstance(found, Mapping)]


def _name_the_odd(
    part: str, scans: Sequence[tuple[dict[str, Any], ScanSummary]], record: FitRecord, brain: NDArray[Any] | None
) -> None:
    """Warn of scans that are unlike the rest: a network learns from them, or is chosen by them, as from the others."""
    odd = []
    for item, summary in scans:
        share = _share_outside(item, summary, brain)
        fit = record.compare(summary)
        if share >= OUTSIDE:
            odd.append((item, f"{share:.0%} of its signal lies outside the template's brain"))
        elif fit.level == FAR:
            odd.append((item, "; ".join(fit.unlike)))
    if not odd:
        return
    named = ". ".join(f"{item['participant_id']}: {reason}" for item, reason in odd[:_NAMED])
    _log.warning(
        "%d of %d %s scans are unlike the training scans: %s%s. Look at them; prepare them, or take them out of the "
        "datalist",
        len(odd),
        len(scans),
        part,
        named,
        f" (and {len(odd) - _NAMED} more)" if len(odd) > _NAMED else "",
    )
