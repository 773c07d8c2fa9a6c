"""What stands in a folder of prepared scans: names, the run's record, each scan's record, what is finished."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.derivatives.prepared import transform_name
from neuroxai.errors import InputError
from neuroxai.io.dicom import series_digest
from neuroxai.io.names import BidsName, entity, resolution_label
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.registration import Engine
from neuroxai.preprocess.sources import Source

GENERATOR = "neuroxai prepare"
_MARKS = {"Flags", "Dropped", "BrainFrom", "Quality"}  # what a record of ours holds, whichever its version
_SHOWN = {
    "arm": "registration",
    "engine": "by",
    "template": "template",
    "spacing": "spacing in mm",
    "scaling": "scaling",
    "bias_correction": "bias correction",
}


def space_label(arm: str) -> str:
    """Return the label of the prepared scans' space: without registration they lie on the grid, not on the brain."""
    return "centred" if arm == "none" else "MNI152"


def output_files(folder: Path, source: Source, options: PrepareOptions) -> dict[str, Path]:
    """Where a scan's results stand, by role; ``record`` is written last."""
    participant, session, space = source.participant_id, source.session_id or "", space_label(options.arm)
    grid = BidsName(participant, session, {"space": space, "res": resolution_label(options.spacing)}, "mask")
    scan = grid.replaced(options.modality, desc="brain" if options.brain != "none" else "head")
    names = {
        "scan": scan,
        "mask": grid.replaced(desc="brain"),
        "lesions": grid.replaced(label="lesion"),
        "native_mask": BidsName(participant, session, {"space": options.modality, "desc": "brain"}, "mask"),
        "record": scan.replaced(extension=".json"),
    }
    files = {role: io.inside(folder, name.place) for role, name in names.items()}
    # image first, target second: the warp's inverse goes the other way
    for role, kind, labels in (
        ("affine", "affine", (options.modality, space)),
        ("warp", "warp", (options.modality, space)),
        ("inverse_warp", "warp", (space, options.modality)),
    ):
        files[role] = io.inside(folder, transform_name(participant, session, *labels, kind))
    for role, what in (("figure", "quality"), ("filling", "filling")):
        name = BidsName(participant, session, {"desc": what}, options.modality, ".png")
        files[role] = io.inside(folder, f"figures/{name}")
    return files


def versions(options: PrepareOptions, engine: Engine) -> dict[str, str]:
    """Return the versions of what takes part in a preparation."""
    names = ["numpy", "scipy", "nibabel", "nilearn", engine.package]
    if options.brain in ("auto", "deepbet", "none"):
        names.append("deepbet")
    found = {"neuroxai": __version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def claim(folder: Path, facts: dict[str, Any]) -> None:
    """Take a folder for prepared scans, see `neuroxai.io.claim`; where no scan came of other choices, they give way."""
    about = {"Name": "Prepared structural MRI", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    io.claim(folder, GENERATOR, facts, about, "prepared cohort", begun=any(folder.glob("sub-*")))


def records_in(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the records that stand in a folder of prepared scans, by participant and session."""
    found = {}
    for anat in (*folder.glob("sub-*/anat"), *folder.glob("sub-*/ses-*/anat")):
        for file in anat.glob("sub-*_space-*_desc-*.json"):
            try:
                record: dict[str, Any] = io.read_json(file)
                key = record["Participant"], record["Session"] or ""
                if record.keys() >= _MARKS:
                    found[key] = record
            except (InputError, KeyError, TypeError):
                continue
    return found


def record_of(scan: Path) -> dict[str, Any]:
    """Return the record that stands beside a prepared scan; empty where `neuroxai prepare` did not write the scan."""
    record = io.read_beside(scan)
    return record if record.keys() >= _MARKS else {}


def how(record: dict[str, Any]) -> str:
    """Say in one line how a scan was prepared; empty without a record."""
    choices = record.get("Parameters")
    if not isinstance(choices, dict):
        return ""
    shown = [f"{words} {choices[key]}" for key, words in _SHOWN.items() if choices.get(key) is not None]
    return ", ".join([*shown, f"brain from {record['BrainFrom']}"])


def inputs_of(source: Source) -> dict[str, Any]:
    """Return the checksum of every file that a result depends on, by role, and how axes run where the user said it."""
    found: dict[str, Any] = {role: io.sha256(path) for role, path in sorted(source.files().items())}
    if source.dicom:
        found["scan"] = series_digest(source.scan, source.series)
    # the same file is another scan where the user says that its axes run otherwise
    told = {role: codes for role, path in source.files().items() if (codes := io.told_orientation(path))}
    return found | ({"orientation": told} if told else {})


def check_source(record: Path, scan: Path, inputs: dict[str, Any]) -> None:
    """Refuse to put a scan's results in the place of another scan's that bears its name.

    A scan that was moved, or whose content has changed at its place or in a copy of the cohort, is the same scan.

    Raises
    ------
    InputError
        If the results that stand there are of another file, which is there still.
    """
    try:
        former = io.read_json(record)
        other, content = Path(former["Sources"]["scan"]), former["Inputs"]["scan"]
    except (InputError, KeyError, TypeError):
        return
    # a name with the participant in it tells that a copy of the cohort is meant, T1.nii.gz does not
    same = other.name == scan.name if entity(scan.name, "sub") else io.named_path(other) == io.named_path(scan)
    if content != inputs["scan"] and other.exists() and not same:
        raise InputError(
            f"{scan}: {record} is the result of another scan of this name, {other}, and would be lost; name another "
            "folder, or tell them apart with --participant and --session"
        )


def drop_changed(files: dict[str, Path], inputs: dict[str, Any]) -> None:
    """Remove a scan's results if they are of other inputs: should it fail now, they would be taken for its own."""
    try:
        same = io.read_json(files["record"])["Inputs"] == inputs
    except (InputError, KeyError, TypeError):
        return
    if not same:
        for path in files.values():
            path.unlink(missing_ok=True)


def finished(files: dict[str, Path], inputs: dict[str, Any], drop_flagged: bool) -> dict[str, Any] | None:
    """Return a scan's record if its inputs are unchanged and all that it lists is there, whole; else None."""
    try:
        record: dict[str, Any] = io.read_json(files["record"])
        same = record["Inputs"] == inputs and record["Dropped"] == (drop_flagged and bool(record["Flags"]))
        anat = files["record"].parent
        whole = all((anat / n).is_file() and (anat / n).stat().st_size == size for n, size in record["Bytes"].items())
    except (InputError, KeyError, TypeError, AttributeError):
        return None
    return record if same and whole else None
