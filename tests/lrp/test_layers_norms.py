"""Normalisations by statistics of the sample, against the formula written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.layers import Scores, randomised
from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import LRP, AlphaBeta, Composite, Epsilon, Pass, Zero, ZPlus, composites
from oracles import lrp_layers


class Functional(nn.Module):
    """The same normalisation by torch.nn.functional, with the parameters of the layer."""

    def __init__(self, layer):
        super().__init__()
        self.weight, self.bias = layer.weight, getattr(layer, "bias", None)
        self.layer = [layer]  # hidden from torch

    def forward(self, x):
        layer = self.layer[0]
        if isinstance(layer, nn.GroupNorm):
            return F.group_norm(x, layer.num_groups, self.weight, self.bias, layer.eps)
        if isinstance(layer, nn.LayerNorm):
            return F.layer_norm(x, layer.normalized_shape, self.weight, self.bias, layer.eps)
        if isinstance(layer, nn.RMSNorm):
            return F.rms_norm(x, layer.normalized_shape, self.weight, layer.eps)
        return F.instance_norm(x, None, None, self.weight, self.bias, eps=layer.eps)


@st.composite
def layers(draw):
    """Layer, shape of a sample, and the number of each value's group."""
    axes = draw(st.integers(1, 3))
    shape = (4, *(draw(st.integers(2, 3)) for _ in range(axes)))
    places = np.indices(shape)
    affine = draw(st.booleans())
    kind = draw(st.sampled_from(["instance", "group", "layer", "layer of some axes", "rms"]))
    if kind == "instance":
        layer = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[axes - 1](4, affine=affine)
        return layer, shape, places[0]
    if kind == "group":
        count = draw(st.sampled_from([1, 2, 4]))
        return nn.GroupNorm(count, 4, affine=affine), shape, places[0] // (4 // count)
    last = shape if kind == "layer" else shape[-1:]
    numbers = np.zeros(shape, int) if kind == "layer" else np.ravel_multi_index(places, shape) // shape[-1]
    if kind == "rms":
        return nn.RMSNorm(last, elementwise_affine=affine), shape, numbers
    return nn.LayerNorm(last, elementwise_affine=affine), shape, numbers


def over_values(parameter, layer, shape, default):
    """A parameter at each value of a sample."""
    if parameter is None:
        return np.full(shape, default)
    values = parameter.detach().numpy()
    channels = isinstance(layer, nn.GroupNorm | nn.modules.instancenorm._InstanceNorm)
    return np.broadcast_to(values.reshape(-1, *(1,) * (len(shape) - 1)) if channels else values, shape)


@settings(derandomize=True)
@given(
    layers(), st.sampled_from([1e-6, 0.1]), st.sampled_from(["absorb", "ignore", "distribute"]), st.booleans(),
    st.booleans(), st.integers(0, 10**6),
)  # fmt: skip
def test_epsilon_rule(drawn, epsilon, mode, functional, from_sums, seed):
    layer, shape, groups = drawn
    layer = layer.double().eval()
    generator = torch.Generator().manual_seed(seed)
    randomised(layer, seed)
    x = torch.randn(2, *shape, generator=generator, dtype=torch.float64) + 0.5
    rule = Epsilon(epsilon, mode)
    from_sums = from_sums or functional
    composite = Composite({}, sums=AlphaBeta(beta=1.0, epsilon=epsilon, bias=mode))
    if not from_sums:
        composite = Composite({type(layer): rule})
    network = Scores(Functional(layer) if functional else layer).eval()
    target = seed % int(np.prod(shape))
    got = LRP(network, composite).attribute(x, target, start="logit").numpy()
    factor = over_values(layer.weight, layer, shape, 1.0).ravel()
    offset = over_values(getattr(layer, "bias", None), layer, shape, 0.0).ravel()
    for sample in range(2):
        flat = x[sample].numpy().ravel()
        smallest = torch.finfo(torch.float64).eps if layer.eps is None else layer.eps
        arguments = (flat, groups.ravel(), factor, offset, smallest)
        centred = not isinstance(layer, nn.RMSNorm)
        upper = np.zeros(len(flat))
        output, _ = lrp_layers.normalisation(*arguments, upper, epsilon, mode, centred)
        np.testing.assert_allclose(output, network(x)[sample].detach().numpy(), rtol=0, atol=1e-10)
        upper[target] = output[target]
        wanted = lrp_layers.normalisation(*arguments, upper, epsilon, mode, centred)[1]
        scale = max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(got[sample].ravel(), wanted, rtol=0, atol=1e-10 * scale)


