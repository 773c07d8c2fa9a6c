"""What participants.tsv and the session tables beside it say of a scan; nothing is taken from another visit."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neuroxai.cohort.scans import LeftOut
from neuroxai.errors import InputError
from neuroxai.io import read_tsv
from neuroxai.io.names import prefixed, without_run

Row = dict[str, Any]
Key = tuple[str, str | None]

#: Names of ours: a table's column that bears one is no fact about a scan.
OURS = ("participant_id", "session_id", "image")
#: What is not known, as other programs write it, in small letters. ``none`` is a class to some (no disease).
_MISSING = frozenset(("", "n/a", "na", "nan", "<na>", "#n/a", "null"))
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d+)?")


class People:
    """participants.tsv and the ``sub-X/sub-X_sessions.tsv`` beside it.

    A row of participants.tsv with a ``session_id`` describes that session. One without describes the participant,
    unless the participant has rows with sessions too: then it is a visit left blank. A session table has the last word
    on its columns: for a visit that it leaves blank, or does not list, they are unknown, unless a row of
    participants.tsv is about this visit; they are never those of another one. Only ``sex`` does not change by visit.

    Sessions are compared as they are written; where none is equal, capitals and leading zeros do not count (``M48`` is
    ``ses-M048``), as long as one session alone can be meant.

    Parameters
    ----------
    path : path_like
        participants.tsv.
    merge : bool
        Of two rows of one participant and session take what both say, and refuse them otherwise.

    Raises
    ------
    InputError
        If the table cannot be read, or two rows stand for one participant and session.
    """

    def __init__(self, path: str | os.PathLike[str], merge: bool = False) -> None:
        self.path, self._merge = Path(path), merge
        self._scans: dict[str, set[str]] = {}
        self._notes: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._ignored: set[str] = set()
        self.table = self._participants()
        self._sessions: dict[str, tuple[list[str], dict[str, Row]]] = {}
        self._listed: dict[str, tuple[str, ...]] = {}
        self.used: set[Key] = set()
        self._visits: set[Key] = set()
        self._first_row: dict[str, Row] = {}  # of each participant: a walk over all rows, once a scan, is slow
        for (subject, session), row in self.table.items():
            self._first_row.setdefault(subject, row)
            if session is not None:
                self._listed[subject] = (*self._listed.get(subject, ()), session)

    def expect(self, scans: Iterable[Key]) -> None:
        """Take note of the scans that will be looked up: a row that is one scan's own is no other's."""
        for participant, session in scans:
            self._scans.setdefault(participant, set()).add(without_run(session) or "")

    def row_of(self, participant: str, session: str | None) -> tuple[str | None, Row] | str:
        """Return a scan's session and what is known of it; a reason where there is no row for it."""
        visit = without_run(session)
        key = self._key(participant, visit)
        own = self._first_row.get(participant)
        if key is not None:
            self.used.add(key)
            session, visit = session or key[1], visit or key[1]
        columns, sessions = self._sessions_of(participant) if own is not None else ([], {})
        name = self._same(participant, visit, sessions)
        if key is None and name is None:
            return f"{self._name} has no row for {'it' if own is None else 'this session'}"
        if name is not None:
            self._visits.add((participant, name))
        # what a visit does not change
        row: Row = dict(self.table[key]) if key is not None else {"sex": (own or {}).get("sex")}
        who = " ".join(filter(None, (participant, visit)))
        latest = sessions[name] if name is not None else dict.fromkeys(columns)
        # a row of participants.tsv that names the visit is about the visit
        about_visit = key is not None and key[1] is not None
        for column, value in latest.items():
            if value is not None:
                row[column] = value
            elif not about_visit and column != "sex":
                if row.get(column) is not None:
                    what = f"leaves {column!r} blank" if name is not None else f"has no row ({column!r})"
                    self._note(f"scans whose sessions.tsv {what}: unknown, not taken from {self._name}", who)
                row[column] = None
        return session, row

    def notes(self) -> list[str]:
        """Return what was left out or understood, counted, each with the first it is about."""
        for subject, (_, sessions) in self._sessions.items():
            for name in sessions:
                if (subject, name) not in self._visits:
                    self._note("rows of session tables have no scan", f"{subject} {name}")
        return [
            *(f"column {name!r} is not read: the name is ours" for name in sorted(self._ignored)),
            *(f"{count} {text} (the first: {self._first[text]})" for text, count in sorted(self._notes.items())),
        ]

    def without_scan(self, linked: Iterable[str] = ()) -> list[LeftOut]:
        """Return the rows of participants.tsv that no scan has used; `linked` are participants reported already."""
        seen = {subject for subject, _ in self.used} | set(linked)
        return [
            LeftOut(*key, f"in {self._name}, but no scan was found")
            if key[1] is not None or key[0] not in self._listed
            else LeftOut(*key, f"a row of {self._name} names no session beside rows that do; it is no visit's")
            for key in sorted(self.table.keys() - self.used, key=lambda k: (k[0], k[1] or ""))
            if key[1] is not None or key[0] not in seen or key[0] in self._listed
        ]

    @property
    def _name(self) -> str:
        return self.path.name

    def _note(self, text: str, who: str) -> None:
        self._notes[text] += 1
        self._first.setdefault(text, who)

    def _key(self, participant: str, visit: str | None) -> Key | None:
        listed = self._listed.get(participant, ())
        if not listed:
            return (participant, None) if (participant, None) in self.table else None
        if visit is None:
            # a row for the participant, or else the only visit
            if (participant, None) in self.table:
                return participant, None
            return (participant, listed[0]) if len(listed) == 1 else None
        name = self._same(participant, visit, listed)
        return (participant, name) if name is not None else None

    def _same(self, participant: str, visit: str | None, names: Iterable[str]) -> str | None:
        """Return the row that is meant: the equal one, or the one pair that differs in capitals and zeros alone."""
        there = list(names)
        if visit is None:
            return there[0] if len(there) == 1 else None
        if visit in there:
            return visit
        alike = [name for name in there if _plain(name) == _plain(visit)]
        scans = {scan for scan in self._scans.get(participant, ()) if _plain(scan) == _plain(visit)} - {visit}
        return alike[0] if len(alike) == 1 and not scans else None

    def _participants(self) -> dict[Key, Row]:
        table: dict[Key, Row] = {}
        for row in self._rows(self.path, "participant_id")[1]:
            subject, session = row.pop("participant_id"), row.pop("session_id", None)
            if subject is None:
                raise InputError(
                    f"{self.path}: a row has no participant_id; give every row its participant (sub-<label>)"
                )
            key = (prefixed("sub", subject), prefixed("ses", session) if session else None)
            if key in table and self._merge:
                row = {name: value if table[key].get(name) == value else None for name, value in row.items()}
            elif key in table:
                raise InputError(
                    f"{self.path}: {' '.join(filter(None, key))} stands in two rows, expected one; delete one, or tell "
                    "them apart in a session_id column"
                )
            table[key] = row
        if not table:
            raise InputError(f"{self.path}: holds no participant; list at least two classes of them")
        return table

    def _sessions_of(self, participant: str) -> tuple[list[str], dict[str, Row]]:
        if participant not in self._sessions:
            self._sessions[participant] = self._read_sessions(participant)
        return self._sessions[participant]

    def _read_sessions(self, participant: str) -> tuple[list[str], dict[str, Row]]:
        """Read the columns of a participant's session table and its rows by session; nothing where there is none."""
        path = self.path.parent / participant / f"{participant}_sessions.tsv"
        found: dict[str, Row] = {}
        columns, rows = self._rows(path, "session_id") if path.is_file() else ([], [])
        for row in rows:
            session, subject = row.pop("session_id"), row.pop("participant_id", None)
            if subject is not None and prefixed("sub", subject) != participant:
                raise InputError(f"{path}: holds a row of {subject}, expected {participant} alone; correct the table")
            if session is None:
                self._note("rows of session tables name no session and are left out", participant)
                continue
            name = prefixed("ses", session)
            if name in found:
                raise InputError(f"{path}: {name} stands in two rows, expected one; delete one")
            found[name] = row
        return [column for column in columns if column not in OURS], found

    def _rows(self, path: Path, required: str) -> tuple[list[str], list[Row]]:
        frame = read_tsv(path, required=(required,), text=True)
        names = [{"age": "age", "sex": "sex", "gender": "sex"}.get(str(n).lower(), str(n)) for n in frame.columns]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise InputError(f"{path}: several columns stand for {twice[0]!r} ({', '.join(frame.columns)}); keep one")
        self._ignored |= {name for name in names if name == "image"}
        rows: list[Row] = []
        for record in frame.itertuples(index=False, name=None):
            row = {name: value_of(cell) for name, cell in zip(names, record, strict=True) if name != "image"}
            for name, cell in zip(names, record, strict=True):
                if isinstance(cell, str) and row.get(name, cell) is None and name not in OURS:
                    self._note(f"cells of column {name!r} are {cell.strip()!r}, read as missing", f"{path.name}")
            rows.append(row)
        return names, rows


def value_of(value: Any) -> Any:
    """Return a table's cell as a plain Python value: None where missing, whole floats as int, text stripped."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return None if value.strip().lower() in _MISSING else value.strip()
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float) and math.isnan(plain):
        return None
    # pandas turns a column of 0 and 1 with one missing cell into floats: class "1.0" would be a new name
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _plain(session: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", session.removeprefix("ses-")).casefold()


def numbered(rows: list[Row]) -> None:
    """Make numbers of the columns that hold nothing else, in place; ``01`` is a name, since 1 would not be the same."""
    for name in {name for row in rows for name in row} - {*OURS, "sex"}:
        cells = [row[name] for row in rows if isinstance(row.get(name), str)]
        if cells and all(_NUMBER.fullmatch(cell) and str(_number(cell)) == cell for cell in cells):
            for row in rows:
                row[name] = _number(row[name]) if isinstance(row.get(name), str) else row.get(name)


def _number(cell: str) -> float:
    return float(cell) if "." in cell else int(cell)
