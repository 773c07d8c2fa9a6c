"""What a scan's page takes from beside its own files: controls, calibration, other trainings, the viewer's volume."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from helpers.command import run
from neuroxai import io
from neuroxai.atlas import Atlas
from neuroxai.errors import InputError, LeakageError
from neuroxai.report import Beside, build_report
from neuroxai.report.page import limits_of
from neuroxai.report.scan.viewer import MOST_VOXELS, Regions, viewer_data
from neuroxai.space import Space, Volume


@pytest.fixture(scope="module")
def explained(trained_bundle, tiny_cohort, tmp_path_factory):
    """All twenty phantoms explained, so that there are ten controls."""
    out = tmp_path_factory.mktemp("beside") / "explained"
    assert run("explain", trained_bundle, tiny_cohort, "--out", out).code == 0
    # labels, which a whole cohort has not: phantoms of odd number are patients
    table = pd.read_csv(out / "predictions.tsv", sep="\t")
    table["true"] = ["AD" if int(name[4:]) % 2 else "CN" for name in table["participant_id"]]
    # twelve of them trained the network: ten controls are had by taking them all for new ones
    table["known"], table["seen"] = table["seen"], "held out"
    table.to_csv(out / "predictions.tsv", sep="\t", index=False)
    people = table[["participant_id", "true"]].rename(columns={"true": "diagnosis"})
    people["age"], people["sex"] = 70, "F"
    cohort = out.parent / "cohort"
    cohort.mkdir()
    people.to_csv(cohort / "participants.tsv", sep="\t", index=False)
    for path in tiny_cohort.glob("sub-*"):
        (cohort / path.name).symlink_to(path)
    record = io.read_json(out / "explain.json")
    io.write_json(out / "explain.json", {**record, "dataset_dir": str(cohort)})
    return out


@pytest.fixture(scope="module")
def pages(explained, tmp_path_factory):
    target = tmp_path_factory.mktemp("pages")
    build_report(explained, target)
    return target


def unpacked(text: str, shape):
    values = np.frombuffer(gzip.decompress(base64.b64decode(text)), np.uint8)
    return values.reshape(shape, order="F")


def test_the_viewers_volume_is_upright_and_in_place():
    """An LPS heatmap with a blob on the subject's left: it has a low first index and a negative x."""
    space = Space((20, 24, 22), np.array([[-4.0, 0, 0, 38], [0, -4, 0, 46], [0, 0, 4, -44], [0, 0, 0, 1]]))
    data = np.zeros(space.shape, np.float32)
    blob = tuple(space.voxels(np.array([-22.0, -14, 8])).round().astype(int))
    data[blob], data[3, 3, 3] = 2.0, -0.5
    names = {7: "Left <place>"}
    labels = np.zeros(space.shape, np.int32)
    labels[blob] = 7
    scan = Volume(np.arange(data.size, dtype=np.float32).reshape(space.shape), space)
    text = viewer_data(Volume(data, space), scan, 2.0, Regions(Atlas(labels, names, space)))
    assert "<" not in text
    told = json.loads(text)
    relevance = unpacked(told["relevance"], told["shape"])
    start = told["start"]
    assert relevance[tuple(start)] == 255
    assert relevance.min() == 128 - 32
    assert start[0] < told["shape"][0] / 2
    world = np.array(told["affine"]) @ [*start, 1]
    np.testing.assert_allclose(world, [-22, -14, 8], atol=2.01)
    assert np.diag(np.array(told["affine"])[:, :3]).min() > 0
    assert told["places"] == {"Left <place>": start}
    assert told["names"]["1"] == "Left <place>"
    assert unpacked(told["labels"], told["shape"])[tuple(start)] == 1
    grey = unpacked(told["scan"], told["shape"])
    upright = scan.reoriented("RAS").data
    assert np.corrcoef(grey.ravel(), upright.ravel())[0, 1] > 0.99
    assert text == viewer_data(Volume(data, space), scan, 2.0, Regions(Atlas(labels, names, space)))


def test_a_fine_grid_is_thinned_out_in_place():
    space = Space((150, 160, 150), np.array([[1.0, 0, 0, -70], [0, 1, 0, -90], [0, 0, 1, -60], [0, 0, 0, 1]]))
    data = np.zeros(space.shape, np.float32)
    data[40:44, 50:54, 60:64] = 1
    told = json.loads(viewer_data(Volume(data, space), None, 1.0))
    assert np.prod(told["shape"]) <= MOST_VOXELS
    world = np.array(told["affine"]) @ [*told["start"], 1]
    np.testing.assert_allclose(world, [-28.5, -38.5, 1.5], atol=2.5)


def test_the_page_has_a_viewer_and_places_among_controls(pages):
    text = (pages / "sub-17.html").read_text()
    told = json.loads(re.search(r'id="viewer-data">(.*?)</script>', text).group(1))
    assert told["names"]
    assert "Against healthy controls" in text
    assert "the 10 controls of this report" in text
    assert "Diagnosis in the table" in text
    assert "have not been calibrated" in text


