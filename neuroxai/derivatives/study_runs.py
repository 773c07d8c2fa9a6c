"""What a run of a study leaves in its folder: what was asked (``run.json``), figures, failure, explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.derivatives.records import from_json, to_json

Values = Mapping[str, Any]

ASKED, RESULT, ERROR, LOG = "run.json", "result.json", "error.json", "log.txt"
"""Names in a run's folder: what is asked for, its figures (written last), why it failed, its messages."""
EXPLANATION = "explanation.json"
"""Name in an explanation's folder of what it was made with, written last."""


@dataclass(frozen=True)
class RunRecord:
    """``run.json``: all that a run is asked for, for the process that works on it.

    Parameters
    ----------
    study, title, identifier : str
        The study's name, what a person would call the run, and its digest.
    bundle, cohort, datalist : str
        Paths of the bundle's sources, of the cohort's folder, and of its parts.
    settings : mapping
        Overrides of ``train.json``.
    pretrained : str or None
        Weights to begin from.
    train : bool
        False: weights are taken as they are.
    processes, threads : int
        Processes of the training, and threads of each.
    parts : sequence of str
        Parts of the datalist that are predicted and explained, beside the test part.
    explain : mapping of str to mapping
        Explanations by name, as the study declares them; empty for none.
    atlases : sequence of str
        By which heatmaps are scored.
    lesions : str or None
        Template of the lesion masks' paths.
    version : str
        Of this package.
    """

    study: str = ""
    title: str = ""
    identifier: str = ""
    bundle: str = ""
    cohort: str = ""
    datalist: str = ""
    settings: Values = field(default_factory=dict)
    pretrained: str | None = None
    train: bool = True
    processes: int = 1
    threads: int = 1
    parts: Sequence[str] = ()
    explain: Mapping[str, Values] = field(default_factory=dict)
    atlases: Sequence[str] = ()
    lesions: str | None = None
    version: str = ""


@dataclass(frozen=True)
class RunResult:
    """``result.json``: the figures of a finished run; in the file each part's stand under the part's name.

    Parameters
    ----------
    epochs, steps, best_epoch : int
        Of the training; 0 of a network that was not trained.
    validation_score : float or None
        What a search ranks its draws by.
    parts : mapping of str to mapping
        Metrics and ``scans``, by part.
    failed : sequence of mapping
        participant_id, session_id, error of scans that could not be used.
    """

    epochs: int = 0
    steps: int = 0
    best_epoch: int = 0
    validation_score: float | None = None
    parts: Mapping[str, Values] = field(default_factory=dict)
    failed: Sequence[Mapping[str, str]] = ()


def read_run(folder: Path) -> RunRecord:
    """Read what a run is asked for.

    Raises
    ------
    InputError
        If the record is absent or damaged.
    """
    kinds = {"title": str, "settings": dict, "threads": int, "parts": list, "explain": dict, "atlases": list}
    return from_json(RunRecord, io.read_object(folder / ASKED, "run of a study", optional=kinds))


def write_run(folder: Path, record: RunRecord) -> Path:
    """Write what a run is asked for."""
    return io.write_json(folder / ASKED, to_json(record))


def read_result(folder: Path) -> RunResult:
    """Read the figures of a finished run.

    Raises
    ------
    InputError
        If the run is not finished, or its record is damaged.
    """
    values = dict(
        io.read_object(
            folder / RESULT,
            "result of a run",
            optional={"test": dict, "validation_score": (int, float), "failed": list},
        )
    )
    known = {name: values.pop(name) for name in RunResult.__dataclass_fields__ if name in values}
    return from_json(RunResult, {**known, "parts": values})


def write_result(folder: Path, result: RunResult) -> Path:
    """Write the figures of a run, which makes it a finished one."""
    values = to_json(result)
    parts, failed = values.pop("parts"), values.pop("failed")
    return io.write_json(folder / RESULT, {**values, **parts, "failed": failed})


def read_error(folder: Path) -> str | None:
    """Return why a run failed; None where it did not.

    Raises
    ------
    InputError
        If the record is damaged.
    """
    path = folder / ERROR
    found = io.read_object(path, "record of a failure", {"error": str})["error"] if path.is_file() else None
    return None if found is None else str(found)


def write_error(folder: Path, error: str) -> Path:
    """Write why a run failed."""
    return io.write_json(folder / ERROR, {"error": error})


def read_explanation_digest(folder: Path) -> str | None:
    """Return the digest of all that decided a finished explanation; None where there is none.

    Raises
    ------
    InputError
        If its record is damaged.
    """
    path = folder / EXPLANATION
    return io.read_object(path, "explanation of a study").get("digest") if path.is_file() else None


def write_explanation(folder: Path, spec: Values, atlases: Sequence[str], digest: str) -> Path:
    """Write what an explanation was made with, which makes it a finished one."""
    return io.write_json(folder / EXPLANATION, {**spec, "atlases": atlases, "digest": digest})
