from __future__ import annotations

import math

import pytest

from neuroxai.cohort import label_scans, read_cohort
from neuroxai.cohort.table import natural, parse_age
from neuroxai.errors import InputError
from neuroxai.io import write_text


def cells(cohort, *columns):
    return [
        tuple(row) for row in cohort.scans[list(columns)].astype(object).where(cohort.scans.notna(), None).to_numpy()
    ]


def test_one_row_a_scan_with_relative_path_and_other_columns(make_cohort):
    folder = make_cohort(
        [("sub-02", "AD", 70.5, "m", 3.1), ("sub-01", "CN", 60, "Female", None)],
        header="participant_id diagnosis age sex hippocampus",
    )
    cohort = read_cohort(folder)
    assert list(cohort.scans.columns) == [
        "participant_id", "session_id", "image", "diagnosis", "age", "sex", "hippocampus",
    ]  # fmt: skip
    assert cells(cohort, "participant_id", "image", "age", "sex", "hippocampus") == [
        ("sub-01", "sub-01/anat/sub-01_T1w.nii.gz", 60.0, "F", None),
        ("sub-02", "sub-02/anat/sub-02_T1w.nii.gz", 70.5, "M", 3.1),
    ]
    assert cohort.left_out == []


def test_identifiers_without_prefix_and_with_leading_zeros_meet_their_scans(make_cohort):
    folder = make_cohort([("001", "CN", 60, "F")], scans=["sub-001/anat/sub-001_T1w.nii"])
    assert cells(read_cohort(folder), "participant_id") == [("sub-001",)]


def test_sessions_take_their_own_rows_and_the_session_table_has_the_last_word(make_cohort):
    names = ["ses-M00", "ses-M06", "ses-M12"]
    folder = make_cohort(
        [("sub-1", "ses-M00", "CN", 60, "F"), ("sub-1", "ses-M06", "CN", 60.5, "F"), ("sub-1", None, "CN", 61, "F")],
        header="participant_id session_id diagnosis age sex",
        scans=[f"sub-1/{s}/anat/sub-1_{s}_T1w.nii.gz" for s in names],
    )
    write_text(folder / "sub-1/sub-1_sessions.tsv", "session_id\tdiagnosis\tage\nses-M12\tAD\tn/a\n")
    cohort = read_cohort(folder)
    assert cells(cohort, "session_id", "diagnosis", "age") == [
        ("ses-M00", "CN", 60.0), ("ses-M06", "CN", 60.5), ("ses-M12", "AD", None),
    ]  # fmt: skip


def test_scans_stand_in_order_of_time(make_cohort):
    scans = [f"sub-1/ses-{s}/anat/sub-1_ses-{s}_T1w.nii.gz" for s in ("10", "2", "1")]
    assert cells(read_cohort(make_cohort([("sub-1", "CN", 60, "F")], scans=scans)), "session_id") == [
        ("ses-1",), ("ses-2",), ("ses-10",),
    ]  # fmt: skip
    # ages say that ses-b was first
    rows = [("sub-1", "ses-a", "CN", 62, "F"), ("sub-1", "ses-b", "CN", 60, "F")]
    folder = make_cohort(
        rows,
        header="participant_id session_id diagnosis age sex",
        scans=[f"sub-1/ses-{s}/anat/sub-1_ses-{s}_T1w.nii.gz" for s in "ab"],
        name="second",
    )
    assert cells(read_cohort(folder), "session_id") == [("ses-b",), ("ses-a",)]
    assert natural("ses-2") < natural("ses-10")


def test_a_scan_without_session_takes_the_only_row(make_cohort):
    folder = make_cohort(
        [("sub-1", "ses-M00", "CN", 60, "F")],
        header="participant_id session_id diagnosis age sex",
        scans=["sub-1/anat/sub-1_T1w.nii.gz"],
    )
    assert cells(read_cohort(folder), "session_id", "age") == [("ses-M00", 60.0)]


def test_nothing_is_dropped_silently(make_cohort):
    folder = make_cohort(
        [("sub-1", "CN", 60, "F"), ("sub-2", "AD", 61, "M"), ("sub-4", None, 61, "M")],
        scans=[f"sub-{i}/anat/sub-{i}_T1w.nii.gz" for i in (1, 3, 4)],
    )
    (folder / "sub-5/anat").mkdir(parents=True)
    (folder / "sub-5/anat/sub-5_T1w.nii.gz").symlink_to(folder / "annex/absent")
    cohort = read_cohort(folder)
    assert cells(cohort, "participant_id") == [("sub-1",), ("sub-4",)]
    told = {item.participant_id: item.reason for item in cohort.left_out}
    assert set(told) == {"sub-2", "sub-3", "sub-5"}
    assert "no scan" in told["sub-2"]
    assert "no row" in told["sub-3"]
    assert "link" in told["sub-5"]
    cohort.scans.loc[0, "diagnosis"] = "AD"
    with pytest.raises(InputError, match=r"one class only \(AD \(1\)\)"):
        label_scans(cohort)


