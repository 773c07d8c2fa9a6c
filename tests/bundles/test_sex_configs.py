"""The sex bundle's other configurations, run as MONAI runs them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow

from helpers.bundles import SEX, copy_of, train
from helpers.bundles import infer as run
from helpers.command import run as neuroxai
from helpers.thirds import sampled
from neuroxai import attribution, io, networks
from neuroxai.components import load_weights
from neuroxai.space import mni152

SUBJECTS = ["sub-16", "sub-17", "sub-18", "sub-19"]


@pytest.fixture
def paths(tiny_cohort, tmp_path):
    return {"dataset_dir": str(tiny_cohort), "output_dir": str(tmp_path / "out")}


@pytest.fixture(scope="module")
def scans(tiny_cohort):
    found = [io.read_volume(tiny_cohort / s / "anat" / f"{s}_desc-brain_T1w.nii.gz").data for s in SUBJECTS]
    return torch.stack([torch.from_numpy(data / data.max())[None] for data in found])


def network_of(bundle, model="model_a_pif"):
    built = networks.create(model, mni152(5).shape, 1, 1, padding="same")
    return load_weights(built, str(bundle / "models" / "model.pt")).eval()


def close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * float(np.abs(wanted).max()))


def test_evaluation_measures_the_held_out_part(trained_sex_bundle, paths, tmp_path):
    # the grid, the scaling and the network are the checkpoint's
    run(trained_sex_bundle, ["train.json", "evaluate.json"], **paths)
    metrics = io.read_json(tmp_path / "out" / "metrics_test.json")
    assert (metrics["balanced_accuracy"], metrics["roc_auc"]) == (1.0, 1.0)
    assert metrics["checkpoint_sha256"] == io.sha256(trained_sex_bundle / "models" / "model.pt")


@pytest.mark.parametrize("model", sampled(["model_b", "model_a", "model_b_pif", "patch_cnn"], 4))
def test_inference_and_explanation_build_the_network_of_the_record(tmp_path, tiny_cohort, paths, scans, model):
    bundle = copy_of(SEX, tmp_path / "bundle")
    train(bundle, tiny_cohort, max_epochs=1, model=model, batch_size=12)
    run(bundle, ["inference.json"], batch_size=4, **paths)
    table = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t")
    with torch.no_grad():
        logits = network_of(bundle, model)(scans)[:, 0]
    np.testing.assert_allclose(table["score"], logits, atol=1e-5)
    run(bundle, ["train.json", "evaluate.json"], **paths)
    again = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t")
    pd.testing.assert_frame_equal(again, table, atol=1e-5)
    np.testing.assert_allclose(table["probability_AD"], logits.sigmoid(), atol=1e-6)
    run(bundle, ["inference.json", "explain.json"], batch_size=4, native=False, **paths)
    path = tmp_path / "out" / "sub-17" / "anat" / "sub-17_space-network_desc-lrpAlphaBeta_heatmap.nii.gz"
    method = attribution.create("lrp_alpha_beta", network_of(bundle, model), beta=4)
    close(io.read_volume(path).data, method.attribute(scans, 0, start="probability")[1, 0].numpy())


def test_the_last_convolutions_filters_where_there_are_no_patches(tmp_path, tiny_cohort, paths, scans):
    bundle = copy_of(SEX, tmp_path / "bundle")
    train(bundle, tiny_cohort, max_epochs=1, model="patch_cnn", batch_size=12)
    run(bundle, ["inference.json", "explain_filters.json"], batch_size=4, neurons=[7], **paths)
    group = tmp_path / "out" / "group"
    table = pd.read_csv(group / "group_space-network_desc-lrpAlphaBetaSharedFeaturesConv4_heatmaps.tsv", sep="\t")
    network = network_of(bundle, "patch_cnn")
    method = attribution.create("lrp_alpha_beta", network, beta=4)
    wanted = method.attribute(scans, layer="shared.features.conv4", neuron=7).double().mean(0)[0].numpy()
    close(io.read_volume(group / table["file"][0]).data, wanted)
    outputs = []
    network.shared.features.conv4.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad():
        network(scans)
    # twelve patches a scan
    assert table["activation_mean"][0] == pytest.approx(float(outputs[0][:, 7].double().sum() / 4), rel=1e-4)


@pytest.mark.full(0)
def test_each_patch_and_filter_through_bundle_and_command_line(trained_sex_bundle, paths, tmp_path, tiny_cohort, scans):
    run(trained_sex_bundle, ["inference.json", "explain_filters.json"], batch_size=3, **paths)
    group = tmp_path / "out" / "group"
    table = io.read_tsv(group / "group_space-network_desc-lrpAlphaBetaPif_heatmaps.tsv")
    network = network_of(trained_sex_bundle)
    pif = network.features.pif
    assert len(table) == pif.patches * 3
    assert list(table["strain"]) == ["plain"] * 3 * 8 + ["overlap"] * 3
    method = attribution.create("lrp_alpha_beta", network, beta=4)
    for row in table.iloc[::7].to_dict("records"):
        neuron = {"patch": row["patch"], "filter": row["filter"]}
        wanted = method.attribute(scans, layer="features.pif", neuron=neuron).double().mean(0)[0].numpy()
        close(io.read_volume(group / row["file"]).data, wanted)
    # the command says the same, and finds the work done
    arguments = ("explain", trained_sex_bundle, tiny_cohort, "--part", "test", "--out", paths["output_dir"])
    again = neuroxai(*arguments, "--layer", "features.pif", "--neuron", "all")
    assert (again.code, "4 of 4 scans were finished before" in again.err) == (0, True), again.err
    one = neuroxai(*arguments, "--layer", "features.pif", "--neuron", "patch=3,filter=1", "--no-native")
    assert one.code == 0, one.err
    path = tmp_path / "out" / "sub-18" / "anat" / "sub-18_space-network_desc-lrpAlphaBetaPifP03F1_heatmap.nii.gz"
    wanted = method.attribute(scans[2:3], layer="features.pif", neuron={"patch": 3, "filter": 1})[0, 0].numpy()
    close(io.read_volume(path).data, wanted)
    assert neuroxai("report", paths["output_dir"]).out.startswith("filters: ")


def test_one_neuron_by_the_bundles_options(trained_sex_bundle, paths, tmp_path, scans):
    files = ["inference.json", "explain.json"]
    hidden_start = {"layer": "features.pif", "neuron": {"patch": 8, "filter": 0}}
    run(trained_sex_bundle, files, **hidden_start, native=False, batch_size=4, **paths)
    run(trained_sex_bundle, files, conditions={"features.conv4": [3, 5]}, native=False, batch_size=4, **paths)
    method = attribution.create("lrp_alpha_beta", network_of(trained_sex_bundle), beta=4)
    hidden = method.attribute(scans, **hidden_start)
    through = method.attribute(scans, 0, start="probability", conditions={"features.conv4": [3, 5]})
    stem = tmp_path / "out" / "sub-17" / "anat" / "sub-17_space-network_desc-lrpAlphaBeta"
    close(io.read_volume(f"{stem}PifP08F0_heatmap.nii.gz").data, hidden[1, 0].numpy())
    close(io.read_volume(f"{stem}ViaConv4F3F5_heatmap.nii.gz").data, through[1, 0].numpy())
    assert io.read_json(f"{stem}ViaConv4F3F5_heatmap.json")["target"] == "AD"


def test_the_explanation_of_the_class_lies_where_the_blob_is(trained_sex_bundle, paths, tmp_path):
    run(trained_sex_bundle, ["inference.json", "explain.json"], native=False, **paths)
    path = tmp_path / "out" / "sub-17" / "anat" / "sub-17_space-network_desc-lrpAlphaBeta_heatmap.nii.gz"
    found = io.read_volume(path)
    size = np.abs(found.data).astype(np.float64)
    world = found.space.world(np.argwhere(size >= 0))
    inside = (np.linalg.norm(world - (-30, -20, 0), axis=1) < 30).reshape(size.shape)
    assert size[inside].mean() > 3 * size[~inside].mean()
    sidecar = io.read_json(str(path).replace(".nii.gz", ".json"))
    assert (sidecar["start"], sidecar["options"]) == ("probability", {"beta": 4.0})


def test_the_network_fits_the_metadata_and_the_classes(tmp_path):
    metadata = json.loads((SEX / "configs" / "metadata.json").read_text())
    workflow = ConfigWorkflow(
        config_file=str(SEX / "configs" / "inference.json"), logging_file=False, workflow_type="infer",
        bundle_root=str(SEX), checkpoint="/nowhere/model.pt",
    )  # fmt: skip
    workflow.initialize()
    image = metadata["network_data_format"]["inputs"]["image"]
    with torch.no_grad():
        logits = workflow.network_def.eval()(torch.rand(1, image["num_channels"], *image["spatial_shape"]))
    output = metadata["network_data_format"]["outputs"]["pred"]
    assert logits.shape == (1, output["num_channels"])
    assert workflow.parser.get_parsed_content("classes") == ["F", "M"]
    assert metadata["label_classes"] == "single label, 0: female, 1: male"
    assert output["channel_def"] == {"0": "logit of male"}
    assert sum(p.numel() for p in workflow.network_def.parameters()) == 259_131


def test_a_scan_at_a_time_it_says_the_same(trained_sex_bundle, tiny_cohort):
    from neuroxai.explain import OpenBundle

    explainer = OpenBundle(trained_sex_bundle)
    found = explainer.explain(tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz")
    assert explainer.model.classes == io.read_json(trained_sex_bundle / "models" / "model.json")["classes"]
    assert found.target == explainer.model.classes[1]
    assert np.abs(found.on_network.data).max() > 0
    assert sum(found.prediction.probabilities[name] for name in explainer.model.classes) == pytest.approx(1)
