"""Pre-training and fine-tuning of the multiple-sclerosis bundle, run as MONAI runs them."""

from __future__ import annotations

import logging

import pytest
import torch

from helpers.bundles import MS, copy_of, train
from neuroxai.components import read_record
from neuroxai.errors import InputError, LeakageError, ours
from neuroxai.io import read_json, sha256, write_json


def state(path):
    return torch.load(path, weights_only=True)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(scope="module")
def cohort(tiny_cohort, tmp_path_factory):
    """The phantoms, with a datalist that names its cohort."""
    folder = tmp_path_factory.mktemp("ms")
    named = {**read_json(tiny_cohort / "datalist.json"), "participants_sha256": "a" * 64}
    return {"cohort": tiny_cohort, "datalist": str(write_json(folder / "datalist.json", named))}


@pytest.fixture(scope="module")
def pretrained(cohort, tmp_path_factory):
    """A bundle after one epoch of pre-training."""
    bundle = copy_of(MS, tmp_path_factory.mktemp("pretrained") / "bundle")
    train(bundle, overlay="pretrain.json", max_epochs=1, **cohort)
    return bundle


def test_pretraining_keeps_its_weights_apart_and_fine_tuning_begins_with_them(pretrained, cohort, tmp_path, caplog):
    weights = pretrained / "models" / "pretraining" / "model.pt"
    assert not (pretrained / "models" / "model.pt").exists()
    settings = read_record(str(weights))["settings"]
    assert (settings["learning_rate"], settings["learning_rate_decay"]) == (0.001, 0.0)
    assert (settings["flip_probability"], settings["max_shift"]) == (0.0, 0)
    assert settings["pretrained_sha256"] is None
    bundle = copy_of(MS, tmp_path / "bundle")
    # a step of nought shows what the training begins with
    with caplog.at_level(logging.INFO, "neuroxai"):
        train(bundle, pretrained=str(weights), max_epochs=1, learning_rate=0.0, **cohort)
    assert "begins with the 10 tensors of" in caplog.text
    assert same(state(bundle / "models" / "model.pt"), state(weights))
    record = read_record(str(bundle / "models" / "model.pt"))
    assert record["settings"]["pretrained_sha256"] == sha256(weights)
    assert record["settings"]["participants_sha256"] == "a" * 64


def test_a_resumed_fine_tuning_ends_where_an_uninterrupted_one_does(pretrained, cohort, tmp_path):
    weights = str(pretrained / "models" / "pretraining" / "model.pt")
    whole, parts = copy_of(MS, tmp_path / "whole"), copy_of(MS, tmp_path / "parts")
    # a decay that leaves its mark in a few steps
    options = {"pretrained": weights, "learning_rate_decay": 0.5, **cohort}
    train(whole, max_epochs=2, **options)
    train(parts, max_epochs=1, **options)
    workflow = train(parts, max_epochs=2, **options)
    first, second = state(whole / "models" / "last.pt"), state(parts / "models" / "last.pt")
    assert same(first["network"], second["network"])
    assert first["history"] == second["history"]
    # two epochs of two batches: three iterations were done before the last
    groups = workflow.parser.get_parsed_content("optimizer").param_groups
    assert [group["lr"] for group in groups] == [5e-4 / (1 + 0.5 * 3)] * 3
    assert [group["weight_decay"] for group in groups] == [0.0, 0.02, 0.02]
    for other in ({**options, "pretrained": None}, {**options, "l2": {"conv3": 0.01, "conv4": 0.02}}):
        with pytest.raises(Exception) as caught:
            train(parts, max_epochs=3, **other)
        assert isinstance(ours(caught.value), InputError)
        assert ("pretrained_sha256 was" in str(ours(caught.value))) == (other["pretrained"] is None)


def test_a_subject_of_the_pretraining_is_not_tested_on(pretrained, cohort, tmp_path):
    datalist = read_json(cohort["datalist"])
    datalist["training"], datalist["test"] = datalist["training"][2:] + datalist["test"], datalist["training"][:2]
    other = {**cohort, "datalist": str(write_json(tmp_path / "datalist.json", datalist))}
    weights = str(pretrained / "models" / "pretraining" / "model.pt")
    with pytest.raises(Exception) as caught:
        train(copy_of(MS, tmp_path / "bundle"), pretrained=weights, **other)
    assert isinstance(ours(caught.value), LeakageError)
    assert "sub-00 stands in test" in str(ours(caught.value))
    # of another cohort, with the same names
    write_json(tmp_path / "datalist.json", {**datalist, "participants_sha256": "b" * 64})
    train(copy_of(MS, tmp_path / "allowed"), pretrained=weights, max_epochs=1, **other)


def test_a_head_for_other_classes_begins_fresh_when_asked_for(pretrained, cohort, tmp_path):
    weights = str(pretrained / "models" / "pretraining" / "model.pt")
    options = {"pretrained": weights, "pretrained_head": "fresh", "max_epochs": 1, "learning_rate": 0.0}
    train(copy_of(MS, tmp_path / "bundle"), **options, **cohort)
    found, former = state(tmp_path / "bundle" / "models" / "model.pt"), state(weights)
    assert torch.equal(found["features.conv1.weight"], former["features.conv1.weight"])
    assert not torch.equal(found["head.linear1.weight"], former["head.linear1.weight"])
