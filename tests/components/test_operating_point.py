"""One half is where validation scans of both classes are told apart best, and that is part of the weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from torch import nn

from neuroxai.components.checkpoint import CheckpointHandler
from neuroxai.components.handlers import EarlyStopHandler
from neuroxai.components.metrics import EpochMetric, balanced_accuracy
from neuroxai.components.operating_point import at_operating_point
from neuroxai.derivatives.predictions import calibrated_on
from neuroxai.errors import InputError
from neuroxai.evaluation.calibration import operating_point
from neuroxai.explain.weights import read_record


def scans_of(count):
    """Scores about 3, so that all lie on one side of one half, of two classes that overlap a little."""
    above = np.concatenate([np.full(count - 2, 1.0), [-0.5, 0.2]])
    odds = 3 + np.concatenate([above, -above])
    return np.repeat([True, False], count), odds


def network_of(outputs):
    """One voxel is the score."""
    last = nn.Linear(1, outputs)
    with torch.no_grad():
        last.weight[:] = torch.tensor([[1.0]] if outputs == 1 else [[-0.25], [0.75]])
        last.bias[:] = 0.0
    return nn.Sequential(nn.Flatten(), last)


def test_the_point_lies_where_mirrored_scores_have_their_middle():
    truth, odds = scans_of(12)
    slope, intercept = operating_point(truth, odds)
    assert -intercept / slope == pytest.approx(3, abs=1e-4)
    # the slope is where the likelihood of Platt's targets is highest: its derivative vanishes
    share = 1 / (1 + np.exp(-(slope * odds + intercept)))
    target = np.where(truth, 13 / 14, 1 / 14)
    assert float(((share - target) * odds).sum()) == pytest.approx(0, abs=0.01)
    # three times as many controls do not move it
    more = np.concatenate([odds, odds[~truth], odds[~truth]])
    moved = operating_point(np.concatenate([truth, np.zeros(24, bool)]), more)
    assert -moved[1] / moved[0] == pytest.approx(3, abs=0.05)


def test_too_few_scans_or_no_order_move_nothing():
    with pytest.raises(InputError, match=r"9 and 9 scans.*expected 10"):
        operating_point(*scans_of(9))
    truth, odds = scans_of(12)
    with pytest.raises(InputError, match=r"do not score higher \(slope -"):
        operating_point(~truth, odds)


@pytest.mark.parametrize("outputs", [1, 2])
def test_it_is_put_into_the_last_layer(outputs):
    truth, odds = scans_of(12)
    network, x = network_of(outputs), torch.tensor(odds, dtype=torch.float32).view(-1, 1, 1, 1, 1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    labels, logits = torch.tensor(truth).long(), network(x).detach()
    assert balanced_accuracy(logits, labels) == 0.5
    state, record = at_operating_point(network, logits, labels, x[:2])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.load_state_dict(state)
    assert balanced_accuracy(network(x), labels) == pytest.approx(11 / 12)
    assert (record["moved"], record["scans"]) == (True, 24)
    assert calibrated_on({"operating_point": record}) == (
        ", calibrated on 24 validation scans for equally frequent classes"
    )


def test_a_network_that_ends_otherwise_is_left_alone():
    truth, odds = scans_of(12)
    x = torch.tensor(odds, dtype=torch.float32).view(-1, 1, 1, 1, 1)
    for network, reason in (
        (nn.Sequential(network_of(2), nn.Tanh()), "not what the network returns"),
        (nn.Sequential(nn.Conv3d(1, 2, 1), nn.Flatten()), "ends in no linear layer of 2 outputs"),
    ):
        logits = torch.stack([torch.zeros(24), torch.tensor(odds)], 1)
        state, record = at_operating_point(network, logits, torch.tensor(truth).long(), x)
        assert all(
            state[name] is value or torch.equal(state[name], value) for name, value in network.state_dict().items()
        )
        assert record["moved"] is False
        assert reason in record["reason"]
        assert calibrated_on({"operating_point": record}) == ""


@pytest.mark.parametrize("count", [9, 12])
def test_weights_are_kept_with_it_and_their_record_says_so(tmp_path, count):
    truth, odds = scans_of(count)
    network, x = network_of(2), torch.tensor(odds, dtype=torch.float32).view(-1, 1, 1, 1, 1)
    evaluator = Engine(lambda engine, batch: (network(batch["image"]).detach(), batch["label"]))
    metric = EpochMetric(balanced_accuracy)
    metric.attach(evaluator, "val_loss")
    keeper = CheckpointHandler(
        str(tmp_path), network, None, evaluator, EarlyStopHandler(evaluator), _Dataset(), _Space(), ["a", "b"], {},
        key_metric="val_loss", validated=metric,
    )  # fmt: skip
    trainer = Engine(lambda engine, batch: None)
    trainer.run([0], max_epochs=1)
    evaluator.run([{"image": x, "label": torch.tensor(truth).long()}])
    keeper._keep_best(evaluator, trainer)
    kept = read_record(str(tmp_path / "model.pt"))["operating_point"]
    assert kept == json.loads((tmp_path / "model.json").read_text())["operating_point"]
    assert kept["moved"] is (count == 12)
    assert ("chosen on 24 validation scans" if count == 12 else "stays at one half: 9 and 9") in keeper._kept()
    network.load_state_dict(torch.load(tmp_path / "model.pt"))
    assert balanced_accuracy(network(x), torch.tensor(truth).long()) == pytest.approx(11 / 12 if count == 12 else 0.5)


class _Dataset:
    data, failures = (), ()


class _Space:
    def to_dict(self):
        return {}


def test_a_network_in_training_mode_is_judged_as_it_predicts():
    """Between validations it is in training: dropout would draw, and batch normalisation would forget."""
    truth, odds = scans_of(12)
    network = nn.Sequential(nn.BatchNorm3d(1), nn.Dropout(0.5), *network_of(2)).eval()
    x = torch.tensor(odds, dtype=torch.float32).view(-1, 1, 1, 1, 1)
    logits = network(x).detach()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _, record = at_operating_point(network.train(), logits, torch.tensor(truth).long(), x[:2])
    assert record["moved"]
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
