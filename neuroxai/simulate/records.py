"""What stands in a cohort folder beside the images: its record, finished subjects, the participants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuroxai.errors import InputError
from neuroxai.io import read_json, write_json, write_tsv
from neuroxai.simulate.effect import Effect
from neuroxai.simulate.people import Person

_GENERATOR = "neuroxai simulate"
_DESCRIPTION = "dataset_description.json"


def claim(folder: Path, options: dict[str, Any], description: str) -> None:
    """Take a new or empty folder, or one that was made with the same options; refuse any other."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, wanted a folder for the cohort")
    record = folder / _DESCRIPTION
    if not record.exists():
        # a killed run may leave a temporary file behind
        strange = [p.name for p in folder.iterdir() if ".tmp." not in p.name] if folder.exists() else []
        if strange:
            raise InputError(
                f"{folder}: is not empty (holds {sorted(strange)[0]!r}) and is no simulated cohort; name a new folder"
            )
        write_json(
            record,
            {
                "Name": f"Simulated {options['effect']} cohort",
                "BIDSVersion": "1.8.0",
                "DatasetType": "derivative",
                "License": "CC0",
                "GeneratedBy": [{"Name": _GENERATOR, "Version": options["version"], "Parameters": options}],
                "Description": " ".join(description.split()),
            },
        )
        return
    generated = read_json(record).get("GeneratedBy") or [{}]
    if generated[0].get("Name") != _GENERATOR:
        raise InputError(
            f"{folder}: holds another data set ({_DESCRIPTION} names no {_GENERATOR!r}); name a new folder"
        )
    there = generated[0].get("Parameters", {})
    for name, wanted in options.items():
        if there.get(name) != wanted:
            raise InputError(
                f"{folder}: was made with {name} {there.get(name)!r}, now {wanted!r} is asked for; "
                f"use the same {name} to go on, or name a new folder"
            )


def subject_files(folder: Path, person: Person, effect: type[Effect], spacing: float) -> dict[str, Path]:
    """Where a subject's files stand: scan, sidecar and truth."""
    resolution = f"{spacing:g}".replace(".", "p")
    stem = folder / person.participant_id / "anat" / f"{person.participant_id}_space-MNI152_res-{resolution}"
    files = {
        "scan": Path(f"{stem}_desc-brain_{effect.suffix}.nii.gz"),
        "mask": Path(f"{stem}_desc-effect_mask.nii.gz"),
    }
    if effect.warps:
        files["logjacobian"] = Path(f"{stem}_desc-effect_logjacobian.nii.gz")
    files["sidecar"] = Path(f"{stem}_desc-brain_{effect.suffix}.json")
    return files


def finished(folder: Path, person: Person, effect: type[Effect], spacing: float) -> dict[str, Any] | None:
    """Return the subject's row of participants.tsv if all files are there and of their recorded size, else None."""
    files = subject_files(folder, person, effect, spacing)
    sidecar = files.pop("sidecar")
    if not sidecar.is_file():
        return None
    try:
        record = read_json(sidecar)
        whole = all(p.is_file() and p.stat().st_size == record["Bytes"][p.name] for p in files.values())
        row: dict[str, Any] = record["Participant"]
    except (InputError, KeyError, TypeError):
        return None
    return row if whole else None


def write_participants(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write participants.tsv and what its columns mean."""
    import pandas as pd

    if not rows:
        return
    frame = pd.DataFrame(rows)
    write_json(folder / "participants.json", {str(name): _meaning(str(name)) for name in frame.columns})
    write_tsv(folder / "participants.tsv", frame)


def _meaning(column: str) -> dict[str, str]:
    """Write a column's entry in participants.json."""
    known = {
        "participant_id": "Participant",
        "diagnosis": "Class: patients carry the effect, controls are sham twins of dose 0",
        "age": "Age in years, from one distribution for both classes; without influence on the scan",
        "sex": "Sex, balanced over the classes; without influence on the scan",
        "dose": "Effect asked for: hippocampal volume loss in percent (atrophy) or lesion load in ml (lesions)",
        "lesion_count": "Lesions laid; they may overlap",
        "lesion_volume_mm3": "Integral of the lesion opacity over the scan, in mm^3 of the scan's own coordinates",
        "brain_volume_mm3": "Volume of the brain mask with ventricles; follows the natural shape only, not the effect",
    }
    if column in known:
        return {"Description": known[column]}
    if column.endswith("_volume_mm3"):
        region = column.removesuffix("_volume_mm3").replace("_", " ")
        return {
            "Description": f"Volume of the {region}: integral of the soft template region pulled back into the scan, "
            "effect and natural shape included",
            "Units": "mm^3",
        }
    region, word = column.removesuffix("_percent").rsplit("_", 1)
    return {
        "Description": f"Realised {word} of {region.replace('_', ' ')} volume (both sides) by the effect alone: the "
        "Jacobian determinant of the planted diffeomorphism integrated over the soft template region",
        "Units": "percent",
    }
