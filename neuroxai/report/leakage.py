"""Controls that the network had seen: their relevance is not that of new scans, so that references refuse them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuroxai.errors import LeakageError

# what a reference's file notes among its facts
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

    def facts(self) -> dict[str, Any]:
        """Return what a reference keeps: how many controls of which part."""
        return {_KEY: {part: len(getattr(self, part)) for part in ("training", "validation", "unknown")}}

    def notes(self) -> list[str]:
        """Say in words what a reader has to know."""
        return notes_of(self.facts(), self.controls)


def notes_of(facts: Mapping[str, Any], controls: int) -> list[str]:
    """Say in words what the facts of a reference tell about its controls; empty where all were held out."""
    seen = facts.get(_KEY)
    if not isinstance(seen, Mapping):
        return ["the reference does not say whether the network was trained on its controls"]
    said = {
        "training": "are scans that the network was trained on: new controls may be flagged for that alone",
        "validation": "are of the validation part, on which the network's weights were chosen",
        "unknown": "may be scans that the network was trained on: nothing tells",
    }
    return [f"{seen[part]} of the reference's {controls} controls {text}" for part, text in said.items()
            if seen.get(part)]  # fmt: skip