def test_one_participant_alone(explained, pages, tmp_path):
    result = run("report", explained, "--out", tmp_path, "--subject", "17")
    assert result.code == 0, result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sub-17.html"]
    assert (tmp_path / "sub-17.html").read_bytes() == (pages / "sub-17.html").read_bytes()
    result = run("report", explained, "--out", tmp_path, "--subject", "sub-99")
    assert result.code == 2
    assert "unknown participant 'sub-99'; choose one of: sub-00" in result.err


def predictions(folder, count=24, prefix="sub-9"):
    """Somebody else's predictions, overconfident: one in four is wrong."""
    rng = np.random.default_rng(3)
    true = np.where(np.arange(count) % 2, "AD", "CN")
    right = np.where(true == "AD", 0.97, 0.03)
    share = np.where(np.arange(count) % 8 < 2, 1 - right, right) + rng.uniform(-0.02, 0.02, count)
    frame = pd.DataFrame({"participant_id": [f"{prefix}{n:02d}" for n in range(count)], "true": true})
    frame["predicted"], frame["probability_CN"], frame["probability_AD"] = true, 1 - share, share
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "predictions.tsv", sep="\t", index=False)
    return folder


def test_a_calibrated_probability_is_less_sure_than_an_overconfident_network(explained, tmp_path):
    result = run(
        "report", explained, "--out", tmp_path / "r", "--subject", "17", "--calibration", predictions(tmp_path / "val")
    )
    assert result.code == 0, result.err
    text = (tmp_path / "r" / "sub-17.html").read_text()
    value, low, high = map(
        float, re.search(r"<strong>([\d.]+) %</strong>, 95 % interval ([\d.]+) % to ([\d.]+) %", text).groups()
    )
    assert low <= value <= high
    raw = pd.read_csv(explained / "predictions.tsv", sep="\t").set_index("participant_id")["probability_AD"]["sub-17"]
    assert 50 < value < 100 * raw
    assert "Platt scaling on 24 scans of other people" in text


def test_nobody_is_calibrated_on_himself(explained, tmp_path):
    with pytest.raises(LeakageError, match="sub-00"):
        build_report(explained, tmp_path / "r", beside=Beside(calibration=predictions(tmp_path / "val", prefix="sub-")))
    with pytest.raises(InputError, match=r"4 positive.*10 of each"):
        build_report(explained, tmp_path / "r", beside=Beside(calibration=predictions(tmp_path / "few", count=8)))
    # nor by scans that the network learnt: `neuroxai predict` says of which part each is
    learnt = predictions(tmp_path / "learnt") / "predictions.tsv"
    io.write_tsv(learnt, io.read_tsv(learnt).assign(seen=["training"] * 5 + ["validation"] * 19))
    with pytest.raises(LeakageError, match=r"sub-900.*5 of 24"):
        build_report(explained, tmp_path / "r", beside=Beside(calibration=learnt))
    assert not (tmp_path / "r").exists()


