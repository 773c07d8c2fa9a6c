"""What stands in a simulated cohort's folder: its record, subjects' files, participants, what columns mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai import io
from neuroxai.derivatives.dataset import sources_of
from neuroxai.errors import InputError
from neuroxai.io import read_json, write_json, write_tsv, write_volume
from neuroxai.io.names import BidsName
from neuroxai.simulate.effects.base import Effect
from neuroxai.simulate.scan import Scan
from neuroxai.simulate.variability import ScanOptions
from neuroxai.space import Volume

_GENERATOR = "neuroxai simulate"


@dataclass(frozen=True)
class CohortSummary:
    """What `simulate_cohort` did.

    Parameters
    ----------
    folder : str
        The cohort folder.
    effect : str
        Its effect.
    subjects, made, kept : int
        Participants asked for, simulated now, and found finished.
    failed : list of dict
        ``participant_id`` and ``error`` of those that failed.
    """

    folder: str
    effect: str
    subjects: int
    made: int
    kept: int
    failed: list[dict[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Person:
    """One participant: id, class, sex and age in years, and the number that seeds the scan."""

    participant_id: str
    number: int
    patient: bool
    sex: str | None
    age: float | None


def claim(folder: Path, options: dict[str, Any], description: str, source: Path | None = None) -> None:
    """Take a folder for a cohort, see `neuroxai.io.claim`."""
    about = {
        "Name": f"Simulated {options['effect']} cohort",
        "BIDSVersion": "1.8.0",
        "DatasetType": "derivative",
        "License": "CC0",
        "Description": " ".join(description.split()),
        **sources_of(source),
    }
    io.claim(folder, _GENERATOR, options, about, "simulated cohort")


def subject_files(
    folder: Path,
    person: Person,
    effect: type[Effect],
    spacing: float | None,
    scan_options: ScanOptions | None = None,
    suffix: str | None = None,
) -> dict[str, Path]:
    """Where a subject's files stand: scan, truth, and the sidecar, which is written last."""
    scan_options = scan_options or ScanOptions()
    space = scan_options.entities(spacing)

    def path(suffix: str, desc: str, extension: str = ".nii.gz") -> Path:
        return folder / BidsName(person.participant_id, "", {**space, "desc": desc}, suffix, extension).place

    kind, desc = suffix or effect.suffix, "head" if scan_options.raw else "brain"
    files = {"scan": path(kind, desc), "mask": path("mask", "effect")}
    if effect.warps:
        files["logjacobian"] = path("logjacobian", "effect")
    if scan_options.raw:
        files |= {"brain": path("mask", "brain"), "bias": path("biasfield", "true")}
    return files | {"sidecar": path(kind, desc, ".json")}


def finished(files: dict[str, Path], source: dict[str, str] | None = None) -> dict[str, Any] | None:
    """Return the subject's row of participants.tsv if all files are there, of their recorded size and source."""
    sidecar = files["sidecar"]
    if not sidecar.is_file():
        return None
    try:
        record = read_json(sidecar)
        images = [path for name, path in files.items() if name != "sidecar"]
        whole = all(p.is_file() and p.stat().st_size == record["Bytes"][p.name] for p in images)
        row: dict[str, Any] = record["Participant"]
    except (InputError, KeyError, TypeError):
        return None
    return row if whole and record.get("Source") == source else None


