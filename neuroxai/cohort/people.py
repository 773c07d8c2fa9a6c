"""What participants.tsv says of scans that were worked on elsewhere, and who are patients and controls."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroxai.cohort.labels import CONTROLS
from neuroxai.cohort.scans import LeftOut
from neuroxai.cohort.table import _tidy, value_of
from neuroxai.cohort.tables import People, numbered
from neuroxai.errors import InputError, one_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Described:
    """Scans with what is known of them.

    Parameters
    ----------
    scans : pandas.DataFrame
        One row per scan, in the order asked for: participant_id, session_id, age (years), sex, class (text, None where
        unknown), then the table's other columns.
    target : str
        The column that the class comes from.
    left_out : list of LeftOut
        Scans without a row.
    notes : list of str
        What was understood rather than read as written.
    """

    scans: pd.DataFrame
    target: str
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def describe(
    table: str | os.PathLike[str],
    scans: Sequence[tuple[str, str | None]],
    target: str | None = None,
    need_class: bool = True,
) -> Described:
    """Look scans up in a participants.tsv, and in the session tables beside it.

    Parameters
    ----------
    table : path_like
        participants.tsv.
    scans : sequence of (str, str or None)
        Participant and session.
    target : str, optional
        Column with the class; without it ``diagnosis`` or else ``group``.
    need_class : bool
        Refuse a table without such a column; else its classes are None and the target is empty.

    Raises
    ------
    InputError
        If the table cannot be read, knows none of the scans, or lacks the column.
    """
    import pandas as pd

    path = Path(table)
    people = People(path)
    people.expect(scans)
    rows, left_out = [], []
    for participant, session in scans:
        found = people.row_of(participant, session)
        if isinstance(found, str):
            left_out.append(LeftOut(participant, session, found))
            continue
        rows.append({"participant_id": participant, "session_id": session, **found[1]})
    if not rows:
        raise InputError(
            f"{path}: knows none of the {len(scans)} scans (the first is {scans[0][0] if scans else 'not there'}, the "
            f"first row {next(iter(people.table))[0]}); give the table of the same cohort"
        )
    numbered(rows)
    notes = [*people.notes(), *_tidy(rows)]
    columns = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if name not in ("participant_id", "session_id")
    ]
    chosen = target or next((name for name in ("diagnosis", "group") if name in columns), None)
    if chosen is None and need_class:
        raise InputError(f"{path}: no column 'diagnosis' or 'group'; name one with --target: {', '.join(columns)}")
    if chosen is not None and chosen not in columns:
        raise one_of("column for --target", chosen, columns, f"These are the columns of {path.name}.")
    frame = pd.DataFrame(rows)
    frame["age"] = frame["age"].astype(float)
    values = [value_of(value) for value in frame[chosen]] if chosen is not None else [None] * len(frame)
    frame["class"] = pd.Series([None if v is None else str(v) for v in values], index=frame.index, dtype=object)
    return Described(frame, chosen or "", left_out, notes)


#: The label of a scan whose class is not known, in a batch with others whose is.
UNKNOWN = -1


def known_labels(
    table: str | os.PathLike[str], scans: Sequence[tuple[str, str | None]], classes: Sequence[str]
) -> tuple[list[int], str]:
    """Look up which of a network's classes each scan is of.

    Parameters
    ----------
    table : path_like
        participants.tsv.
    scans : sequence of (str, str or None)
        Participant and session.
    classes : sequence of str
        The network's classes; a label is a class's place.

    Returns
    -------
    labels : list of int
        `UNKNOWN` where the table has no row, no value or another class.
    column : str
        The first of diagnosis, group and sex that holds one of the classes; empty where none does.

    Raises
    ------
    InputError
        If the table, or a session table beside it, cannot be read.
    """
    people = People(table)
    people.expect(scans)
    found = [people.row_of(*scan) for scan in scans]
    rows = [{} if isinstance(row, str) else row[1] for row in found]
    _tidy(rows)
    for column in ("diagnosis", "group", "sex"):
        names = [row.get(column) for row in rows]
        if any(name in classes for name in names):
            numbers: dict[Any, int] = {name: number for number, name in enumerate(classes)}
            return [numbers.get(name, UNKNOWN) for name in names], column
    return [UNKNOWN] * len(scans), ""


def two_groups(
    classes: Iterable[str | None], control: str | None = None, patients: str | None = None, hint: str | None = None
) -> tuple[str, str]:
    """Settle which class are the controls and which the patients.

    Parameters
    ----------
    classes : iterable of str or None
        The class of each scan.
    control, patients : str, optional
        Names given; without them a well-known name of controls, and the one other class.
    hint : str, optional
        Class to take for the patients where several are left, such as the one explained.

    Raises
    ------
    InputError
        If a name is unknown, or the choice is not clear.
    """
    counts = Counter(name for name in classes if name is not None)
    for option, name in (("--control", control), ("--patients", patients)):
        if name is not None and name not in counts:
            raise one_of(f"class for {option}", name, counts)
    found = _found(counts)
    if control is None:
        control = controls_of(counts, patients)
    others = [name for name in counts if name != control]
    if patients is None and hint in others:
        patients = hint
    if patients is None:
        if len(others) != 1:
            raise InputError(f"who are the patients? classes found: {found}; name theirs with --patients")
        patients = others[0]
    if patients == control:
        raise InputError(f"--control and --patients are both {control!r}; name two classes")
    return control, patients


def class_groups(classes: Sequence[str], hint: str | None = None) -> tuple[str, str]:
    """Settle controls and patients among a network's classes, whichever class is explained.

    As `two_groups`; where names do not tell, the first class stands for the controls and the last for the patients.

    Parameters
    ----------
    classes : sequence of str
        In the order of their numbers.
    hint : str, optional
        Class to take for the patients where several are left, such as the one explained; never that of the controls.
    """
    try:
        return two_groups(classes, hint=hint)
    except InputError:
        pass
    try:
        control = controls_of(Counter(classes))
    except InputError:
        return classes[0], classes[-1]
    return control, [name for name in classes if name != control][-1]


def controls_of(counts: Mapping[str, int], patients: str | None = None, option: str = "--control") -> str:
    """Return the one class that bears a well-known name of controls.

    Parameters
    ----------
    counts : mapping of str to int
        Scans a class.
    patients : str, optional
        A class that is not meant.
    option : str
        Of the command line, which names it instead.

    Raises
    ------
    InputError
        If there is none, or several.
    """
    known = [c for c in counts if c.lower().replace(" ", "_").replace("-", "_") in CONTROLS and c != patients]
    if len(known) != 1:
        raise InputError(f"who are the controls? classes found: {_found(counts)}; name theirs with {option}")
    return known[0]


def _found(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())) or "none"
