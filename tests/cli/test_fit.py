"""A scan that does not fit the network is refused, or flagged where the user insists, by every way to ask."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from helpers.bundles import infer
from helpers.command import run
from neuroxai import io
from neuroxai.derivatives.study_runs import RunRecord
from neuroxai.errors import UnfitError
from neuroxai.evaluation.fit import FitRecord
from neuroxai.evaluation.fit_measures import summarise
from neuroxai.explain import OpenBundle
from neuroxai.space import Space, Volume, mni152
from neuroxai.studies.trained import TrainedRun

SPACE = mni152(5)
NAME = "sub-17_T1w.nii.gz"


@pytest.fixture
def scan(tiny_cohort):
    return tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz"


def table(folder):
    return pd.read_csv(folder / "predictions.tsv", sep="\t", keep_default_na=False)


def test_training_keeps_what_its_own_scans_look_like(trained_bundle, tiny_cohort):
    """Worked out anew from the files of the training part: min-max scaled, as they lie, not augmented."""
    known = io.read_json(trained_bundle / "models" / "model.json")["fit"]
    scans = []
    for item in io.read_json(tiny_cohort / "datalist.json")["training"]:
        data = io.read_volume(tiny_cohort / item["image"]).data  # its least value is 0
        scans.append(summarise(data / data.max(), SPACE.spacing))
    assert known["scans"] == len(scans) == 12
    expected = FitRecord.of(scans, SPACE.spacing).to_dict()
    assert known["centre"] == pytest.approx(expected["centre"], rel=1e-3, abs=1e-5)
    assert known["spread"] == pytest.approx(expected["spread"], rel=1e-3)
    found = FitRecord.from_dict(known)
    np.testing.assert_allclose(found.presence, np.mean([one.presence for one in scans], axis=0), atol=0.01)


def inverted(data):
    return np.where(data != 0, 2 - data, 0)


BAD = {
    "noise": (lambda data: np.random.default_rng(0).random(data.shape), "training scans have none"),
    "a background that is not 0": (lambda data: (data - data.mean()) / data.std(), "training scans have none"),
    "cut": (lambda data: np.where(np.arange(data.shape[2]) < 20, data, 0), "of the training brains is empty"),
    "labels": (lambda data: np.round(data * 2), "neighbouring voxels are equal"),
    "negative": (lambda data: -data, "does not fit the network"),
    "one huge voxel": (lambda data: np.where(data == data.max(), 1e6, data), "its intensities span 0.00 times"),
    "infinite when scaled": (lambda data: np.where(data == data.max(), -3e38, data * 2e38), "too far for single"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_scan_that_does_not_fit_is_refused(tmp_path, trained_bundle, scan, kind):
    change, reason = BAD[kind]
    with np.errstate(over="ignore"):
        io.write_volume(
            tmp_path / NAME, Volume(change(io.read_volume(scan).data.astype(np.float64)).astype(np.float32), SPACE)
        )
    result = run("predict", trained_bundle, tmp_path / NAME, "--out", tmp_path / "out")
    assert (result.code, "Traceback" in result.err) == (2, False), result.err
    assert reason in result.err
    assert NAME in result.err
    assert not (tmp_path / "out" / "predictions.tsv").exists()
    if "too far" not in reason:
        for way_out in ("`neuroxai prepare`", "--prepare linear", "--accept-unfit"):
            assert way_out in result.err


def test_who_insists_gets_an_answer_that_stays_flagged(tmp_path, trained_bundle, scan):
    data = io.read_volume(scan).data
    io.write_volume(tmp_path / NAME, Volume(np.where(np.arange(data.shape[2]) < 20, data, 0), SPACE))
    arguments = ("explain", trained_bundle, tmp_path / NAME, "--out", tmp_path / "out", "--no-native")
    result = run(*arguments, "--accept-unfit")
    assert result.code == 0, result.err
    assert "does not fit, accepted: sub-17" in result.err
    (row,) = table(tmp_path / "out").to_dict("records")
    assert row["fit"] == "far"
    assert row["fit_distance"] > 6
    assert "of the place of the training brains is empty" in row["unlike"]
    meanings = io.read_json(tmp_path / "out" / "predictions.json")
    assert list(meanings) == list(row)
    assert set(meanings["fit"]["Levels"]) == {"fits", "nearly", "far"}
    sidecar = io.read_json(next((tmp_path / "out").rglob("*_space-network_*_heatmap.json")))
    assert sidecar["prediction"]["fit"] == "far"
    assert run("report", tmp_path / "out", "--dataset-dir", tmp_path).code == 0
    report = tmp_path / "out" / "report"
    assert "The scan is far from those that the network was trained on" in (report / "sub-17.html").read_text()
    assert "Scans that do not fit the network" in (report / "index.html").read_text()
    # finished then, but not for who does not insist
    again = run(*arguments)
    assert again.code == 2
    assert "does not fit the network" in again.err
    with pytest.raises(UnfitError, match="training brains is empty"):
        OpenBundle(trained_bundle).explain(tmp_path / NAME, atlas=None)
    accepted = OpenBundle(trained_bundle).explain(tmp_path / NAME, atlas=None, accept_unfit=True)
    assert accepted.prediction.fit == "far"


def test_in_a_cohort_the_others_are_done(tmp_path, trained_bundle, tiny_cohort):
    for subject in ("sub-16", "sub-17", "sub-18"):
        shutil.copytree(tiny_cohort / subject, tmp_path / "cohort" / subject)
    path = tmp_path / "cohort" / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz"
    io.write_volume(path, Volume(np.random.default_rng(0).random(SPACE.shape).astype(np.float32), SPACE))
    result = run("predict", trained_bundle, tmp_path / "cohort", "--out", tmp_path / "out", "--json")
    assert result.code == 1
    summary = json.loads(result.out)
    assert [one["participant_id"] for one in summary["failed"]] == ["sub-17"]
    assert list(table(tmp_path / "out")["participant_id"]) == ["sub-16", "sub-18"]
    assert list(table(tmp_path / "out")["fit"]) == ["fits", "fits"]


def test_a_bundle_without_a_record_says_so_once_and_goes_on(tmp_path, trained_bundle, tiny_cohort):
    bundle = shutil.copytree(trained_bundle, tmp_path / "bundle")
    record = io.read_json(bundle / "models" / "model.json")
    io.write_json(bundle / "models" / "model.json", {k: v for k, v in record.items() if k != "fit"})
    result = run("predict", bundle, tiny_cohort, "--part", "test", "--out", tmp_path / "out")
    assert result.code == 0
    assert result.err.count("fit not known") == 1
    assert set(table(tmp_path / "out")["fit"]) == {"n/a"}
    io.write_json(bundle / "models" / "model.json", {**record, "fit": {"format": 1, "scans": "two"}})
    result = run("predict", bundle, tiny_cohort, "--part", "test", "--out", tmp_path / "again")
    assert (result.code, "is damaged" in result.err, "Traceback" in result.err) == (2, True, False)


@pytest.mark.parametrize("command", ["explain", pytest.param("predict", marks=pytest.mark.full(0))])
def test_a_scan_is_prepared_on_the_way(tmp_path, trained_bundle, scan, command):
    phantom = io.read_volume(scan)
    elsewhere = Space(phantom.space.shape, np.diag([1, 1, 1, 1]) @ phantom.space.affine + np.eye(4, k=3) * 30)
    io.write_volume(tmp_path / NAME, Volume(phantom.data, elsewhere).reoriented("LPS"))
    arguments = (command, trained_bundle, tmp_path / NAME, "--out", tmp_path / "out", "--accept-unfit")
    result = run(*arguments, "--prepare", "none")
    assert result.code == 0, result.err
    (prepared,) = (tmp_path / "out" / "prepared").rglob("*_desc-brain_T1w.nii.gz")
    if command == "explain":
        (native,) = (tmp_path / "out").rglob("sub-17_space-T1w_*_heatmap.nii.gz")
        assert io.read_volume(native).space.matches(io.read_volume(tmp_path / NAME).space)
    again = run(command, trained_bundle, prepared, "--out", tmp_path / "again", "--prepare", "none")
    assert (again.code, "is prepared already" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("source", "arm", "message"),
    [
        (".", "linear", "takes one NIfTI scan"),
        (NAME, "linear", "no such file"),
        (NAME, "bend", "unknown --prepare 'bend'"),
    ],
)
def test_what_cannot_be_prepared_on_the_way_is_refused(tmp_path, trained_bundle, source, arm, message):
    result = run("explain", trained_bundle, tmp_path / source, "--out", tmp_path / "out", "--prepare", arm)
    assert (result.code, message in result.err) == (2, True), result.err


def test_predictions_tell_which_scans_the_network_had_seen(tmp_path, trained_bundle, tiny_cohort):
    """By the datalist that it was trained by, read here on its own; the word on it is for people and machines."""
    listed = json.loads((tiny_cohort / "datalist.json").read_text())
    parts = {"training": "training", "validation": "validation", "test": "held out"}
    expected = {item["participant_id"]: parts[part] for part in parts for item in listed[part]}
    cohort = tmp_path / "cohort"
    for part in parts:
        for item in listed[part][:2]:
            shutil.copytree(tiny_cohort / item["participant_id"], cohort / item["participant_id"])
    rows = [(item["participant_id"], listed["classes"][item["label"]]) for part in parts for item in listed[part]]
    (cohort / "participants.tsv").write_text("participant_id\tdiagnosis\n" + "".join(f"{a}\t{b}\n" for a, b in rows))
    result = run("predict", trained_bundle, cohort, "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    rows = table(tmp_path / "out").set_index("participant_id")["seen"].to_dict()
    assert rows == {name: expected[name] for name in rows}
    assert sorted(rows.values()) == ["held out"] * 2 + ["training"] * 2 + ["validation"] * 2
    known, seen = json.loads(result.out)["notes"]
    assert known == "the true class of 6 of 6 scans is known, from 'diagnosis' in participants.tsv"
    assert seen.startswith("2 training and 2 validation scans of the network: ")
    said = run("predict", trained_bundle, cohort, "--out", tmp_path / "out").err
    assert (known in said, seen in said) == (True, True)
    assert "seen" in io.read_json(tmp_path / "out" / "predictions.json")


def spoiled(tmp_path, tiny_cohort, *subjects):
    """A copy of the cohort's test part, whose named scans are white noise."""
    for subject in ("sub-16", "sub-17", "sub-18", "sub-19"):
        shutil.copytree(tiny_cohort / subject, tmp_path / "cohort" / subject)
    for subject in subjects:
        path = tmp_path / "cohort" / subject / "anat" / f"{subject}_desc-brain_T1w.nii.gz"
        io.write_volume(path, Volume(np.random.default_rng(0).random(SPACE.shape).astype(np.float32), SPACE))
    listed = json.loads((tiny_cohort / "datalist.json").read_text())
    datalist = io.write_json(tmp_path / "cohort" / "datalist.json", listed)
    return {
        "dataset_dir": str(tmp_path / "cohort"),
        "datalist": str(datalist),
        "output_dir": str(tmp_path / "out"),
    }


