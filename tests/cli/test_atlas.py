from __future__ import annotations

import json

import numpy as np
import pytest

from helpers.command import run
from helpers.thirds import sampled
from neuroxai.io import write_volume
from neuroxai.space import Space, Volume

AFFINE = np.diag([2.0, 2, 2, 1])
AFFINE[:3, 3] = (-20, -30, -10)
SPACE = Space((21, 4, 3), AFFINE)


@pytest.fixture
def atlas(tmp_path, monkeypatch):
    """A small atlas in MNI152 space with nothing wrong, and no copies of others on the machine."""
    for variable in ("NEUROXAI_ATLASES", "SPM_HOME", "FSLDIR", "NILEARN_DATA", "NILEARN_SHARED_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    labels = np.zeros(SPACE.shape, np.int16)
    labels[1:4] = 300  # x = -18 to -14 mm
    labels[16:18] = 301  # x = 12 to 14 mm
    labels[10, 0, 0] = 7
    table = tmp_path / "a.tsv"
    table.write_text("index\tname\n300\tLeft Caudate\n301\tRight Caudate\n7\tBrain stem\n")
    return write_volume(tmp_path / "a.nii.gz", Volume(labels, SPACE), dtype=np.int16), labels, table


def test_show_prints_index_name_voxels_volume_and_centre(atlas):
    image, _, _ = atlas
    result = run("atlas", "show", image)
    assert result.code == 0
    assert result.out.splitlines() == [
        "index\tname\tvoxels\tvolume_mm3\tx\ty\tz",
        "7\tBrain stem\t1\t8\t0.0\t-30.0\t-10.0",
        "300\tLeft Caudate\t36\t288\t-16.0\t-27.0\t-8.0",
        "301\tRight Caudate\t24\t192\t13.0\t-27.0\t-8.0",
    ]
    assert "BIDS dseg table, value = index" in result.err
    shown = json.loads(run("atlas", "show", image, "--json").out)
    assert shown["space"]["shape"] == [21, 4, 3]
    assert shown["regions"][2] == {
        "index": 301,
        "name": "Right Caudate",
        "voxels": 24,
        "volume_mm3": 192.0,
        "centre_mm": [13.0, -27.0, -8.0],
    }


def test_show_keeps_regions_without_voxels(atlas):
    image, _, table = atlas
    table.write_text(table.read_text() + "400\tNowhere\n")
    assert run("atlas", "show", image).out.splitlines()[-1] == "400\tNowhere\t0\t0\tn/a\tn/a\tn/a"
    assert json.loads(run("atlas", "show", image, "--json").out)["regions"][-1]["centre_mm"] is None


def test_list_says_what_is_here_and_how_to_get_the_rest(atlas, tmp_path):
    image, _, _ = atlas
    (tmp_path / "fsl").mkdir()
    (tmp_path / "fsl/JHU-ICBM-labels-2mm.nii.gz").write_bytes(image.read_bytes())
    (tmp_path / "fsl/JHU-labels.xml").write_text("<atlas/>")
    result = run("atlas", "list", "--fsl", tmp_path / "fsl")
    assert result.code == 0
    lines = {line.split()[0]: line for line in result.out.splitlines()}
    assert lines["builtin"].split()[1] == "found"
    assert str(tmp_path / "fsl/JHU-ICBM-labels-2mm.nii.gz") in lines["jhu"]
    assert "absent" in lines["neuromorphometrics"]
    assert "SPM_HOME" in lines["neuromorphometrics"]
    assert "neuroxai atlas show aal --download" in lines["aal"]
    rows = {row["name"]: row for row in json.loads(run("atlas", "list", "--json").out)["atlases"]}
    assert rows["builtin"]["found"]
    assert not rows["jhu"]["found"]


def test_check_finds_nothing_in_a_sound_atlas(atlas):
    result = run("atlas", "check", atlas[0])
    assert result.code == 0
    assert "no problem found" in result.out
    assert json.loads(run("atlas", "check", atlas[0], "--json").out)["problems"] == []


@pytest.mark.parametrize(
    ("table", "kind", "words"),
    [
        ("300\tLeft Caudate\n301\tRight Caudate\n", "labels without names", "(7)"),
        ("300\tLeft Caudate\n301\tRight Caudate\n7\tBrain stem\n8\tx\n", "names without voxels", "x"),
        ("300\tCaudate\n301\tcaudate\n7\tBrain stem\n", "duplicate names", "300, 301"),
        (
            "300\tRight Caudate\n301\tLeft Caudate\n7\tBrain stem\n",
            "hemispheres swapped",
            "Right Caudate, Left Caudate",
        ),
    ],
)
def test_check_names_each_problem_with_exit_code_1(atlas, table, kind, words):
    image, _, path = atlas
    path.write_text("index\tname\n" + table)
    result = run("atlas", "check", image, "--json")
    assert result.code == 1
    problem, *others = json.loads(result.out)["problems"]
    assert problem["kind"] == kind
    # two caudates of one name: nor can their sides be read
    assert [other["kind"] for other in others] == (["sides not read"] if kind == "duplicate names" else [])
    assert words in problem["text"]
    plain = run("atlas", "check", image)
    assert plain.code == 1
    assert f"{kind}: " in plain.out


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("7Networks_LH_Vis_1", "7Networks_RH_Vis_1"),
        ("SFG_L_7_1", "SFG_R_7_1"),
        ("X_L 2001", "X_R 2002"),
        ("af_l", "af_r"),
    ],
)
def test_check_reads_sides_as_other_atlases_write_them(atlas, left, right):
    image, _, path = atlas
    path.write_text(f"index\tname\n300\t{left}\n301\t{right}\n7\tBrain stem\n")
    sound = run("atlas", "check", image)
    assert sound.code == 0
    assert "by their names 1 are left, 1 are right, 1 have no side\nno problem found" in sound.out
    path.write_text(f"index\tname\n300\t{right}\n301\t{left}\n7\tBrain stem\n")
    swapped = json.loads(run("atlas", "check", image, "--json").out)
    assert [problem["kind"] for problem in swapped["problems"]] == ["hemispheres swapped"]
    assert swapped["sides"] == {"left": 1, "right": 1, "none": 1}


