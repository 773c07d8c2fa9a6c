"""``predictions.tsv``: a row per scan, a probability per class, and what the columns mean."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroxai.cohort.table import finite
from neuroxai.errors import InputError
from neuroxai.io import read_tsv, write_json, write_tsv

FITS, NEARLY, FAR = "fits", "nearly", "far"
NEARLY_FROM, FAR_FROM = 3.0, 6.0
"""Distances from the training scans, in their standard deviations, from which a scan fits nearly, and not at all."""

FIT_COLUMNS = ("fit", "fit_distance", "unlike")
_PROBABILITY = "probability_"
_DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session"},
    "true": {"Description": "Class in the datalist"},
    "predicted": {"Description": "Class of the highest probability"},
    "score": {"Description": "Logit of the class explained"},
    "seen": {"Description": "Whether the network had seen the scan: training, validation, held out, or unknown"},
    "fit": {
        "Description": "Whether the scan looks like the scans that the network was trained on; n/a: not known",
        "Levels": {
            FITS: f"distance below {NEARLY_FROM:g}",
            NEARLY: f"distance below {FAR_FROM:g}: read the decision with care",
            FAR: "the network was asked all the same; its decision says nothing about such a scan",
        },
    },
    "fit_distance": {"Description": "Distance from the training scans, in their standard deviations"},
    "unlike": {"Description": "What is unlike the training scans"},
}


@dataclass(frozen=True)
class Prediction:
    """A row of the table.

    Parameters
    ----------
    participant_id : str
        As in participants.tsv.
    session_id, true : str or None
        Session and true class; None where there is none, or none is known.
    predicted : str
        The class of the highest probability.
    probabilities : mapping of str to float
        Class to probability.
    score : float or None
        Logit of the class explained.
    fit, fit_distance, unlike : optional
        How the scan compares with the training scans: "fits", "nearly" or "far", the distance in their standard
        deviations, and what is unlike; None where it is not known.
    seen : str or None
        Whether the network had seen the scan (`neuroxai.cohort.seen`); None where the weights are not known.
    """

    participant_id: str
    session_id: str | None
    true: str | None
    predicted: str
    probabilities: Mapping[str, float]
    score: float | None = None
    fit: str | None = None
    fit_distance: float | None = None
    unlike: str | None = None
    seen: str | None = None

    @property
    def who(self) -> tuple[str, str]:
        """Participant and session, which is empty where there is none."""
        return self.participant_id, self.session_id or ""

    @property
    def title(self) -> str:
        """Participant and session for people."""
        return " ".join(filter(None, self.who))

    def row(self) -> dict[str, Any]:
        """Return the columns, without ``seen``."""
        return {
            "participant_id": self.participant_id,
            "session_id": self.session_id,
            "true": self.true,
            "predicted": self.predicted,
            **{f"{_PROBABILITY}{name}": value for name, value in self.probabilities.items()},
            "score": self.score,
            **{name: getattr(self, name) for name in FIT_COLUMNS},
        }

    @classmethod
    def of_row(cls, row: Mapping[Any, Any]) -> Prediction:
        """Take the columns of a table or of a sidecar; an empty cell is None, a probability that is none is NaN."""
        names = [str(name).removeprefix(_PROBABILITY) for name in row if str(name).startswith(_PROBABILITY)]
        probabilities = {name: finite(row[f"{_PROBABILITY}{name}"]) for name in names}
        return cls(
            text_of(row["participant_id"]),
            text_of(row.get("session_id")) or None,
            text_of(row.get("true")) or None,
            text_of(row.get("predicted")),
            {name: math.nan if value is None else value for name, value in probabilities.items()},
            finite(row.get("score")),
            text_of(row.get("fit")) or None,
            finite(row.get("fit_distance")),
            text_of(row.get("unlike")) or None,
            text_of(row.get("seen")) or None,
        )


def write_predictions(
    path: Path, rows: Sequence[Prediction], classes: Sequence[str], record: Mapping[str, Any] | None = None
) -> None:
    """Write the table, sorted by participant and session, and its column descriptions; no row, no table.

    `record` is that of the training (`neuroxai.explain.weights.read_record`), whose operating point is described.
    """
    if not rows:
        for stale in (path, path.with_suffix(".json")):
            stale.unlink(missing_ok=True)
        return
    import pandas as pd

    columns = ["participant_id", "session_id", "true", "predicted", *(f"{_PROBABILITY}{c}" for c in classes), "score"]
    columns += FIT_COLUMNS
    # where the weights are known, so is whether the network had seen the scan
    columns += ["seen"] if any(row.seen is not None for row in rows) else []
    frame = pd.DataFrame([{**row.row(), "seen": row.seen} for row in rows], columns=columns)
    write_tsv(path, frame.sort_values(["participant_id", "session_id"], kind="stable"))
    descriptions = {
        **_DESCRIPTIONS,
        **{f"{_PROBABILITY}{c}": {"Description": f"Probability of {c}{calibrated_on(record)}"} for c in classes},
    }
    write_json(path.with_suffix(".json"), {name: descriptions[name] for name in columns})


def calibrated_on(record: Mapping[str, Any] | None) -> str:
    """Say on what a network's operating point was chosen (`neuroxai.components.operating_point`); empty if nowhere."""
    point = (record or {}).get("operating_point") or {}
    if not point.get("moved"):
        return ""
    return f", calibrated on {point['scans']} validation scans for equally frequent classes"


def read_rows(path: Path, *required: str) -> list[Prediction]:
    """Read the rows as they stand.

    Raises
    ------
    InputError
        If the file is absent, is no table, or lacks the participants or a column that is required.
    """
    return [Prediction.of_row(row) for row in read_tsv(path, required=("participant_id", *required)).to_dict("records")]


def read_predictions(path: Path, classes: Sequence[str] = ()) -> list[Prediction]:
    """Read the table and check it.

    Parameters
    ----------
    path : Path
        The table.
    classes : sequence of str, optional
        Those of the run's record; the table's own by default.

    Raises
    ------
    InputError
        If the table lacks a column or is empty, a probability is not between 0 and 1, a predicted class is unknown, or
        two rows stand for one scan.
    """
    rows = read_rows(path, "predicted")
    if not rows or not rows[0].probabilities:
        what = "has no column probability_<CLASS>" if rows else "has no row"
        raise InputError(f"{path}: {what}; run `neuroxai explain` again")
    names = list(classes) or list(rows[0].probabilities)
    for name in names:
        if name not in rows[0].probabilities:
            raise InputError(f"{path}: column {_PROBABILITY}{name} is absent, but explain.json names it")
    for row in rows:
        for name in names:
            if not 0 <= row.probabilities[name] <= 1:
                whose = row.participant_id or "a row without participant_id"
                value = row.probabilities[name]
                raise InputError(f"{path}: probability_{name} of {whose} is {value:g}, expected 0 to 1; predict again")
        if row.predicted not in names:
            raise InputError(
                f"{path}: {row.participant_id} is predicted {row.predicted!r}, expected one of {', '.join(names)}"
            )
    for title, count in Counter(row.title for row in rows).items():
        if count > 1:
            raise InputError(f"{path}: {title} stands in two rows, expected one; explain it again")
    return rows


def text_of(value: Any) -> str:
    """Return a table's cell as text: empty where missing; a class written 1 is ``"1"``, also when read as 1.0."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