def test_of_several_classes_the_example_names_controls_first(make_cohort):
    # the second class is the one explained
    rows = [(f"sub-{n}", name, 60, "F") for n, name in enumerate(("AD", "CN", "MCI"), 1)]
    with pytest.raises(InputError, match=r"holds 3 values.*for example --classes CN,AD"):
        label_scans(read_cohort(make_cohort(rows)))


@pytest.mark.parametrize(
    ("names", "example"),
    [("-999 0 0 1 1", "0,1"), (". CN CN AD AD", "CN,AD"), ("CN AD AD cn ad CN CN", "CN,AD"), ("x MCI AD AD", "AD,MCI")],
)
def test_the_example_leaves_out_codes_for_what_is_missing_and_rare_spellings(make_cohort, names, example):
    rows = [(f"sub-{n}", name, 60, "F") for n, name in enumerate(names.split(), 1)]
    with pytest.raises(InputError, match=f"for example --classes {example}$"):
        label_scans(read_cohort(make_cohort(rows)))


def test_of_many_ages_that_had_to_be_understood_a_few_are_named(make_cohort):
    def cell(n):
        return f"{60 + n},5" if n < 20 else "May 71" if n < 22 else str(-n)

    table = read_cohort(make_cohort([(f"sub-{n:02d}", "CN", cell(n), "F") for n in range(26)]))
    assert table.notes == [
        "age '-22' is out of range (0 to 130 years), taken as unknown (1 scan)",
        "age '-23' is out of range (0 to 130 years), taken as unknown (1 scan)",
        "age '-24' is out of range (0 to 130 years), taken as unknown (1 scan)",
        "1 more ages out of range, taken as unknown",
        "age '60,5' read as 60.5 (1 scan)",
        "age '61,5' read as 61.5 (1 scan)",
        "age '62,5' read as 62.5 (1 scan)",
        "17 more ages read as numbers",
        "age 'May 71' read as unknown (2 scans)",
    ]


def test_masks_and_heatmaps_beside_the_scan_are_no_scans(make_cohort):
    beside = ["desc-effect_mask", "desc-effect_logjacobian", "desc-lrp_heatmap", "desc-brain_T1w"]
    folder = make_cohort([("sub-1", "CN", 60, "F")], scans=[f"sub-1/anat/sub-1_{b}.nii.gz" for b in beside])
    (folder / "sub-1/anat/.ab12.tmp.sub-1_T1w.nii.gz").touch()
    assert cells(read_cohort(folder), "image") == [("sub-1/anat/sub-1_desc-brain_T1w.nii.gz",)]


def test_several_matching_scans_are_refused_and_can_be_chosen(make_cohort):
    stem = "sub-1/anat/sub-1_"
    scans = [stem + end for end in ("space-MNI_desc-brain_T1w.nii.gz", "space-orig_desc-head_T1w.nii", "FLAIR.nii.gz")]
    folder = make_cohort([("sub-1", "CN", 60, "F")], scans=scans)
    with pytest.raises(InputError, match=r"sub-1: .*--suffix, --desc, --space or --pattern"):
        read_cohort(folder)
    for chosen, options in (
        (scans[0], {"desc": "brain"}),
        (scans[1], {"space": "orig"}),
        (scans[2], {"suffix": "FLAIR"}),
        (scans[1], {"pattern": "sub-*/anat/*_desc-head_*.nii"}),
    ):
        assert cells(read_cohort(folder, **options), "image") == [(chosen,)]
    with pytest.raises(InputError, match=r"--desc lesion.*space-MNI_desc-brain_T1w"):
        read_cohort(folder, desc="lesion")
    for pattern in ("../*", "/etc/*"):
        with pytest.raises(InputError, match="inside the cohort's folder"):
            read_cohort(folder, pattern=pattern)


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        ([("sub-1", "CN"), ("sub-1", "AD")], "participant_id diagnosis", "sub-1 stands in two rows"),
        ([("1", "CN"), ("sub-1", "AD")], "participant_id diagnosis", "sub-1 stands in two rows"),
        ([(None, "CN")], "participant_id diagnosis", "no participant_id"),
        ([("sub-1", "CN")], "subject diagnosis", "column 'participant_id' is absent"),
        ([("sub-1", "F", "F")], "participant_id sex gender", "several columns stand for 'sex'"),
        ([], "participant_id diagnosis", "holds no participant"),
        ([("sub-9", "CN")], "participant_id diagnosis", "no scan has a row"),
    ],
)
def test_tables_that_cannot_be_used(make_cohort, rows, header, words):
    folder = make_cohort(rows, header, scans=["sub-1/anat/sub-1_T1w.nii.gz"])
    with pytest.raises(InputError, match=words):
        read_cohort(folder)