def test_check_counts_names_whose_side_cannot_be_read(atlas):
    image, _, path = atlas
    path.write_text("index\tname\n300\tCaudate one\n301\tCaudate two\n7\tBrain stem\n")
    result = run("atlas", "check", image)
    assert result.code == 1
    assert "sides not read: 2 of 3 regions lie in one hemisphere" in result.out
    assert "no problem found" not in result.out


def test_check_finds_swapped_sides_wherever_the_midline_is(atlas, tmp_path):
    _, labels, path = atlas
    moved = AFFINE.copy()
    moved[0, 3] += 30  # as in a scan's own space: both caudates lie right of x = 0
    image = write_volume(tmp_path / "moved.nii.gz", Volume(labels, Space(SPACE.shape, moved)), dtype=np.int16)
    rest = "7\tLeft accumbens\n8\tx\n"
    for one, two, found in (("Left", "Right", []), ("Right", "Left", ["hemispheres swapped"])):
        path.write_text(f"index\tname\n300\t{one} Caudate\n301\t{two} Caudate\n{rest}")
        result = json.loads(run("atlas", "check", image, "--labels", path, "--json").out)
        crossed = [p for p in result["problems"] if p["kind"] == "hemispheres swapped"]
        assert [p["kind"] for p in crossed if "Caudate" in p["text"]] == found


@pytest.mark.parametrize("y", [76, 400])
def test_check_tells_of_regions_outside_mni152(atlas, tmp_path, y):
    _, labels, table = atlas
    moved = AFFINE.copy()
    moved[1, 3] = y  # the last of four slices at 82 mm, or all
    image = write_volume(tmp_path / "moved.nii.gz", Volume(labels, Space(SPACE.shape, moved)), dtype=np.int16)
    result = run("atlas", "check", image, "--labels", table, "--json")
    assert result.code == 1
    assert [p["kind"] for p in json.loads(result.out)["problems"]] == ["outside MNI152"]


def test_check_without_a_table(atlas):
    image, _, table = atlas
    table.unlink()
    result = run("atlas", "check", image)
    assert result.code == 1
    assert "there is no label table; give one with --labels" in result.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "no.nii.gz"), "no such file"),
        (("show", "no-such"), "unknown atlas 'no-such'"),
        (("show", "jhu"), "no copy of the atlas 'jhu'"),
        (("check", "jhu"), "no copy of the atlas 'jhu'"),
    ],
)
def test_bad_input_is_one_line_and_2(atlas, arguments, words):
    result = run("atlas", *arguments)
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert words in result.err


@pytest.mark.parametrize("command", ["list", "show", "check"])
def test_help_shows_an_example(command):
    result = run("atlas", command, "--help")
    assert result.code == 0
    assert f"neuroxai atlas {command}" in result.out


@pytest.mark.real
@pytest.mark.parametrize(
    "name", sampled(["neuromorphometrics", "jhu", "mni-lobes", "jhu-tracts", "harvard-oxford-subcortical"], 3)
)
def test_real_atlases_pass_the_check(real_data, monkeypatch, name):
    monkeypatch.setenv("NEUROXAI_ATLASES", str(real_data / "atlases"))
    result = run("atlas", "check", name)
    assert result.code == 0, result.out


@pytest.mark.real
def test_real_header_without_origin_fails_the_check(real_data):
    result = run("atlas", "check", real_data / "atlases" / "JHU_MNI_SS_WMPM_Type-III_BADHEADER.nii.gz")
    assert result.code == 1
    assert "outside MNI152" in result.out
