"""What `neuroxai prepare` leaves of a scan: names, the record beside it, and tables of a cohort."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.derivatives.records import codec, from_json, to_json
from neuroxai.errors import InputError, one_of
from neuroxai.io.names import BidsName, entity, sidecar_of

_ENDINGS = {"affine": ".txt", "warp": ".nii.gz"}
_SHOWN = {
    "arm": "registration",
    "engine": "by",
    "template": "template",
    "spacing": "spacing in mm",
    "scaling": "scaling",
    "bias_correction": "bias correction",
}
_FACE = "Share of the brain's surface on this face of the scan"
_DESCRIPTIONS = {
    "flags": "What a person should look at: code, value got and value expected; thresholds in neuroxai.preprocess",
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


@dataclass(frozen=True)
class PreparedRecord:
    """The JSON beside a prepared scan, which is written last.

    Parameters
    ----------
    skull_stripped : bool
        Whether all but the brain is 0.
    sources, inputs : mapping
        By role, the files that the result was made from, and their checksums.
    parameters, versions : mapping
        The choices, and the packages that took part.
    acquisition : mapping
        What a DICOM series says of it, nothing of the person; keys of their own in JSON.
    brain_from : str
        Where the brain mask comes from.
    by_t1w : bool
        Whether a T1w scan of the session took part.
    participant, session, space, modality : str
        Whose it is, in which space it lies, and its BIDS suffix.
    native_space : mapping
        The scan's own grid (`neuroxai.space.Space.to_dict`).
    quality : mapping
        Measures by name.
    flags : sequence of str
        What a person should look at.
    dropped : bool
        Whether the scan was left out for its flags.
    sizes : mapping of str to int
        Bytes of each file beside the record.
    """

    skull_stripped: bool = field(metadata=codec("SkullStripped"))
    sources: Mapping[str, str] = field(metadata=codec("SourceFiles"))
    inputs: Mapping[str, Any] = field(metadata=codec("Inputs"))
    parameters: Mapping[str, Any] = field(metadata=codec("Parameters"))
    versions: Mapping[str, str] = field(metadata=codec("Versions"))
    acquisition: Mapping[str, Any] = field(metadata=codec("Acquisition"))
    brain_from: str = field(metadata=codec("BrainFrom"))
    by_t1w: bool = field(metadata=codec("ByT1w"))
    participant: str = field(metadata=codec("Participant"))
    session: str | None = field(metadata=codec("Session"))
    space: str = field(metadata=codec("Space"))
    native_space: dict[str, Any] = field(metadata=codec("NativeSpace"))
    modality: str = field(metadata=codec("Modality"))
    quality: Mapping[str, Any] = field(metadata=codec("Quality"))
    flags: Sequence[str] = field(metadata=codec("Flags"))
    dropped: bool = field(metadata=codec("Dropped"))
    sizes: Mapping[str, int] = field(metadata=codec("Bytes"))

    @property
    def how(self) -> str:
        """How the scan was prepared, in one line."""
        shown = [f"{words} {self.parameters[k]}" for k, words in _SHOWN.items() if self.parameters.get(k) is not None]
        return ", ".join([*shown, f"brain from {self.brain_from}"])


_KEYS = [item.metadata["key"] for item in fields(PreparedRecord)]
_MAPPINGS = ("SourceFiles", "Inputs", "Parameters", "Versions", "NativeSpace", "Quality", "Bytes")


def write_record(path: Path, record: PreparedRecord) -> Path:
    """Write a scan's record."""
    values: dict[str, Any] = {}
    for key, value in to_json(record).items():
        values.update(value if key == "Acquisition" else {key: value})
    return io.write_json(path, values)


def record_of(scan: Path) -> PreparedRecord | None:
    """Return the record beside a prepared scan; None where `neuroxai prepare` did not write the scan."""
    return _read(sidecar_of(scan))


def of_other_version(scan: Path) -> bool:
    """Say whether `neuroxai prepare` wrote a scan, but a record beside it that this version cannot use."""
    try:
        values = io.read_json(sidecar_of(scan))
    except InputError:
        return False
    return isinstance(values, dict) and "NativeSpace" in values and record_of(scan) is None


def native_record(scan: Path) -> PreparedRecord | None:
    """Return the record beside a prepared scan as `record_of`, but refuse one that is damaged.

    Raises
    ------
    InputError
        If the file beside the scan is no JSON, or tells a native space and cannot be used.
    """
    path = sidecar_of(scan)
    if not path.is_file():
        return None
    values = io.read_json(path)
    if not isinstance(values, dict) or "NativeSpace" not in values:
        return None
    return _of(path, values)


def _of(path: Path, values: Mapping[str, Any]) -> PreparedRecord:
    absent = [key for key in _KEYS if key not in values and key != "Acquisition"]
    wrong = [key for key in _MAPPINGS if key in values and not isinstance(values[key], dict)]
    if absent or wrong or not isinstance(values["Flags"], list):
        what = f"has no {absent[0]}" if absent else f"{(wrong or ['Flags'])[0]} is of another kind"
        raise InputError(f"{path}: does not name the native scan ({what}); prepare the scan again")
    more = {key: value for key, value in values.items() if key not in _KEYS}
    return from_json(PreparedRecord, {**values, "Acquisition": more})


def _read(path: Path) -> PreparedRecord | None:
    try:
        values = io.read_json(path)
        return _of(path, values) if isinstance(values, dict) else None
    except InputError:
        return None


