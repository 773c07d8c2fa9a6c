"""The sex bundle's training: five networks by one option."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser

from helpers.bundles import REPOSITORY, copy_of, train
from helpers.thirds import sampled
from neuroxai import networks
from neuroxai.components import load_weights, read_record
from neuroxai.errors import SpaceError, ours
from neuroxai.space import mni152

SEX = REPOSITORY / "bundles" / "brain_t1w_sex_pif_classification"
MODELS = ["model_a", "model_b", "model_a_pif", "model_b_pif", "patch_cnn"]


def parser(file="train.json", **overrides):
    found = ConfigParser()
    found.read_config(SEX / "configs" / file)
    found.update({"bundle_root": str(SEX), **overrides})
    return found


@pytest.mark.parametrize("model", sampled(MODELS, 3))
def test_each_network_trains_and_records_how_to_build_it_again(tmp_path, tiny_cohort, model):
    bundle = copy_of(SEX, tmp_path / "bundle")
    workflow = train(bundle, tiny_cohort, max_epochs=1, model=model)
    settings = read_record(str(bundle / "models" / "model.pt"))["settings"]
    pif = model.endswith("_pif")
    assert (settings["model"], settings["padding"]) == (model, "same")
    assert settings["patch_shape"] == (5 if pif else None)
    assert settings["flip_probability"] == (0.0 if pif else 0.5)
    assert settings["dropout"] == (0.4 if model == "patch_cnn" else 0.3)
    built = networks.create(model, mni152(5).shape, 1, 1, padding="same")
    load_weights(built, str(bundle / "models" / "model.pt"))
    assert workflow.network_def(torch.zeros(2, 1, *mni152(5).shape)).shape == (2, 1)


def test_model_a_pif_learns_where_the_blob_is(trained_sex_bundle):
    history = pd.read_csv(trained_sex_bundle / "models" / "history.tsv", sep="\t")
    assert history["balanced_accuracy"].max() == 1.0
    assert history["val_loss"].iloc[-1] < 0.6 * history["val_loss"].iloc[0]


def test_the_loss_is_binary_cross_entropy_from_one_logit():
    logits = torch.tensor([[2.0], [-1.0], [0.5]])
    labels = torch.tensor([1, 1, 0])
    loss = parser(**{"loss#weights": None}).get_parsed_content("loss")
    wanted = torch.nn.BCEWithLogitsLoss()(logits[:, 0], labels.float())
    torch.testing.assert_close(loss(logits, labels), wanted)


def test_settings_are_those_of_the_study():
    config = json.loads((SEX / "configs" / "train.json").read_text())
    settings = ["learning_rate", "weight_decay", "batch_size", "patience", "ignored_epochs", "max_epochs"]
    assert [config[name] for name in settings] == [1e-4, 1e-4, 4, 16, 5, 200]
    assert (config["model"], config["normalisation"]) == ("model_a_pif", "maximum")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("spacing", [5, 4, 3, 2.5, 2, 1.5, 1])
def test_every_grid_has_a_network_and_padding_only_where_it_must(model, spacing):
    shape = mni152(spacing).shape
    with torch.device("meta"):
        config = parser(model=model, spacing=spacing)
        padding = config.get_parsed_content("network_def").padding
        assert config.get_parsed_content("network_def").in_shape == tuple(shape)
        try:
            networks.create(model, shape, 1, 1)
        except SpaceError:
            assert padding == "same"
        else:
            assert padding == 0


def test_patches_of_another_size_are_an_option_and_one_too_large_is_refused(tmp_path, tiny_cohort):
    bundle = copy_of(SEX, tmp_path / "bundle")
    workflow = train(bundle, tiny_cohort, max_epochs=1, patch_shape=[3, 4, 3], batch_size=12)
    assert workflow.network_def.features.pif.patch_shape == (3, 4, 3)
    assert read_record(str(bundle / "models" / "model.pt"))["settings"]["patch_shape"] == [3, 4, 3]
    with pytest.raises(RuntimeError) as caught:
        parser(spacing=6).get_parsed_content("network_def")
    assert isinstance(ours(caught.value), SpaceError)
    assert "at least 33 voxels" in str(ours(caught.value))
    with torch.device("meta"):
        assert parser(spacing=6, patch_shape=4).get_parsed_content("network_def").features.pif.patches == 2 + 1


def test_train_and_inference_prepare_scans_alike():
    train_config = json.loads((SEX / "configs" / "train.json").read_text())
    inference = json.loads((SEX / "configs" / "inference.json").read_text())
    assert train_config["train"]["preprocessing"] == inference["preprocessing"]
    assert train_config["of_patches"] == inference["of_patches"]
    for config in (inference, json.loads((SEX / "configs" / "evaluate.json").read_text())):
        for name in ("normalisation", "model", "patch_shape", "padding"):  # without a record, what training would take
            assert config[name] == f"$@recorded.get('{name}', {train_config[name]!r})"
