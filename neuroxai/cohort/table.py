"""Join participants.tsv, session tables and scans: one row a scan."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroxai.cohort.scans import LeftOut, Scan, find_scans, prefixed
from neuroxai.errors import InputError
from neuroxai.io import read_tsv, sha256

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

_SEX = {"f": "F", "female": "F", "woman": "F", "m": "M", "male": "M", "man": "M", "o": "O", "other": "O"}


@dataclass(frozen=True)
class Cohort:
    """The usable scans of a folder and what is known of them.

    Parameters
    ----------
    folder : pathlib.Path
        The cohort's folder.
    scans : pandas.DataFrame
        One row a scan, sorted by participant and time (age where every scan of the participant has one, else session
        names with numbers in numeric order): participant_id, session_id (missing where there are
        none), image (relative path), age (years, float), sex (``F``, ``M`` or as written), then the tables' other
        columns.
    left_out : list of LeftOut
        Participants without a scan, scans without a participant.
    notes : list of str
        What was understood rather than read as written.
    participants_sha256 : str, optional
        Checksum of participants.tsv, by which two datalists are known to be of one cohort.
    """

    folder: Path
    scans: pd.DataFrame
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    participants_sha256: str | None = None


def read_cohort(
    folder: str | os.PathLike[str],
    suffix: str | None = None,
    desc: str | None = None,
    space: str | None = None,
    pattern: str | None = None,
) -> Cohort:
    """Read a BIDS derivatives folder with participants.tsv.

    A row of participants.tsv with a ``session_id`` describes that session, one without describes the participant.
    ``sub-X/sub-X_sessions.tsv``, where there, has the last word on its sessions.

    Parameters
    ----------
    folder : path_like
        The cohort.
    suffix, desc, space, pattern : str, optional
        Choose among several files of a session, see `find_scans`.

    Returns
    -------
    Cohort
        Scans and what was left out.

    Raises
    ------
    InputError
        If the folder, the table or every scan is absent, a participant is listed twice, or several files match one
        session.
    """
    import pandas as pd

    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give a BIDS derivatives folder that holds participants.tsv")
    table = _participants(root / "participants.tsv")
    scans, left_out = find_scans(root, suffix, desc, space, pattern)
    sessions = {
        subject: _sessions(root / subject / f"{subject}_sessions.tsv") for subject in {s.participant_id for s in scans}
    }
    rows, used = [], set()
    for scan in scans:
        key = _row_of(scan, table)
        if key is None:
            known = any(subject == scan.participant_id for subject, _ in table)
            reason = "participants.tsv has no row for this session" if known else "participants.tsv has no row for it"
            left_out.append(LeftOut(scan.participant_id, scan.session_id, f"{scan.image}: {reason}"))
            continue
        used.add(key)
        session = scan.session_id or key[1]
        latest = sessions[scan.participant_id].get(session or "", {})
        rows.append(
            {
                "participant_id": scan.participant_id,
                "session_id": session,
                "image": scan.image,
                **table[key],
                **{name: value for name, value in latest.items() if value is not None},
            }
        )
    have_link = {item.participant_id for item in left_out}
    for key in sorted(table.keys() - used, key=lambda k: (k[0], k[1] or "")):
        if key[1] is not None or key[0] not in have_link | {subject for subject, _ in used}:
            left_out.append(LeftOut(*key, "in participants.tsv, but no scan was found"))
    if not rows:
        raise InputError(
            f"{root}: no scan has a row in participants.tsv (the first scan is "
            f"{scans[0].participant_id if scans else 'not there'}, the first row {next(iter(table))[0]}); "
            "make the identifiers agree"
        )
    notes = _tidy(rows)
    frame = pd.DataFrame(_in_time_order(rows))
    frame["age"] = frame["age"].astype(float)
    return Cohort(root, frame, left_out, notes, sha256(root / "participants.tsv"))


def _in_time_order(rows: list[Row]) -> list[Row]:
    unknown = {row["participant_id"] for row in rows if row["age"] is None}
    return sorted(
        rows,
        key=lambda row: (
            row["participant_id"],
            0.0 if row["participant_id"] in unknown else row["age"],
            natural(row["session_id"] or ""),
        ),
    )


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``ses-2`` before ``ses-10``."""
    return tuple((0, int(t), "") if t.isdecimal() else (1, 0, t) for t in re.findall(r"\d+|\D+", name))


