"""Tables are read as the csv module reads them, or refused with their line."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.errors import InputError
from neuroxai.io import read_tsv, write_tsv
from neuroxai.io.rows import MOST_COLUMNS, delimited, even_rows, guarded, unguarded


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('id\tgroup\n1\t"AD\n2\tCN\n3\t"AD"\n', 2),  # swallows a row up to the next quote
        ('id\tgroup\n1\tAD\n2\t"CN\n', 3),  # up to the end
        ('id\t"group\n1\tAD\n', 1),  # the header
        ('id\tgroup\n1\tAD\n"2\t"CN\n', 3),  # two on one line make one cell of two
        ('id\tgroup\r\n1\tAD\r\n\r\n2\t"CN""\r\n', 4),  # a doubled quote closes nothing; blank lines count
        ('id\tgroup\n1\t"A"D\n', 2),
        ("id\tgroup\n1\n", 2),
        ("id\tgroup\n1\tAD\n2\tAD\tCN\n", 3),
        ("id\tgroup\n1\tA\0D\n", 2),
        ("id" + "\t" * MOST_COLUMNS + "\n", 1),
    ],
)
def test_what_would_change_rows_is_refused_with_its_line(tmp_path, content, line):
    with pytest.raises(InputError, match=f"line {line}\\b"):
        even_rows(content)
    (tmp_path / "x.tsv").write_text(content, newline="")
    with pytest.raises(InputError, match=f"x.tsv: is not a tab-separated table .line {line}\\b"):
        read_tsv(tmp_path / "x.tsv")


def test_quotes_that_are_meant():
    rows = even_rows('id\tnote\t\n1\t"a\tb ""c"""\t\n2\t5" lesion\t\n3\t""\t\t\t\n')
    assert rows == [["id", "note", ""], ["1", 'a\tb "c"', ""], ["2", '5" lesion', ""], ["3", "", ""]]


_CELL = st.text(st.sampled_from("aD1.0-=+@\"',\t é"), max_size=5)


@given(st.lists(st.lists(_CELL, min_size=3, max_size=3), min_size=1, max_size=4), st.data())
def test_equal_to_csv_or_refused(rows, data):
    written = io.StringIO()
    csv.writer(written, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    text = written.getvalue()
    # blank lines are left out, cells stripped
    assert _kept([cells for _, cells in delimited(text, "\t")]) == _kept(rows)
    place = data.draw(st.integers(0, len(text) - 1))
    broken = text[:place] + data.draw(st.sampled_from(['"', "", "\t", "x"])) + text[place + 1 :]
    try:
        found = [cells for _, cells in delimited(broken, "\t")]
    except InputError:
        return
    assert _kept(found) == _kept(csv.reader(io.StringIO(broken), delimiter="\t", skipinitialspace=True))


def _kept(rows):
    stripped = [[cell.strip() for cell in row] for row in rows]
    return [row for row in stripped if any(row)]


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1))
def test_guarded_texts_come_back(texts):
    for text in (*texts, *(f"{sign}{text}" for text in texts for sign in "=+-@'")):
        assert unguarded(guarded(text)) == text
        assert guarded(text)[0] not in "=@"


def test_formulas_are_harmless_in_files_and_equal_in_ours(tmp_path):
    cells = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "'=1", "-5", "+3.5", "plain", None]
    frame = pd.DataFrame({"name": cells, "=bad": cells, "value": [-1.5, float("nan"), *range(7)]})
    path = write_tsv(tmp_path / "x.tsv", frame)
    with path.open(newline="") as handle:
        header, *rows = csv.reader(handle, delimiter="\t")
    assert header == ["name", "'=bad", "value"]
    assert [row[0] for row in rows[:8]] == [
        *("'=1+1", "'+cmd|' /C calc'!A0", "'-2+3", "'@SUM(A1)", "''=1"),
        *("-5", "+3.5", "plain"),  # numbers stay numbers
    ]
    assert rows[0][2] == "-1.5"
    back = read_tsv(path)
    assert back["name"].tolist()[:8] == cells[:8]
    assert back["=bad"].tolist()[:5] == cells[:5]
    assert back["value"].iloc[0] == -1.5
    assert back["name"].isna().tolist() == [False] * 8 + [True]


def test_text_as_written_and_what_is_missing(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("participant_id\tgroup\tage\n1\t01\tNaN\n2\t1\tn/a\n3\tTRUE\tNA\n", encoding="utf-8")
    assert read_tsv(path, text=True)["group"].tolist() == ["01", "1", "TRUE"]
    assert read_tsv(path)["age"].isna().tolist() == [True, True, False]  # NA is a name to some, see the cohort's reader


def test_a_line_break_in_a_cell_does_not_make_a_row(tmp_path):
    path = write_tsv(tmp_path / "x.tsv", pd.DataFrame({"error": ["two\nlines\tand a tab"], "n": [1]}))
    assert read_tsv(path)["error"].tolist() == ["two lines and a tab"]
