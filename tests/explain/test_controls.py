from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import neuroxai
from helpers.command import run
from neuroxai.cohort import load_datalist
from neuroxai.errors import InputError, LeakageError, SpaceError
from neuroxai.explain.bundle import open_model
from neuroxai.explain.controls import (
    STEPS,
    against_controls,
    beside,
    bundle_method,
    left_right,
    load_controls,
    make_controls,
    save_controls,
)
from neuroxai.explain.weights import read_record
from neuroxai.space import Space, mni152


@pytest.fixture(scope="module")
def bundle(trained_bundle, tiny_cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls") / "bundle"
    shutil.copytree(trained_bundle, folder)
    make_controls(folder, tiny_cohort, keep_scans=True)
    return folder


def training_of(bundle, cohort, label):
    model = open_model(bundle)
    items = load_datalist(cohort / "datalist.json", "training", cohort)
    return torch.cat([
        model.prepared({"session_id": "", **item}).tensor for item in items if item["label"] == label
    ])  # fmt: skip


def space_of(bundle):
    return Space.from_dict(read_record(str(bundle / "models" / "model.pt"))["space"])


def test_it_is_made_of_the_training_part_alone(bundle, tiny_cohort):
    own, patients = (training_of(bundle, tiny_cohort, label) for label in (0, 1))
    found = load_controls(bundle / "models" / "model.pt", space_of(bundle))
    assert (found.controls, found.patients) == (len(own), len(patients))
    torch.testing.assert_close(found.change, patients.mean(0) - own.mean(0), rtol=0, atol=2e-3)
    torch.testing.assert_close(found.mean, own.mean(0), rtol=0, atol=2e-3)  # kept in half precision
    torch.testing.assert_close(found.scans, own, rtol=0, atol=2e-3)


def test_only_a_grid_about_the_middle_of_the_brain_is_mirrored():
    turned = np.array([[0, -4.0, 0, 94], [4, 0, 0, -129], [0, 0, 4, -75], [0, 0, 0, 1]])
    assert left_right(Space((57, 48, 48), turned)) == 1
    assert left_right(mni152(4.0)) == 0
    assert left_right(Space((20, 57, 48), mni152(4.0).affine)) is None  # the left half


def test_others_than_the_training_part_are_refused(bundle, tiny_cohort):
    checkpoint = bundle / "models" / "model.pt"
    record, reference = read_record(str(checkpoint)), load_controls(checkpoint, space_of(bundle))
    tested = load_datalist(tiny_cohort / "datalist.json", "test", tiny_cohort)[0]["participant_id"]
    with pytest.raises(LeakageError, match=rf"{tested} was not in the training"):
        save_controls(checkpoint, reference, space_of(bundle), record, [tested])


def test_what_does_not_belong_to_the_network_is_refused(bundle, tmp_path):
    checkpoint, space = bundle / "models" / "model.pt", space_of(bundle)
    with pytest.raises(InputError, match="prepared by 'minmax', the network's are by 'zscore'"):
        load_controls(checkpoint, space, "zscore")
    with pytest.raises(SpaceError, match=r"controls\.pt: lies on"):
        load_controls(checkpoint, Space((4, 4, 4), space.affine))
    other = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(1)}, other)
    shutil.copy(beside(checkpoint), beside(other))
    with pytest.raises(InputError, match=r"made with other weights than model\.pt"):
        load_controls(other, space)
    with pytest.raises(InputError, match=r"no such reference of controls.*neuroxai bundle controls"):
        load_controls(tmp_path / "elsewhere" / "model.pt", space)


def test_the_command_line_and_python_explain_against_controls_alike(bundle, tiny_cohort, tmp_path):
    scan = load_datalist(tiny_cohort / "datalist.json", "test", tiny_cohort)[0]["image"]
    found = neuroxai.open_bundle(bundle).explain(scan, against="controls")
    assert (found.run.method, found.run.options["baselines"]) == ("integrated_gradients", "healthy_twin")
    assert not run("explain", bundle, scan, "--out", tmp_path / "out", "--against", "controls").code
    noted = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert (noted["method"], noted["options"]) == (found.run.method, dict(found.run.options))
    swapped = neuroxai.open_bundle(bundle).explain(scan, method="region_swap", against="controls")
    assert swapped.run.options == {"baselines": "healthy_twin"}
    mean = neuroxai.open_bundle(bundle).explain(scan, method="occlusion", options={"baselines": "mean_control"})
    assert mean.heatmap.get_fdata().any()


def test_a_bundle_with_a_reference_explains_against_it(bundle, trained_bundle):
    own, plain = open_model(bundle).defaults, open_model(trained_bundle).defaults
    assert (own.method, own.options) == ("integrated_gradients", {"baselines": "healthy_twin", "n_steps": STEPS})
    assert (plain.method, plain.options) == ("lrp_alpha_beta", {})
    assert bundle_method(str(bundle / "models" / "model.pt"), "features.conv4", "lrp_epsilon") == "lrp_epsilon"


def test_hidden_layers_of_a_bundle_with_a_reference_are_explained_as_the_command_line_does(
    bundle, tiny_cohort, tmp_path
):
    scan = load_datalist(tiny_cohort / "datalist.json", "test", tiny_cohort)[0]["image"]
    opened = neuroxai.open_bundle(bundle)
    layer = next(name for name, part in opened.model.network.named_modules() if isinstance(part, torch.nn.Conv3d))
    found = opened.explain(scan, layer=layer)
    assert (found.run.method, found.run.options, found.run.layer) == ("lrp_alpha_beta", {}, layer)
    through = opened.explain(scan, conditions={layer: [0]})
    assert (through.run.method, through.run.start) == ("lrp_alpha_beta", "probability")
    assert not run("explain", bundle, scan, "--out", tmp_path / "out", "--layer", layer, "--no-native").code
    (record,) = (tmp_path / "out").glob("explain_*.json")
    noted = json.loads(record.read_text())
    assert (noted["method"], noted["options"]) == (found.run.method, dict(found.run.options))
    assert opened.explain(scan).run.method == "integrated_gradients"
    with pytest.raises(InputError, match="'integrated_gradients' cannot start at layer"):
        opened.explain(scan, layer=layer, against="controls")


def test_only_methods_with_baselines_are_held_against_controls():
    with pytest.raises(InputError, match=r"'saliency' has no baselines.*deep_lift.*region_swap"):
        against_controls("controls", {}, "saliency")
    with pytest.raises(InputError, match=r"'patients'.*controls"):
        against_controls("patients", {}, None)
    assert against_controls("controls", {"n_steps": 5}, None)["options"] == {
        "baselines": "healthy_twin",
        "n_steps": 5,
    }
