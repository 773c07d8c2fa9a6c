"""``compare.json``: the figures of a comparison of an explained cohort with healthy controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.derivatives.records import codec, to_json

COMPARED = "compare.json"


@dataclass(frozen=True)
class ComparisonRecord:
    """The figures of a comparison.

    Parameters
    ----------
    participants, scans : int
        How many were compared; scans of one participant are averaged.
    control, patient : str or None
        Names of the classes.
    controls, patients, regions : int
        How many there are.
    settings : mapping
        Choices of the comparison.
    provenance : mapping
        Of the scores: what scores made otherwise cannot be compared with.
    findings : mapping
        What stands out: regions of the groups, flagged participants, the most different pair.
    reference : mapping or None
        What the participants were compared with.
    files : sequence of str
        What was written.
    failures : sequence of mapping
        title, error of scans that could not be used.
    notes : sequence of str
        What a reader has to know.
    versions : mapping
        Of the packages.
    research_use : str
        The notice.
    """

    participants: int
    scans: int
    control: str | None
    patient: str | None
    controls: int
    patients: int
    regions: int
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(metadata=codec(key="facts"))
    findings: Mapping[str, Any]
    reference: Mapping[str, Any] | None
    files: Sequence[str]
    failures: Sequence[Mapping[str, str]]
    notes: Sequence[str]
    versions: Mapping[str, str]
    research_use: str


def write_comparison(folder: Path, record: ComparisonRecord) -> Path:
    """Write the figures of a comparison."""
    return io.write_json(folder / COMPARED, to_json(record))


def is_comparison(path: Path) -> bool:
    """Whether a file is the record of a comparison, which a new one may replace."""
    return io.json_of("settings", "findings", "files")(path)
