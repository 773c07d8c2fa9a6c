"""Rules on whole networks against dense matrices: residual, concatenating, functional, with several inputs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuroxai.lrp import LRP, composites
from oracles.lrp_rules import lrp_rules

RULES = {
    "z_plus": (composites.z_plus(), ("z_plus", {})),
    "alpha_beta": (composites.alpha_beta(beta=1.0), ("alpha_beta", {"beta": 1.0})),
    "gamma": (composites.gamma(0.25), ("gamma", {"gamma": 0.25})),
}


class Network(nn.Module):
    """A forward written as a function of itself and its inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.first, self.second = nn.Conv3d(1, 4, 3), nn.Conv3d(4, 4, 3, padding=1)
        self.norm, self.last, self.wide = nn.BatchNorm3d(4), nn.Linear(256, 2), nn.Linear(512, 2)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def residual(m, x):
    h = m.norm(m.first(x)).relu()
    return m.last((h + m.second(h)).relu().flatten(1))


def concatenating(m, x):
    h = F.elu(m.first(x))
    return m.wide(torch.cat([h, F.avg_pool3d(m.second(h), 3, 1, 1)], 1).flatten(1))


def functional(m, x):
    h = F.batch_norm(F.conv3d(x, m.first.weight), m.norm.running_mean, m.norm.running_var, m.norm.weight)
    h = F.max_pool3d(F.leaky_relu(h) + 0.3, 2)
    return F.linear(h.flatten(1).repeat(1, 8) @ m.last.weight.T, torch.eye(2, dtype=x.dtype), m.last.bias)


def multiplying(m, x):
    """Products with parameters in every form: x @ w with one axis, W @ x, einsum."""
    h = m.first(x).relu().flatten(2)
    h = m.second.weight[:, :, 0, 0, 0] @ h
    h = torch.einsum("bcn,cnk->bk", h, m.last.weight.view(2, 4, 64).permute(1, 2, 0))
    return torch.stack([h @ m.norm.weight[:2], torch.mv(h, m.norm.bias[1:3])], 1)


def differing(m, x, y):
    return m.last((m.first(x).relu() - 0.5 * m.first(y).relu()).flatten(1))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("function", [residual, concatenating, functional, multiplying, differing])
def test_rules_on_networks(function, rule):
    torch.manual_seed(0)
    model = Network(function).double().eval()
    model.norm.running_mean.normal_()
    nn.init.normal_(model.norm.weight)
    nn.init.normal_(model.norm.bias)
    model.norm.running_var.uniform_(0.5, 2)
    inputs = tuple(torch.randn(1, 1, 6, 6, 6, dtype=torch.float64) for _ in range(2 if function is differing else 1))
    composite, second = RULES[rule]
    got = LRP(model, composite).attribute(inputs, 1, start="logit")
    for found, wanted in zip(got, lrp_rules(model, inputs, 1, second, second), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        assert function is not multiplying or found.abs().sum() > 0
