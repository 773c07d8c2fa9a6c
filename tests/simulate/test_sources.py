from __future__ import annotations

import shutil

import numpy as np
import pytest

from neuroxai.errors import InputError, SpaceError
from neuroxai.simulate import find_sources
from neuroxai.simulate.anatomy import anatomy_of
from neuroxai.simulate.contrast import Curve
from neuroxai.space import Space, Volume


def names(sources):
    return [source.participant_id for source in sources.scans]


def test_controls_are_healthy_unless_others_are_named(prepared):
    table = prepared / "participants.tsv"
    assert names(find_sources(table)) == ["sub-01", "sub-03", "sub-04"]
    assert names(find_sources(prepared)) == ["sub-01", "sub-03", "sub-04"]
    assert names(find_sources(table, healthy=["patients"])) == ["sub-02"]
    assert names(find_sources(table, healthy=["patients", "control"])) == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert names(find_sources(table, target="sex", healthy=["F"])) == ["sub-02", "sub-04"]
    first = find_sources(table).scans[0]
    assert (first.suffix, first.age, first.sex, first.label_map) == ("T1w", 31.0, "M", None)


def test_everybody_is_healthy_where_there_is_no_class_and_the_first_session_counts(prepared, tmp_path):
    scan = next((prepared / "sub-01" / "anat").glob("*T1w.nii.gz"))
    for session in ("ses-1", "ses-2"):
        target = tmp_path / "scans" / "sub-07" / session / "anat" / f"sub-07_{session}_T1w.nii.gz"
        target.parent.mkdir(parents=True)
        shutil.copy(scan, target)
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-07\tn/a\n")
    sources = find_sources(tmp_path / "participants.tsv", tmp_path / "scans")
    assert [s.scan.name for s in sources.scans] == ["sub-07_ses-1_T1w.nii.gz"]
    assert (sources.scans[0].age, sources.scans[0].sex) == (None, None)
    assert "everybody counts as healthy" in sources.notes[-1]
    assert "1 later scans" in sources.notes[-2]


def test_runs_of_a_scan_are_chosen(prepared, tmp_path):
    scan = next((prepared / "sub-01" / "anat").glob("*T1w.nii.gz"))
    for name in ("sub-07_T1w", "sub-08_run-2_T1w", "sub-08_run-10_T1w"):
        target = tmp_path / name[:6] / "anat" / f"{name}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scan, target)
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-07\tn/a\nsub-08\tn/a\n")
    assert names(find_sources(tmp_path)) == ["sub-07"]
    for run, number in (("first", "2"), ("last", "10"), ("all", "2")):
        found = find_sources(tmp_path, run=run)
        assert [s.scan.name for s in found.scans] == ["sub-07_T1w.nii.gz", f"sub-08_run-{number}_T1w.nii.gz"]
        assert (found.left_out, any("1 later scans" in note for note in found.notes)) == ([], run == "all")
    with pytest.raises(InputError, match="choice for --run 'third'"):
        find_sources(tmp_path, run="third")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"healthy": ["well"]}, r"unknown class for --healthy \(column 'group'\) 'well'.*control, patients"),
        ({"suffix": "FLAIR"}, "none of 8 files is a scan with --suffix FLAIR"),
        ({"folder": "absent"}, "no such folder.*--scans"),
        ({"target": "dx"}, "unknown column for --target 'dx'"),
        ({"label_maps": "sub-*/anat/*_aseg.nii.gz"}, "no NIfTI file matching the pattern"),
        ({"label_maps": "sub-01/anat/*_dseg.nii.gz"}, "finds no label map for sub-03"),
    ],
)
def test_what_cannot_be_found(prepared, options, words):
    with pytest.raises(InputError, match=words):
        find_sources(prepared / "participants.tsv", **options)


def test_unclear_tables(prepared, tmp_path):
    with pytest.raises(InputError, match="no such table"):
        find_sources(tmp_path / "participants.tsv")
    (tmp_path / "participants.tsv").write_text("participant_id\tgroup\nsub-01\ta\nsub-02\tb\n")
    with pytest.raises(InputError, match=r"who are the controls\? classes found: a \(1\), b \(1\).*--healthy"):
        find_sources(tmp_path / "participants.tsv", prepared)


def test_tissue_of_a_real_scale_and_its_refusals(prepared_scan):
    anatomy, white = anatomy_of(prepared_scan, "scan")
    assert white == pytest.approx(280, rel=0.1)
    assert 1.4e6 < anatomy.brain.sum() * 64 < 2.2e6
    for share, low, high in ((anatomy.gm, 0.25, 0.65), (anatomy.wm, 0.2, 0.55), (anatomy.csf, 0.02, 0.3)):
        assert share.min() >= 0
        assert share.max() <= 1
        assert low < share.sum() / anatomy.brain.sum() < high
    data, space = prepared_scan.data, prepared_scan.space
    with pytest.raises(InputError, match="lowest intensity is -"):
        anatomy_of(Volume(data - 100, space), "z")
    with pytest.raises(InputError, match="the brain is not extracted"):
        anatomy_of(Volume(data + 100, space), "head")
    with pytest.raises(InputError, match="every voxel is 0"):
        anatomy_of(Volume(0 * data, space), "empty")
    shifted = space.affine.copy()
    shifted[:3, 3] += (0, 25, 0)
    with pytest.raises(SpaceError, match=r"Dice of 0\.\d+, expected 0\.8"):
        anatomy_of(Volume(data, Space(space.shape, shifted)), "moved")
    upside = np.ascontiguousarray(data[:, ::-1, ::-1])
    with pytest.raises(SpaceError, match="Dice"):
        anatomy_of(Volume(upside, space), "upside down")
    with pytest.raises(InputError, match="three tissues do not show"):
        anatomy_of(Volume(np.where(data > 0, 100 + data / 100, 0).astype(np.float32), space), "flat")


def test_other_contrasts_take_the_templates_tissue(prepared_scan):
    flat = np.where(prepared_scan.data > 0, 100 + prepared_scan.data / 100, 0).astype(np.float32)
    anatomy, white = anatomy_of(Volume(flat, prepared_scan.space), "flair", "FLAIR")
    assert 100 < white < 105
    assert anatomy.wm.max() > 0.9
    assert np.median(anatomy.t1[anatomy.wm > 0.9]) == pytest.approx(1.0)


def test_the_curve_is_that_of_a_flair():
    fluid, grey, white = (float(Curve()([np.float32([v])])[0]) for v in (0.3, 0.75, 1.0))
    assert fluid < 0.3
    assert white == 1.0
    assert 0.95 < grey < 1.2
    assert Curve()([np.float32([0.0])])[0] == 0
    assert Curve()([np.float32([0.05])])[0] == pytest.approx(0.03)