def network_of(norm):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 2 * 3 * 4, 2, bias=False)
    ).double().eval()  # fmt: skip


NORMS = {
    "instance": nn.InstanceNorm3d(4),
    "affine": nn.InstanceNorm3d(4, affine=True),
    "group": nn.GroupNorm(2, 4),
    "layer": nn.LayerNorm((2, 3, 4)),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("preset", [composites.epsilon(0), composites.everywhere(AlphaBeta(epsilon=0))])
def test_conservation(norm, preset):
    network = network_of(NORMS[norm])  # their biases are zero from the start
    with torch.no_grad():
        network[-1].weight.abs_()
        network[0].weight.abs_()
    x = torch.randn(2, 1, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    relevance = LRP(network, composites.epsilon(0)).attribute(x, 1, start="logit")
    torch.testing.assert_close(relevance.flatten(1).sum(1), network(x)[:, 1].detach(), rtol=1e-10, atol=0)
    _, layers = LRP(network, preset).attribute(x, 1, return_layers=True, start="logit")
    total = layers["1"].flatten(1).sum(1)  # through the normalisation, whatever the rule of the linear layers
    torch.testing.assert_close(layers["0"].flatten(1).sum(1), total, rtol=1e-10, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_named_rules(norm):
    layer = NORMS[norm]
    network, x = network_of(layer), torch.rand(1, 1, 4, 5, 6, dtype=torch.float64)
    base = composites.z_plus().rules
    _, passed = LRP(network, Composite({**base, type(layer): Pass()})).attribute(
        x, 0, return_layers=True, start="logit"
    )
    assert torch.equal(passed["0"], passed["1"])
    for key in (type(layer), "1"):
        named = LRP(network, Composite({**base, key: Zero(epsilon=0.5)})).attribute(x, 0, start="logit")
        assert torch.equal(named, LRP(network, Composite(base, sums=ZPlus(epsilon=0.5))).attribute(x, 0, start="logit"))
        with pytest.raises(UnsupportedLayerError, match=r"layer '1' .*names ZPlus for it.*Epsilon, Zero and Pass"):
            LRP(network, Composite({**base, key: ZPlus()})).record(x)


@pytest.mark.parametrize("preset", [composites.epsilon(), composites.z_plus(), composites.boehle2019(0.5)])
def test_instance_normalisation_with_running_statistics_is_a_batch_normalisation(preset):
    norm, twin = nn.InstanceNorm3d(4, affine=True, track_running_stats=True), nn.BatchNorm3d(4)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2)
    twin.load_state_dict(norm.state_dict())
    x = torch.randn(2, 1, 4, 5, 6, dtype=torch.float64)
    first, second = network_of(norm), network_of(twin)
    torch.testing.assert_close(first(x), second(x))
    torch.testing.assert_close(
        LRP(first, preset).attribute(x, 0, start="logit"), LRP(second, preset).attribute(x, 0, start="logit")
    )


def test_refused():
    x = torch.rand(2, 1, 4, 5, 6, dtype=torch.float64)
    untracked = network_of(nn.BatchNorm3d(4, track_running_stats=False))
    with pytest.raises(UnsupportedLayerError, match=r"layer '1' .*no running statistics"):
        LRP(untracked, composites.epsilon()).record(x)


@pytest.mark.parametrize("norm", [nn.BatchNorm3d(4), nn.InstanceNorm3d(4), nn.GroupNorm(2, 4)])
def test_a_passing_norm_before_a_pooling(norm):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 4, 3, bias=False), norm, nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(4 * 2 * 2 * 3, 2)
    ).double().eval()  # fmt: skip
    x = torch.randn(2, 1, 6, 7, 8, dtype=torch.float64)
    lrp = LRP(model, Composite({**composites.alpha_beta(1.0).rules, type(norm): Pass()}))
    general, _ = lrp.attribute(x, 1, return_layers=True, start="logit")
    torch.testing.assert_close(lrp.attribute(x, 1, start="logit"), general, rtol=1e-10, atol=1e-12)
