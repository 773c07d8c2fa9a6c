"""The bundle's other configurations, run as MONAI runs them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow

from helpers.bundles import AD, MS, SEX
from helpers.bundles import infer as run
from neuroxai import io
from neuroxai.errors import InputError, ours


@pytest.fixture
def paths(tiny_cohort, tmp_path):
    return {"dataset_dir": str(tiny_cohort), "output_dir": str(tmp_path / "out")}


def test_evaluate_measures_the_held_out_part(trained_bundle, paths, tmp_path):
    # the grid and the scaling are the checkpoint's
    run(trained_bundle, ["train.json", "evaluate.json"], **paths)
    metrics = io.read_json(tmp_path / "out" / "metrics_test.json")
    assert metrics["balanced_accuracy"] == 1.0
    assert metrics["roc_auc"] == 1.0
    assert metrics["checkpoint_sha256"] == io.sha256(trained_bundle / "models" / "model.pt")
    table = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t")
    assert list(table["participant_id"]) == ["sub-16", "sub-17", "sub-18", "sub-19"]


def test_inference_and_explanation_agree_with_each_other(trained_bundle, paths, tmp_path):
    run(trained_bundle, ["inference.json"], **paths)
    alone = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t")
    explained = run(trained_bundle, ["inference.json", "explain.json"], **paths)
    both = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t")
    pd.testing.assert_frame_equal(alone, both, atol=1e-5)
    assert len(list((tmp_path / "out").rglob("*_space-network_desc-lrpAlphaBeta_heatmap.nii.gz"))) == 4
    # relevance from the probability: what reaches the input cannot exceed it
    for path in (tmp_path / "out").rglob("*_space-network_desc-lrpAlphaBeta_heatmap.json"):
        sidecar = io.read_json(path)
        assert sidecar["start"] == "probability"
        assert 0 < sidecar["relevance_sum"] <= sidecar["probability"] + 1e-6
    assert explained.evaluator.state.epoch == 1


@pytest.mark.parametrize("files", [["inference.json"], ["train.json", "evaluate.json"]])
def test_labels_in_another_order_are_refused(trained_bundle, paths, tmp_path, files):
    datalist = io.read_json(f"{paths['dataset_dir']}/datalist.json")
    io.write_json(tmp_path / "other.json", {**datalist, "classes": ["AD", "CN"]})
    with pytest.raises(Exception) as caught:
        run(trained_bundle, files, datalist=str(tmp_path / "other.json"), **paths)
    assert isinstance(ours(caught.value), InputError)
    assert "classes are ['AD', 'CN'], the network was trained on ['CN', 'AD']" in str(ours(caught.value))


@pytest.mark.parametrize("bundle", [AD, MS], ids=lambda bundle: bundle.name)
def test_the_network_fits_the_metadata(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    parser = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(bundle),
        checkpoint="/nowhere/model.pt",
    )
    parser.initialize()
    network = parser.network_def.eval()
    image = metadata["network_data_format"]["inputs"]["image"]
    with torch.no_grad():
        logits = network(torch.rand(1, image["num_channels"], *image["spatial_shape"]))
    assert logits.shape == (1, metadata["network_data_format"]["outputs"]["pred"]["num_channels"])
    assert np.isfinite(logits.numpy()).all()


@pytest.mark.parametrize("bundle", [AD, MS, SEX], ids=lambda bundle: bundle.name)
def test_required_properties_are_there(bundle):
    for name, kind in (("train.json", "train"), ("inference.json", "infer")):
        workflow = ConfigWorkflow(
            config_file=str(bundle / "configs" / name), logging_file=False, workflow_type=kind, bundle_root=str(bundle)
        )
        workflow.parser.parse(reset=True)
        required = [p["id"] for p in workflow.properties.values() if p["required"] and "id" in p]
        assert required
        missing = [i for i in required if i not in workflow.parser and not i.startswith("_meta_")]
        assert not missing, f"{name}: {missing}"
