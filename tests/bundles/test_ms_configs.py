"""The multiple-sclerosis bundle's other configurations, run as MONAI runs them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.bundles import MS, infer
from helpers.command import run
from neuroxai import attribution, io
from neuroxai.components import load_weights
from neuroxai.networks import ms_cnn, smallest_grid
from neuroxai.networks.conv_net import Block
from neuroxai.space import mni152


@pytest.fixture
def paths(tiny_cohort, tmp_path):
    return {"dataset_dir": str(tiny_cohort), "output_dir": str(tmp_path / "out")}


def predictions(folder):
    return pd.read_csv(folder / "predictions.tsv", sep="\t")


def test_evaluation_inference_and_explanation_agree(trained_ms_bundle, paths, tmp_path):
    out = tmp_path / "out"
    infer(trained_ms_bundle, ["train.json", "evaluate.json"], spacing=5, **paths)
    metrics = io.read_json(out / "metrics_test.json")
    assert metrics["balanced_accuracy"] == 1.0
    assert metrics["roc_auc"] == 1.0
    assert metrics["checkpoint_sha256"] == io.sha256(trained_ms_bundle / "models" / "model.pt")
    evaluated = predictions(out)
    infer(trained_ms_bundle, ["inference.json"], **paths)
    alone = predictions(out)
    infer(trained_ms_bundle, ["inference.json", "explain.json"], **paths)
    pd.testing.assert_frame_equal(predictions(out), alone, atol=1e-5)
    pd.testing.assert_frame_equal(evaluated, alone, atol=1e-5)
    # one logit: its sigmoid is the second class's probability, as the metadata say
    np.testing.assert_allclose(alone["probability_AD"], 1 / (1 + np.exp(-alone["score"])), atol=1e-6)
    np.testing.assert_allclose(alone["probability_CN"], 1 - alone["probability_AD"], atol=1e-6)
    assert list(alone["predicted"] == "AD") == list(alone["score"] > 0)


def test_heatmaps_are_epsilon_relevance_of_the_logit_also_by_the_command(trained_ms_bundle, tiny_cohort, tmp_path):
    result = run("explain", trained_ms_bundle, tiny_cohort, "--part", "test", "--out", tmp_path)
    assert result.code == 0, result.err
    stem = tmp_path / "sub-17" / "anat" / "sub-17_space-network_desc-lrpEpsilon_heatmap"
    sidecar = io.read_json(f"{stem}.json")
    assert (sidecar["method"], sidecar["options"], sidecar["start"]) == (
        "lrp_epsilon",
        {"epsilon": 0.001},
        "logit",
    )
    network = ms_cnn(mni152(5).shape, padding="same")
    network = load_weights(network, str(trained_ms_bundle / "models" / "model.pt")).eval()
    data = io.read_volume(tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz").data
    inputs = torch.from_numpy(data / data.max())[None, None]
    expected = attribution.create("lrp_epsilon", network, epsilon=0.001).attribute(inputs, target=0)[0, 0]
    found = io.read_volume(f"{stem}.nii.gz").data
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-4 * float(expected.abs().max()))


def test_an_option_without_a_method_goes_to_the_bundles_own(trained_ms_bundle, tiny_cohort, tmp_path):
    scan = tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz"
    assert run("explain", trained_ms_bundle, scan, "--out", tmp_path, "--option", "epsilon=0.1").code == 0
    sidecar = io.read_json(tmp_path / "sub-17" / "anat" / "sub-17_space-network_desc-lrpEpsilon_heatmap.json")
    assert sidecar["options"] == {"epsilon": 0.1}
    result = run("explain", trained_ms_bundle, scan, "--out", tmp_path, "--option", "beta=1")
    assert result.code == 2
    assert "method 'lrp_epsilon' has no option 'beta'" in result.err


def test_the_grid_that_is_padded_is_the_one_too_small_for_valid_convolutions():
    blocks = (Block(64, pool=3), Block(64, pool=3), Block(64), Block(64, pool=3))
    least = smallest_grid(blocks)
    assert json.loads((MS / "configs" / "train.json").read_text())["padding"] == "auto"
    for size, padding in ((least - 1, "same"), (least, 0)):
        with torch.device("meta"):
            assert ms_cnn((least + 3, least + 9, size), padding="auto").padding == padding


def test_a_scan_at_a_time_it_says_the_same(trained_ms_bundle, tiny_cohort):
    from neuroxai.explain import OpenBundle

    explainer = OpenBundle(trained_ms_bundle)
    found = explainer.explain(tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz")
    assert explainer.model.classes == io.read_json(trained_ms_bundle / "models" / "model.json")["classes"]
    assert found.target == explainer.model.classes[1]
    assert np.abs(found.on_network.data).max() > 0
    assert sum(found.prediction.probabilities[name] for name in explainer.model.classes) == pytest.approx(1)