def test_an_evaluation_leaves_out_what_does_not_fit_and_says_so(tmp_path, trained_bundle, tiny_cohort):
    paths = spoiled(tmp_path, tiny_cohort, "sub-17")
    infer(trained_bundle, ["train.json", "evaluate.json"], spacing=5, **paths)
    metrics = io.read_json(tmp_path / "out" / "metrics_test.json")
    assert metrics["scans"] == 3
    assert [one["participant_id"] for one in metrics["left_out"]] == ["sub-17"]
    assert "does not fit the network" in metrics["left_out"][0]["error"]
    assert list(table(tmp_path / "out")["participant_id"]) == ["sub-16", "sub-18", "sub-19"]
    infer(trained_bundle, ["train.json", "evaluate.json"], spacing=5, accept_unfit="true", **paths)  # as MONAI hands it
    assert io.read_json(tmp_path / "out" / "metrics_test.json")["scans"] == 4
    assert list(table(tmp_path / "out")["fit"]) == ["fits", "far", "fits", "fits"]


@pytest.mark.parametrize(
    ("subjects", "code"), [((), None), (("sub-17",), 1), (("sub-16", "sub-17", "sub-18", "sub-19"), 1)]
)
def test_monai_s_command_line_ends_with_1_where_scans_are_left_out(
    tmp_path, trained_bundle, tiny_cohort, monkeypatch, subjects, code
):
    paths = spoiled(tmp_path, tiny_cohort, *subjects)
    monkeypatch.setattr("neuroxai.components.command_line.from_command_line", lambda *names: "monai.bundle" in names)
    monkeypatch.setattr("sys.argv", ["monai.bundle", "help"])
    monkeypatch.setattr("neuroxai.components.command_line._catch", lambda: None)
    if code is None:
        infer(trained_bundle, ["inference.json"], accept_unfit="false", **paths)
        return
    with pytest.raises(SystemExit) as ended:
        infer(trained_bundle, ["inference.json"], accept_unfit="false", **paths)
    assert ended.value.code == code


