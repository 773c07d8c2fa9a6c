"""Errors and warnings name what is the caller's."""

from __future__ import annotations

import warnings

import pytest
import torch
from captum.attr import NoiseTunnel
from torch import nn

from neuroxai.attribution import create
from neuroxai.lrp import LRP


def biased(training=False):
    """Return a network whose bias takes nearly all relevance."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 2)).train(training)
    nn.init.constant_(model[1].weight, 0.1)
    nn.init.constant_(model[1].bias, 100.0)
    return model


SCAN = torch.rand(1, 1, 2, 2, 2)
DOORS = {
    "attribute": lambda: LRP(biased(), "epsilon").attribute(SCAN, target=1),
    "report": lambda: LRP(biased(), "epsilon").report(SCAN, target=1),
    "by name": lambda: create("lrp_epsilon", biased()).attribute(SCAN, target=1),
    "noise tunnel": lambda: NoiseTunnel(LRP(biased(), "epsilon")).attribute(SCAN, nt_samples=2, target=1),
    "a start that turns signs": lambda: create("lrp_epsilon", biased(), epsilon=0.0).attribute(
        SCAN - 200, target=1, start="probability"
    ),
    "training": lambda: create("saliency", biased(training=True)).attribute(SCAN, target=1),
    "training, LRP": lambda: LRP(biased(training=True)).record(SCAN),
    "attribute_neurons": lambda: next(LRP(biased(training=True)).attribute_neurons(SCAN, layer="1")),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_warning_names_the_line_of_the_caller(door):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        DOORS[door]()
    assert found
    assert {warning.filename for warning in found if issubclass(warning.category, UserWarning)} == {__file__}
