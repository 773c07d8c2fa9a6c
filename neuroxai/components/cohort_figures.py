"""What only all scans of a folder together tell: a common scale of heatmaps, and how well the network does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.cohort import class_groups
from neuroxai.components.standing import written
from neuroxai.evaluation.held_out import keep_held_out, measure_held_out
from neuroxai.io import scales


def held_out_of(
    rows: Sequence[Mapping[str, Any]], classes: Sequence[str], weights: Path | None, checkpoint_sha256: str | None
) -> dict[str, Any] | None:
    """Measure the network on a folder's held-out scans, and return that or what the bundle keeps of more.

    Parameters
    ----------
    rows : sequence of mapping
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
        (row["true"] == patients, float(row[f"probability_{patients}"]), str(row["participant_id"]))
        for row in rows
        if row.get("seen") == "held out" and row.get("true") in (control, patients)
    )
    if weights is not None:
        found = keep_held_out(weights, checkpoint_sha256, found)
    return None if found is None else found.to_dict()


def own_scale(sidecars: Iterable[Mapping[str, Any]], patients: str) -> scales.Scale | None:
    """Return the scale of the heatmaps that sidecars tell of; None of none."""
    return scales.scale_of(
        (one["relevance_limit"], one["relevance_absolute"], (one["true"] or one["predicted"]) == patients)
        for one in sidecars
        if one.get("relevance_limit") is not None
    )


def display(sidecar: Mapping[str, Any], note: Path, scale: scales.Scale) -> None:
    """Give a scan's heatmaps the scale for viewers, and its sidecar (`note`) their new checksums."""
    maps = [note.parent / name for name in sidecar["files"] if name.endswith(".nii.gz")]
    new = [scales.set_display(path, scale.limit) for path in maps]
    if any(new):
        io.write_json(note, {**sidecar, "files": {**sidecar["files"], **written(note, maps)}})
