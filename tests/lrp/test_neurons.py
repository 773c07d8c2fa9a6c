"""Neurons explained by one forward pass equal those explained one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers.layers import randomised
from neuroxai.errors import InputError
from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp import LRP, composites

COMPOSITES = {
    "epsilon": composites.epsilon(),
    "alpha_beta": composites.alpha_beta(4.0),
    "boehle2019": composites.boehle2019(0.5),
}


def network(reassemble):
    pif = PatchIndividualFilter(3, 4, 2, (4, 5, 4), 2, kernel_size=2, reassemble=reassemble)
    layers = [nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ELU(), nn.MaxPool3d(2), nn.Conv3d(3, 4, 1), nn.ELU(), pif]
    model = nn.Sequential(*layers, nn.ELU(), nn.Flatten(), nn.LazyLinear(2)).double().eval()
    model(torch.zeros(1, 1, 10, 12, 10, dtype=torch.float64))
    return randomised(model, 3)


@pytest.fixture
def scans():
    return torch.rand(2, 1, 10, 12, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("name", COMPOSITES)
@pytest.mark.parametrize("reassemble", [True, False])
def test_each_patch_and_filter_as_by_itself(scans, name, reassemble):
    model = network(reassemble)
    lrp, values = LRP(model, COMPOSITES[name]), model[:7](scans).detach()
    found = list(lrp.attribute_neurons(scans, layer="6"))
    patches = model[6].patches
    assert [hidden.neuron for hidden in found] == [{"patch": p, "filter": f} for p in range(patches) for f in range(2)]
    for neuron, activation, relevance in found:
        assert torch.equal(relevance, lrp.attribute(scans, layer="6", neuron=neuron))
        index = (slice(None), *model[6].neurons(neuron["patch"], neuron["filter"]))
        torch.testing.assert_close(activation, values[index].flatten(1).sum(1))


@pytest.mark.parametrize("layer", ["0", "1", "3", "4", "9"])
def test_all_channels_of_any_other_layer(scans, layer):
    model = network(True)
    lrp = LRP(model, composites.alpha_beta(1.0))
    found = list(lrp.attribute_neurons(scans, layer=layer))
    assert [hidden.neuron for hidden in found] == list(range(model[: int(layer) + 1](scans).shape[1]))
    for neuron, _, relevance in found:
        assert torch.equal(relevance, lrp.attribute(scans, layer=layer, neuron=neuron))


def test_chosen_neurons_through_chosen_channels(scans):
    lrp = LRP(network(False), composites.epsilon())
    chosen = [{"patch": 5, "filter": 1}, (0, 2, 0, 0, 0), None]
    found = list(lrp.attribute_neurons(scans, layer="6", neurons=chosen, conditions={"4": 2}))
    for hidden, neuron in zip(found, chosen, strict=True):
        wanted = lrp.attribute(scans, layer="6", neuron=neuron, conditions={"4": 2})
        assert torch.equal(hidden.relevance, wanted)
        assert not torch.equal(wanted, lrp.attribute(scans, layer="6", neuron=neuron))


def test_the_caller_keeps_its_modes_between_two_neurons(scans):
    lrp = LRP(network(True), composites.epsilon())
    for _ in lrp.attribute_neurons(scans, layer="6", neurons=[None, {"patch": 0, "filter": 0}]):
        assert torch.is_grad_enabled()


def test_half_precision_and_bad_names(scans):
    model = network(True)
    wanted = [
        h.relevance for h in LRP(model.float(), composites.epsilon(1e-2)).attribute_neurons(scans.float(), layer="6")
    ]
    half = LRP(model.bfloat16(), composites.epsilon(1e-2))
    found = [h.relevance for h in half.attribute_neurons(scans.bfloat16(), layer="6")]
    assert len(found) == len(wanted)
    assert all(relevance.dtype == torch.float32 for relevance in found)
    lrp = LRP(model.double(), composites.epsilon())
    with pytest.raises(InputError, match="unknown layer '77'"):
        next(lrp.attribute_neurons(scans, layer="77"))
    with pytest.raises(InputError, match="patch is 99"):
        next(lrp.attribute_neurons(scans, layer="6", neurons=[{"patch": 99, "filter": 0}]))
