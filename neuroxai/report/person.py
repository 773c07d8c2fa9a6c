"""What is known of a person and a scan beside the network's output: table, grid, quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroxai.cohort.tables import People
from neuroxai.compare.explained import Item, text_of
from neuroxai.preprocess.records import how
from neuroxai.space import Volume

_COLUMNS = {"age": "Age", "sex": "Sex", "diagnosis": "Diagnosis in the table", "group": "Group in the table"}


def read_people(table: Path | None) -> People | None:
    """Read participants.tsv; None where there is no table.

    Raises
    ------
    InputError
        If the table is there and cannot be read.
    """
    return None if table is None or not table.is_file() else People(table, merge=True)


def row_of(people: People | None, item: Item) -> Mapping[str, Any]:
    """Return a scan's row, as cohorts are read (`neuroxai.cohort.tables`); an empty one where there is none."""
    found = "" if people is None else people.row_of(item.participant_id, item.session_id or None)
    return {} if isinstance(found, str) else found[1]


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
