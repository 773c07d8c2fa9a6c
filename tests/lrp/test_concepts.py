"""Relevance through chosen channels, and channels ranked by relevance."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.draws import COSTLY
from neuroxai.errors import InputError
from neuroxai.lrp import LRP, Epsilon, Gamma, composites

PRESETS = {
    "epsilon": composites.epsilon(),
    "alpha_beta": composites.alpha_beta(1.0),
    "z_plus": composites.z_plus(),
    "gamma": composites.everywhere(Gamma()),
    "boehle2019": composites.boehle2019(0.5),
}
CHANNELS = {"0": 3, "1": 3, "2": 3, "3": 3, "4": 4, "5": 4, "6": 4, "7": 4, "9": 5, "10": 5}


def network(seed=0):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv3d(1, 3, 3, padding=1), nn.BatchNorm3d(3), nn.ReLU(inplace=True), nn.MaxPool3d(2),
        nn.Conv3d(3, 4, 2), nn.BatchNorm3d(4), nn.ELU(), nn.MaxPool3d(2, padding=1),
        nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2),
    ).double().eval()  # fmt: skip
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
        for m in (model[1], model[5]):
            m.running_mean.copy_(torch.randn(m.num_features, generator=generator))
            m.running_var.copy_(torch.rand(m.num_features, generator=generator) + 0.3)
    return model


def scans(batch=2, seed=1):
    return torch.randn(batch, 1, 5, 6, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(got, wanted):
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10 * max(1.0, float(wanted.abs().max())))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("layer", CHANNELS)
def test_single_channels_add_up_to_the_whole(preset, layer):
    lrp, x = LRP(network(3), PRESETS[preset]), scans()
    each = [lrp.attribute(x, 1, conditions={layer: c}, start="logit") for c in range(CHANNELS[layer])]
    whole = lrp.attribute(x, 1, start="logit")
    close(torch.stack(each).sum(0), whole)
    close(lrp.attribute(x, 1, conditions={layer: range(CHANNELS[layer])}, start="logit"), whole)
    assert sum(bool(m.any()) for m in each) > 1  # more than one channel has a share
    pair = lrp.attribute(x, 1, conditions={layer: [2, 0]}, start="logit")
    close(pair, each[0] + each[2])
    stepwise, layers = lrp.attribute(x, 1, conditions={layer: [2, 0]}, return_layers=True, start="logit")
    close(stepwise, pair)
    assert not layers[layer][:, 1].any()
    assert layers[layer][:, [0, 2]].any()
    assert tuple(layers) == ("input", *lrp.layers)


def through_the_cut(model, layer, channels, composite, x, target):
    """Concept relevance without a mask: the upper part explained on its own, the lower part neuron by neuron."""
    upper, lower = nn.Sequential(*model[layer + 1 :]).eval(), nn.Sequential(*model[: layer + 1], nn.Flatten()).eval()
    values = model[: layer + 1](x).detach()
    middle = LRP(upper, composite).attribute(values, target, start="logit")
    lrp = LRP(lower, composite)
    out = torch.zeros_like(x)
    for sample in range(len(x)):
        value, r = values[sample].flatten(), middle[sample].flatten()
        of_channel = torch.arange(len(value)) // values[sample, 0].numel()
        wanted = torch.isin(of_channel, torch.tensor(sorted(channels))) & (r != 0)  # a value of 0 has no relevance
        indices = wanted.nonzero()[:, 0]
        if len(indices):
            maps = lrp.attribute(x[sample].expand(len(indices), *x.shape[1:]), indices, start="logit")
            out[sample] = (maps * (r / value)[indices].view(-1, 1, 1, 1, 1)).sum(0)
    return out


@settings(COSTLY, derandomize=True)
@given(st.sampled_from([3, 6, 7]), st.sets(st.integers(0, 2), min_size=1), st.integers(0, 99), st.integers(0, 1))
def test_condition_equals_the_two_halves_explained_apart(layer, channels, seed, target):
    model, x = network(seed), scans(seed=seed + 1)
    for composite in (composites.epsilon(), composites.alpha_beta(1.0)):
        got = LRP(model, composite).attribute(x, target, conditions={str(layer): channels}, start="logit")
        close(got, through_the_cut(model, layer, channels, composite, x, target))


@pytest.mark.parametrize("preset", ["epsilon", "alpha_beta"])
def test_conditions_combine(preset):
    lrp, x = LRP(network(), PRESETS[preset]), scans()
    both = lrp.attribute(x, 1, conditions={"0": 1, "4": [0, 3]}, start="logit")
    assert torch.equal(both, lrp.attribute(x, 1, conditions={"4": (3, 0), "0": [1]}, start="logit"))
    close(both, sum(lrp.attribute(x, 1, conditions={"0": 1, "4": c}, start="logit") for c in (0, 3)))
    # convolution, folded normalisation, activation and pooling keep channels apart: the same condition at each of them
    for layer in ("1", "2", "3"):
        close(lrp.attribute(x, 1, conditions={layer: 1, "6": [0, 3]}, start="logit"), both)
    table = [lrp.attribute(x, 1, conditions={"0": a, "4": b}, start="logit") for a in range(3) for b in range(4)]
    close(torch.stack(table).sum(0), lrp.attribute(x, 1, start="logit"))


def test_conditions_behind_a_hidden_start():
    lrp, x = LRP(network(), composites.epsilon()), scans()
    whole = lrp.attribute(x, layer="4", neuron=2)
    each = [lrp.attribute(x, layer="4", neuron=2, conditions={"0": c}) for c in range(3)]
    close(torch.stack(each).sum(0), whole)
    close(lrp.attribute(x, layer="4", conditions={"4": 2}), whole)


def test_conditions_in_one_branch_leave_the_other():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.branch, self.fc = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            a = self.stem(x)
            return self.fc(self.branch(a) + a)

    torch.manual_seed(1)
    model, x = Residual().double().eval(), torch.randn(2, 3, dtype=torch.float64)
    lrp = LRP(model, composites.everywhere(Epsilon(0)))
    _, layers = lrp.attribute(x, 1, return_layers=True, start="logit")
    _, some = lrp.attribute(x, 1, conditions={"branch": 2}, return_layers=True, start="logit")
    kept = layers["branch"] * torch.tensor([0, 0, 1, 0])
    torch.testing.assert_close(some["branch"], kept)
    skip = layers["add"] - layers["branch"]  # the sum's other operand
    through = LRP(nn.Sequential(model.branch).eval(), composites.everywhere(Epsilon(0)))
    a = model.stem(x).detach()
    wanted = skip + through.attribute(a, 2, start="logit") * (kept[:, 2] / model.branch(a)[:, 2]).detach()[:, None]
    torch.testing.assert_close(some["stem"], wanted)


@pytest.mark.parametrize("layer", CHANNELS)
@pytest.mark.parametrize("by", ["absolute", "signed"])
def test_ranking(layer, by):
    lrp, x = LRP(network(), composites.alpha_beta(1.0)), scans(3)
    targets = [0, 1, 1]
    sums = (
        lrp.attribute(x, targets, return_layers=True, start="logit")[1][layer].flatten(2).sum(2)
        if int(layer) < 8
        else None
    )
    sums = lrp.attribute(x, targets, return_layers=True, start="logit")[1][layer] if sums is None else sums
    ranking = lrp.rank(x, targets, layer=layer, by=by, start="logit")
    assert ranking.channels.sort(1).values.tolist() == [list(range(CHANNELS[layer]))] * 3
    torch.testing.assert_close(ranking.relevance, sums.gather(1, ranking.channels))
    keys = ranking.relevance.abs() if by == "absolute" else ranking.relevance
    assert (keys.diff(dim=1) <= 0).all()
    best = int((sums.abs() if by == "absolute" else sums)[1].argmax())
    assert ranking.top(1, sample=1) == [best]
    alone = lrp.rank(x[1:2], 1, layer=layer, by=by, start="logit")
    assert torch.equal(alone.channels[0], ranking.channels[1])
    assert f"sample 1, {layer}: {best} (" in str(ranking)


def test_ranking_under_a_condition():
    lrp, x = LRP(network(), composites.epsilon()), scans()
    whole = lrp.rank(x, 1, layer="0", start="logit").relevance.sum(1)
    parts = [lrp.rank(x, 1, layer="0", conditions={"4": c}, start="logit") for c in range(4)]
    torch.testing.assert_close(sum(p.relevance.sum(1) for p in parts), whole)
    assert len({tuple(p.channels[0].tolist()) for p in parts}) > 1
    at_itself = lrp.rank(x, 1, layer="4", conditions={"4": 2}, start="logit")
    assert at_itself.top(1) == [2]
    assert not at_itself.relevance[:, 1:].any()
    probability = lrp.rank(x, 1, layer="0", start="probability")
    assert torch.equal(probability.channels, lrp.rank(x, 1, layer="0", start="logit").channels)
    assert not torch.allclose(probability.relevance, lrp.rank(x, 1, layer="0", start="logit").relevance)


def test_conditions_leave_nothing_behind():
    model, x = network(), scans()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    lrp = LRP(model, composites.epsilon())
    whole = lrp.attribute(x, 1, start="logit")
    some = lrp.attribute(x, 1, conditions={"4": 0}, start="logit")
    assert torch.equal(lrp.attribute(x, 1, start="logit"), whole)
    assert torch.equal(lrp.attribute(x, 1, conditions={"4": 0}, start="logit"), some)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"conv": 0}, "unknown conditioned layer 'conv'; choose one of"),
        ({"4": 4}, r"layer '4 \(condition\)': condition on channel 4; it has 4 channels: 0 to 3"),
        ({"4": -1}, "condition on layer '4' is -1, expected integers from 0"),
        ({"4": []}, r"condition on layer '4' is \[\], expected a channel or a list"),
        ({"4": "0"}, "condition on layer '4' is '0', expected a channel or a list"),
        ({"4": [0.5]}, r"condition on layer '4' is \[0.5\], expected integers"),
        ({"4": True}, "condition on layer '4' is True"),
        (["4"], r"conditions are \['4'\], expected a dict"),
    ],
)
def test_wrong_conditions(conditions, message):
    with pytest.raises(InputError, match=message):
        LRP(network(), composites.epsilon()).attribute(scans(), 1, conditions=conditions, start="logit")


def test_wrong_rankings():
    lrp, x = LRP(network(), composites.epsilon()), scans()
    with pytest.raises(InputError, match="unknown order 'size'; choose one of: absolute, signed"):
        lrp.rank(x, 1, layer="4", by="size", start="logit")
    with pytest.raises(InputError, match="unknown layer 'conv'"):
        lrp.rank(x, 1, layer="conv", start="logit")
    with pytest.raises(InputError, match="target is None, but the network has 2 outputs"):
        lrp.rank(x, layer="4", start="logit")
