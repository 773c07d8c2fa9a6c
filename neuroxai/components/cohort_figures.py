"""What only all scans of a folder together tell: a common scale of heatmaps, and how well the network does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from neuroxai.cohort import class_groups
from neuroxai.derivatives import scales
from neuroxai.derivatives.heatmaps import ScanFiles, Sidecar
from neuroxai.derivatives.predictions import Prediction
from neuroxai.evaluation.held_out import keep_held_out, measure_held_out


def held_out_of(
    rows: Sequence[Prediction], classes: Sequence[str], weights: Path | None, checkpoint_sha256: str | None
) -> dict[str, Any] | None:
    """Measure the network on a folder's held-out scans, and return that or what the bundle keeps of more.

    Parameters
    ----------
    rows : sequence of Prediction
        Of predictions.tsv.
    classes : sequence of str
        In the order of labels.
    weights : Path, optional
        Folder of the network's weights, where the figure is kept.
    checkpoint_sha256 : str, optional
        Of the weights.
    """
    control, patients = class_groups(classes)
    found = measure_held_out(
        (row.true == patients, row.probabilities[patients], row.participant_id)
        for row in rows
        if row.seen == "held out" and row.true in (control, patients)
    )
    if weights is not None:
        found = keep_held_out(weights, checkpoint_sha256, found)
    return None if found is None else found.to_dict()


def own_scale(sidecars: Iterable[Sidecar], patients: str) -> scales.Scale | None:
    """Return the scale of the heatmaps that sidecars tell of; None of none."""
    return scales.scale_of(
        (one.relevance_limit, one.relevance_absolute or 0.0, (one.true or one.predicted) == patients)
        for one in sidecars
        if one.relevance_limit is not None
    )


def display(sidecar: Sidecar, files: ScanFiles, scale: scales.Scale) -> None:
    """Give a scan's heatmaps the scale for viewers, and its sidecar their new checksums."""
    maps = [files.sidecar().parent / name for name in sidecar.files or {} if name.endswith(".nii.gz")]
    new = [scales.set_display(path, scale.limit) for path in maps]
    if any(new):
        files.finish(sidecar, maps)
