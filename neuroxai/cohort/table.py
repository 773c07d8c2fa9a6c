"""Join participants.tsv, session tables and scans: one row per scan."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroxai.cohort.scans import LeftOut, find_scans
from neuroxai.cohort.tables import People, Row, numbered, value_of
from neuroxai.errors import InputError
from neuroxai.io import sha256

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 3  # cells of one kind that are named: a whole cohort's ages may be written with a comma
_SEX = {"f": "F", "female": "F", "woman": "F", "m": "M", "male": "M", "man": "M", "o": "O", "other": "O"}


__all__ = ["Cohort", "finite", "natural", "parse_age", "read_cohort", "value_of"]


@dataclass(frozen=True)
class Cohort:
    """The usable scans of a folder and what is known of them.

    Parameters
    ----------
    folder : pathlib.Path
        The cohort's folder.
    scans : pandas.DataFrame
        One row per scan, sorted by participant and time (age where every scan of the participant has one, else session
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
    run: str | None = None,
) -> Cohort:
    """Read a BIDS derivatives folder with participants.tsv.

    `neuroxai.cohort.tables.People` tells which row is a scan's own.

    Parameters
    ----------
    folder : path_like
        The cohort.
    suffix, desc, space, pattern : str, optional
        Choose among several files of a session, see `find_scans`.
    run : {"first", "last", "all"}, optional
        Choose among several runs of a session; without it such sessions are left out.

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
    people = People(root / "participants.tsv")
    scans, left_out = find_scans(root, suffix, desc, space, pattern, run=run)
    people.expect((s.participant_id, s.session_id) for s in scans)
    linked = {item.participant_id for item in left_out}
    rows: list[Row] = []
    for scan in scans:
        found = people.row_of(scan.participant_id, scan.session_id)
        if isinstance(found, str):
            left_out.append(LeftOut(scan.participant_id, scan.session_id, f"{scan.image}: {found}"))
            continue
        session, row = found
        rows.append({"participant_id": scan.participant_id, "session_id": session, "image": scan.image, **row})
    left_out += people.without_scan(linked)
    if not rows:
        raise InputError(
            f"{root}: no scan has a row in participants.tsv (the first scan is "
            f"{scans[0].participant_id if scans else 'not there'}, the first row {next(iter(people.table))[0]}); "
            "make the identifiers agree"
        )
    numbered(rows)
    notes = [*people.notes(), *_tidy(rows)]
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


def finite(value: Any) -> float | None:
    """Return a cell as a finite number; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _tidy(rows: list[Row]) -> list[str]:
    """Make ages numbers and sexes letters, in place, and say what was understood."""
    understood: dict[str, Counter[str]] = {}
    for row in rows:
        text = row.get("age")
        row["age"], row["sex"] = parse_age(text), row.get("sex")
        if text is not None and row["age"] is not None and finite(text) is None:
            understood.setdefault("read as numbers", Counter())[f"age {text!r} read as {row['age']:g}"] += 1
        elif text is not None and row["age"] is None and finite(text) is None:
            understood.setdefault("read as unknown", Counter())[f"age {text!r} read as unknown"] += 1
        elif text is not None and row["age"] is None:
            said = f"age {text!r} is out of range (0 to 130 years), taken as unknown"
            understood.setdefault("out of range, taken as unknown", Counter())[said] += 1
        if row["sex"] is not None:
            row["sex"] = _SEX.get(str(row["sex"]).lower(), str(row["sex"]))
    return [note for kind, texts in sorted(understood.items()) for note in _counted(texts, kind)]


def _counted(texts: Counter[str], kind: str) -> list[str]:
    """Say what was found and how often, all of a few; of many a few and how many more."""
    first = sorted(texts)[:_SHOWN]
    said = [f"{text} ({texts[text]} scan{'s' if texts[text] > 1 else ''})" for text in first]
    more = texts.total() - sum(texts[text] for text in first)
    return [*said, f"{more} more ages {kind}"] if more else said


def parse_age(value: Any) -> float | None:
    """Read an age in years; ``89+``, ``>89``, ``071Y`` and ``71,5`` are understood, anything else is None."""
    match = (
        re.fullmatch(r"(?:>=?\s*)?(\d+(?:[.,]\d+)?)\s*(?:\+|[yY])?", str(value).strip()) if value is not None else None
    )
    age = float(match.group(1).replace(",", ".")) if match else None
    return age if age is not None and age <= 130 else None
