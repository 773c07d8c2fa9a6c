"""Guided back-propagation against the rule written out, however the network is written."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuroxai import attribution
from neuroxai.errors import UnsupportedLayerError


def guided(model, **options):
    return attribution.create("guided_backprop", model.eval(), **options)


def slope(name, z):
    return (z > 0).to(z) if name == "relu" else torch.where(z > 0, torch.ones_like(z), z.exp())


class Mlp(nn.Module):
    """Two hidden layers; the activation as a layer each, one layer used twice, a function, or a method."""

    def __init__(self, name, spelling):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(5, 7), nn.Linear(7, 6), nn.Linear(6, 2)
        layer = {"relu": nn.ReLU, "elu": nn.ELU}[name]
        self.first, self.second = layer(), layer()
        self.name, self.spelling = name, spelling

    def act(self, x, layer):
        if self.spelling == "layers":
            return layer(x)
        if self.spelling == "one layer":
            return self.first(x)
        if self.spelling == "function":
            return getattr(F, self.name)(x)
        if self.spelling == "in place":
            return getattr(F, self.name)(x, inplace=True)
        return x.relu_() if self.spelling == "method" else torch.relu(input=x)

    def forward(self, x):
        return self.c(self.act(self.b(self.act(self.a(x), self.first)), self.second))


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        *[(name, spelling) for name in ("relu", "elu") for spelling in ("layers", "one layer", "function", "in place")],
        ("relu", "method"),
        ("relu", "by keyword"),
    ],
)
def test_by_hand(name, spelling):
    model = Mlp(name, spelling).double().eval()
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        a = model.a(x)
        b = model.b(getattr(F, name)(a))
        back = model.c.weight[1].expand(4, -1)
        back = back.clamp(min=0) * slope(name, b) @ model.b.weight
        wanted = back.clamp(min=0) * slope(name, a) @ model.a.weight
    torch.testing.assert_close(guided(model).attribute(x, 1), wanted)
    torch.testing.assert_close(guided(model, absolute=True).attribute(x, 1), wanted.abs())
    plain = attribution.create("saliency", model, absolute=False).attribute(x, 1)
    assert not torch.allclose(wanted, plain)


def test_a_residual_branch_keeps_its_own_gradient():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.a, self.act, self.b = nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)

        def forward(self, x):
            z = self.a(x)
            return self.b(self.act(z) + z)  # z is read by the activation and by the sum

    model = Residual().double().eval()
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        z, arrived = model.a(x), model.b.weight[1]
        wanted = (arrived.clamp(min=0) * (z > 0) + arrived) @ model.a.weight
    torch.testing.assert_close(guided(model).attribute(x, 1), wanted)


class Functional(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.fc, self.call = nn.Linear(4, 2), call

    def forward(self, x):
        return self.fc(self.call(x).reshape(x.shape[0], -1))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Sequential(nn.LeakyReLU(), nn.Linear(4, 2)),
            r"layer '0' \(LeakyReLU\).*: guided_backprop knows ReLU and ELU",
        ),
        (nn.Sequential(nn.Sigmoid(), nn.Linear(4, 2)), "Sigmoid"),
        (Functional(lambda x: F.silu(x)), "operation 'silu'"),
        (Functional(lambda x: x * x.sigmoid()), "operation"),
        (Functional(lambda x: x / 2 * x), "operation"),
    ],
)
def test_other_activations_are_refused_by_name(model, message):
    with pytest.raises(UnsupportedLayerError, match=message):
        guided(model).attribute(torch.rand(2, 4), 1)


def test_takes_what_is_sound():
    x = torch.ones(1, 4)
    assert bool(guided(Functional(lambda x: x + x)).attribute(x, 1).any())
    assert bool(
        guided(nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 2), nn.Softmax(1))).attribute(x, 1).any()
    )
    norms = nn.Sequential(nn.Conv1d(1, 4, 1), nn.GroupNorm(2, 4), nn.ReLU(), nn.InstanceNorm1d(4), nn.Flatten())
    assert bool(guided(nn.Sequential(norms, nn.Linear(16, 2))).attribute(torch.rand(2, 1, 4), 1).any())
