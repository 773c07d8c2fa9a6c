from __future__ import annotations

import json

import numpy as np
import pytest

from neuroxai.errors import InputError
from neuroxai.io import read_tsv, read_volume, sha256
from neuroxai.simulate import cohort, simulate_cohort
from neuroxai.space import mni152


def hashes(folder):
    return {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory, atrophy):
    folder = tmp_path_factory.mktemp("made") / "cohort"
    calls = []
    summary = simulate_cohort(folder, "atrophy", 4, 8, seed=3, progress=lambda *n: calls.append(n))
    return folder, summary, calls


def test_what_stands_in_the_folder(made):
    folder, summary, calls = made
    assert (summary.made, summary.kept, summary.failed) == (4, 0, [])
    assert calls == [(i, 4) for i in range(5)]
    frame = read_tsv(folder / "participants.tsv", ["participant_id", "diagnosis", "age", "sex", "dose"])
    assert frame["diagnosis"].value_counts().to_dict() == {"AD": 2, "CN": 2}
    assert set(json.loads((folder / "participants.json").read_text())) == set(frame.columns)
    for row in frame.itertuples():
        stem = folder / row.participant_id / "anat" / f"{row.participant_id}_space-MNI152_res-8"
        scan = read_volume(f"{stem}_desc-brain_T1w.nii.gz")
        assert scan.space.matches(mni152(8))
        mask = read_volume(f"{stem}_desc-effect_mask.nii.gz", check_content=False)
        change = read_volume(f"{stem}_desc-effect_logjacobian.nii.gz", check_content=False)
        assert set(np.unique(mask.data)) <= {0, 1}
        patient = row.diagnosis == "AD"
        assert mask.data.any() == patient
        assert change.data.any() == patient
        assert (row.hippocampus_loss_percent > 10) == patient
        assert row.hippocampus_volume_mm3 > 4000
    description = json.loads((folder / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Parameters"]["seed"] == 3


def test_a_rerun_keeps_what_is_whole_and_mends_the_rest(made):
    folder, _, _ = made
    before = hashes(folder)
    scans = sorted(folder.rglob("*_T1w.nii.gz"))
    times = {p: p.stat().st_mtime_ns for p in scans}
    scans[0].write_bytes(scans[0].read_bytes()[:100])
    scans[1].with_name(scans[1].name.replace(".nii.gz", ".json")).unlink()
    (folder / "participants.tsv").unlink()
    summary = simulate_cohort(folder, "atrophy", 4, 8, seed=3)
    assert (summary.made, summary.kept) == (2, 2)
    assert hashes(folder) == before
    assert [p.stat().st_mtime_ns == times[p] for p in scans] == [False, False, True, True]


def test_two_processes_write_the_same_bytes(made, tmp_path):
    folder, _, _ = made
    simulate_cohort(tmp_path / "two", "atrophy", 4, 8, seed=3, jobs=2)
    assert hashes(tmp_path / "two") == hashes(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 4}, "seed 3, now 4"),
        ({"spacing": 4}, "spacing 8.0, now 4.0"),
        ({"subjects": 6}, "subjects 4, now 6"),
        ({"effect": "lesions"}, "effect 'atrophy', now 'lesions'"),
    ],
)
def test_other_options_in_the_same_folder_are_refused(made, change, words):
    options = {"effect": "atrophy", "subjects": 4, "spacing": 8, "seed": 3, **change}
    with pytest.raises(InputError, match=words):
        simulate_cohort(made[0], **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"effect": "ageing"}, "unknown effect 'ageing'.*atrophy, lesions"),
        ({"subjects": 1}, "subjects is 1"),
        ({"spacing": 0.4}, "spacing is 0.4"),
        ({"spacing": 9}, "spacing is 9"),
        ({"spacing": float("nan")}, "spacing is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"jobs": 0}, "jobs is 0"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, change, words):
    options = {"effect": "atrophy", "subjects": 4, "spacing": 8, "seed": 3, **change}
    with pytest.raises(InputError, match=words):
        simulate_cohort(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_foreign_folders_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not empty.*notes\.txt"):
        simulate_cohort(tmp_path, "atrophy", 2, 8)
    with pytest.raises(InputError, match="is a file"):
        simulate_cohort(tmp_path / "notes.txt", "atrophy", 2, 8)
    other = tmp_path / "other"
    other.mkdir()
    (other / "dataset_description.json").write_text('{"Name": "my study", "BIDSVersion": "1.8.0"}')
    with pytest.raises(InputError, match="another data set"):
        simulate_cohort(other, "atrophy", 2, 8)
    assert sorted(p.name for p in other.iterdir()) == ["dataset_description.json"]


def test_one_failing_subject_is_reported_and_the_rest_go_on(tmp_path, monkeypatch, lesions):
    monkeypatch.setattr(cohort, "_prepared", lambda effect: lesions)
    simulate = cohort.simulate_scan

    def sometimes(acquisition, seed, present):
        if seed.spawn_key[-1] == 2:
            raise MemoryError("out of memory")
        return simulate(acquisition, seed, present)

    monkeypatch.setattr(cohort, "simulate_scan", sometimes)
    summary = simulate_cohort(tmp_path / "c", "lesions", 3, 8, seed=1)
    assert summary.failed == [{"participant_id": "sub-0002", "error": "MemoryError: out of memory"}]
    assert summary.made == 2
    assert len(read_tsv(tmp_path / "c" / "participants.tsv")) == 2
    assert not list((tmp_path / "c").rglob("*logjacobian*"))
    monkeypatch.setattr(cohort, "simulate_scan", simulate)
    assert simulate_cohort(tmp_path / "c", "lesions", 3, 8, seed=1).made == 1
    frame = read_tsv(tmp_path / "c" / "participants.tsv")
    assert set(frame["diagnosis"]) == {"HC", "MS"}
    assert ((frame["lesion_volume_mm3"] > 300) == (frame["diagnosis"] == "MS")).all()
