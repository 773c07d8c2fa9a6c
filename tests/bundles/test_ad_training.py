from __future__ import annotations

import json
import logging

import pandas as pd
import pytest
import torch

from helpers.bundles import AD, MS, copy_of, train
from neuroxai.components import load_weights, read_record, recorded_space
from neuroxai.errors import InputError, LeakageError, SpaceError, ours
from neuroxai.io import read_json, sha256, write_json
from neuroxai.networks import ad_cnn
from neuroxai.space import mni152


def weights(bundle):
    return torch.load(bundle / "models" / "model.pt", weights_only=True)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def raised(error):
    found = ours(error)
    assert found is not None, error
    return found


@pytest.fixture
def bundle(tmp_path):
    return copy_of(AD, tmp_path / "bundle")


def test_training_writes_weights_record_and_history(trained_bundle):
    record = read_record(str(trained_bundle / "models" / "model.pt"))
    assert record["checkpoint_sha256"] == sha256(trained_bundle / "models" / "model.pt")
    assert record["classes"] == ["CN", "AD"]
    assert record["training_participants"] == [f"sub-{n:02d}" for n in range(12)]
    # every scan that training and validation looked at is known by its content
    assert {part: len(scans) for part, scans in record["scans_sha256"].items()} == {"training": 12, "validation": 4}
    assert set(record["validation_participants"]).isdisjoint(record["training_participants"])
    assert recorded_space(record, mni152(2)).matches(mni152(5))
    history = pd.read_csv(trained_bundle / "models" / "history.tsv", sep="\t")
    assert list(history["epoch"]) == list(range(1, len(history) + 1))
    best = history["balanced_accuracy"].max()
    # ties go to the later epoch
    assert record["epoch"] == history.loc[history["balanced_accuracy"] == best, "epoch"].max()
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]
    assert list((trained_bundle / "eval").glob("events.out.tfevents.*"))
    assert not list((trained_bundle / "models").glob(".*"))


def test_same_seed_same_weights_other_seed_other_weights(tmp_path, tiny_cohort):
    results = []
    for number, seed in enumerate((3, 3, 4)):
        folder = copy_of(AD, tmp_path / str(number))
        train(folder, tiny_cohort, seed=seed)
        results.append(weights(folder))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_guided_by_relevance_a_run_is_recorded_so_and_resumed_as_such_alone(bundle, tiny_cohort):
    guided = {"relevance_guidance": 0.5, "relevance_mask": "hippocampus"}
    train(bundle, tiny_cohort, max_epochs=1, **guided)
    record = read_record(str(bundle / "models" / "model.pt"))
    assert record["settings"]["relevance"] == {"guidance": 0.5, "mask": "hippocampus", "rule": "epsilon", "every": 2}
    history = pd.read_csv(bundle / "models" / "history.tsv", sep="\t")
    assert history.loc[0, "train_loss"] > 0.5 * history.loc[0, "relevance_outside"] > 0
    with pytest.raises(Exception) as caught:
        train(bundle, tiny_cohort, max_epochs=2)
    assert isinstance(raised(caught.value), InputError)
    assert "relevance was" in str(raised(caught.value))


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, tiny_cohort):
    whole, parts = copy_of(AD, tmp_path / "whole"), copy_of(AD, tmp_path / "parts")
    train(whole, tiny_cohort, max_epochs=4)
    train(parts, tiny_cohort, max_epochs=2)
    train(parts, tiny_cohort, max_epochs=4)
    first = torch.load(whole / "models" / "last.pt", weights_only=True)
    second = torch.load(parts / "models" / "last.pt", weights_only=True)
    assert same(first["network"], second["network"])
    assert first["history"] == second["history"]
    assert same(weights(whole), weights(parts))


def test_a_finished_run_is_not_trained_again(bundle, tiny_cohort, caplog):
    train(bundle, tiny_cohort)
    before = (bundle / "models" / "model.pt").read_bytes(), (bundle / "models" / "last.pt").read_bytes()
    with caplog.at_level(logging.INFO, "neuroxai"):
        train(bundle, tiny_cohort)
    assert "nothing is left to train" in caplog.text
    assert ((bundle / "models" / "model.pt").read_bytes(), (bundle / "models" / "last.pt").read_bytes()) == before


def test_other_settings_in_the_same_folder_are_refused(bundle, tiny_cohort):
    train(bundle, tiny_cohort, max_epochs=1)
    with pytest.raises(Exception) as caught:
        train(bundle, tiny_cohort, max_epochs=2, learning_rate=0.01)
    message = str(raised(caught.value))
    assert isinstance(raised(caught.value), InputError)
    assert "learning_rate was 0.0001, is 0.01" in message
    assert "--resume false" in message
    train(bundle, tiny_cohort, max_epochs=1, learning_rate=0.01, resume=False)
    assert read_record(str(bundle / "models" / "model.pt"))["settings"]["learning_rate"] == 0.01