def test_absent_folder_table_scans(tmp_path, make_cohort):
    with pytest.raises(InputError, match="no such folder"):
        read_cohort(tmp_path / "absent")
    with pytest.raises(InputError, match="no such table"):
        read_cohort(tmp_path)
    with pytest.raises(InputError, match="no NIfTI file"):
        read_cohort(make_cohort([("sub-1", "CN", 60, "F")], scans=[]))


def test_a_file_in_the_wrong_folder_is_refused(make_cohort):
    folder = make_cohort([("sub-1", "CN", 60, "F")], scans=["sub-1/anat/sub-2_T1w.nii.gz"])
    with pytest.raises(InputError, match="sub-1 and sub-2"):
        read_cohort(folder)


@pytest.mark.parametrize(
    ("text", "age"),
    [(70, 70), (70.5, 70.5), ("89+", 89), (">89", 89), (">= 89", 89), ("071Y", 71), ("71,5", 71.5), ("old", None),
     ("60-65", None), (-1, None), (150, None), (None, None), (math.nan, None), ("n/a", None)],
)  # fmt: skip
def test_ages_as_written(text, age):
    assert parse_age(text) == age


def test_what_was_understood_is_said(make_cohort):
    folder = make_cohort([("sub-1", "CN", "89+", "F"), ("sub-2", "AD", "old", "x"), ("sub-3", "AD", 333, "x")])
    notes = " ".join(read_cohort(folder).notes)
    assert "'89+' read as 89 (1 scan)" in notes
    assert "'old' read as unknown" in notes


def test_controls_come_first_and_classes_are_chosen(make_cohort):
    rows = [(f"sub-{i}", name, 60, "FM"[i % 2]) for i, name in enumerate(["AD", "CN", "MCI", "AD", None])]
    cohort = read_cohort(make_cohort(rows))
    with pytest.raises(InputError, match=r"3 values .AD \(2\), CN \(1\), MCI \(1\).*--classes"):
        label_scans(cohort)
    labelled = label_scans(cohort, classes=["CN", "AD"])
    assert labelled.classes == ["CN", "AD"]
    assert list(labelled.scans["label"]) == [1, 0, 1]
    assert "1 scans with diagnosis 'MCI' left out" in " ".join(labelled.notes)
    assert [(i.participant_id, i.reason) for i in labelled.left_out] == [("sub-4", "diagnosis is missing")]
    with pytest.raises(InputError, match=r"'diagnosis' 'HC'.*AD, CN, MCI"):
        label_scans(cohort, classes=["HC", "AD"])
    with pytest.raises(InputError, match="two or more different"):
        label_scans(cohort, classes=["AD", "AD"])
    with pytest.raises(InputError, match=r"--target 'dx'.*age, diagnosis, sex"):
        label_scans(cohort, target="dx")
    assert label_scans(cohort, target="sex").classes == ["F", "M"]


@pytest.mark.parametrize(
    ("values", "classes"),
    [(["MS", "healthy control"], ["healthy control", "MS"]), ([1, 0], ["0", "1"]), (["a", "HC"], ["HC", "a"])],
)
def test_which_class_is_number_0(make_cohort, values, classes):
    # a missing cell turns a column of whole numbers into floats
    rows = [(f"sub-{i}", value, 60, "F") for i, value in enumerate([*values, None])]
    assert label_scans(read_cohort(make_cohort(rows))).classes == classes


def test_group_stands_in_for_diagnosis(make_cohort):
    folder = make_cohort([("sub-1", "depr", 4), ("sub-2", "control", 5)], header="participant_id group age")
    labelled = label_scans(read_cohort(folder))
    assert (labelled.target, labelled.classes) == ("group", ["control", "depr"])
    with pytest.raises(InputError, match="unknown column for --target 'sex'"):
        label_scans(read_cohort(folder), target="sex")