def _participants(path: Path) -> dict[tuple[str, str | None], Row]:
    table: dict[tuple[str, str | None], Row] = {}
    for row in _rows(path, "participant_id"):
        subject, session = row.pop("participant_id"), row.pop("session_id", None)
        if subject is None:
            raise InputError(f"{path}: a row has no participant_id; give every row its participant (sub-<label>)")
        key = (prefixed("sub", subject), prefixed("ses", session) if session else None)
        if key in table:
            raise InputError(
                f"{path}: {' '.join(filter(None, key))} stands in two rows, wanted one; delete one, or tell them apart "
                "in a session_id column"
            )
        table[key] = row
    if not table:
        raise InputError(f"{path}: holds no participant; list at least two classes of them")
    return table


def _sessions(path: Path) -> dict[str, Row]:
    if not path.is_file():
        return {}
    return {prefixed("ses", row.pop("session_id")): row for row in _rows(path, "session_id") if row["session_id"]}


def _rows(path: Path, required: str) -> list[Row]:
    frame = read_tsv(path, required=(required,))
    names = [{"age": "age", "sex": "sex", "gender": "sex"}.get(str(name).lower(), str(name)) for name in frame.columns]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{path}: several columns stand for {twice[0]!r} ({', '.join(frame.columns)}); keep one")
    records = frame.itertuples(index=False, name=None)
    return [{name: value_of(value) for name, value in zip(names, record, strict=True)} for record in records]


def value_of(value: Any) -> Any:
    """Return a table's cell as a plain Python value: None where missing, whole floats as int, text stripped."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value.strip() or None
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float) and math.isnan(plain):
        return None
    # pandas turns a column of 0 and 1 with one missing cell into floats: class "1.0" would be a new name
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def finite(value: Any) -> float | None:
    """Return a cell as a finite number; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _row_of(scan: Scan, table: dict[tuple[str, str | None], Row]) -> tuple[str, str | None] | None:
    for key in ((scan.participant_id, scan.session_id), (scan.participant_id, None)):
        if key in table:
            return key
    own = [key for key in table if key[0] == scan.participant_id] if scan.session_id is None else []
    return own[0] if len(own) == 1 else None


def _tidy(rows: list[Row]) -> list[str]:
    """Make ages numbers and sexes letters, in place, and say what was understood."""
    understood: Counter[str] = Counter()
    for row in rows:
        text = row.get("age")
        row["age"], row["sex"] = parse_age(text), row.get("sex")
        if text is not None and not isinstance(text, int | float):
            understood[f"age {text!r} read as {'unknown' if row['age'] is None else format(row['age'], 'g')}"] += 1
        elif text is not None and row["age"] is None:
            understood[f"age {text!r} is out of range (0 to 130 years), taken as unknown"] += 1
        if row["sex"] is not None:
            row["sex"] = _SEX.get(str(row["sex"]).lower(), str(row["sex"]))
    return [f"{text} ({count} scan{'s' if count > 1 else ''})" for text, count in sorted(understood.items())]


def parse_age(value: Any) -> float | None:
    """Read an age in years; ``89+``, ``>89``, ``071Y`` and ``71,5`` are understood, anything else is None."""
    match = (
        re.fullmatch(r"(?:>=?\s*)?(\d+(?:[.,]\d+)?)\s*(?:\+|[yY])?", str(value).strip()) if value is not None else None
    )
    age = float(match.group(1).replace(",", ".")) if match else None
    return age if age is not None and age <= 130 else None
