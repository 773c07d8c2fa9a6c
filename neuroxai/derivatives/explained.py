"""The output folder of `neuroxai explain`: records of the call, joined tables, and where each scan's files lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.derivatives.heatmaps import Provenance, Run, ScanFiles
from neuroxai.derivatives.records import codec, from_json, to_json
from neuroxai.derivatives.scales import Scale, scale_of_record, scale_record
from neuroxai.errors import InputError

RESEARCH_USE = (
    "For research use only. This is not a medical device: nothing on this page may be used to diagnose, treat or "
    "advise a person."
)


@dataclass(frozen=True)
class Failure:
    """A scan that could not be shown or compared, or was not explained, and why."""

    title: str
    error: str


@dataclass(frozen=True)
class ExplainRecord(Run):
    """``explain.json``: the last call that wrote to a folder; all is empty where there is none.

    Parameters
    ----------
    classes : sequence of str
        In the order of labels.
    dataset_dir, datalist, part : str or None
        The cohort's folder, and the part of a datalist that was asked for.
    scans : int
        Rows of ``predictions.tsv``.
    held_out : mapping or None
        How well the network does on scans that it had not seen (`neuroxai.evaluation.held_out`).
    scale : Scale or None
        The common colour scale.
    failed : sequence of mapping
        participant_id, session_id, error.
    operating_point : mapping or None
        How that of the network was chosen, where its training did (`neuroxai.components.operating_point`).
    percent_of_score : mapping or None
        Where DICOM objects were written: ``score`` is 100 %, times ``per_sum`` a sum of relevance is percent of it,
        times ``per_voxel_and_ml`` a voxel's relevance is percent of it per millilitre.
    trust : str or None
        How far the method can be believed, where the bundle has a trust card (`neuroxai.derivatives.trust`).
    """

    classes: Sequence[str] = ()
    dataset_dir: str | None = None
    datalist: str | None = None
    part: str | None = None
    scans: int = 0
    held_out: Mapping[str, Any] | None = None
    scale: Scale | None = field(default=None, metadata=codec(write=scale_record, read=scale_of_record))
    failed: Sequence[Mapping[str, str]] = ()
    operating_point: Mapping[str, Any] | None = field(default=None, metadata=codec(absent=True))
    percent_of_score: Mapping[str, float] | None = field(default=None, metadata=codec(absent=True))
    trust: str | None = field(default=None, metadata=codec(absent=True))


@dataclass(frozen=True)
class GroupRecord(Provenance):
    """``group_..._heatmaps.json``: mean heatmaps of hidden neurons over scans.

    Parameters
    ----------
    layer, neurons, conditions
        Where relevance started, and through which channels it went.
    scans : sequence of mapping
        participant_id, session_id, source, source_sha256 of the scans asked for.
    scan_count : int
        How many the means are of.
    failed : sequence of mapping
        As in `ExplainRecord`.
    """

    layer: str = ""
    neurons: Any = "all"
    conditions: Mapping[str, Sequence[int]] | None = None
    scans: Sequence[Mapping[str, Any]] = ()
    scan_count: int = 0
    failed: Sequence[Mapping[str, str]] = ()


_CALL = "record of `neuroxai explain`"
_KINDS = {"classes": list, "failed": list, "dataset_dir": str, "method": str, "network_space": dict, "options": dict}


def read_record(path: Path) -> ExplainRecord:
    """Read ``explain.json``.

    Raises
    ------
    InputError
        If it is absent, or a value is of another kind than `neuroxai explain` writes.
    """
    values = io.read_object(path, _CALL, optional=_KINDS)
    if not all(isinstance(one, dict) for one in values.get("failed") or []):
        raise InputError(f"{path}: 'failed' is {str(values['failed'])[:100]}, expected a list of objects; restore it")
    return from_json(ExplainRecord, values)


def read_group(path: Path) -> GroupRecord:
    """Read the record of mean heatmaps.

    Raises
    ------
    InputError
        As `read_record`.
    """
    return from_json(GroupRecord, io.read_object(path, f"{_CALL[:-1]} --neuron all`", optional=_KINDS))


def write_record(path: Path, record: ExplainRecord | GroupRecord) -> Path:
    """Write a record of a call."""
    return io.write_json(path, to_json(record))


_REGION_COLUMNS = {
    "participant_id": "Participant",
    "session_id": "Session",
    "neuron": "Hidden neuron in which relevance started",
    "index": "The region's label in the atlas",
    "name": "The region's name",
    "sum": "Sum of the relevance in the region",
    "absolute": "Sum of the magnitudes of relevance",
    "positive": "Sum of the positive relevance",
    "negative": "Sum of the negative relevance (0 or less)",
    "density": "Relevance over the number of voxels; n/a for a region without voxels",
    "voxels": "Voxels of the region on the grid that is summed up on",
    "contrast": "Density against the rest of the brain, in standard errors for a region of this size",
}


def write_region_columns(folder: Path) -> None:
    """Write what columns of ``regions.tsv`` mean, and of each scan's ``..._regions.tsv`` (BIDS' inheritance)."""
    io.write_json(folder / "regions.json", {name: {"Description": text} for name, text in _REGION_COLUMNS.items()})


def write_regions(path: Path, scans: Iterable[ScanFiles]) -> None:
    """Write the region scores of all scans as one table, by participant and session; none is left where there is none.

    Parameters
    ----------
    path : pathlib.Path
        The table.
    scans : iterable of ScanFiles
        Scans with a table of their own.
    """
    ordered = sorted(scans, key=lambda one: (one.participant_id, one.session_id))
    if not ordered:
        path.unlink(missing_ok=True)
        return
    tables = (
        ({"participant_id": scan.participant_id, "session_id": scan.session_id or None}, scan.regions)
        for scan in ordered
    )
    io.join_tsv(path, tables, _columns(ordered))


def _columns(scans: Sequence[ScanFiles]) -> list[str]:
    """Return the columns of all scans' tables: older ones may lack some."""
    found: dict[str, None] = {}
    for scan in scans:
        with scan.regions.open(encoding="utf-8") as table:
            found |= dict.fromkeys(table.readline().rstrip("\n").split("\t"))
    return list(found)
