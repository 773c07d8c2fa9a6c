"""From scans and labels, wherever they lie, to a cohort's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.cohort.scans import LeftOut
from neuroxai.errors import InputError

GENERATOR = "neuroxai cohort"


@dataclass(frozen=True)
class Entry:
    """One scan and what is known of it.

    Parameters
    ----------
    participant_id, session_id : str
        With prefixes; an empty session where there is none.
    scan : pathlib.Path
        The image.
    name : str
        File name in the new folder.
    columns : mapping
        Columns of participants.tsv: diagnosis, age, sex, and more.
    """

    participant_id: str
    session_id: str
    scan: Path
    name: str
    columns: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Participant and session in one phrase."""
        return " ".join(filter(None, (self.participant_id, self.session_id)))


@dataclass
class PublicSummary:
    """What `write_cohort` did: scans by class, what was left out by design, what failed."""

    folder: str
    scans: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def write_cohort(
    out: str | os.PathLike[str],
    entries: Sequence[Entry],
    left_out: Mapping[str, int],
    absent: Sequence[LeftOut],
    about: Mapping[str, Any],
    choices: Mapping[str, Any],
    progress: Callable[[int, int], None] | None = None,
) -> PublicSummary:
    """Write a BIDS-named folder of hard links (copies where the disk has none) and participants.tsv, last.

    Parameters
    ----------
    out : path_like
        New, empty, or of an earlier call with the same choices; scans that are there are kept.
    entries : sequence of Entry
        The scans.
    left_out : mapping of str to int
        How many scans were not asked for, by reason.
    absent : sequence of LeftOut
        Scans that cannot be used; they are reported as failed.
    about, choices : mapping
        For ``dataset_description.json``: the source with its terms of use, and what was chosen.
    progress : callable, optional
        Called with (finished, all).

    Raises
    ------
    InputError
        If no scan is left, or the folder holds something else.
    """
    import pandas as pd

    if not entries:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none was found"
        raise InputError(
            f"no scan is left ({reasons}{'; ' + str(absent[0]) if absent else ''}); check folder and labels"
        )
    folder = Path(out)
    if any(e.scan.resolve().is_relative_to(folder.resolve()) for e in entries[:1]):
        raise InputError(f"{folder}: holds the source itself; name another folder")
    io.claim(folder, GENERATOR, choices, {"BIDSVersion": "1.9.0", "DatasetType": "derivative", **about}, "cohort")
    summary = PublicSummary(os.fspath(folder), left_out=dict(left_out), failed=[str(item) for item in absent])
    rows = []
    for number, entry in enumerate(sorted(entries, key=lambda e: (e.participant_id, e.session_id)), start=1):
        parts = [part for part in (entry.participant_id, entry.session_id) if part]
        target = io.inside(folder, Path(*parts, "anat", entry.name))
        try:
            io.read_space(entry.scan)
            _link(entry.scan, target)
        except (InputError, OSError) as error:
            summary.failed.append(f"{entry.title}: {error}")
        else:
            session = {"session_id": entry.session_id} if entry.session_id else {}
            rows.append({"participant_id": entry.participant_id, **session, **entry.columns})
        if progress is not None:
            progress(number, len(entries))
    if not rows:
        raise InputError(f"none of {len(entries)} scans can be read; the first: {summary.failed[0]}")
    io.write_tsv(folder / "participants.tsv", pd.DataFrame(rows))
    summary.scans = len(rows)
    for row in rows:
        summary.classes[row["diagnosis"]] = summary.classes.get(row["diagnosis"], 0) + 1
    return summary


def _link(source: Path, target: Path) -> None:
    real = source.resolve(strict=True)
    if target.is_file() and (os.path.samefile(real, target) or target.stat().st_size == real.stat().st_size):
        return
    io.link_file(real, target)
