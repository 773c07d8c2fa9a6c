"""Names that no table can hold are left out, told and never written."""

from __future__ import annotations

import os

import pytest

from helpers.command import run
from neuroxai.cohort import find_scans
from neuroxai.errors import InputError, check_arguments
from neuroxai.io import write_json, write_text


@pytest.mark.parametrize(
    "name", [b"sub-1_desc-\xff_T1w.nii.gz", b"sub-1_desc-a\nb_T1w.nii.gz", b"sub-1_\x1b_T1w.nii.gz"]
)
def test_a_scan_with_such_a_name_is_left_out_and_told(tmp_path, name):
    anat = tmp_path / "sub-1" / "anat"
    anat.mkdir(parents=True)
    with open(os.path.join(os.fsencode(anat), name), "w"):
        pass
    other = tmp_path / "sub-2" / "anat" / "sub-2_desc-é_T1w.nii.gz"
    other.parent.mkdir(parents=True)
    other.touch()
    scans, left_out = find_scans(tmp_path)
    assert [scan.participant_id for scan in scans] == ["sub-2"]
    ((line),) = [str(one) for one in left_out]
    assert "rename the file or folder" in line
    line.encode()
    assert line.isprintable()


@pytest.mark.parametrize("argument", ["a\udcff", "a\nb", "\x7f", "a\tb"])
def test_such_arguments_are_refused_by_every_command(argument, tmp_path):
    with pytest.raises(InputError, match="rename the file or folder"):
        check_arguments(["--out", argument])
    for command in ("score", "split", "report"):
        result = run(command, tmp_path / argument, "--out", tmp_path)
        assert (result.code, "Traceback" in result.err) == (2, False)
        assert "rename the file or folder" in result.err
    check_arguments(["--out", "ü/日本/a b#@%$"])


def test_what_is_no_utf_8_is_not_written(tmp_path):
    for write, value in ((write_text, "a\udcff"), (write_json, {"name": "a\udcff"})):
        with pytest.raises(InputError, match="is no UTF-8"):
            write(tmp_path / "x", value)
    assert list(tmp_path.iterdir()) == []


def test_a_name_too_long_is_one_line(tmp_path):
    result = run("report", tmp_path, "--out", tmp_path / ("x" * 300))
    assert result.code == 2
    assert "Traceback" not in result.err