def records_in(folder: Path) -> Iterator[PreparedRecord]:
    """Yield the records that stand in a folder of prepared scans."""
    for pattern in ("sub-*/anat", "sub-*/ses-*/anat"):
        for anat in folder.glob(pattern):
            for file in anat.glob("sub-*_space-*_desc-*.json"):
                record = _read(file)
                if record is not None:
                    yield record


def light(record: PreparedRecord) -> PreparedRecord:
    """Return what tables need of a record: those of a large cohort would fill the memory."""
    return replace(record, sources={}, inputs={}, parameters={}, versions={}, acquisition={}, native_space={}, sizes={})


def check_source(record: Path, scan: Path, inputs: dict[str, Any]) -> None:
    """Refuse to put a scan's results in the place of another scan's that bears its name.

    A scan that was moved, or whose content has changed at its place or in a copy of the cohort, is the same scan.

    Raises
    ------
    InputError
        If the results that stand there are of another file, which is there still.
    """
    former = _read(record)
    if former is None or not {"scan"} <= former.sources.keys() & former.inputs.keys():
        return
    other, content = Path(former.sources["scan"]), former.inputs["scan"]
    # a name with the participant in it tells that a copy of the cohort is meant, T1.nii.gz does not
    same = other.name == scan.name if entity(scan.name, "sub") else io.named_path(other) == io.named_path(scan)
    if content != inputs["scan"] and other.exists() and not same:
        raise InputError(
            f"{scan}: {record} is the result of another scan of this name, {other}, and would be lost; name another "
            "folder, or tell them apart with --participant and --session"
        )


def drop_changed(files: Mapping[str, Path], inputs: Mapping[str, Any]) -> None:
    """Remove a scan's results if they are of other inputs: should it fail now, they would be taken for its own."""
    former = _read(files["record"])
    if former is not None and former.inputs != inputs:
        for path in files.values():
            path.unlink(missing_ok=True)


def finished(files: Mapping[str, Path], inputs: Mapping[str, Any], drop_flagged: bool) -> PreparedRecord | None:
    """Return a scan's record if its inputs are unchanged and all that it lists is there, whole; else None."""
    record, anat = _read(files["record"]), files["record"].parent
    if record is None or record.inputs != inputs or record.dropped != (drop_flagged and bool(record.flags)):
        return None
    whole = all((anat / n).is_file() and (anat / n).stat().st_size == size for n, size in record.sizes.items())
    return record if whole else None


def write_tables(
    folder: Path,
    records: Mapping[tuple[str, str], PreparedRecord],
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
    with io.one_at_a_time(folder):  # other calls may be at work in the folder: the jobs of an array
        _write_tables(folder, records, failed)
        _take_along(folder, cohort, {key[0] for key in records})


def _write_tables(
    folder: Path, records: Mapping[tuple[str, str], PreparedRecord], failed: Sequence[Mapping[str, str]]
) -> None:
    import pandas as pd

    failures = {(item["participant_id"], item["session_id"]) for item in failed}
    # scans may come one call at a time: one that was prepared before stays listed, unless it failed now
    found = (((one.participant, one.session or ""), one) for one in records_in(folder))
    listed = {key: _row(*key, record) for key, record in found if key not in failures}
    listed |= {key: _row(*key, record) for key, record in records.items()}
    rows = [row for _, row in sorted(listed.items())]
    if rows:
        io.write_tsv(folder / "quality.tsv", pd.DataFrame(rows))
        io.write_json(folder / "quality.json", {name: {"Description": text} for name, text in _DESCRIPTIONS.items()})
    if failed:
        io.write_tsv(folder / "failed.tsv", pd.DataFrame(list(failed)))
    else:
        (folder / "failed.tsv").unlink(missing_ok=True)


def _take_along(folder: Path, cohort: Path | None, participants: Iterable[str]) -> None:
    if cohort is None:
        return
    for name in ("participants.tsv", "participants.json"):
        if (cohort / name).is_file():
            io.copy_file(cohort / name, folder / name)
    for participant in participants:
        name = f"{participant}/{participant}_sessions.tsv"
        if (cohort / name).is_file():
            io.copy_file(cohort / name, folder / name)


def _row(participant: str, session: str, record: PreparedRecord) -> dict[str, Any]:
    return {
        "participant_id": participant,
        "session_id": session or None,
        "flags": "; ".join(record.flags) or None,
        "dropped": record.dropped,
        "brain_from": record.brain_from,
        **record.quality,
    }


def transform_name(participant: str, session: str | None, source: str, target: str, kind: str) -> str:
    """Return a transform's path relative to its derivative's folder.

    Parameters
    ----------
    participant, session : str
        Identifiers as in participants.tsv; the session may be empty, and end in a run.
    source, target : str
        Labels of the images: the transform carries the source's image to the target's grid.
    kind : {"affine", "warp"}
        What the file holds.

    Raises
    ------
    InputError
        For another kind, or a label that holds more than letters and digits.

    Examples
    --------
    >>> transform_name("sub-01", "ses-1", "T1w", "MNI152", "affine")
    'sub-01/ses-1/anat/sub-01_ses-1_from-T1w_to-MNI152_mode-image_desc-affine_xfm.txt'
    """
    if kind not in _ENDINGS:
        raise one_of("kind of transform", kind, _ENDINGS)
    for label in (source, target):
        if not re.fullmatch("[A-Za-z0-9]+", label):
            raise InputError(f"label {label!r} of a transform, expected letters and digits alone, such as 'T1w'")
    entities = {"from": source, "to": target, "mode": "image", "desc": kind}
    return BidsName(participant, session or "", entities, "xfm", _ENDINGS[kind]).place
