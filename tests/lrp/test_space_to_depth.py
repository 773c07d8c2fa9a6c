"""The fast path (convolution and pooling space-to-depth, in slabs) against the steps one by one."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from helpers.thirds import sampled
from neuroxai.lrp import LRP, AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus, composites
from neuroxai.lrp.engine import space_to_depth

RULES = [
    Epsilon(),
    Epsilon(0.1, "ignore"),
    ZPlus(),
    AlphaBeta(beta=1.0),
    AlphaBeta(beta=1.0, bias="ignore", one_signed="keep"),
    Gamma(),
    WSquare(),
    Flat(),
    ZBox(low=-6, high=6),
    ZBox(low=None, high=None),
]


def network(channels, kernel, padding, pool, activation, rng):
    layers = [nn.Conv3d(channels, 5, kernel, padding=padding), nn.BatchNorm3d(5), activation, nn.MaxPool3d(pool)]
    features = nn.Sequential(*layers, nn.Flatten()).double().eval()
    x = torch.tensor(rng.standard_normal((2, channels, 9, 11, 10))).clamp(-6, 6)
    features[1].running_mean.copy_(torch.tensor(rng.standard_normal(5)))
    features[1].running_var.copy_(torch.tensor(rng.uniform(0.5, 2, 5)))
    return features.append(nn.Linear(features(x).shape[1], 2).double()), x


@pytest.fixture
def used(monkeypatch):
    """Count how often the fast path is taken."""
    calls = []
    plain = space_to_depth.PooledConv.forward

    def counted(self, *arguments):
        calls.append(self)
        return plain(self, *arguments)

    monkeypatch.setattr(space_to_depth.PooledConv, "forward", counted)
    return calls


SLABS = [1, 3000, space_to_depth.SLAB_VALUES]
POOLS = [1, 2, 3, (2, 3, 2), (4, 1, 2)]
CONVOLUTIONS = [(1, 3, 0), (2, (2, 3, 1), "same"), (1, (3, 2, 4), (1, 0, 2)), (4, 1, 0)]


# of 60 combinations every seventh, among which each slab, pool and convolution is
@pytest.mark.parametrize(("convolution", "pool", "slab"), sampled(product(CONVOLUTIONS, POOLS, SLABS), 7))
def test_equals_the_steps_one_by_one(convolution, pool, slab, used, monkeypatch, rng):
    channels, kernel, padding = convolution
    monkeypatch.setattr(space_to_depth, "SLAB_VALUES", slab)
    activation = nn.ELU() if slab == 3000 else nn.ReLU()
    net, x = network(channels, kernel, padding, pool, activation, rng)
    for given in (x, x.abs()):
        for rule in RULES:
            lrp = LRP(net, composites.everywhere(rule))
            before = len(used)
            fast = lrp.attribute(given, 1, start="logit")
            slow = (padding != 0 and isinstance(rule, Flat | WSquare | ZBox)) or rule == ZBox(low=None, high=None)
            assert len(used) == before + (0 if slow else 1)
            wanted, _ = lrp.attribute(given, 1, return_layers=True, start="logit")
            assert len(used) <= before + 1  # the one-by-one path does not use it
            torch.testing.assert_close(fast, wanted, rtol=0, atol=1e-12 * max(1.0, float(wanted.abs().max())))


@pytest.mark.parametrize(
    "pool", [nn.MaxPool3d(2, padding=1), nn.MaxPool3d(2, stride=1), nn.MaxPool3d(2, ceil_mode=True)]
)
def test_other_poolings_take_the_ordinary_path(pool, used, rng):
    net, x = network(1, 3, 0, 2, nn.ReLU(), rng)
    net[3] = pool
    net[5] = nn.Linear(net[:5](x).shape[1], 2).double()
    LRP(net, composites.epsilon()).attribute(x, 1, start="logit")
    assert not used


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_go_to_the_first_as_in_torch(dtype, used, rng):
    net, x = network(1, 3, 0, 2, nn.ReLU(), rng)
    x[:, :, 3:] = 1.7  # a constant background: all of its windows are ties
    net, x = net.to(dtype), x.to(dtype)
    lrp = LRP(net, composites.epsilon())
    fast = lrp.attribute(x, 1, start="logit")
    assert used
    wanted, _ = lrp.attribute(x, 1, return_layers=True, start="logit")
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(fast, wanted, rtol=0, atol=tolerance * float(wanted.abs().max()))
