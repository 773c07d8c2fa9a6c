"""ADNI: scans in Clinica's BIDS or CAPS layout, diagnoses by visit from its sessions files or ADNIMERGE."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuroxai.cohort.public.writing import Entry
from neuroxai.cohort.scans import LeftOut, find_scans
from neuroxai.cohort.table import value_of
from neuroxai.errors import InputError
from neuroxai.io import read_tsv
from neuroxai.io.names import prefixed

ABOUT = {
    "Name": "ADNI, diagnoses by visit",
    "License": "ADNI Data Use Agreement, https://adni.loni.usc.edu",
    "ReferencesAndLinks": ["Samper-Gonzalez et al. (2018), NeuroImage 183, 504-521 (Clinica's layouts)"],
}
NAMES = {"dementia": "AD", "ad": "AD", "cn": "CN", "nl": "CN", "mci": "MCI", "emci": "MCI", "lmci": "MCI", "smc": "CN"}
Visits = dict[tuple[str, int], dict[str, Any]]
Found = tuple[list[Entry], dict[str, int], list[LeftOut]]


def adni_entries(folder: Path, table: Path | None = None, diagnoses: Sequence[str] = ("CN", "AD")) -> Found:
    """Pair scans with their visit's diagnosis.

    Parameters
    ----------
    folder : pathlib.Path
        Clinica's BIDS folder (``sub-ADNI002S0295/ses-M000/anat``), or a CAPS folder with ``t1-linear`` results
        (``subjects/sub-.../ses-.../t1_linear``).
    table : pathlib.Path, optional
        ADNIMERGE.csv (PTID, VISCODE, DX, AGE, PTGENDER), or a folder with Clinica's ``sub-X_sessions.tsv``; by default
        the BIDS folder itself.
    diagnoses : sequence of str
        Kept; all others are counted and left out.

    Returns
    -------
    entries, left_out, absent
        Scans with a diagnosis asked for; how many had another or none, by reason; scans whose file is absent.

    Raises
    ------
    InputError
        If there are no scans or no labels, or a diagnosis asked for is in none of them.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give Clinica's BIDS or CAPS folder")
    scans, absent = _caps(folder) if (folder / "subjects").is_dir() else _bids(folder)
    visits = _merge(table) if table is not None and table.is_file() else _sessions(table or folder)
    left_out: Counter[str] = Counter()
    entries = []
    for who, session, path in scans:
        row = visits.get((who, months_of(session)))
        diagnosis = None if row is None else row["diagnosis"]
        if diagnosis is None:
            left_out["without a diagnosis at that visit"] += 1
        elif diagnosis not in diagnoses:
            left_out[f"with diagnosis {diagnosis}"] += 1
        else:
            assert row is not None
            entries.append(Entry(who, session, path, path.name, row))
    missing = [name for name in diagnoses if not any(e.columns["diagnosis"] == name for e in entries)]
    if missing and entries:
        there = sorted(
            {e.columns["diagnosis"] for e in entries} | {k.split()[-1] for k in left_out if "with diagnosis" in k}
        )
        raise InputError(f"no scan has diagnosis {missing[0]!r}; there are {', '.join(there)}; choose --diagnoses")
    return entries, dict(sorted(left_out.items())), absent


def months_of(session: str) -> int:
    """Return a visit's month: ``ses-M00``, ``ses-M000``, ``M06``, ``m06`` and ``bl`` are understood.

    Raises
    ------
    InputError
        For anything else.
    """
    text = session.strip().removeprefix("ses-").lower()
    if text in ("bl", "sc"):
        return 0
    match = re.fullmatch(r"m0*(\d+)", text)
    if not match:
        raise InputError(f"session {session!r} names no month, expected ses-M000, ses-M006 and so on (or bl)")
    return int(match[1])


def _bids(folder: Path) -> tuple[list[tuple[str, str, Path]], list[LeftOut]]:
    found, absent = find_scans(folder, suffix="T1w")
    return [(s.participant_id, s.session_id or "ses-M000", folder / s.image) for s in found], absent


def _caps(folder: Path) -> tuple[list[tuple[str, str, Path]], list[LeftOut]]:
    """Find t1-linear's scans, the uncropped ones where both are there: cropped ones lack some of MNI152's grid."""
    chosen: dict[tuple[str, str], Path] = {}
    absent = []
    for path in sorted(folder.glob("subjects/sub-*/ses-*/t1_linear/*_T1w.nii.gz")):
        key = path.parents[2].name, path.parents[1].name
        if not path.is_file():
            absent.append(LeftOut(*key, f"{path.name} is a link to a file that is not there; fetch the data first"))
        elif key not in chosen or "desc-Crop" in chosen[key].name:
            chosen[key] = path
    if not chosen and not absent:
        raise InputError(
            f"{folder}: no subjects/sub-*/ses-*/t1_linear/*_T1w.nii.gz; run Clinica's t1-linear, or give BIDS"
        )
    return [(*key, path) for key, path in chosen.items()], absent


def _sessions(folder: Path) -> Visits:
    """Read Clinica's ``sub-X/sub-X_sessions.tsv``, with sex from participants.tsv."""
    people: dict[str, Any] = {}
    if (folder / "participants.tsv").is_file():
        for row in read_tsv(folder / "participants.tsv", required=("participant_id",)).to_dict("records"):
            people[prefixed("sub", str(row["participant_id"]))] = value_of(row.get("sex"))
    visits: Visits = {}
    for path in sorted(folder.glob("sub-*/sub-*_sessions.tsv")):
        for row in read_tsv(path, required=("session_id",)).to_dict("records"):
            if (session := value_of(row["session_id"])) is not None:
                visits[path.parent.name, months_of(session)] = {
                    "diagnosis": _diagnosis(row.get("diagnosis")),
                    "age": value_of(row.get("age")),
                    "sex": people.get(path.parent.name),
                }
    if not visits:
        raise InputError(
            f"{folder}: no sub-*/sub-*_sessions.tsv; give ADNIMERGE.csv, or Clinica's BIDS folder, with --table"
        )
    return visits


def _merge(path: Path) -> Visits:
    """Read ADNIMERGE: PTID 002_S_0295 is sub-ADNI002S0295; AGE is at baseline."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, skipinitialspace=True, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a comma-separated table ({str(error).splitlines()[0]})") from None
    frame.columns = [str(c).strip().strip('"') for c in frame.columns]
    for column in ("PTID", "VISCODE", "DX"):
        if column not in frame:
            raise InputError(
                f"{path}: column {column!r} is absent, expected ADNIMERGE's PTID, VISCODE, DX, AGE, PTGENDER"
            )
    visits: Visits = {}
    for row in frame.to_dict("records"):
        who, visit = value_of(row["PTID"]), value_of(row["VISCODE"])
        if who is None or visit is None or not re.fullmatch(r"bl|sc|m0*\d+", visit.lower()):
            continue  # visits without a scan have other codes
        months = months_of(visit)
        age = value_of(row.get("AGE"))
        key = "sub-ADNI" + re.sub(r"[^A-Za-z0-9]", "", who), months
        columns = {
            "diagnosis": _diagnosis(row["DX"]),
            "age": None if age is None else round(float(age) + months / 12, 2),
            "sex": {"male": "M", "female": "F"}.get(str(value_of(row.get("PTGENDER"))).lower()),
        }
        if key in visits and visits[key] != columns:
            raise InputError(f"{path}: {who} {visit} stands twice with different values; keep one row")
        visits[key] = columns
    return visits


def _diagnosis(value: Any) -> str | None:
    text = value_of(value)
    return None if text is None else NAMES.get(str(text).lower(), str(text))
