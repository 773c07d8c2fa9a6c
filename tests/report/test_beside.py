"""What a scan's page takes from beside its own files: controls, calibration, other trainings, the viewer's volume."""

from __future__ import annotations

import html
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from helpers.command import run
from helpers.packed import value_at
from helpers.thirds import sampled
from neuroxai import io
from neuroxai.atlas import Atlas, builtin
from neuroxai.errors import InputError, LeakageError
from neuroxai.pictures.viewer import MOST_VOXELS, Backdrop, viewer_data
from neuroxai.report import Beside, build_report, inputs
from neuroxai.report.page import limits_of
from neuroxai.report.scan import pages as scan_pages
from neuroxai.space import Space, Volume, mni152


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


def heatmaps_read_for(explained, target):
    """Build a report; return the heatmaps that were read for it, one entry each time."""
    paths = []
    with pytest.MonkeyPatch.context() as patch:
        for module in (inputs, scan_pages):
            patch.setattr(module, "read_volume", lambda path, *more: paths.append(path) or io.read_volume(path, *more))
        build_report(explained, target)
    return [path for path in paths if path.name.endswith("_heatmap.nii.gz")]


@pytest.fixture(scope="module")
def built(explained, tmp_path_factory):
    """The whole report and the heatmaps read for it."""
    target = tmp_path_factory.mktemp("pages")
    return target, heatmaps_read_for(explained, target)


@pytest.fixture(scope="module")
def pages(built):
    return built[0]


LPS = Space((20, 24, 22), np.array([[-4.0, 0, 0, 38], [0, -4, 0, 46], [0, 0, 4, -44], [0, 0, 0, 1]]))
PLACE = np.array([-22.0, -14, 8])


def test_the_viewers_volumes_are_upright_and_in_place():
    """An LPS heatmap with a blob on the subject's left, over a scan of half the voxels' size stored the other way."""
    data = np.zeros(LPS.shape, np.float32)
    blob = tuple(LPS.voxels(PLACE).round().astype(int))
    data[blob], data[3, 3, 3] = 2.0, -0.5
    labels = np.zeros(LPS.shape, np.int32)
    labels[blob] = 7
    fine = Space((40, 44, 48), [[0, 0, -2, 45], [2, 0, 0, -44], [0, 2, 0, -42], [0, 0, 0, 1]])
    dark = np.full(fine.shape, 9, np.float32)
    beside = np.add(PLACE, [1, 0, 0])
    dark[0, 0, 0], dark[tuple(fine.voxels(beside).round().astype(int))] = 0, 2
    atlas = Atlas(labels, {7: "Left <place>"}, LPS)
    mean = Volume(np.where(data > 0, np.float32(1), np.float32(0)), LPS)
    backdrop = Backdrop(atlas, mean, frozenset(["a", "b", "c"]))
    text = viewer_data(Volume(data, LPS), Volume(dark, fine), 2.0, backdrop)
    assert "<" not in text
    told = json.loads(text)
    np.testing.assert_allclose(told["start"], PLACE, atol=2.01)
    assert value_at(told, told["relevance"], PLACE) == 255
    assert value_at(told, told["relevance"], LPS.world([3, 3, 3])) == 128 - 32
    assert value_at(told, told["controls"], PLACE) == 128 + 64
    assert told["controls"]["n"] == 3
    assert value_at(told, told["labels"], PLACE) == 1
    assert value_at(told, told["labels"], PLACE * [-1, 1, 1]) == 0
    assert told["names"]["1"] == "Left <place>"
    np.testing.assert_allclose(told["places"]["Left <place>"], PLACE, atol=2.01)
    scan = told["pictures"]["This scan"]
    assert list(told["pictures"]) == ["This scan"]  # no template beside a scan of 2 mm
    assert value_at(told, scan, beside) < value_at(told, scan, PLACE * [-1, 1, 1])
    # the planes run to the right, to the front and up
    assert np.diag(np.array(told["to_world"])[:, :3]).min() > 0.99
    assert text == viewer_data(Volume(data, LPS), Volume(dark, fine), 2.0, backdrop)


def test_planes_follow_an_oblique_scan():
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = 2 * turn, turn @ [-40, -44, -40]
    scan = Volume(np.full((40, 44, 40), 9, np.float32), Space((40, 44, 40), affine))
    scan.data[0, 0, 0], scan.data[5, 30, 22] = 0, 2
    data = np.zeros(LPS.shape, np.float32)
    data[tuple(LPS.voxels(PLACE).round().astype(int))] = 1
    told = json.loads(viewer_data(Volume(data, LPS), scan, 1.0))
    np.testing.assert_allclose(np.array(told["to_world"])[:, :3], turn, atol=1e-8)
    dark, other = (value_at(told, told["pictures"]["This scan"], scan.space.world([n, 30, 22])) for n in (5, 6))
    assert dark < other
    assert value_at(told, told["relevance"], PLACE) == 255


