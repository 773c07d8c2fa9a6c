"""Heatmaps that start at hidden neurons, through the command line and the bundle's configurations."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.command import run
from neuroxai import attribution, io
from neuroxai.components import load_weights
from neuroxai.networks import ad_cnn
from neuroxai.space import Volume, mni152

SUBJECTS = ["sub-16", "sub-17", "sub-18", "sub-19"]
LAYER = "features.conv3"


@pytest.fixture(scope="module")
def method(trained_bundle):
    network = ad_cnn(mni152(5).shape, padding="same")
    network = load_weights(network, str(trained_bundle / "models" / "model.pt")).eval()
    return attribution.create("lrp_alpha_beta", network, beta=1)


@pytest.fixture(scope="module")
def scans(tiny_cohort):
    found = [io.read_volume(tiny_cohort / s / "anat" / f"{s}_desc-brain_T1w.nii.gz").data for s in SUBJECTS]
    return torch.stack([torch.from_numpy((d - d.min()) / (d.max() - d.min()))[None] for d in found])


@pytest.fixture
def explain(trained_bundle, tiny_cohort, tmp_path):
    def call(*more, cohort=tiny_cohort, options=("--option", "beta=1")):
        out = tmp_path / "out"
        return run("explain", trained_bundle, cohort, "--part", "test", "--out", out, "--no-native", *options, *more)

    return call


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * float(np.abs(wanted).max()))


@pytest.mark.full(2)
def test_one_filter_stands_beside_the_class_and_leaves_its_files_alone(explain, tmp_path, method, scans):
    out = tmp_path / "out"
    assert explain().code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    result = explain("--layer", LAYER, "--neuron", "12")
    assert result.code == 0, result.err
    assert {path: path.read_bytes() for path in before} == before
    values = method.model.features[:9](scans).detach()[:, 12]  # the output of the third convolution
    relevance = method.attribute(scans, layer=LAYER, neuron=12).numpy()
    for n, subject in enumerate(SUBJECTS):
        stem = out / subject / "anat" / f"{subject}_space-network_desc-lrpAlphaBetaConv3F12"
        close(io.read_volume(f"{stem}_heatmap.nii.gz").data, relevance[n, 0])
        sidecar = io.read_json(f"{stem}_heatmap.json")
        assert (sidecar["layer"], sidecar["neuron"], sidecar["start"]) == (LAYER, 12, None)
        assert (sidecar["target"], sidecar["explained"], sidecar["probability"]) == (None, None, None)
        assert sidecar["score"] == pytest.approx(float(values[n].sum()), rel=1e-4)
        assert sidecar["prediction"]["participant_id"] == subject
    record = io.read_json(out / "explain_lrpAlphaBetaConv3F12.json")
    assert (record["scans"], record["layer"]) == (4, LAYER)
    assert "4 of 4 scans were finished before" in explain("--layer", LAYER, "--neuron", "12").err
    assert "finished before" not in explain("--layer", LAYER, "--neuron", "13").err
    # the class's report takes no notice
    assert run("report", out).code == 0


def test_one_place_and_a_whole_layer(explain, tmp_path, method, scans):
    for option, neuron, label in ((["--neuron", "12,2,1,3"], (12, 2, 1, 3), "Conv3F12At2x1x3"), ([], None, "Conv3")):
        result = explain("--layer", LAYER, *option)
        assert result.code == 0, result.err
        path = tmp_path / "out" / "sub-16" / "anat" / f"sub-16_space-network_desc-lrpAlphaBeta{label}_heatmap.nii.gz"
        close(io.read_volume(path).data, method.attribute(scans[:1], layer=LAYER, neuron=neuron).numpy()[0, 0])


@pytest.mark.full(2)
def test_all_filters_as_means_over_the_scans(explain, tmp_path, method, scans, tiny_cohort):
    result = explain("--layer", LAYER, "--neuron", "all", "--batch-size", "3")
    assert result.code == 0, result.err
    group = tmp_path / "out" / "group"
    table = io.read_tsv(group / "group_space-network_desc-lrpAlphaBetaConv3_heatmaps.tsv")
    assert list(table["filter"]) == list(range(32))
    values = method.model.features[:9](scans).detach().double().flatten(2).sum(2)
    np.testing.assert_allclose(table["activation_mean"], values.mean(0), rtol=1e-4)
    np.testing.assert_allclose(table["activation_sd"], values.std(0), rtol=1e-3)
    for row in table.to_dict("records"):
        wanted = method.attribute(scans, layer=LAYER, neuron=row["filter"]).double().mean(0)[0].numpy()
        found = io.read_volume(group / row["file"], check_content=False)
        assert found.space.matches(mni152(5))
        close(found.data, wanted)
        assert row["relevance_sum"] == pytest.approx(wanted.sum(), rel=1e-4, abs=1e-6 * np.abs(wanted).sum())
    mean = io.read_volume(group / "group_space-network_desc-lrpAlphaBetaConv3_scan.nii.gz")
    close(mean.data, scans.mean(0)[0].numpy())
    record = io.read_json(group / "group_space-network_desc-lrpAlphaBetaConv3_heatmaps.json")
    assert [scan["participant_id"] for scan in record["scans"]] == SUBJECTS
    assert (record["scan_count"], record["failed"], record["options"]) == (4, [], {"beta": 1})
    # finished: nothing is done again, until something is different
    stamps = {path: path.stat().st_mtime_ns for path in group.iterdir()}
    again = explain("--layer", LAYER, "--neuron", "all")
    assert "4 of 4 scans were finished before" in again.err
    assert {path: path.stat().st_mtime_ns for path in group.iterdir()} == stamps
    assert "finished before" not in explain("--layer", LAYER, "--neuron", "all", options=("--option", "beta=0")).err


def test_region_scores_of_each_scan_and_filter_on_request(explain, tmp_path, method, scans):
    labels = np.zeros(mni152(5).shape, np.int16)
    labels[:19] = 7
    io.write_volume(tmp_path / "halves.nii.gz", Volume(labels, mni152(5)), dtype=np.int16)
    (tmp_path / "halves.tsv").write_text("index\tname\n7\tleft half\n")
    atlas = ("--atlas", tmp_path / "halves.nii.gz", "--labels", tmp_path / "halves.tsv")
    result = explain("--layer", LAYER, "--neuron", "all", "--batch-size", "4", *atlas)
    assert result.code == 0, result.err
    for n, subject in enumerate(SUBJECTS):
        name = f"{subject}_space-network_desc-lrpAlphaBetaConv3_regions.tsv"
        table = pd.read_csv(tmp_path / "out" / subject / "anat" / name, sep="\t")
        assert list(table["neuron"]) == [f"Conv3F{f}" for f in range(32)]
        for number in (0, 31):
            relevance = method.attribute(scans[n : n + 1], layer=LAYER, neuron=number)[0, 0]
            assert table["sum"][number] == pytest.approx(float(relevance[:19].double().sum()), rel=1e-3)


def test_a_broken_scan_is_left_out_of_the_means_and_named(explain, tmp_path, tiny_cohort, method, scans):
    cohort = tmp_path / "cohort"
    shutil.copytree(tiny_cohort, cohort)
    bad = cohort / "sub-18" / "anat" / "sub-18_desc-brain_T1w.nii.gz"
    bad.write_bytes(bad.read_bytes()[:3000])
    result = explain("--layer", LAYER, "--neuron", "all", cohort=cohort)
    assert result.code == 1
    assert "sub-18" in result.err
    group = tmp_path / "out" / "group"
    record = io.read_json(group / "group_space-network_desc-lrpAlphaBetaConv3_heatmaps.json")
    assert record["scan_count"] == 3
    assert record["failed"][0]["participant_id"] == "sub-18"
    found = io.read_volume(group / "group_space-network_desc-lrpAlphaBetaConv3F5_heatmap.nii.gz").data
    close(found, method.attribute(scans[[0, 1, 3]], layer=LAYER, neuron=5).mean(0)[0].numpy())
    assert "finished before" not in explain("--layer", LAYER, "--neuron", "all", cohort=cohort).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--neuron", "1"], "needs the layer"),
        (["--layer", LAYER, "--neuron", "first"], "expected a filter (12)"),
        (["--layer", LAYER, "--neuron", "32"], "neuron 32 does not exist"),
        (["--layer", LAYER, "--neuron", "patch=1,filter=0"], "at a PatchIndividualFilter layer"),
        (["--layer", "features.conv9"], "unknown layer 'features.conv9'"),
        (["--layer", "$print(1)"], "expected a layer's name"),
        (["--layer", LAYER, "--start", "logit"], "--start is about a class"),
        (["--layer", LAYER, "--method", "saliency"], "method 'saliency' cannot start at layer"),
        (["--layer", LAYER, "--neuron", "all", "--method", "saliency"], "method 'saliency' cannot start at layer"),
    ],
)
def test_bad_starts_are_one_line_and_code_two(explain, tmp_path, arguments, message):
    result = explain(*arguments, options=())
    assert result.code == 2
    assert result.err.count("error: ") == 1
    assert message in result.err
    assert not list(tmp_path.glob("out/**/*.nii.gz"))
