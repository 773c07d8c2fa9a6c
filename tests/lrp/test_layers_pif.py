"""Patch-individual filter layers under every rule, against dense matrices of their strains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.layers import Scores, randomised
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp import LRP, AlphaBeta, Composite, Epsilon, Flat, Gamma, Pass, WSquare, ZPlus, composites
from oracles import lrp as oracle
from oracles import lrp_layers

RULES = {
    "epsilon": (Epsilon, {"epsilon": 1e-3}),
    "z_plus": (ZPlus, {}),
    "alpha_beta": (AlphaBeta, {"beta": 1.0}),
    "gamma": (Gamma, {"gamma": 0.25}),
    "w_square": (WSquare, {}),
    "flat": (Flat, {}),
}


@st.composite
def layers(draw):
    axes = draw(st.integers(1, 2))
    patch = tuple(draw(st.integers(2, 3)) for _ in range(axes))
    grid = tuple(draw(st.integers(p, 2 * p + 1)) for p in patch)
    stride = draw(st.sampled_from([1, 2]))
    layer = PatchIndividualFilter(
        axes, draw(st.integers(1, 2)), draw(st.integers(1, 2)), grid, patch, kernel_size=2, stride=stride,
        overlap=draw(st.sampled_from(["half", "reference", None])), reassemble=draw(st.booleans()),
        padding=draw(st.sampled_from([0, 1])), bias=draw(st.booleans()),
    )  # fmt: skip
    return randomised(layer.double().eval(), draw(st.integers(0, 10**6)))


@settings(derandomize=True)
@given(
    layers(), st.sampled_from(sorted(RULES)), st.sampled_from(["absorb", "ignore", "distribute"]),
    st.sampled_from(["mean", "sum"]), st.integers(0, 10**6),
)  # fmt: skip
def test_against_the_dense_formula(layer, name, mode, strains, seed):
    kind, options = RULES[name]
    options = {**options, "bias": mode}
    shape = (layer.in_channels, *layer.in_shape)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    matrix, bias = lrp_layers.dense(layer, shape)
    reads = lrp_layers.reads(layer, shape)
    network = nn.Sequential(Scores(layer), nn.Linear(len(bias), 2, bias=False).double()).eval()
    randomised(network[1], seed)
    composite = Composite({PatchIndividualFilter: kind(**options), nn.Linear: Epsilon(0)}, strains=strains)
    got = LRP(network, composite).attribute(x, 1, start="logit").numpy()
    share = 0.5 if strains == "mean" and layer.overlap is not None else 1.0
    for sample in range(2):
        flat = x[sample].numpy().ravel()
        upper = network[1].weight[1].detach().numpy() * (matrix @ flat + bias)  # relevance in both strains
        wanted = share * oracle.relevance(name, {**options, "reads": reads}, matrix, bias, flat, upper)
        scale = max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(got[sample].ravel(), wanted, rtol=0, atol=1e-10 * scale)


def network(reassemble, overlap="half", bias=False):
    layer = PatchIndividualFilter(3, 2, 3, (4, 5, 4), 2, 2, overlap, reassemble, padding="same", bias=bias)
    size = int(np.prod(layer.output_shape))
    return randomised(nn.Sequential(
        nn.Conv3d(1, 2, 3, bias=bias), nn.ELU(), layer, nn.ELU(), nn.Flatten(), nn.Linear(size, 2, bias=bias)
    ).double().eval())  # fmt: skip


@pytest.mark.parametrize("reassemble", [False, True])
def test_the_mean_of_the_strains_halves_and_the_sum_conserves(reassemble):
    model = network(reassemble)
    x = torch.randn(2, 1, 6, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logit = model(x)[:, 1].detach()
    rules = {kind: Epsilon(0) for kind in (nn.Conv3d, nn.Linear, PatchIndividualFilter)}
    mean = (
        LRP(model, Composite(rules))
        .record(torch.rand(1, 1, 6, 7, 6, dtype=torch.float64))
        .attribute(x, 1, start="logit")
    )
    total = LRP(model, Composite(rules, strains="sum")).attribute(x, 1, start="logit")
    torch.testing.assert_close(total.flatten(1).sum(1), logit, rtol=1e-10, atol=0)
    torch.testing.assert_close(mean, total / 2, rtol=1e-10, atol=0)
    alone = network(reassemble, overlap=None)
    single = LRP(alone, Composite(rules)).attribute(x, 1, start="logit")  # one strain: nothing to average
    torch.testing.assert_close(single.flatten(1).sum(1), alone(x)[:, 1].detach(), rtol=1e-10, atol=0)


def test_presets_layers_and_positions():
    model = network(reassemble=True, bias=True)
    x = torch.rand(1, 1, 6, 7, 6, dtype=torch.float64)
    for preset in (composites.epsilon(), composites.alpha_beta(1.0), composites.z_plus(), composites.boehle2019(0.5)):
        relevance, layers = LRP(model, preset).attribute(x, 0, return_layers=True, start="logit")
        assert relevance.shape == x.shape
        assert relevance.abs().max() > 0
        assert layers["2"].shape[1:] == model[2].output_shape
    by_position = Composite({**composites.epsilon().rules, 1: ZPlus()})
    by_type = Composite({**composites.epsilon().rules, PatchIndividualFilter: ZPlus()})
    assert torch.equal(
        LRP(model, by_position).attribute(x, 0, start="logit"), LRP(model, by_type).attribute(x, 0, start="logit")
    )


def test_refused():
    model = network(reassemble=False)
    lrp = LRP(model, composites.epsilon())
    with pytest.raises(InputError, match=r"layer '2': .* expected \(batch, 2, 4, 5, 4\); its patches belong"):
        lrp.attribute(torch.rand(1, 1, 7, 7, 6, dtype=torch.float64), 0, start="logit")
    rules = {**composites.epsilon().rules, PatchIndividualFilter: Pass()}
    with pytest.raises(UnsupportedLayerError, match=r"layer '2' \(PatchIndividualFilter\): Pass is no rule"):
        LRP(model, Composite(rules)).record(torch.rand(1, 1, 6, 7, 6, dtype=torch.float64))
    with pytest.raises(InputError, match="unknown way to put strains together 'max'"):
        Composite({}, strains="max")