def test_it_starts_inside_the_leading_region_and_not_at_a_lone_peak():
    data = np.zeros(LPS.shape, np.float32)
    data[15:18, 4:7, 4:7] = 0.2
    data[16, 5, 5] = 0.3
    data[2, 20, 20] = 1.0
    labels = np.zeros(LPS.shape, np.int32)
    labels[14:19, 3:8, 3:8] = 1
    labels[1:4, 19:22, 19:22] = 2
    backdrop = Backdrop(Atlas(labels, {1: "wide", 2: "point"}, LPS))
    told = json.loads(viewer_data(Volume(data, LPS), None, 1.0, backdrop, leading="wide"))
    np.testing.assert_allclose(told["start"], LPS.world([16, 5, 5]))
    # without scores, a lone voxel counts as the cube around it
    told = json.loads(viewer_data(Volume(data, LPS), None, 1.0))
    np.testing.assert_allclose(told["start"], LPS.world([16, 5, 5]))


def test_a_control_is_left_out_of_the_mean_that_stands_beside_it():
    maps = [Volume(np.full(LPS.shape, value, np.float32), LPS) for value in (1, 2, 6)]
    backdrop = Backdrop(None, Volume(np.full(LPS.shape, 3.0), LPS), frozenset(["a", "b", "c"]))
    left = backdrop.without("c", maps[2])
    np.testing.assert_allclose(left.controls.data, 1.5)
    assert left.titles == {"a", "b"}
    assert backdrop.without("a patient", maps[0]) is backdrop


def test_a_coarse_or_absent_scan_gets_the_templates_anatomy():
    space = mni152(4.0)
    data = np.zeros(space.shape, np.float32)
    backdrop = Backdrop(builtin(space))
    for scan, names in ((Volume(data + 1, space), ["This scan", "MNI152 template"]), (None, ["MNI152 template"])):
        told = json.loads(viewer_data(Volume(data, space), scan, 1.0, backdrop))
        assert list(told["pictures"]) == names
        template = told["pictures"]["MNI152 template"]
        # white matter of the centrum semiovale beside fluid of the lateral ventricle
        assert value_at(told, template, [-28, -20, 36]) > 2 * value_at(told, template, [-20, -40, 12])


def test_a_fine_grid_is_thinned_out_in_place():
    space = Space((150, 160, 150), np.array([[1.0, 0, 0, -70], [0, 1, 0, -90], [0, 0, 1, -60], [0, 0, 0, 1]]))
    data = np.zeros(space.shape, np.float32)
    data[40:44, 50:54, 60:64] = 1
    told = json.loads(viewer_data(Volume(data, space), None, 1.0))
    assert np.prod(told["relevance"]["shape"]) <= MOST_VOXELS
    np.testing.assert_allclose(told["start"], [-28.5, -38.5, 1.5], atol=2.5)
    assert value_at(told, told["relevance"], [-28.5, -38.5, 1.5]) == 255


def test_the_page_has_a_viewer_and_places_among_controls(pages):
    text = (pages / "sub-17.html").read_text()
    told = json.loads(re.search(r'id="viewer-data">(.*?)</script>', text).group(1))
    assert told["names"]
    assert "Against healthy controls" in text
    assert "the 10 controls of this report" in text
    assert "Diagnosis in the table" in text
    assert "have not been calibrated" in text


def test_a_heatmap_is_read_once_and_the_pages_are_the_same(explained, built, tmp_path, monkeypatch):
    pages, once = built
    assert len(once) == len(set(once))
    monkeypatch.setattr(inputs, "_MOST_KEPT", 0)
    again = heatmaps_read_for(explained, tmp_path / "again")
    assert set(again) == set(once)
    assert len(again) == len(once) + 10  # the ten controls
    for page in pages.glob("*.html"):
        assert page.read_bytes() == (tmp_path / "again" / page.name).read_bytes()


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
    text = html.unescape((tmp_path / "r" / "sub-17.html").read_text()).replace("\N{NO-BREAK SPACE}", " ")
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


@pytest.mark.parametrize("measure", sampled(["share", "sum", "absolute"], 3))
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
    row = re.search(
        r'<td data-region="([^"]+)">[^<]+</td><td class="n"[^>]*>([^<]+)</td>', page.split("Against healthy")[1]
    )
    assert row.group(1) == own["region"].iloc[0]
    shown = float(row.group(2).replace("\N{MINUS SIGN}", "-").replace("\N{THIN SPACE}", ""))
    assert shown == pytest.approx(own["z"].iloc[0], rel=0.02)
