"""Relevance propagation by name: options reach the rules."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuroxai import attribution
from neuroxai.lrp import LRP, Gamma, WSquare, ZBox, ZPlus, composites


@pytest.fixture
def model():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    model = nn.Sequential(*body, nn.Linear(36, 2)).double().eval()
    model[1].running_mean.normal_()
    return model


X = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def found(name, model, **options):
    return attribution.create(name, model, **options).attribute(X, 1)


def test_options_reach_the_method(model):
    plain = found("lrp_alpha_beta", model)
    assert torch.equal(plain, found("lrp_z_plus", model))
    assert not torch.allclose(plain, found("lrp_alpha_beta", model, beta=1.0))
    assert not torch.allclose(plain, found("lrp_boehle2019", model, beta=0.0))
    zero = found("lrp_zero", model)
    assert torch.equal(zero, found("lrp_epsilon", model))
    assert not torch.allclose(zero, found("lrp_epsilon", model, epsilon=0.1))
    assert torch.allclose(zero, found("lrp_gamma", model, gamma=0.0))
    assert not torch.allclose(zero, found("lrp_gamma", model))


def test_gamma_is_the_rule_everywhere(model):
    wanted = LRP(model, composites.everywhere(Gamma(gamma=0.5))).attribute(X, 1)
    assert torch.equal(found("lrp_gamma", model, gamma=0.5), wanted)


@pytest.mark.parametrize(("options", "first"), [({"low": 0.0, "high": 1.0}, ZBox(low=0.0, high=1.0)), ({}, WSquare())])
def test_deep_taylor_is_z_plus_behind_a_first_layer_of_its_own(model, options, first):
    composite = composites.Composite({nn.Conv2d: ZPlus(), nn.Linear: ZPlus(), nn.BatchNorm2d: ZPlus(), 0: first})
    got = found("deep_taylor", model, **options)
    assert torch.equal(got, LRP(model, composite).attribute(X, 1))
    assert not torch.allclose(got, found("lrp_z_plus", model))