def test_a_network_of_simulated_scans_sends_nobody_to_preparation(tmp_path, trained_bundle, scan):
    """Prepared or not, a real scan would be refused again."""
    bundle = shutil.copytree(trained_bundle, tmp_path / "bundle")
    record = io.read_json(bundle / "models" / "model.json")
    assert record["simulated"] is False  # the phantoms have no sidecars
    io.write_json(bundle / "models" / "model.json", {**record, "simulated": True})
    data = io.read_volume(scan).data
    io.write_volume(tmp_path / NAME, Volume(np.where(np.arange(data.shape[2]) < 20, data, 0), SPACE))
    result = run("predict", bundle, tmp_path / NAME, "--out", tmp_path / "out")
    assert (result.code, "was trained on simulated scans" in result.err, "--prepare" in result.err) == (2, True, False)
    result = run("predict", bundle, tmp_path / NAME, "--out", tmp_path / "out", "--prepare", "none")
    assert (result.code, "note: the network was trained on simulated scans" in result.err) == (2, True)
    # a simulated scan is refused for what it is
    io.write_json(tmp_path / NAME.replace(".nii.gz", ".json"), {"Simulated": True})
    result = run("predict", bundle, tmp_path / NAME, "--out", tmp_path / "out")
    assert (result.code, "`neuroxai prepare`" in result.err) == (2, True)


def test_a_study_flags_scans_that_do_not_fit(tmp_path, trained_bundle, tiny_cohort):
    paths = spoiled(tmp_path, tiny_cohort, "sub-17")
    asked = RunRecord(cohort=paths["dataset_dir"], datalist=paths["datalist"])
    found = {item["participant_id"]: item["fit"] for item, _ in TrainedRun(trained_bundle, asked).scans("test")}
    assert found == {"sub-16": "fits", "sub-17": "far", "sub-18": "fits", "sub-19": "fits"}
