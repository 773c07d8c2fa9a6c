"""The tables of a folder of prepared scans: quality, failures, participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroxai import io

Key = tuple[str, str]


def write_tables(
    folder: Path,
    records: Mapping[Key, Mapping[str, Any]],
    failed: Sequence[Mapping[str, str]],
    cohort: Path | None,
) -> None:
    """Write ``quality.tsv`` and ``failed.tsv``, and take the cohort's own tables along.

    Parameters
    ----------
    folder : pathlib.Path
        Of the prepared scans.
    records : mapping
        Each scan's record by participant and session.
    failed : sequence of mapping
        participant_id, session_id, error.
    cohort : pathlib.Path or None
        The BIDS folder, whose participants.tsv and sessions.tsv `neuroxai split` will want.
    """
    import pandas as pd

    from neuroxai.preprocess.quality import MEANINGS

    rows = [
        {
            "participant_id": participant,
            "session_id": session or None,
            "flags": "; ".join(record["Flags"]) or None,
            "dropped": record["Dropped"],
            **record["Quality"],
        }
        for (participant, session), record in sorted(records.items())
    ]
    if rows:
        io.write_tsv(folder / "quality.tsv", pd.DataFrame(rows))
        io.write_json(folder / "quality.json", {name: {"Description": text} for name, text in MEANINGS.items()})
    if failed:
        io.write_tsv(folder / "failed.tsv", pd.DataFrame(list(failed)))
    else:
        (folder / "failed.tsv").unlink(missing_ok=True)
    if cohort is None:
        return
    for name in ("participants.tsv", "participants.json"):
        if (cohort / name).is_file():
            io.copy_file(cohort / name, folder / name)
    for participant in {key[0] for key in records}:
        name = f"{participant}/{participant}_sessions.tsv"
        if (cohort / name).is_file():
            io.copy_file(cohort / name, folder / name)
