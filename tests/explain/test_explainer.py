"""Bundles that stay open: the figures of the command line, other people's bundles, refusals."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

import neuroxai
from helpers.command import run
from helpers.foreign import make_foreign
from neuroxai import attribution, io
from neuroxai.errors import InputError
from neuroxai.explain import OpenBundle
from neuroxai.explain.bundle import classifier_metadata, open_workflow
from neuroxai.space import Space, Volume


@pytest.fixture(scope="module")
def explainer(trained_bundle):
    return OpenBundle(trained_bundle)


@pytest.fixture(scope="module")
def turned_scan(tiny_cohort, tmp_path_factory):
    """A patient's scan on an oblique, anisotropic LAS grid of its own, away from the network's."""
    volume = io.read_volume(tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz")
    angle = np.deg2rad(7)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-4.0, 5.0, 6.0])
    shape = (50, 48, 34)
    affine[:3, 3] = volume.space.world((np.array(volume.space.shape) - 1) / 2) - affine[:3, :3] @ (np.array(shape) / 2)
    path = tmp_path_factory.mktemp("turned") / "sub-17_T1w.nii.gz"
    io.write_volume(path, volume.resampled_to(Space(shape, affine)))
    return path


@pytest.mark.parametrize(
    ("method", "options"),
    # of a bundle whose own method starts at the probability, one that starts at the logit
    [("lrp_alpha_beta", {"beta": 0}), ("lrp_epsilon", {}), ("saliency", {}), (None, {})],
)
def test_the_figures_are_those_of_the_command(explainer, trained_bundle, turned_scan, tmp_path, method, options):
    words = ["--method", method] if method else []
    words += [word for name, value in options.items() for word in ("--option", f"{name}={value}")]
    result = run("explain", trained_bundle, turned_scan, "--out", tmp_path, *words)
    assert result.code == 0, result.err
    found = explainer.explain(turned_scan, method, options)
    (sidecar,) = tmp_path.glob("sub-17/anat/*space-orig*_heatmap.json")
    facts = io.read_json(sidecar)
    expected = io.read_volume(sidecar.with_suffix("").with_suffix(".nii.gz"))
    assert found.on_scan.space.matches(io.read_space(turned_scan))
    np.testing.assert_array_equal(found.on_scan.data, expected.data)
    assert np.abs(expected.data).max() > 0
    assert found.prediction.probabilities["AD"] == facts["prediction"]["probability_AD"]
    assert found.target == facts["target"]
    for key in ("method", "options", "start", "checkpoint_sha256", "network_space"):
        assert found.provenance[key] == facts[key], key
    (table,) = tmp_path.glob("sub-17/anat/*space-network*_regions.tsv")
    regions = pd.read_csv(table, sep="\t")
    assert list(found.regions["name"]) == list(regions["name"])
    np.testing.assert_allclose(found.regions["sum"], regions["sum"], rtol=1e-5, atol=1e-12)


def test_a_start_follows_the_network_that_is_there(trained_bundle, turned_scan, tmp_path):
    """Of a network that ends in a convolution, to which this method gives another rule than to a linear layer."""
    bundle, network = tmp_path / "bundle", [nn.Conv3d(1, 4, 5, 4), nn.ReLU(), nn.Conv3d(4, 2, 1)]
    shutil.copytree(trained_bundle, bundle)
    with torch.no_grad():
        network[-1].bias.fill_(-3.0)
    network = nn.Sequential(*network, nn.AdaptiveAvgPool3d(1), nn.Flatten())
    config, weights = bundle / "configs" / "inference.json", bundle / "models" / "model.pt"
    layers = ["Conv3d(1, 4, 5, 4)", "ReLU()", "Conv3d(4, 2, 1)", "AdaptiveAvgPool3d(1)", "Flatten()"]
    made = f"$torch.nn.Sequential({', '.join(f'torch.nn.{layer}' for layer in layers)})"
    content = io.read_json(config)
    io.write_json(config, {**content, "imports": ["$import torch", *content["imports"]], "network_def": made})
    explain = io.read_json(config.with_name("explain.json"))
    explain["heatmaps"].pop("network")  # as in bundles of earlier versions
    io.write_json(config.with_name("explain.json"), explain)
    torch.save(network.state_dict(), weights)
    record = io.read_json(weights.with_suffix(".json"))
    io.write_json(weights.with_suffix(".json"), {**record, "checkpoint_sha256": io.sha256(weights)})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "relevance starts at")
        result = run("explain", bundle, turned_scan, "--out", tmp_path / "out", "--method", "lrp_epsilon_plus_flat")
        assert result.code == 0, result.err
        found = OpenBundle(bundle).explain(turned_scan, "lrp_epsilon_plus_flat")
    (sidecar,) = (tmp_path / "out").glob("sub-17/anat/*space-orig*_heatmap.json")
    assert io.read_json(sidecar)["start"] == found.provenance["start"] == "probability"
    assert found.prediction.score < 0
    expected = io.read_volume(sidecar.with_suffix("").with_suffix(".nii.gz"))
    np.testing.assert_array_equal(found.on_scan.data, expected.data)
    found.save(tmp_path / "saved")
    (own,) = (tmp_path / "saved").rglob("*space-orig*_heatmap.json")
    assert io.read_json(own)["start"] == "probability"


def test_class_atlas_and_threads(explainer, turned_scan):
    with ThreadPoolExecutor(4) as pool:
        targets = ["AD", "CN", "predicted", None] * 3
        found = list(pool.map(lambda target: explainer.explain(turned_scan, "saliency", target=target), targets))
    for target, one in zip(targets, found, strict=True):
        assert one.target == {"predicted": one.prediction.predicted, None: "AD"}.get(target, target)
        alone = explainer.explain(turned_scan, "saliency", target=target)
        np.testing.assert_array_equal(one.on_network.data, alone.on_network.data)
    assert explainer.explain(turned_scan, "saliency", atlas=None).regions is None


def test_a_retrained_checkpoint_is_loaded_anew(trained_bundle, turned_scan, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(trained_bundle, bundle)
    explainer = OpenBundle(bundle)
    before = explainer.explain(turned_scan)
    weights = bundle / "models" / "model.pt"
    state = torch.load(weights, weights_only=True)
    last = list(state)[-1]
    torch.save({**state, last: state[last] + 1.5}, weights)
    record = io.read_json(weights.with_suffix(".json"))
    io.write_json(weights.with_suffix(".json"), {**record, "checkpoint_sha256": io.sha256(weights)})
    os.utime(weights, (1, 1))
    after = explainer.explain(turned_scan)
    assert after.provenance["checkpoint_sha256"] == io.sha256(weights) != before.provenance["checkpoint_sha256"]
    assert after.prediction.score != before.prediction.score


@pytest.mark.parametrize("nested", [True, False])
def test_other_peoples_bundle(tmp_path, turned_scan, nested):
    bundle = make_foreign(tmp_path / "foreign", nested=nested)
    explainer = OpenBundle(bundle)
    found = explainer.explain(turned_scan, "lrp_epsilon")
    assert explainer.model.classes == ["healthy", "ill"]
    # by hand: the same transforms and network, and relevance through the public call
    model = explainer.model
    image = model.transform({"scan": str(turned_scan)})["scan"]
    logits = model.network(image.as_tensor()[None])
    shares = torch.softmax(logits.detach().double(), 1)[0]
    assert found.prediction.probabilities["ill"] == pytest.approx(float(shares[1]), abs=1e-6)
    method = attribution.create("lrp_epsilon", model.network)
    heatmap = method.attribute(image.as_tensor()[None], target=1)[0, 0].detach().numpy()
    np.testing.assert_allclose(found.on_network.data, heatmap, atol=1e-5 * np.abs(heatmap).max())
    expected = Volume(found.on_network.data, Space(image.shape[1:], np.asarray(image.affine)))
    np.testing.assert_array_equal(found.on_scan.data, expected.resampled_to(io.read_space(turned_scan)).data)
    assert found.regions["voxels"].sum() > 0


def test_commands_say_how_other_peoples_bundles_are_explained(tmp_path):
    bundle = make_foreign(tmp_path / "foreign")
    for configs, scans in ((["inference.json", "explain.json"], "scans"), (["inference.json"], "items")):
        with pytest.raises(InputError, match=r"neuroxai\.open_bundle\(BUNDLE\)\.explain"):
            open_workflow(bundle, configs, **{scans: ()})


def test_what_cannot_be_explained_is_refused(explainer, turned_scan, tmp_path):
    for words, message in (
        ({"method": "tea_leaves"}, "unknown attribution method 'tea_leaves'; choose one of"),
        ({"target": "MCI"}, "unknown class 'MCI'; choose one of: AD, CN, predicted"),
        ({"atlas": "/absent.nii.gz"}, "absent"),
        ({"options": {"gamma": 1}, "method": "saliency"}, "gamma"),
    ):
        with pytest.raises(InputError, match=message):
            explainer.explain(turned_scan, **words)
    empty = tmp_path / "empty.nii.gz"
    io.write_volume(empty, Volume(np.zeros((8, 9, 10), np.float32), Space((8, 9, 10), np.diag([20.0, 20, 20, 1]))))
    with pytest.raises(InputError, match="empty"):
        explainer.explain(empty)


def test_metadata_tell_what_is_a_classifier(tmp_path, trained_bundle):
    assert classifier_metadata(trained_bundle)["name"]
    foreign = make_foreign(tmp_path / "foreign")
    file = foreign / "configs" / "metadata.json"
    metadata = json.loads(file.read_text())

    def told(**output):
        changed = json.loads(json.dumps(metadata))
        changed["network_data_format"]["outputs"]["pred"].update(output)
        file.write_text(json.dumps(changed))
        with pytest.raises(InputError) as error:
            classifier_metadata(foreign)
        return str(error.value)

    assert "expected format 'classes'" in told(format="segmentation")
    assert "expected format 'classes'" in told(spatial_shape=[32, 38, 32])
    file.write_text("{}")
    with pytest.raises(InputError, match="network_data_format"):
        classifier_metadata(foreign)
    (foreign / "models" / "model.pt").unlink()
    with pytest.raises(InputError, match="train the bundle first"):
        classifier_metadata(foreign)
    with pytest.raises(InputError, match="no MONAI bundle"):
        classifier_metadata(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path, turned_scan):
    bundle = make_foreign(tmp_path / "foreign")
    torch.save({"model": {"weight": torch.zeros(2)}}, bundle / "models" / "model.pt")
    with pytest.raises(InputError, match="does not fit the bundle's network_def"):
        OpenBundle(bundle).explain(turned_scan)


def test_what_is_saved_is_what_the_command_writes(trained_bundle, turned_scan, tmp_path):
    assert run("explain", trained_bundle, turned_scan, "--out", tmp_path / "command").code == 0
    found = neuroxai.open_bundle(trained_bundle, device="cpu").explain(turned_scan)
    assert found.save(tmp_path / "saved") == tmp_path / "saved"
    written = sorted(p.relative_to(tmp_path / "command") for p in (tmp_path / "command").rglob("*") if p.is_file())
    assert written == sorted(p.relative_to(tmp_path / "saved") for p in (tmp_path / "saved").rglob("*") if p.is_file())
    assert len(written) > 6
    for path in written:
        assert (tmp_path / "command" / path).read_bytes() == (tmp_path / "saved" / path).read_bytes(), path
    found.save(tmp_path / "saved")  # finished
    other = tmp_path / "other" / turned_scan.name
    io.write_volume(other, Volume(io.read_volume(turned_scan).data * np.float32(1.01), io.read_space(turned_scan)))
    another = neuroxai.open_bundle(trained_bundle, device="cpu").explain(other, accept_unfit=True)
    with pytest.raises(InputError, match="another scan of this name"):
        another.save(tmp_path / "saved")


def test_a_path_an_image_and_a_tensor_are_one_scan(trained_bundle, turned_scan, tmp_path):
    opened = neuroxai.open_bundle(str(trained_bundle), device="cpu")
    image = nib.load(turned_scan)
    values = torch.from_numpy(image.get_fdata(dtype=np.float32))[None]
    tensor = MetaTensor(values, affine=torch.from_numpy(image.affine))
    found = [opened.explain(scan, "saliency") for scan in (turned_scan, image, tensor)]
    for one in found:
        assert one.probabilities == found[0].probabilities == dict(opened.predict(turned_scan).probabilities)
        np.testing.assert_array_equal(one.heatmap.get_fdata(), found[0].heatmap.get_fdata())
        np.testing.assert_allclose(one.native_heatmap.affine, image.affine, atol=1e-6)
        assert one.native_heatmap.shape == image.shape
        pd.testing.assert_frame_equal(one.regions, found[0].regions)
    found[1].save(tmp_path)
    kept = tmp_path / "scan" / turned_scan.name
    np.testing.assert_array_equal(nib.load(kept).get_fdata(), image.get_fdata())
    assert io.read_json(next(tmp_path.glob("sub-17/anat/*network*_heatmap.json")))["source"] == kept.name
    with pytest.raises(InputError, match="ndarray"):
        opened.explain(image.get_fdata())


def test_a_bundle_that_is_none_is_refused_when_it_is_opened(tmp_path):
    with pytest.raises(InputError, match="train the bundle first"):
        neuroxai.open_bundle(tmp_path)
