"""Damaged tables of cohorts: refused, or read as csv and json read them; no label, age or row changes in silence."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter

import pytest

from helpers.mutations import damaged
from neuroxai.cohort import read_cohort
from neuroxai.cohort.datalist import load_datalist
from neuroxai.cohort.table import parse_age
from neuroxai.cohort.tables import value_of
from neuroxai.errors import NeuroxaiError

WHO = [f"sub-{n:02d}" for n in (1, 2, 3, 10, 11, 30)]
CLASSES = ["CN", "AD", "CN", "AD", "MCI", "CN"]
VISITS = ["ses-M00", "ses-M12"]
INSERTED = [
    *"\"'\t\n\r ,;#=@-.0123A\u00e9\x0b\x0c\x1c\x85\u2028\u00a0\ufeff\0",
    "\r\n",
    '""',
    "n/a",
    "\t\t",
    "sub-",
    "\n\n",
]
MISSING = ("", "n/a", "na", "nan", "<na>", "#n/a", "null")


def encoded(text, rng):
    return text.encode(rng.choice(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "latin-1"]), "replace")


def rows_by_csv(raw):
    """Read as Python's own reader does; None where nobody could."""
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), delimiter="\t")
        ]
    except (UnicodeDecodeError, csv.Error):
        return None
    rows = [row for row in rows if any(row)]
    return [dict(zip(rows[0], row, strict=False)) for row in rows[1:]] if rows else None


def named(prefix, text):
    return text if text.startswith(f"{prefix}-") else f"{prefix}-{text}"


def plain(session):
    return re.sub(r"(?<!\d)0+(?=\d)", "", named("ses", session)).casefold()


@pytest.fixture(params=["participants", "participants and visits"])
def cohort(tmp_path, request):
    visits = VISITS if "visits" in request.param else [None]
    lines = ["\t".join(["participant_id", *(["session_id"] if visits[0] else []), "diagnosis", "age", "sex", "site"])]
    for number, (who, name) in enumerate(zip(WHO, CLASSES, strict=True)):
        for visit in visits:
            folder = tmp_path / who / (visit or "") / "anat"
            folder.mkdir(parents=True)
            (folder / f"{'_'.join(filter(None, (who, visit)))}_T1w.nii").touch()
            lines.append(
                "\t".join([who, *([visit] if visit else []), name, f"{60 + number}.5", "FM"[number % 2], "x y"])
            )
    return tmp_path, "\n".join(lines) + "\n"


def test_a_damaged_participants_table(cohort):
    folder, text = cohort
    rng = random.Random(text)
    read = refused = 0
    for _ in range(170):
        raw = encoded(damaged(text, rng, INSERTED, table=True), rng)
        (folder / "participants.tsv").write_bytes(raw)
        try:
            found = read_cohort(folder)
        except NeuroxaiError:
            refused += 1
            continue
        read += 1
        rows = rows_by_csv(raw)
        assert rows is not None, raw
        compare(found, rows, raw)
    assert read > 40
    assert refused > 20


def compare(found, rows, raw):
    names = set(rows[0])
    seen = set()
    for scan in found.scans.to_dict("records"):
        who, visit = scan["participant_id"], value_of(scan["session_id"])
        seen.add(who)
        own = [row for row in rows if named("sub", row.get("participant_id", "")) == who]
        if visit and any(row.get("session_id", "").lower() not in MISSING for row in own):
            own = [row for row in own if plain(row.get("session_id", "")) == plain(visit)]
        for column in ("diagnosis", "site"):
            cells = [row.get(column, "") for row in own]
            label = value_of(scan.get(column))
            if label is not None:
                assert str(label) in cells, (raw, who, column, label, cells)
            elif column in names:
                assert len(own) != 1 or cells[0].lower() in MISSING, (raw, who, column, cells)
        age = value_of(scan["age"])
        assert age is None or age in [parse_age(row.get("age")) for row in own], (raw, who, age)
    # who is in the table and has a scan is read or told
    told = {one.participant_id for one in found.left_out}
    listed = Counter(named("sub", row.get("participant_id", "")) for row in rows)
    assert {who for who in WHO if who in listed} <= seen | told, raw


def test_a_damaged_session_table(tmp_path):
    for visit in VISITS:
        (tmp_path / f"sub-01/{visit}/anat").mkdir(parents=True)
        (tmp_path / f"sub-01/{visit}/anat/sub-01_{visit}_T1w.nii").touch()
    (tmp_path / "participants.tsv").write_text("participant_id\tdiagnosis\tage\nsub-01\tBASE\t60\n")
    text = "session_id\tdiagnosis\tage\nses-M00\tCN\t70.5\nses-M12\tAD\t71.5\nses-M24\tMCI\t72.5\n"
    rng = random.Random(7)
    read = 0
    for _ in range(150):
        raw = encoded(damaged(text, rng, INSERTED, table=True), rng)
        (tmp_path / "sub-01/sub-01_sessions.tsv").write_bytes(raw)
        try:
            found = read_cohort(tmp_path)
        except NeuroxaiError:
            continue
        read += 1
        rows = rows_by_csv(raw)
        assert rows is not None, raw
        names = set(rows[0]) if rows else set()
        for scan in found.scans.to_dict("records"):
            own = [row for row in rows if plain(row.get("session_id", "")) == plain(scan["session_id"])]
            label, age = value_of(scan["diagnosis"]), value_of(scan["age"])
            assert (
                str(label) in [row.get("diagnosis") for row in own]
                or (label is None and (len(own) != 1 or own[0].get("diagnosis", "").lower() in MISSING))
                or (label == "BASE" and "diagnosis" not in names)
            ), (raw, label)
            assert age is None or (age == 60 and "age" not in names) or age in [parse_age(r.get("age")) for r in own], (
                raw
            )
    assert read > 30


def unique(pairs):
    assert len(dict(pairs)) == len(pairs), "a key twice"
    return dict(pairs)


def test_a_damaged_datalist(tmp_path):
    items = []
    for number, who in enumerate(WHO):
        (tmp_path / who).mkdir()
        (tmp_path / who / f"{who}_T1w.nii").touch()
        items.append(
            {"image": f"{who}/{who}_T1w.nii", "label": number % 2, "participant_id": who, "age": 60.5 + number}
        )
    parts = {"training": items[:2], "validation": items[2:4], "test": items[4:]}
    text = json.dumps({"classes": ["CN", "AD"], **parts}, indent=1)
    rng = random.Random(11)
    inserted = [
        *'"{}[],:\\\n 0129.-eE\u00e9\0',
        '"label": 1,',
        '"label": 0,\n',
        "null",
        "true",
        "NaN",
        "Infinity",
        "1e999",
    ]
    read = refused = 0
    for _ in range(400):
        raw = encoded(damaged(text, rng, inserted, table=True), rng)
        (tmp_path / "datalist.json").write_bytes(raw)
        for part in parts:
            try:
                found = load_datalist(tmp_path / "datalist.json", part, tmp_path)
            except NeuroxaiError:
                refused += 1
                continue
            read += 1
            written = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=unique)[part]
            assert len(found) == len(written)
            for one, other in zip(found, written, strict=True):
                assert one["image"] == str((tmp_path / other["image"]).resolve()), raw
                assert one["label"] == other["label"]
                assert type(other["label"]) is int
                assert one["participant_id"] == other.get("participant_id", one["participant_id"]).strip()
                assert one["participant_id"] in one["image"], raw
                assert one["age"] == other.get("age") or value_of(one["age"]) is None, raw
    assert read > 100
    assert refused > 100
