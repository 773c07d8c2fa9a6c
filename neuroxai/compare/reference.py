"""References of healthy controls: made of the same scores or not, of controls that the network had seen or not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuroxai.compare.scores import MEASURES, Measure
from neuroxai.derivatives.explain_folder import ExplainFolder
from neuroxai.derivatives.records import to_json
from neuroxai.derivatives.reference import read_reference
from neuroxai.errors import InputError, LeakageError, one_of
from neuroxai.statistics import Reference

# what a reference's file notes among its provenance
_KEY = "controls_seen"


@dataclass(frozen=True)
class Seen:
    """Controls by what the network had seen of them (see `neuroxai.cohort.seen`): all, and the names of each part."""

    controls: int
    training: list[str]
    validation: list[str]
    unknown: list[str]

    @classmethod
    def of(cls, parts: Mapping[str, str]) -> Seen:
        """Sort participants by their part."""
        names = {part: [name for name, own in parts.items() if own == part] for part in set(parts.values())}
        return cls(len(parts), *(names.get(part, []) for part in ("training", "validation", "unknown")))

    def refuse(self) -> None:
        """Refuse controls that the network was trained on.

        Raises
        ------
        LeakageError
            Naming the first.
        """
        if self.training:
            raise LeakageError(
                f"{self.training[0]} is one of {len(self.training)} controls (of {self.controls}) that the network was "
                "trained on: their relevance is not that of new scans, and new controls would be flagged. Explain the "
                "test part (`neuroxai explain ... --part test`), or mark the reference with --accept-trained"
            )

    def provenance(self) -> dict[str, Any]:
        """Return what a reference keeps: how many controls of which part."""
        return {_KEY: {part: len(getattr(self, part)) for part in ("training", "validation", "unknown")}}

    def notes(self) -> list[str]:
        """Say in words what a reader has to know."""
        return notes_of(self.provenance(), self.controls)


def notes_of(provenance: Mapping[str, Any], controls: int) -> list[str]:
    """Say in words what the provenance of a reference tells of its controls; empty where all were held out."""
    seen = provenance.get(_KEY)
    if not isinstance(seen, Mapping):
        return ["the reference does not say whether the network was trained on its controls"]
    said = {
        "training": "are scans that the network was trained on: new controls may be flagged for that alone",
        "validation": "are of the validation part, on which the network's weights were chosen",
        "unknown": "may be scans that the network was trained on: nothing tells",
    }
    return [f"{seen[part]} of the reference's {controls} controls {text}" for part, text in said.items()
            if seen.get(part)]  # fmt: skip


def scores_provenance(folder: ExplainFolder) -> dict[str, Any]:
    """Say what made the scores; scores made otherwise cannot be compared with these."""
    record = to_json(folder.record)
    names = ("method", "options", "start", "checkpoint_sha256", "atlas", "network_space", "score_space")
    return {"explained": folder.positive, **{name: record[name] for name in names if record.get(name) is not None}}


def reference_measure(reference: Reference, path: str | os.PathLike[str] | None) -> Measure:
    """Return what a stored reference was made of.

    Raises
    ------
    InputError
        If region tables do not hold it.
    """
    for measure in MEASURES:
        if measure == reference.measure:
            return measure
    raise InputError(f"{path}: {one_of('measure', reference.measure, MEASURES)}")


def fitting_reference(
    path: str | os.PathLike[str], provenance: Mapping[str, Any], measure: str | None = None
) -> Reference:
    """Read a reference, and refuse one that was made of other scores (of another measure, where one is given)."""
    reference = read_reference(path)
    for name, own in {**provenance, **({"measure": measure} if measure else {})}.items():
        expected = reference.measure if name == "measure" else reference.provenance.get(name)
        if expected is not None and expected != own and not (name == "options" and _same_options(provenance, expected)):
            raise InputError(
                f"{path}: was made with {name} {expected!r}, these scores with {own!r}; explain and compare in "
                "the same way, or use another reference"
            )
    return reference


def _same_options(provenance: Mapping[str, Any], expected: Any) -> bool:
    """Say whether options are the same choices: a default may be given or not."""
    from neuroxai.attribution import complete

    method, own = str(provenance["method"]), provenance["options"]
    return isinstance(expected, Mapping) and complete(method, own) == complete(method, expected)
