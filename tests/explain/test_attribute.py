"""Network and method on a batch: the figures are the network's, and it runs no more often than it must."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers.layers import randomised
from neuroxai import attribution
from neuroxai.explain import Attributor, ExplainOptions


class Counting(nn.Sequential):
    """Counts how often it is called from outside."""

    calls = 0

    def forward(self, x):
        type(self).calls += 1
        return super().forward(x)


def network(classes: int, *end: nn.Module) -> Counting:
    layers = [nn.Conv3d(1, 3, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(192, classes), *end]
    return randomised(Counting(*layers).eval(), 3)


@pytest.fixture
def scans():
    return torch.rand(2, 1, 10, 10, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("start", ["logit", "probability"])
@pytest.mark.parametrize("method", ["lrp_alpha_beta", "lrp_epsilon", "deep_taylor"])
def test_logits_and_heatmap_are_those_of_network_and_method(scans, classes, start, method):
    model = network(classes)
    target = 1 if classes == 1 else "predicted"
    attributor = Attributor(ExplainOptions(method, target=target, start=start))
    with torch.no_grad():
        logits = model(scans)
    chosen = torch.zeros(2, dtype=torch.long) if classes == 1 else logits.argmax(1)
    expected = attribution.create(method, model).attribute(scans, target=chosen, start=start)
    for _ in range(2):
        found = attributor(scans, model)
        torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-6)
        assert torch.equal(found.heatmap, expected)
        assert found.target.tolist() == ([1, 1] if classes == 1 else chosen.tolist())


def test_a_scan_goes_through_the_network_once(scans):
    model = network(2)
    attributor = Attributor(ExplainOptions())
    attributor(scans, model)
    before = Counting.calls
    attributor(scans, model)
    # the method runs the recorded layers itself
    assert Counting.calls == before


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.LogSoftmax(1)])
def test_an_output_that_is_no_logit_stays_the_networks(scans, end):
    model = network(2, end)
    attributor = Attributor(ExplainOptions())
    with torch.no_grad():
        output = model(scans)
    expected = attribution.create("lrp_alpha_beta", model).attribute(scans, target=1)
    for _ in range(2):
        found = attributor(scans, model)
        assert torch.equal(found.logits, output)
        assert torch.equal(found.heatmap, expected)


def test_another_network_is_another_record(scans):
    attributor = Attributor(ExplainOptions("saliency"))
    one, two = network(2), network(2, nn.Tanh())
    first = attributor(scans, one)
    assert torch.equal(attributor(scans, two).logits, two(scans))
    assert torch.equal(attributor(scans, one).heatmap, first.heatmap)
