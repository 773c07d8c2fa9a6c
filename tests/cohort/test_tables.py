"""Which row is a scan's own: compared with rows worked out by hand and with an independent reading by csv."""

from __future__ import annotations

import csv
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.cohort import find_scans, label_scans, read_cohort, split_cohort
from neuroxai.cohort.tables import People, value_of
from neuroxai.errors import InputError, NeuroxaiError
from neuroxai.io import write_text


def labels(folder, **options):
    table = read_cohort(folder, **options).scans
    found = table.astype(object).where(table.notna(), None)
    named = {(row["participant_id"], row["session_id"]): value_of(row["diagnosis"]) for row in found.to_dict("records")}
    return {who: None if value is None else str(value) for who, value in named.items()}


@pytest.fixture
def visits(make_cohort):
    """Return a cohort whose participants.tsv holds the baseline, and a session table with these rows."""

    def make(folders, rows, name="cohort"):
        folder = make_cohort(
            [("sub-1", "CN", 60, "F")], scans=[f"sub-1/{s}/anat/sub-1_{s}_T1w.nii.gz" for s in folders], name=name
        )
        lines = ["session_id\tdiagnosis\tage", *("\t".join(row) for row in rows)]
        write_text(folder / "sub-1/sub-1_sessions.tsv", "\n".join(lines) + "\n")
        return folder

    return make


@pytest.mark.parametrize("written", ["M48", "ses-M48", "m048", "ses-M048", "M0048"])
def test_sessions_written_otherwise_are_the_same_visit(visits, written):
    folder = visits(["ses-M000", "ses-M048"], [("M00", "CN", "60"), (written, "AD", "64")])
    assert labels(folder) == {("sub-1", "ses-M000"): "CN", ("sub-1", "ses-M048"): "AD"}


@pytest.mark.parametrize("blank", ["n/a", "", "NaN", "N/A", "NA", " n/a "])
def test_a_blank_visit_is_reported_and_never_the_baseline(visits, blank):
    cohort = read_cohort(visits(["ses-1", "ses-2"], [("1", "CN", "60"), ("2", blank, "62")]))
    assert cohort.scans["diagnosis"].tolist()[0] == "CN"
    assert cohort.scans["diagnosis"].isna().tolist() == [False, True]
    assert any("1 scans whose sessions.tsv leaves 'diagnosis' blank" in note for note in cohort.notes)


def test_visits_without_row_and_rows_without_scan_are_counted(visits):
    folder = visits(["ses-1", "ses-9"], [("1", "CN", "60"), ("2", "AD", "62"), ("3", "AD", "63"), ("n/a", "AD", "64")])
    cohort = read_cohort(folder)
    assert labels(folder) == {("sub-1", "ses-1"): "CN", ("sub-1", "ses-9"): None}
    told = "\n".join(cohort.notes)
    assert "2 rows of session tables have no scan (the first: sub-1 ses-2)" in told
    assert "1 rows of session tables name no session and are left out (the first: sub-1)" in told
    assert "1 scans whose sessions.tsv has no row ('diagnosis'): unknown" in told


def test_a_row_is_the_visit_that_bears_its_name_alone(visits):
    # ses-1 has the row; ses-01 differs in a zero alone and must not share it
    folder = visits(["ses-1", "ses-01"], [("1", "AD", "60")])
    assert labels(folder) == {("sub-1", "ses-1"): "AD", ("sub-1", "ses-01"): None}
    folder = visits(["ses-001"], [("1", "AD", "60"), ("01", "CN", "61")], "two")  # two rows may be meant: neither is
    assert labels(folder) == {("sub-1", "ses-001"): None}


def test_a_table_of_somebody_else_and_a_visit_twice_are_refused(visits):
    folder = visits(["ses-1"], [("1", "AD", "60"), ("ses-1", "CN", "60")])
    with pytest.raises(InputError, match="ses-1 stands in two rows"):
        read_cohort(folder)
    write_text(folder / "sub-1/sub-1_sessions.tsv", "participant_id\tsession_id\tdiagnosis\nsub-2\tses-1\tAD\n")
    with pytest.raises(InputError, match="sub-2, expected sub-1"):
        read_cohort(folder)
    write_text(folder / "sub-1/sub-1_sessions.tsv", 'session_id\tdiagnosis\nses-1\t"AD\nses-2\tCN\n')
    with pytest.raises(InputError, match=r"sub-1_sessions\.tsv: .*line 2"):
        read_cohort(folder)


def test_a_row_without_session_beside_rows_with_one_is_nobodys(make_cohort):
    folder = make_cohort(
        [("sub-1", "M0", "CN"), ("sub-1", None, "AD")],
        header="participant_id session_id diagnosis",
        scans=[f"sub-1/ses-{s}/anat/sub-1_ses-{s}_T1w.nii.gz" for s in ("M00", "M12")],
    )
    cohort = read_cohort(folder)
    assert labels(folder) == {("sub-1", "ses-M00"): "CN"}
    assert [item.session_id for item in cohort.left_out] == ["ses-M12", None]
    assert "names no session beside rows that do" in cohort.left_out[1].reason


