"""No command writes onto its inputs, or over what somebody else has written."""

from __future__ import annotations

import os

import pytest

from neuroxai.errors import InputError
from neuroxai.io import check_file, check_folder, json_of, table_of

OURS = table_of("participant_id", "probability_*")


def test_a_file_that_is_an_input_is_refused_whatever_it_is_called(tmp_path):
    scan = tmp_path / "scan.nii"
    scan.write_bytes(b"scan")
    (tmp_path / "link.nii").symlink_to(scan)
    os.link(scan, tmp_path / "hard.nii")
    (tmp_path / "sub").mkdir()
    for name in ("scan.nii", "link.nii", "hard.nii", "sub/../scan.nii"):
        with pytest.raises(InputError, match=r"--out .* is an input of this command"):
            check_file("--out", tmp_path / name, [None, scan], lambda _: True, "table")
    check_file("--out", tmp_path / "other.tsv", [None, scan], OURS, "table")
    # an input that is not there yet is still an input
    with pytest.raises(InputError, match="is an input"):
        check_file("--out", tmp_path / "absent", [tmp_path / "sub/../absent"], OURS, "table")


def test_an_existing_file_is_replaced_only_if_it_is_of_the_same_kind(tmp_path):
    path = tmp_path / "x.tsv"
    for content in ("", "my notes\n", "participant_id\tage\n", "\xff\x00"):
        path.write_text(content, encoding="latin-1")
        with pytest.raises(InputError, match=r"exists and is no table, and would be lost; name a new file"):
            check_file("--out", path, [], OURS, "table")
    path.write_text("participant_id\tprobability_AD\nsub-1\t1\n")
    check_file("--out", path, [], OURS, "table")
    with pytest.raises(InputError, match="is a folder, expected a file"):
        check_file("--out", tmp_path, [], OURS, "table")


def test_a_pipe_or_device_is_no_place_for_results(tmp_path):
    os.mkfifo(tmp_path / "pipe.tsv")
    for path in (tmp_path / "pipe.tsv", "/dev/null"):
        with pytest.raises(InputError, match="is a pipe, a socket or a device, expected a file for the table"):
            check_file("--out", path, [], table_of("name"), "table")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"a": 1}', "\x00", "[" * 100_000])
def test_json_of_another_kind_is_no_json_of_ours(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    assert not json_of("a", "b")(path)
    path.write_text('{"a": 1, "b": 2, "c": 3}')
    assert json_of("a", "b")(path)


def test_a_folder_among_the_inputs_is_refused(tmp_path):
    cohort, series = tmp_path / "cohort", tmp_path / "series"
    (cohort / "sub-1" / "anat").mkdir(parents=True)
    series.mkdir()
    (tmp_path / "link").symlink_to(cohort)
    for out in (cohort, tmp_path / "link", cohort / "sub-1", cohort / "sub-1" / "anat" / "new"):
        with pytest.raises(InputError, match=r"is an input of this command|lies among the inputs"):
            check_folder("--out", out, [cohort])
    check_folder("--out", cohort / "derivatives" / "explained", [cohort, None])
    with pytest.raises(InputError, match="lies among the inputs"):
        check_folder("--dicom-out", series / "objects", [], apart=[series])
    check_folder("--out", tmp_path / "new", [cohort], apart=[series])


def test_a_folder_with_a_strange_file_of_a_name_of_ours_is_refused(tmp_path):
    check_folder("--out", tmp_path, [], {"predictions.tsv": OURS})
    (tmp_path / "predictions.tsv").write_text("my own\n")
    with pytest.raises(InputError, match=r"holds predictions.tsv of somebody else"):
        check_folder("--out", tmp_path, [], {"predictions.tsv": OURS})
    with pytest.raises(InputError, match="is a file, expected a folder"):
        check_folder("--out", tmp_path / "predictions.tsv", [])


def test_a_report_removes_the_pages_of_its_own_that_it_no_longer_shows(tmp_path):
    from neuroxai.report.build import _check_output, _remove_others

    ours = '<p class="notice" role="note"><strong>research use</strong></p>'
    for name in ("sub-1.html", "sub-2.html", "index.html", "other.html"):
        (tmp_path / name).write_text(ours)
    (tmp_path / "sub-3.html").write_text("my own page")
    _remove_others(tmp_path, {"sub-1.html"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html", "other.html", "sub-1.html", "sub-3.html"]
    _check_output(tmp_path, [])
    (tmp_path / "index.html").write_text("my own page")
    with pytest.raises(InputError, match=r"holds index.html of somebody else"):
        _check_output(tmp_path, [])