def test_several_trainings_agree_with_themselves_and_not_with_noise(explained, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(explained, other)
    result = run("report", explained, "--out", tmp_path / "same", "--subject", "17", "--also", other)
    assert result.code == 0, result.err
    text = (tmp_path / "same" / "sub-17.html").read_text()
    assert "voxel by voxel: 1; of the regions' ranking: 1 (1: all trainings alike)" in text
    assert "None of the ten regions that stand out most changes its sign" in text
    rng = np.random.default_rng(0)
    for path in other.glob("sub-17/anat/*space-network*_heatmap.nii.gz"):
        volume = io.read_volume(path)
        io.write_volume(path, Volume(rng.normal(size=volume.data.shape).astype(np.float32), volume.space))
    for path in other.glob("sub-17/anat/*_regions.tsv"):
        table = io.read_tsv(path)
        table[["sum", "density"]] *= -1
        io.write_tsv(path, table)
    assert run("report", explained, "--out", tmp_path / "noise", "--subject", "17", "--also", other).code == 0
    text = (tmp_path / "noise" / "sub-17.html").read_text()
    voxels = float(re.search(r"voxel by voxel: ([\d.e\N{MINUS SIGN}]+)", text).group(1).replace("\N{MINUS SIGN}", "-"))
    assert abs(voxels) < 0.1
    assert "Regions whose sign hangs on the training: " in text


def test_another_method_is_no_other_training(explained, trained_bundle, tiny_cohort, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(explained, other)
    record = io.read_json(other / "explain.json")
    io.write_json(other / "explain.json", {**record, "options": {"beta": 1}})
    result = run("report", explained, "--out", tmp_path / "r", "--also", other)
    assert result.code == 2
    assert "{'beta': 1}" in result.err


def test_a_stored_reference_must_be_of_the_same_scores(explained, tmp_path):
    stored = tmp_path / "reference.json"
    words = ("--control", "CN", "--patients", "AD", "--adjust", "none", "--permutations", "199", "--replicates", "199")
    result = run("compare", explained, "--out", tmp_path / "c", "--save-reference", stored, *words)
    assert result.code == 0, result.err
    for subject in ("sub-16", "sub-17"):
        built = build_report(explained, tmp_path / "r", beside=Beside(reference=stored), only=subject)
        assert built.failures == []
    patient = (tmp_path / "r" / "sub-17.html").read_text()
    assert "10 controls of a stored reference" in patient
    # a control of the reference is not compared with itself, and the page says so
    assert "No comparison with controls: sub-16 is one of the controls" in (tmp_path / "r" / "sub-16.html").read_text()
    record = json.loads(stored.read_text())
    record["facts"]["method"] = "saliency"
    stored.write_text(json.dumps(record))
    with pytest.raises(InputError, match="saliency"):
        build_report(explained, tmp_path / "r", beside=Beside(reference=stored))


def test_every_method_has_its_limits_told():
    from neuroxai import attribution

    assert not [name for name in attribution.names() if len(limits_of(name)) < 40]
    assert limits_of("unheard_of") == ""
    assert limits_of("guided_grad_cam") == limits_of("guided_backprop")
    assert limits_of("grad_cam") != limits_of("gradient_x_input")


def test_regions_lead_to_the_scan_that_has_most(pages, explained):
    text = (pages / "index.html").read_text()
    tables = {path.parts[-3]: io.read_tsv(path) for path in explained.glob("sub-*/anat/*_regions.tsv")}
    densities = {name: table.set_index("name")["density"]["Left hippocampus"] for name, table in tables.items()}
    first = max(densities, key=densities.get)
    row = re.search(r"<tr><td>Left hippocampus</td>.*?</tr>", text).group(0)
    assert f'<a href="{first}.html">{first}</a>' in row


def test_the_page_names_the_command_that_explains_so_again(pages):
    text = (pages / "sub-17.html").read_text()
    assert "neuroxai explain BUNDLE sub-17/anat/sub-17_desc-brain_T1w.nii.gz --method lrp_alpha_beta" in text
    assert "--start probability --target AD --out OUT" in text


def test_the_tables_tell_which_scans_the_network_had_seen(explained, trained_bundle, tiny_cohort):
    datalist = json.loads((tiny_cohort / "datalist.json").read_text())
    parts = {"training": "training", "validation": "validation", "test": "held out"}
    expected = {item["participant_id"]: parts[part] for part in parts for item in datalist[part]}
    table = io.read_tsv(explained / "predictions.tsv").set_index("participant_id")["known"]
    assert {name: expected[name] for name in table.index} == table.to_dict()
    for name, part in table.items():
        (sidecar,) = explained.glob(f"{name}/anat/*space-network*.json")
        assert io.read_json(sidecar)["seen"] == part


def test_controls_that_the_network_was_trained_on_are_not_compared_with(explained, tmp_path):
    seen = tmp_path / "seen"
    shutil.copytree(explained, seen)
    table = io.read_tsv(seen / "predictions.tsv")
    io.write_tsv(seen / "predictions.tsv", table.assign(seen=table["known"]))
    assert build_report(seen, tmp_path / "r", only="sub-17").failures == []
    page = (tmp_path / "r" / "sub-17.html").read_text()
    assert "No comparison with controls: the network was trained on 6 of this report" in page
    assert "Against healthy controls" not in page
    # who accepts them is told on every page
    stored = tmp_path / "reference.json"
    words = ("--control", "CN", "--adjust", "none", "--permutations", "199", "--replicates", "199")
    refused = run("compare", seen, "--out", tmp_path / "c", "--save-reference", stored, *words)
    assert (refused.code, "6 controls (of 10) that the network was trained on" in refused.err) == (2, True)
    run("compare", seen, "--out", tmp_path / "c", "--save-reference", stored, "--accept-trained", *words)
    build_report(explained, tmp_path / "marked", beside=Beside(reference=stored), only="sub-17")
    page = (tmp_path / "marked" / "sub-17.html").read_text()
    assert "6 of the reference&#39;s 10 controls are scans that the network was trained on" in page


@pytest.mark.parametrize("measure", ["share", "sum", "absolute"])
def test_a_stored_reference_of_any_measure_is_taken(explained, tmp_path, measure):
    stored = tmp_path / "reference.json"
    words = ("--control", "CN", "--adjust", "none", "--permutations", "199", "--replicates", "199")
    compared = tmp_path / "compared"
    result = run("compare", explained, "--out", compared, "--save-reference", stored, "--measure", measure, *words)
    assert result.code == 0, result.err
    built = build_report(explained, tmp_path / "r", beside=Beside(reference=stored), only="sub-17")
    assert built.failures == []
    # the page's first region is that of the table, with its deviation
    table = io.read_tsv(compared / "percentiles.tsv")
    own = table[table["participant_id"] == "sub-17"]
    own = own.reindex(own["z"].abs().sort_values(ascending=False).index)
    page = (tmp_path / "r" / "sub-17.html").read_text()
    row = re.search(r'<td data-region="([^"]+)">[^<]+</td><td class="n">([^<]+)</td>', page.split("Against healthy")[1])
    assert row.group(1) == own["region"].iloc[0]
    shown = float(row.group(2).replace("\N{MINUS SIGN}", "-").replace("\N{THIN SPACE}", ""))
    assert shown == pytest.approx(own["z"].iloc[0], rel=0.02)
