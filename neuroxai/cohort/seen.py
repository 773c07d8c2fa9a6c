"""Which scans a network has seen: recorded at training, asked for each scan that it explains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroxai.io import sha256
from neuroxai.io.names import prefixed

#: What can be said of a scan. "unknown": its participant's name is one of the training's, but nothing shows whether
#: the two are one person, or the weights have no record.
PARTS = ("training", "validation", "held out", "unknown")


def seen_record(parts: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return what ``model.json`` keeps of the scans of each part: participants' names and the files' checksums.

    Parameters
    ----------
    parts : mapping of str to iterable of dict
        Items of a datalist, with ``image`` and ``participant_id``, of "training" and "validation".
    """
    items = {name: list(part) for name, part in parts.items()}
    record: dict[str, Any] = {
        f"{name}_participants": sorted({str(item["participant_id"]) for item in part}) for name, part in items.items()
    }
    # a scan is known by its content: participants of two cohorts may bear one name
    record["scans_sha256"] = {
        name: sorted({sha256(item["image"]) for item in part if Path(item["image"]).is_file()})
        for name, part in items.items()
    }
    return record


class SeenScans:
    """Whether a network has seen a scan or another one of the same person, by the record beside its weights.

    Parameters
    ----------
    record : mapping
        ``model.json``; empty where there is none.
    dataset_dir : pathlib.Path, optional
        The cohort's folder: that of the training if its participants.tsv is the same.
    """

    def __init__(self, record: Mapping[str, Any], dataset_dir: Path | None = None) -> None:
        self._known = "training_participants" in record
        scans = record.get("scans_sha256") or {}
        self._scans = {name: frozenset(scans.get(name, ())) for name in PARTS[:2]}
        self._people = {
            name: frozenset(prefixed("sub", str(who)) for who in record.get(f"{name}_participants") or ())
            for name in PARTS[:2]
        }
        table = None if dataset_dir is None else dataset_dir / "participants.tsv"
        own = sha256(table) if table is not None and table.is_file() else None
        former = (record.get("settings") or {}).get("participants_sha256")
        # records from before scans were noted know names alone, which then have to do
        self._same_people = own == former if own and former else not scans

    def part(self, participant: str, digest: str | None) -> str:
        """Return one of `PARTS` for a scan of a participant, with its file's checksum."""
        for name, scans in self._scans.items():
            if digest in scans:
                return name
        for name, people in self._people.items():
            if prefixed("sub", participant) in people:
                return name if self._same_people else "unknown"
        return "held out" if self._known else "unknown"


def worst(parts: Sequence[str]) -> str:
    """Return what holds for a person of several scans: the part that says most against it."""
    order = ("training", "validation", "unknown", "held out")
    return min((part if part in order else "unknown" for part in parts), key=order.index, default="unknown")