def test_early_stopping_counts_from_the_best_epoch(bundle, tiny_cohort):
    # a rate of nought: the loss cannot improve after the first epoch, but for batch norm's running statistics
    train(bundle, tiny_cohort, max_epochs=30, learning_rate=0.0, weight_decay=0.0, patience=3, min_epochs=5)
    losses = pd.read_csv(bundle / "models" / "history.tsv", sep="\t")["val_loss"].tolist()
    best, waited, expected = float("inf"), 0, None
    for epoch, loss in enumerate(losses, start=1):
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited >= 3 and epoch >= 5:
            expected = epoch
            break
    assert expected is not None
    assert len(losses) == expected


def test_a_subject_in_two_parts_stops_the_training(bundle, tiny_cohort, tmp_path):
    datalist = read_json(tiny_cohort / "datalist.json")
    datalist["validation"].append(datalist["training"][1])
    write_json(tmp_path / "leaky.json", datalist)
    with pytest.raises(Exception) as caught:
        train(bundle, tiny_cohort, datalist=str(tmp_path / "leaky.json"))
    assert isinstance(raised(caught.value), LeakageError)
    assert "sub-01" in str(raised(caught.value))


def test_a_broken_scan_is_left_out_of_training_and_recorded(bundle, tiny_cohort, tmp_path):
    datalist = read_json(tiny_cohort / "datalist.json")
    for part in ("training", "validation", "test"):
        for item in datalist[part]:
            item["image"] = str(tiny_cohort / item["image"])
    cohort = tmp_path / "cohort"
    for part in ("training", "validation", "test"):
        for item in datalist[part]:
            target = cohort / item["participant_id"] / "scan.nii.gz"
            target.parent.mkdir(parents=True)
            with open(item["image"], "rb") as source:
                target.write_bytes(source.read())
            item["image"] = f"{item['participant_id']}/scan.nii.gz"
    broken = cohort / "sub-03" / "scan.nii.gz"
    broken.write_bytes(broken.read_bytes()[:2000])
    write_json(cohort / "datalist.json", datalist)
    train(bundle, cohort, max_epochs=1)
    record = read_record(str(bundle / "models" / "model.pt"))
    assert "sub-03" not in record["training_participants"]
    assert len(record["training_participants"]) == 11
    (left_out,) = record["left_out"]
    assert left_out["participant_id"] == "sub-03"
    assert "truncated" in left_out["error"]


def test_a_checkpoint_of_another_grid_is_refused(trained_bundle):
    checkpoint = str(trained_bundle / "models" / "model.pt")
    load_weights(ad_cnn(mni152(5).shape, padding="same"), checkpoint)
    with pytest.raises(SpaceError, match=r"head.linear1.weight has shape \(128, 64\), the network wants \(128, 128\)"):
        load_weights(ad_cnn((96, 114, 96)), checkpoint)


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04half a zip"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_weights(ad_cnn((96, 114, 96)), str(tmp_path / "model.pt"))
    with pytest.raises(InputError, match="no such checkpoint"):
        load_weights(ad_cnn((96, 114, 96)), str(tmp_path / "absent.pt"))


def test_pickled_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"weight": Evil()}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_weights(ad_cnn((96, 114, 96)), str(tmp_path / "model.pt"))


def test_a_record_of_another_checkpoint_is_refused(trained_bundle, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"other")
    (tmp_path / "model.json").write_bytes((trained_bundle / "models" / "model.json").read_bytes())
    with pytest.raises(InputError, match="describes another checkpoint"):
        read_record(str(tmp_path / "model.pt"))


@pytest.mark.parametrize("bundle", [AD, MS], ids=lambda bundle: bundle.name)
def test_train_and_inference_prepare_scans_alike(bundle):
    train_config = json.loads((bundle / "configs" / "train.json").read_text())
    inference = json.loads((bundle / "configs" / "inference.json").read_text())
    assert train_config["train"]["preprocessing"] == inference["preprocessing"]
    network = dict(train_config["network_def"])
    # no matter in inference
    assert (network.pop("dropout"), network.pop("checkpointing")) == (
        "@dropout",
        "$components.flag(@checkpointing)",
    )
    assert network == inference["network_def"]
    assert inference["padding"] == f"$@record.get('settings', {{}}).get('padding', {train_config['padding']!r})"