@pytest.mark.parametrize("name", ["image", "label", "class", "path", "true"])
@pytest.mark.parametrize("where", ["participants", "sessions"])
def test_a_column_with_a_name_of_ours_replaces_nothing(make_cohort, name, where):
    other = name if where == "participants" else "site"
    rows = [(f"sub-{i}", "ses-1", ("CN", "AD")[i % 2], "sub-0/ses-1/anat/evil.nii") for i in range(6)]
    scans = [f"{row[0]}/ses-1/anat/{row[0]}_ses-1_T1w.nii.gz" for row in rows]
    folder = make_cohort(rows, header=f"participant_id session_id diagnosis {other}", scans=scans)
    if where == "sessions":
        for row in rows:
            text = f"session_id\tparticipant_id\t{name}\nses-1\t{row[0]}\tsub-0/ses-1/anat/evil.nii\n"
            write_text(folder / row[0] / f"{row[0]}_sessions.tsv", text)
    (datalist,) = split_cohort(label_scans(read_cohort(folder)))
    items = [item for part in ("training", "validation", "test") for item in datalist[part]]
    assert sorted(item["image"] for item in items) == scans
    assert all(item["label"] == int(item["participant_id"][-1]) % 2 for item in items)


def test_a_target_named_label_keeps_numbers_and_names_apart(make_cohort):
    folder = make_cohort([(f"sub-{i}", ("b", "a")[i % 2]) for i in range(6)], header="participant_id label")
    (datalist,) = split_cohort(label_scans(read_cohort(folder), "label"))
    assert datalist["classes"] == ["a", "b"]
    assert all(item["label"] == 1 - int(item["participant_id"][-1]) % 2 for item in datalist["training"])


def test_labels_stay_as_they_are_written(make_cohort):
    rows = [("sub-1", "01"), ("sub-2", "1"), ("sub-3", "TRUE"), ("sub-4", "1e3")]
    folder = make_cohort(rows, header="participant_id diagnosis")
    assert list(labels(folder).values()) == ["01", "1", "TRUE", "1e3"]


def test_runs_are_chosen_and_one_of_several_stops_nobody(make_cohort):
    scans = ["sub-1/anat/sub-1_T1w.nii.gz", *(f"sub-2/anat/sub-2_run-{n}_T1w.nii.gz" for n in (2, 10))]
    folder = make_cohort([("sub-1", "CN", 60, "F"), ("sub-2", "AD", 61, "M")], scans=scans)
    found, left = find_scans(folder)
    assert [scan.image for scan in found] == scans[:1]
    assert [(one.participant_id, "--run" in one.reason) for one in left] == [("sub-2", True)]
    assert [scan.image for scan in find_scans(folder, run="first")[0]] == scans[:2]
    assert [scan.image for scan in find_scans(folder, run="last")[0]] == [scans[0], scans[2]]
    assert labels(folder, run="all") == {
        ("sub-1", None): "CN", ("sub-2", "run-2"): "AD", ("sub-2", "run-10"): "AD",
    }  # fmt: skip
    with pytest.raises(InputError):  # which newer Pythons take for a glob that matches nothing
        find_scans(folder, pattern="sub-*/***/x")
    with pytest.raises(InputError, match="choice for --run 'second'"):
        find_scans(folder, run="second")
    (folder / scans[0]).unlink()
    with pytest.raises(InputError, match="several scans match"):
        find_scans(folder)


_WORD = st.sampled_from(["AD", "CN", "n/a", "NaN", "", "01", "1", "=1", '"AD"', "MCI ", "M48", "M048", "ses-M48", "NA"])


@given(st.lists(st.tuples(_WORD, _WORD), min_size=1, max_size=4), st.integers(0, 400), st.sampled_from('"\t\nx"\t\0='))
def test_mutated_tables_give_the_label_that_csv_reads_or_an_error_of_ours(tmp_path_factory, rows, place, letter):
    folder = tmp_path_factory.mktemp("cohort")
    scans = ["ses-M000", "ses-M048", "ses-1"]
    for session in scans:
        (folder / f"sub-1/{session}/anat").mkdir(parents=True)
        (folder / f"sub-1/{session}/anat/sub-1_{session}_T1w.nii").touch()
    (folder / "participants.tsv").write_text("participant_id\tdiagnosis\tage\nsub-1\tBASE\t60\n")
    text = "session_id\tdiagnosis\n" + "".join(f"{session}\t{label}\n" for session, label in rows)
    table = folder / "sub-1/sub-1_sessions.tsv"
    for kind in range(4):
        at = place % len(text)
        changed = (
            text,
            text[:at] + letter + text[at:],
            text[:at] + text[at + 1 :],
            text[:at] + letter + text[at + 1 :],
        )
        table.write_text(changed[kind], newline="")
        try:
            found = labels(folder)
        except NeuroxaiError:
            continue
        with table.open(newline="") as handle:
            header, *lines = [row for row in csv.reader(handle, delimiter="\t") if any(cell.strip() for cell in row)]
        if "diagnosis" not in [name.strip() for name in header]:
            assert set(found.values()) == {"BASE"}  # a table of other things
            continue
        column, key = ([name.strip() for name in header].index(n) for n in ("diagnosis", "session_id"))
        for (_, session), label in found.items():
            own = [row[column].strip() for row in lines if plain(row[key]) == plain(session)]
            if label is not None:
                assert label in own
            else:
                known = [cell for cell in own if cell.lower() not in ("", "n/a", "nan", "na")]
                assert not known or len(own) > 1  # one row that says a label is never ignored


def plain(session):
    return re.sub(r"0*(\d+)", r"\1", session.strip().removeprefix("ses-")).lower()


def test_a_row_is_looked_up_and_not_searched_for(make_cohort, people):
    class NoWalk(dict):
        def __iter__(self):
            raise AssertionError("each scan walks over all rows: the square of a cohort's size")

        keys = values = items = __iter__

    table = People(make_cohort(people) / "participants.tsv")
    table.table = NoWalk(table.table)
    for who, diagnosis, *_ in people:
        assert table.row_of(who, None)[1]["diagnosis"] == diagnosis
    assert "no row" in table.row_of("sub-9999", None)
