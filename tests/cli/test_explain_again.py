"""A second call into the same folder: what stands whole stays, what is another scan's is not replaced."""

from __future__ import annotations

import csv
import json
import os
import shutil

import numpy as np
import pytest

from helpers.command import run
from neuroxai import io
from neuroxai.explain import writer
from neuroxai.space import Volume, mni152

STEM = "sub-17_space-network_desc-lrpAlphaBeta"


def rows(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


@pytest.fixture
def copy(tiny_cohort, tmp_path):
    """Copy a participant's scan under another name and return the path."""

    def make(subject, name):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny_cohort / subject / "anat" / f"{subject}_desc-brain_T1w.nii.gz", target)
        return target

    return make


def test_only_what_stands_whole_is_finished(trained_bundle, copy, tmp_path):
    scan, out = copy("sub-17", "sub-17_T1w.nii.gz"), tmp_path / "out"
    arguments = ("explain", trained_bundle, scan, "--out", out)
    assert run(*arguments).code == 0
    assert "1 of 1 scans were finished before" in run(*arguments).err
    anat = out / "sub-17" / "anat"
    image, sidecar, regions = (anat / f"{STEM}{end}" for end in ("_heatmap.nii.gz", "_heatmap.json", "_regions.tsv"))
    whole = image.read_bytes()

    def cut(path, content):
        path.write_bytes(content)

    for damage in (
        lambda: cut(image, whole[: len(whole) // 2]),
        image.unlink,
        lambda: cut(sidecar, b""),
        lambda: cut(sidecar, b"[]"),
        regions.unlink,
    ):
        damage()
        again = run(*arguments)
        assert (again.code, "finished before" in again.err) == (0, False), again.err
        assert image.read_bytes() == whole
        assert regions.is_file()
        assert json.loads(sidecar.read_text())["prediction"]["participant_id"] == "sub-17"


def test_tables_are_the_folders(trained_bundle, copy, tmp_path):
    out = tmp_path / "out"
    for subject in ("sub-16", "sub-17", "sub-16"):
        assert run("explain", trained_bundle, copy(subject, f"{subject}_T1w.nii.gz"), "--out", out).code == 0
    assert [row["participant_id"] for row in rows(out / "predictions.tsv")] == ["sub-16", "sub-17"]
    assert {row["participant_id"] for row in rows(out / "regions.tsv")} == {"sub-16", "sub-17"}
    assert not (out / ".lock").exists()


def test_calls_that_end_at_the_same_time_wait_for_each_other(trained_bundle, copy, tmp_path, monkeypatch):
    out, held = tmp_path / "out", []

    def watched(call):
        return lambda *arguments: held.append((out / ".lock").exists()) or call(*arguments)

    # the former rows are read and all are written in one go: a row written between the two would be lost
    monkeypatch.setattr(writer, "read_rows", watched(writer.read_rows))
    monkeypatch.setattr(writer, "write_predictions", watched(writer.write_predictions))
    for subject in ("sub-16", "sub-17"):
        assert run("explain", trained_bundle, copy(subject, f"{subject}_T1w.nii.gz"), "--out", out).code == 0
    assert held == [True] * 3


def test_scans_of_one_name_are_kept_apart_or_refused(trained_bundle, copy, tmp_path):
    out = tmp_path / "out"
    for number, subject in ((1, "sub-16"), (2, "sub-17")):
        scan = copy(subject, f"sub-01_run-{number}_T1w.nii.gz")
        assert run("explain", trained_bundle, scan, "--out", out, "--no-native").code == 0
    table = rows(out / "predictions.tsv")
    assert [(row["participant_id"], row["session_id"]) for row in table] == [("sub-01", "run-1"), ("sub-01", "run-2")]
    assert table[0]["score"] != table[1]["score"]
    assert (out / "sub-01/anat/sub-01_run-2_space-network_desc-lrpAlphaBeta_heatmap.nii.gz").is_file()
    before = (out / "predictions.tsv").read_bytes()
    # letters that no identifier may hold are left out, which makes these two one
    first, second = copy("sub-16", "José.nii.gz"), copy("sub-17", "Josè.nii.gz")
    assert run("explain", trained_bundle, first, "--out", out, "--no-native").code == 0
    refused = run("explain", trained_bundle, second, "--out", out, "--no-native")
    assert refused.code == 2
    assert "results of another scan of this name, José.nii.gz" in refused.err
    assert (out / "predictions.tsv").read_bytes() != before


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_items_of_one_name_are_refused_before_anything_runs(trained_bundle, copy, tmp_path, command):
    images = [copy("sub-16", f"cohort/scan{number}.nii.gz").name for number in (1, 2)]
    names = [
        [{"participant_id": "sub-1"}, {"participant_id": "sub-1"}],
        [{"participant_id": "sub-1", "session_id": 3}, {"participant_id": "sub-1", "session_id": "3"}],
        [{"participant_id": "sub-a"}, {"participant_id": "sub-A"}],
        [{"participant_id": "sub-Jose\u0301"}, {"participant_id": "sub-Jos\u00e9"}],
    ]
    for pair in names:
        items = [{"image": image, "label": 0, **who} for image, who in zip(images, pair, strict=True)]
        io.write_json(tmp_path / "cohort" / "datalist.json", {"classes": ["CN", "AD"], "test": items})
        result = run(command, trained_bundle, tmp_path / "cohort", "--part", "test", "--out", tmp_path / "out")
        assert result.code == 2
        assert "scans of one name" in result.err
    assert not (tmp_path / "out").exists()


def test_sessions_of_a_datalist_come_from_the_names_where_the_list_is_silent(trained_bundle, copy, tmp_path):
    images = [f"sub-1/ses-{n}/anat/sub-1_ses-{n}_T1w.nii.gz" for n in (1, 2)]
    for image, subject in zip(images, ("sub-16", "sub-17"), strict=True):
        copy(subject, f"cohort/{image}")
    items = [{"image": image, "label": 0, "participant_id": None, "session_id": None} for image in images]
    items[1] |= {"session_id": 0}
    io.write_json(tmp_path / "cohort" / "datalist.json", {"classes": ["CN", "AD"], "test": items})
    out = tmp_path / "out"
    result = run("predict", trained_bundle, tmp_path / "cohort", "--part", "test", "--out", out)
    assert result.code == 0, result.err
    who = sorted((row["participant_id"], row["session_id"]) for row in rows(out / "predictions.tsv"))
    assert who == [("sub-1", "0"), ("sub-1", "ses-1")]


def test_links_count_as_what_they_are_named(trained_bundle, tiny_cohort, tmp_path):
    cohort, store = tmp_path / "cohort", tmp_path / "annex"
    store.mkdir()
    for subject in ("sub-16", "sub-17"):
        anat = cohort / subject / "anat"
        anat.mkdir(parents=True)
        for number, file in enumerate(sorted((tiny_cohort / subject / "anat").iterdir())):
            key = store / f"SHA256E-{subject}{number}.nii.gz"
            shutil.copy(file, key)
            (anat / file.name).symlink_to(os.path.relpath(key, anat))
    out = tmp_path / "out"
    assert run("explain", trained_bundle, cohort, "--out", out, "--no-native").code == 0
    sidecar = json.loads((out / "sub-17" / "anat" / f"{STEM}_heatmap.json").read_text())
    assert sidecar["source"] == "sub-17/anat/sub-17_desc-brain_T1w.nii.gz"
    single = cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz"
    assert run("explain", trained_bundle, single, "--out", tmp_path / "one", "--no-native").code == 0
    assert rows(tmp_path / "one" / "predictions.tsv")[0]["participant_id"] == "sub-17"
    sidecar = json.loads((tmp_path / "one" / "sub-17" / "anat" / f"{STEM}_heatmap.json").read_text())
    assert (sidecar["source"], sidecar["source_folder"]) == (single.name, str(single.parent))


def test_a_corrected_table_of_names_is_used_without_new_heatmaps(trained_bundle, copy, tmp_path):
    space = mni152(5)
    labels = np.ones(space.shape, np.uint8)
    labels[19:] = 2
    io.write_volume(tmp_path / "halves.nii.gz", Volume(labels, space), dtype=np.uint8)
    table = tmp_path / "halves.tsv"
    table.write_text("index\tname\n1\tRight half\n2\tLeft half\n")
    out = tmp_path / "out"
    arguments = ("explain", trained_bundle, copy("sub-17", "sub-17_T1w.nii.gz"), "--out", out)
    arguments += ("--atlas", tmp_path / "halves.nii.gz", "--labels", table)
    assert run(*arguments).code == 0
    first = {row["name"]: row["sum"] for row in rows(out / "regions.tsv")}
    stamp = (out / "sub-17" / "anat" / f"{STEM}_heatmap.nii.gz").stat().st_mtime_ns
    table.write_text("index\tname\n1\tLeft half\n2\tRight half\n")
    again = run(*arguments)
    assert "1 of 1 scans were finished before" in again.err
    assert (out / "sub-17" / "anat" / f"{STEM}_heatmap.nii.gz").stat().st_mtime_ns == stamp
    second = {row["name"]: row["sum"] for row in rows(out / "regions.tsv")}
    assert second == {"Left half": first["Right half"], "Right half": first["Left half"]}
    assert "1 of 1 scans were finished before" in run(*arguments).err


def test_a_source_outside_the_cohort_is_refused(tmp_path):
    from neuroxai.derivatives.heatmaps import Sidecar
    from neuroxai.errors import InputError

    assert Sidecar(source="sub-1/x.nii").scan(tmp_path) == tmp_path / "sub-1/x.nii"
    for source in ("../x.nii", "/etc/x.nii", "sub-1/../../x.nii"):
        with pytest.raises(InputError, match="leaves the folder"):
            Sidecar(source=source).scan(tmp_path)


def test_the_truth_comes_from_participants_where_no_datalist_is_given(trained_bundle, copy, tmp_path):
    for subject, name in (("sub-16", "sub-1"), ("sub-17", "sub-2"), ("sub-18", "sub-3")):
        copy(subject, f"cohort/{name}/anat/{name}_T1w.nii.gz")
    table = tmp_path / "cohort" / "participants.tsv"
    table.write_text("participant_id\tdiagnosis\nsub-1\tCN\nsub-2\tAD\nsub-3\tMCI\n")
    out = tmp_path / "out"
    arguments = (trained_bundle, tmp_path / "cohort", "--out", out, "--no-native")
    result = run("explain", *arguments)
    assert result.code == 0, result.err
    assert "the true class of 2 of 3 scans is known, from 'diagnosis' in participants.tsv" in result.err
    assert [row["true"] for row in rows(out / "predictions.tsv")] == ["CN", "AD", "n/a"]
    assert run("predict", *arguments[:2], "--out", tmp_path / "predicted").code == 0
    assert [row["true"] for row in rows(tmp_path / "predicted" / "predictions.tsv")] == ["CN", "AD", "n/a"]
    # a corrected label is taken up, the heatmaps stand
    table.write_text("participant_id\tdiagnosis\nsub-1\tAD\nsub-2\tAD\nsub-3\tMCI\n")
    assert "3 of 3 scans were finished before" in run("explain", *arguments).err
    assert [row["true"] for row in rows(out / "predictions.tsv")] == ["AD", "AD", "n/a"]
    table.write_text('participant_id\tdiagnosis\nsub-1\t"AD\nsub-2\tAD\nsub-3\tMCI\n')
    broken = run("explain", *arguments)
    assert (broken.code, "participants.tsv: is not a tab-separated table (line 2" in broken.err) == (2, True)
