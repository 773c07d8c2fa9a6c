from __future__ import annotations

import pytest
import torch
from torch import nn

from neuroxai.networks import Block, ConvNet
from neuroxai.networks.folding import Folded


@pytest.fixture(params=["relu", "elu", "tanh"])
def network(request):
    torch.manual_seed(0)
    made = ConvNet((12, 14, 12), [Block(4, pool=2), Block(5)], activation=request.param).double()
    for norm in (made.features.norm1, made.features.norm2):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.weight)  # negative ones turn the order round, after which the maximum is taken
    return made.eval()


def test_the_logits_are_the_same(network):
    x, before = torch.randn(2, 1, 12, 14, 12).double(), list(network.features)
    found = Folded(network)
    assert torch.equal(found(x), network(x))  # the first batch, which both see
    torch.testing.assert_close(found(x), network(x), rtol=1e-12, atol=1e-12)
    assert [type(layer).__name__ for layer in found.copy.features][:2] == ["Identity", "Conv3d"]
    assert isinstance(found.copy.features.pool1, type(network.features.act1))
    assert list(network.features) == before


def test_what_is_watched_or_trained_stays(network):
    seen = []
    network.features.conv1.register_forward_hook(lambda *call: seen.append(call))
    network.features.act1.register_forward_hook(lambda *call: seen.append(call))
    found = Folded(network).copy
    assert [type(one) for one in found.features[:4]] == [type(one) for one in network.features[:4]]
    assert isinstance(Folded(network.train()).copy.features.norm2, nn.BatchNorm3d)


class ReadsParts(nn.Module):
    """What stands in its `Sequential` is not called one after another."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.ReLU())

    def forward(self, x):
        convolved = self.parts[0](x)
        return (self.parts[2](self.parts[1](convolved)) + convolved).mean((2, 3, 4))


def test_a_network_that_uses_layers_in_another_way_serves_itself():
    torch.manual_seed(0)
    network = ReadsParts().double()
    network.parts[1].running_mean.fill_(0.5)
    found = Folded(network.eval())
    for x in torch.randn(3, 1, 1, 5, 5, 5).double():
        assert torch.equal(found(x), network(x))
    assert found.copy is None


class Views(nn.Module):
    """It takes for granted how its features lie in memory."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(2, 3, 3), nn.ReLU())

    def forward(self, x):
        return self.features(x).view(len(x), -1)[:, :2]


@pytest.mark.parametrize("kind", [Views, lambda: nn.Sequential(nn.Conv3d(2, 3, 3), nn.ReLU(), nn.Flatten())])
def test_channels_lie_side_by_side_unless_the_network_asks_for_another_order(kind):
    torch.manual_seed(0)
    network = kind().eval()
    found = Folded(network)
    for x in torch.randn(3, 2, 2, 5, 6, 7):
        torch.testing.assert_close(found(x), network(x), rtol=1e-5, atol=1e-6)
    assert (found.copy is None) == isinstance(network, Views)
    if found.copy is not None:
        assert found.copy[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
        assert not network[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
