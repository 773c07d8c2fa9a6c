from __future__ import annotations

import math

import pandas as pd
import pytest

from neuroxai.errors import InputError
from neuroxai.io import delimited, join_tsv, read_json, read_tsv, write_json, write_tsv, write_tsv_parts


def test_identifiers_stay_text_and_missing_is_missing(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes(
        "\ufeffparticipant_id\tsession_id\tage\tnote\r\n001\t01\t60\tNA\r\n002\tn/a\tn/a\tNone\r\n".encode()
    )
    frame = read_tsv(path, required=["participant_id"])
    assert frame["participant_id"].tolist() == ["001", "002"]
    assert frame["session_id"].iloc[0] == "01"
    assert frame["session_id"].isna().tolist() == [False, True]
    assert frame["age"].iloc[0] == 60
    assert math.isnan(frame["age"].iloc[1])
    assert frame["note"].tolist() == ["NA", "None"]  # names, not missing values


def test_round_trip(tmp_path):
    frame = pd.DataFrame({"participant_id": ["007", "008"], "x": [1 / 3, None], "é": ["ü", None]})
    text = write_tsv(tmp_path / "a/x.tsv", frame).read_text(encoding="utf-8")
    assert text == "participant_id\tx\té\n007\t0.33333333\tü\n008\tn/a\tn/a\n"
    assert read_tsv(tmp_path / "a/x.tsv")["participant_id"].tolist() == ["007", "008"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a tab-separated table"),
        (b"participant_id\tage\nsub-1\t4\nsub-2\t5\t6\n", "not a tab-separated table"),
        (b"participant_id\tage\nsub-1\t4\t1\nsub-2\t5\t6\n", "not a tab-separated table"),  # each row one cell too long
        (b"participant_id\tage\tage\nsub-1\t4\t5\n", "column 'age' stands twice"),
        (b"participant_id\n\xe9\n", r"not a tab-separated table \(byte 15 is no UTF-8: save it as text in UTF-8\)"),
        ("participant_id\tage\nsub-1\t4\n".encode("utf-16"), "byte 0 is no UTF-8"),  # what Excel calls Unicode text
        (b"\x1f\x8b\x08\x00\x00", "not a tab-separated table"),
        (b"participant_id,age\nsub-1,4\n", "columns are parted by commas, expected tabs"),
        (b"participant_id ;age;x\nsub-1;4;2\n", "columns are parted by semicolons, expected tabs"),
        (b"participant_id    age\nsub-1    4\n", "columns are parted by blanks, expected tabs"),
        (b"participant_id,sex\nsub-1,F\n", "column 'age' is absent; the table has participant_id,sex"),
    ],
)
def test_what_is_no_table(tmp_path, content, words):
    (tmp_path / "x.tsv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_tsv(tmp_path / "x.tsv", required=["age"])


def test_absent(tmp_path):
    with pytest.raises(InputError, match="no such table"):
        read_tsv(tmp_path / "x.tsv")
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "x.json")


def test_json(tmp_path):
    value = {"ü": [1, 2.5, None, "x"]}
    assert read_json(write_json(tmp_path / "x.json", value)) == value
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "x.json").read_bytes())
    assert read_json(tmp_path / "x.json") == value
    before = (tmp_path / "x.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"x": math.nan})
    assert (tmp_path / "x.json").read_bytes() == before
    (tmp_path / "y.json").write_bytes(b"{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "y.json")


def test_delimited_text_gives_cells_and_the_numbers_of_their_lines():
    text = 'a;"b;c"; d\r\n\n x; "y ""z""";""  \r5"\t;Heschl\'s;\n'
    assert delimited(text, ";") == [
        (1, ["a", "b;c", "d"]),
        (3, ["x", 'y "z"', ""]),
        (4, ['5"', "Heschl's", ""]),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [('a,"b\nc,d"\n', 1), ('a,b\n\nc,"d\n', 3), ('a,b\nc,"d,x,"e"', 2)],
)
def test_a_quote_that_is_not_closed_on_its_line_is_refused_with_the_line(text, line):
    with pytest.raises(InputError, match=f"line {line}: a quote is not closed"):
        delimited(text, ",")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1", "x"], "column 'sum' holds 'x' in row 2, expected a finite number"),
        (["1e999", "2"], "holds '(inf|1e999)' in row 1"),  # pandas 3, pandas 2
        (["1", "-inf"], "holds '-inf' in row 2"),
        (["1,5", "2"], "holds '1,5' in row 1"),
        (["nane-08", "2"], "holds 'nane-08'"),
        (["1.5", "n/a"], ""),
        (["n/a", ""], ""),
    ],
)
def test_columns_of_numbers(tmp_path, cells, words):
    path = tmp_path / "t.tsv"
    path.write_text("name\tsum\n" + "".join(f"a{n}\t{cell}\n" for n, cell in enumerate(cells)))
    if words:
        with pytest.raises(InputError, match=words):
            read_tsv(path, numbers=("sum",))
    else:
        found = read_tsv(path, numbers=("sum",))["sum"]
        assert [None if v != v else v for v in found] == [None if c in ("", "n/a") else float(c) for c in cells]
    with pytest.raises(InputError, match="column 'size' is absent"):
        read_tsv(path, numbers=("size",))


def test_tables_joined_one_at_a_time_are_those_written_together(tmp_path):
    one = pd.DataFrame({"name": ["=a", 'b "c"'], "sum": [1.0, 2.0], "n": [3, 4]})
    two = pd.DataFrame({"name": ["d"], "sum": [1 / 3], "n": [5], "late": [None]})
    parts = []
    for n, table in enumerate((one, two)):
        write_tsv(tmp_path / f"{n}.tsv", table)
        parts.append(({"participant_id": f"sub-{n}", "session_id": None}, tmp_path / f"{n}.tsv"))
    join_tsv(tmp_path / "joined.tsv", parts, ["name", "sum", "n", "late"])
    frames = [table.assign(participant_id=f"sub-{n}", session_id=None) for n, table in enumerate((one, two))]
    columns = ["participant_id", "session_id", "name", "sum", "n", "late"]
    write_tsv(tmp_path / "together.tsv", pd.concat(frames)[columns])
    joined = (tmp_path / "joined.tsv").read_text()
    assert joined == (tmp_path / "together.tsv").read_text()
    assert write_tsv_parts(tmp_path / "parts.tsv", (table[columns[:-1]] for table in frames)) == 2
    write_tsv(tmp_path / "together.tsv", pd.concat(frames)[columns[:-1]])
    assert (tmp_path / "parts.tsv").read_text() == (tmp_path / "together.tsv").read_text()
    assert write_tsv_parts(tmp_path / "nothing.tsv", []) == 0
    assert not (tmp_path / "nothing.tsv").exists()
    (tmp_path / "1.tsv").write_text("name\tsum\tn\nd\t1\n")
    with pytest.raises(InputError, match="fewer cells"):
        join_tsv(tmp_path / "joined.tsv", parts, ["name", "sum", "n"])
    assert (tmp_path / "joined.tsv").read_text() == joined
