"""Whether a network tells the classes apart on scans that it had not seen: what every heatmap's worth hangs on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from neuroxai.errors import InputError
from neuroxai.evaluation.classification import classification_metrics
from neuroxai.io import read_json, write_json

FILE = "held_out.json"
"""Beside the weights that it was measured of."""


@dataclass(frozen=True)
class HeldOut:
    """Area under the ROC curve with its 95 % interval over `scans` held-out scans."""

    roc_auc: float
    low: float
    high: float
    scans: int

    @property
    def chance(self) -> bool:
        """Whether the interval holds one half, what chance gives."""
        return self.low <= 0.5 <= self.high

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure_held_out(scans: Iterable[tuple[bool, float, str]]) -> HeldOut | None:
    """Measure held-out scans, each given as whether it is a patient's, its probability and its participant.

    None where one of the two classes is absent or no interval can be given.
    """
    rows = list(scans)
    if len({patient for patient, *_ in rows}) < 2:
        return None
    true, shares, people = zip(*rows, strict=True)
    found = classification_metrics(true, shares, [share >= 0.5 for share in shares], people)["roc_auc"]
    if found.value is None or found.low is None or found.high is None:
        return None
    return HeldOut(found.value, found.low, found.high, len(rows))


class Predicted(Protocol):
    """A scan's row of predictions, as tables and reports have it."""

    @property
    def participant_id(self) -> str:
        """Whose scan it is."""

    @property
    def true(self) -> str | None:
        """The true class; None or empty where it is not known."""

    @property
    def seen(self) -> str | None:
        """Whether the network had seen the scan (`neuroxai.cohort.seen`)."""

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Class to probability."""


def held_out_of(rows: Iterable[Predicted], groups: tuple[str, str]) -> HeldOut | None:
    """Measure the held-out scans among some, those of the classes of controls and of patients."""
    return measure_held_out(
        (row.true == groups[1], row.probabilities[groups[1]], row.participant_id)
        for row in rows
        if row.seen == "held out" and row.true in groups
    )


def read_held_out(record: Any) -> HeldOut | None:
    """Return what a record notes; None where it notes nothing that can be used."""
    try:
        found = HeldOut(float(record["roc_auc"]), float(record["low"]), float(record["high"]), int(record["scans"]))
    except (TypeError, KeyError, ValueError):
        return None
    return found if all(math.isfinite(v) and 0 <= v <= 1 for v in (found.roc_auc, found.low, found.high)) else None


def keep_held_out(folder: Path, checkpoint_sha256: str | None, found: HeldOut | None) -> HeldOut | None:
    """Keep a figure beside the weights, unless one of more scans is there, and return the one that counts."""
    there = None
    if (folder / FILE).is_file():
        try:
            record: Mapping[str, Any] = read_json(folder / FILE)
            there = read_held_out(record) if record.get("checkpoint_sha256") == checkpoint_sha256 else None
        except (InputError, AttributeError):
            there = None
    if found is None or (there is not None and there.scans >= found.scans):
        return there
    with contextlib.suppress(OSError):  # a bundle may be read-only
        write_json(folder / FILE, {"checkpoint_sha256": checkpoint_sha256, **found.to_dict()})
    return found


def sentence(found: HeldOut | None) -> str:
    """Say in words how well the network does on scans that it had not seen."""
    if found is None:
        return (
            "How well the network does on scans that it had not seen is not known: no held-out scans of both classes "
            "with true labels were explained."
        )
    said = (
        f"On {found.scans} scans that the network had not seen, its ROC-AUC is {found.roc_auc:.2f} "
        f"(95 % interval {found.low:.2f} to {found.high:.2f})"
    )
    if found.chance:
        return f"{said}: this does not differ from chance (0.5), and heatmaps explain decisions no better than a guess."
    return f"{said}: {'better' if found.low > 0.5 else 'worse'} than chance (0.5)."
