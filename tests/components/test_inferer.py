from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers.layers import randomised
from neuroxai import attribution
from neuroxai.components import AttributionInferer, FilterInferer
from neuroxai.errors import InputError
from neuroxai.explain import ExplainOptions
from neuroxai.layers import PatchIndividualFilter


@pytest.fixture(scope="module")
def network():
    pif = PatchIndividualFilter(3, 3, 2, (4, 4, 4), 2, kernel_size=2, reassemble=False)
    layers = [nn.Conv3d(1, 3, 3), nn.ELU(), nn.MaxPool3d(2), pif, nn.ELU(), nn.Flatten(), nn.LazyLinear(1)]
    model = nn.Sequential(*layers).eval()
    model(torch.zeros(1, 1, 10, 10, 10))
    return randomised(model, 2)


@pytest.fixture
def scans():
    return torch.rand(2, 1, 10, 10, 10, generator=torch.Generator().manual_seed(0))


def test_one_patch_and_filter(network, scans):
    neuron = {"patch": 3, "filter": 1}
    found = AttributionInferer(ExplainOptions("lrp_alpha_beta", {"beta": 4}, layer="3", neuron=neuron))(scans, network)
    method = attribution.create("lrp_alpha_beta", network, beta=4)
    assert torch.equal(found["heatmap"], method.attribute(scans, layer="3", neuron=neuron))
    values = network[:4](scans).detach()[(slice(None), *network[3].neurons(3, 1))]
    torch.testing.assert_close(found["activation"], values.flatten(1).sum(1))
    torch.testing.assert_close(found["logits"], network(scans))


@pytest.mark.parametrize("name", [name for name in attribution.names() if attribution.takes_start(name)])
def test_components_and_the_python_call_explain_the_same(network, scans, name):
    inferer, method = AttributionInferer(ExplainOptions(name)), attribution.create(name, network)
    assert torch.equal(inferer(scans, network)["heatmap"], method.attribute(scans, 0))
    assert inferer.attributor.start == method.usual_start == method.start_for(scans.shape)


def test_a_class_through_chosen_channels(network, scans):
    found = AttributionInferer(ExplainOptions(conditions={"0": 2}, start="probability"))(scans, network)
    method = attribution.create("lrp_alpha_beta", network)
    wanted = method.attribute(scans, 0, start="probability", conditions={"0": 2})
    assert torch.equal(found["heatmap"], wanted)
    assert "activation" not in found
    assert not torch.equal(wanted, method.attribute(scans, 0, start="probability"))


def test_each_patch_and_filter_or_those_asked_for(network, scans):
    found = FilterInferer(ExplainOptions("lrp_z_plus", layer="3"))(scans, network)
    assert [hidden.neuron["patch"] for hidden in found["hidden"]] == [p for p in range(9) for _ in range(2)]
    chosen = [{"patch": 8, "filter": 0}]
    (hidden,) = FilterInferer(ExplainOptions("lrp_z_plus", layer="3"), chosen)(scans, network)["hidden"]
    assert hidden.neuron == chosen[0]


def test_what_cannot_start_is_refused():
    with pytest.raises(InputError, match="layer is None"):
        ExplainOptions(neuron=3)
    with pytest.raises(InputError, match=r"'grad_cam'.*'3'.*lrp_epsilon"):
        ExplainOptions("grad_cam", layer="3")
    with pytest.raises(InputError, match="cannot go through chosen channels"):
        ExplainOptions("saliency", conditions={"0": 1})
    for neurons in ("each", []):
        with pytest.raises(InputError, match="expected 'all'"):
            FilterInferer(ExplainOptions(layer="3"), neurons)
