"""What is known of a person and a scan beside the network's output: table, grid, quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroxai.errors import InputError
from neuroxai.io import read_tsv
from neuroxai.preprocess.records import how
from neuroxai.report.item import Item, text_of
from neuroxai.space import Volume

_COLUMNS = {"age": "Age", "sex": "Sex", "diagnosis": "Diagnosis in the table", "group": "Group in the table"}


def read_people(table: Path | None) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """Read participants.tsv by participant and session (empty where it has none); empty where there is no table."""
    if table is None or not table.is_file():
        return {}
    try:
        frame = read_tsv(table, required=("participant_id",))
    except InputError:
        return {}
    return {
        (text_of(row["participant_id"]), text_of(row.get("session_id"))): {str(k): v for k, v in row.items()}
        for row in frame.to_dict("records")
    }


def row_of(people: Mapping[tuple[str, str], Mapping[str, Any]], item: Item) -> Mapping[str, Any]:
    """Return a scan's row: that of its session, else of its participant, else an empty one."""
    return people.get((item.participant_id, item.session_id)) or people.get((item.participant_id, ""), {})


def person_facts(row: Mapping[str, Any], scan: Volume | None, record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return label and value of what is known: age, sex, group; the scan's grid; how it was prepared."""
    facts = [(label, text) for key, label in _COLUMNS.items() if (text := text_of(row.get(key)))]
    if scan is not None:
        facts.append(("Scan's grid", scan.space.describe()))
    if prepared := how(record):
        facts.append(("Prepared", prepared))
    return facts


def flags_of(record: Mapping[str, Any]) -> Sequence[str] | None:
    """Return the quality flags of a prepared scan; None where it was not prepared by `neuroxai prepare`."""
    if "Flags" not in record:
        return None
    flags = record["Flags"]
    return [str(flag) for flag in flags] if isinstance(flags, list) else [str(flags)] if flags else []
