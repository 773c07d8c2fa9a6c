"""The tables of a folder of prepared scans: quality, failures, participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.preprocess.records import records_in

Key = tuple[str, str]

_FACE = "Share of the brain's surface on this face of the scan"
MEANINGS = {
    "flags": "What a person should look at: code, value got and value wanted; thresholds in neuroxai.preprocess",
    "dropped": "Whether the prepared scan was left out for its flags (--drop-flagged)",
    "brain_from": "Where the brain mask comes from: given, stripped (the scan had no skull), deepbet or template",
    "pearson": "Correlation with the template inside its brain",
    "mutual_information": "Normalised mutual information with the template inside its brain (1: unrelated)",
    "tissue_contrast": "White against grey matter, where the template has them",
    "dice": "Overlap of the brain mask with the template's",
    "brain_ml": "Brain volume in the scan's own space, in ml",
    "brain_pieces_share": "Share of the brain mask outside its largest piece",
    "brain_leak": "Share of the brain mask in its largest piece more than 10 mm outside the template's",
    "brain_missing": "Share of the template's brain in its largest piece more than 10 mm from the brain mask",
    **{f"cut_{face}": _FACE for face in ("left", "right", "posterior", "anterior", "inferior", "superior")},
    "outside_scan": "Share of the template's brain outside the scan's field of view",
    "outside_grid": "Share of the brain cut off by the prepared scan's grid",
    "orientation": "What sform and qform say of one another",
    "orientation_mm": "Largest distance between the two at a corner",
    "determinant": "Of the affine from template to scan; below 0 it mirrors",
    "scale_least": "Least scaling of the affine along an axis",
    "scale_most": "Largest scaling of the affine along an axis",
    "shear": "Shear of the affine",
    "rotation_degrees": "Rotation of the affine",
    "folded": "Share of the template's brain where the warp folds",
    "slice_mm": "Largest voxel edge in mm",
    "head_share": "Tissue around the brain over the brain's volume",
    "noise": "Noise over the brain's median intensity",
}
"""Columns of ``quality.tsv``."""


def write_tables(
    folder: Path,
    records: Mapping[Key, Mapping[str, Any]],
    failed: Sequence[Mapping[str, str]],
    cohort: Path | None,
) -> None:
    """Write ``quality.tsv`` and ``failed.tsv``, and take the cohort's own tables along.

    Parameters
    ----------
    folder : pathlib.Path
        Of the prepared scans.
    records : mapping
        Each scan's record by participant and session; those of earlier calls are found in the folder.
    failed : sequence of mapping
        participant_id, session_id, error.
    cohort : pathlib.Path or None
        The BIDS folder, whose participants.tsv and sessions.tsv `neuroxai split` will want.
    """
    import pandas as pd

    told = {(item["participant_id"], item["session_id"]) for item in failed}
    # scans may come one call at a time: one that was prepared before stays listed, unless it failed now
    listed = {key: record for key, record in records_in(folder).items() if key not in told} | dict(records)
    rows = [
        {
            "participant_id": participant,
            "session_id": session or None,
            "flags": "; ".join(record["Flags"]) or None,
            "dropped": record["Dropped"],
            "brain_from": record["BrainFrom"],
            **record["Quality"],
        }
        for (participant, session), record in sorted(listed.items())
    ]
    if rows:
        io.write_tsv(folder / "quality.tsv", pd.DataFrame(rows))
        io.write_json(folder / "quality.json", {name: {"Description": text} for name, text in MEANINGS.items()})
    if failed:
        io.write_tsv(folder / "failed.tsv", pd.DataFrame(list(failed)))
    else:
        (folder / "failed.tsv").unlink(missing_ok=True)
    if cohort is None:
        return
    for name in ("participants.tsv", "participants.json"):
        if (cohort / name).is_file():
            io.copy_file(cohort / name, folder / name)
    for participant in {key[0] for key in records}:
        name = f"{participant}/{participant}_sessions.tsv"
        if (cohort / name).is_file():
            io.copy_file(cohort / name, folder / name)