def write_subject(
    files: dict[str, Path],
    scan: Scan,
    person: Person,
    effect: Effect,
    columns: dict[str, Any] | None = None,
    record: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a subject's images and last the sidecar; return the row of participants.tsv.

    Parameters
    ----------
    files : dict of str to pathlib.Path
        From `subject_files`.
    scan : Scan
        What was simulated.
    person : Person
        Whose it is.
    effect : Effect
        What was planted.
    columns, record : dict, optional
        Further columns after the participant's name, further entries of the sidecar.
    """
    said = "simulated, for research use only"
    images = {"scan": scan.image, "logjacobian": scan.log_jacobian, "bias": scan.bias}
    masks = {"mask": scan.mask, "brain": scan.brain}
    for name, path in files.items():
        if name in masks:
            write_volume(path, Volume(masks[name], scan.space), dtype=np.uint8, description=said)
        elif name in images:
            write_volume(path, Volume(np.asarray(images[name]), scan.space), description=said)
    row = {
        "participant_id": person.participant_id,
        **(columns or {}),
        "diagnosis": effect.patient if person.patient else effect.control,
        "age": person.age,
        "sex": person.sex,
        **{name: float(f"{value:.6g}") for name, value in scan.columns.items()},
    }
    sizes = {path.name: path.stat().st_size for name, path in files.items() if name != "sidecar"}
    pose = {} if scan.pose is None else {"PoseMNI152ToScan": scan.pose.tolist()}
    head = {"SkullStripped": scan.bias is None, "Simulated": True, **pose, **(record or {})}
    write_json(files["sidecar"], {**head, "Participant": row, "Bytes": sizes})
    return row


def write_participants(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write participants.tsv and what its columns mean."""
    import pandas as pd

    if not rows:
        return
    frame = pd.DataFrame(rows)
    descriptions = {str(name): column_description(str(name), own="twin" in frame) for name in frame.columns}
    write_json(folder / "participants.json", descriptions)
    write_tsv(folder / "participants.tsv", frame)


_COLUMNS = {
    "participant_id": "Participant",
    "diagnosis": "Class: patients carry the effect, controls are sham twins of dose 0",
    "age": "Age in years, from one distribution for both classes; without influence on the scan",
    "sex": "Sex, balanced over the classes; without influence on the scan",
    "dose": "Effect asked for: hippocampal volume loss in percent (atrophy) or lesion load in ml (lesions)",
    "lesion_count": "Lesions laid; they may overlap",
    "lesion_volume_mm3": "Integral of the lesion opacity over the scan, in mm^3 of the scan's own coordinates",
    "brain_volume_mm3": "Volume of the brain mask with ventricles; follows the natural shape only, not the effect",
    "twin": "Source of the scan; who shares it must stay in one part of a split",
    "lesion_mask": "Number of the real lesion mask transplanted, in the order of their names; 0 for controls",
    "lesion_mirrored": "1 where the mask was mirrored left to right",
    "head_size": "Factor on the head's size, from MNI152 to the scan",
    **{f"pose_rotation_{a}_degrees": f"Rotation vector of the pose (MNI152 to scan), {a} in degrees" for a in "xyz"},
    **{f"pose_shift_{a}_mm": f"Where the pose puts the brain's centre, {a} in mm of the scan" for a in "xyz"},
}
_OF_REAL_SCANS = {
    "diagnosis": "Class: patients carry the effect, controls are sham twins of dose 0 of one scan",
    "age": "Age in years, of the source",
    "sex": "Sex, of the source",
    "dose": "Volume loss asked for of each region in percent (atrophy), or lesion load in ml (lesions)",
    "brain_volume_mm3": "Volume of the brain mask with ventricles; the same for twins",
}


def column_description(column: str, own: bool = False) -> dict[str, str]:
    """Write a column's entry in participants.json.

    Parameters
    ----------
    column : str
        Its name.
    own : bool
        Whether the cohort is made from the user's own scans.
    """
    known = _COLUMNS | _OF_REAL_SCANS if own else _COLUMNS
    if column in known:
        return {"Description": known[column]}
    structure, _, kind = column.removesuffix("_mm3").removesuffix("_percent").rpartition("_")
    region = structure.replace("_", " ")
    if kind == "volume" and own:
        return {"Description": f"Volume of {region}: the soft region's integral over the scan's grid, effect included"}
    if kind == "volume":
        text = (
            f"Volume of the {region}: integral of the soft template region pulled back into the scan, effect and "
            "natural shape included"
        )
        return {"Description": text, "Units": "mm^3"}
    if own:
        text = f"Volume that {region} lost by the effect, measured on the scan's grid with and without it"
    else:
        text = (
            f"Realised {kind} of {region} volume (both sides) by the effect alone: the Jacobian determinant of the "
            "planted diffeomorphism integrated over the soft template region"
        )
    return {"Description": text, "Units": "percent"}
