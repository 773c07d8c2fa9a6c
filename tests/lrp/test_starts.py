"""Relevance that starts at a hidden layer equals that of the network cut there, explained as a network of its own."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.thirds import sampled
from neuroxai import attribution
from neuroxai.errors import InputError
from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp import LRP, AlphaBeta, Composite, Epsilon, Gamma, WSquare, ZPlus, composites
from neuroxai.lrp.rules import POSITIVE, WHOLE, Part, Rule, Term

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
PRESETS = {
    "epsilon": composites.epsilon(),
    "alpha_beta": composites.alpha_beta(1.0),
    "gamma": composites.everywhere(Gamma()),
    "boehle2019": composites.boehle2019(0.5),  # the normalisation is not folded
    "mixed": Composite({**composites.z_plus().rules, 0: Epsilon(0.1), "10": Epsilon()}),
}


def network(axes=3, seed=0, activation=nn.ReLU):
    generator = torch.Generator().manual_seed(seed)
    conv, norm, pool = CONVS[axes - 1], NORMS[axes - 1], POOLS[axes - 1]
    features = [conv(1, 3, 3, padding=1), norm(3), activation(), pool(2), conv(3, 4, 2), norm(4), activation()]
    features.append(pool(2, padding=1))
    model = nn.Sequential(*features, nn.Flatten(), nn.Dropout(), nn.LazyLinear(5), activation(), nn.Linear(5, 2))
    model = model.double().eval()
    model(torch.zeros(1, 1, *(5, 6, 7)[:axes], dtype=torch.float64))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
        for m in model.modules():
            if isinstance(m, NORMS):
                m.running_mean.copy_(torch.randn(m.num_features, generator=generator))
                m.running_var.copy_(torch.rand(m.num_features, generator=generator) + 0.3)
    return model


def scans(axes=3, batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 1, *(5, 6, 7)[:axes], generator=generator, dtype=torch.float64)


def of_cut_network(model, last, composite, x, chosen):
    """Sum of the maps of the chosen outputs (flat indices) of ``model[: last + 1]``."""
    values = model[: last + 1](x).detach().flatten(1)
    # a normalisation that ends a network is part of its last layer; within one this composite passes it
    passes = isinstance(model[last], NORMS) and composite is PRESETS["boehle2019"]
    cut = nn.Sequential(*model[: last + (not passes)], nn.Flatten()).eval()
    rules = {k: r for k, r in composite.rules.items() if k != "10"} if last < 10 else composite.rules
    lrp = LRP(cut, Composite(rules, sums=composite.sums, strains=composite.strains))
    maps = []
    for sample, of_sample in zip(x, values, strict=True):
        starts = torch.zeros(len(chosen), len(of_sample), dtype=x.dtype)
        starts[range(len(chosen)), list(chosen)] = of_sample[list(chosen)]
        maps.append(lrp.attribute(sample[None].expand(len(chosen), *sample.shape), start=starts).sum(0))
    return torch.stack(maps)


def close(got, wanted):
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10 * max(1.0, float(wanted.abs().max())))


# of 55 every third: each preset and each layer several times
@pytest.mark.parametrize(("preset", "last"), sampled(product(PRESETS, [*range(8), 10, 11, 12]), 3))
def test_layer_start_equals_the_cut_network(preset, last):
    model, x, composite = network(), scans(), PRESETS[preset]
    values = model[: last + 1](x).detach()
    shape = values.shape[1:]
    flat = np.arange(int(np.prod(shape))).reshape(shape)
    position = tuple(int(n) for n in values[0].abs().argmax().unsqueeze(0).numpy())  # a neuron that is not zero
    neuron = tuple(int(n) for n in np.unravel_index(position[0], shape))
    lrp = LRP(model, composite)
    close(lrp.attribute(x, layer=str(last), neuron=neuron), of_cut_network(model, last, composite, x, [position[0]]))
    filters = flat[neuron[0]].ravel() if len(shape) > 1 else [neuron[0]]
    close(lrp.attribute(x, layer=str(last), neuron=neuron[0]), of_cut_network(model, last, composite, x, filters))
    if last >= 4:  # all neurons: few enough behind the first pooling
        wanted = of_cut_network(model, last, composite, x, flat.ravel())
        whole, layers = lrp.attribute(x, layer=str(last), return_layers=True)
        close(whole, wanted)
        close(lrp.attribute(x, layer=str(last)), wanted)
        torch.testing.assert_close(layers[str(last)], values)
        assert set(layers) == {"input", *(str(n) for n in range(last + 1))}


@settings(derandomize=True)
@given(st.integers(1, 3), st.sampled_from([0, 1, 2, 3, 4, 5, 7]), st.integers(0, 10**6), st.sampled_from(list(PRESETS)))
def test_any_neuron_of_any_layer(axes, last, seed, preset):
    model = network(axes, seed, nn.ELU)
    x, composite = scans(axes, 2, seed), PRESETS[preset]
    shape = model[: last + 1](x).shape[1:]
    index = seed % int(np.prod(shape))
    neuron = [int(n) for n in np.unravel_index(index, shape)]
    got = LRP(model, composite).attribute(x, layer=str(last), neuron=neuron)
    close(got, of_cut_network(model, last, composite, x, [index]))


def test_a_convolution_starts_before_its_norm_and_the_norm_behind_it():
    model = nn.Sequential(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1), nn.Flatten(), nn.Linear(8, 2)).double().eval()
    with torch.no_grad():
        model[0].weight.fill_(2.0)
        model[0].bias.fill_(0.0)
        model[1].running_mean.fill_(1.0)
        model[1].running_var.fill_(4.0 - model[1].eps)
    x = torch.arange(1.0, 9.0, dtype=torch.float64).view(1, 1, 2, 2, 2)
    lrp = LRP(model, composites.everywhere(Epsilon(0)))
    torch.testing.assert_close(lrp.attribute(x, layer="0"), 2 * x)  # the output 2x is the relevance, all of it of x
    # the norm: (2x - 1) / 2 = x - 1/2, of which the bias keeps -1/2 and x the rest
    torch.testing.assert_close(lrp.attribute(x, layer="1"), x)


def test_nothing_behind_the_layer_is_run():
    model, x = network(), scans()
    lrp = LRP(model, composites.epsilon())
    wanted = lrp.attribute(x, layer="0", neuron=1)
    with torch.no_grad():
        for index in (1, 4, 10, 12):
            model[index].weight.fill_(float("nan"))
    assert torch.equal(lrp.attribute(x, layer="0", neuron=1), wanted)
    with pytest.raises(InputError, match="NaN"):
        lrp.attribute(x, 1, start="logit")
    with pytest.raises(InputError, match="layer '4': its output is NaN"):
        lrp.attribute(x, layer="4")


class Runs(nn.Module):
    """One layer that runs twice, one whose output is read twice, and a sum."""

    def __init__(self):
        super().__init__()
        self.first, self.twice, self.act = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()
        self.fc = nn.Linear(24, 2)
        self.unread = nn.Linear(1, 1)

    def until(self, x):
        return self.act(self.twice(self.act(self.first(x))))

    def forward(self, x):
        a = self.until(x)
        return self.fc((self.act(self.twice(a)) + a).flatten(1))


class Until(nn.Module):
    def __init__(self, runs, second):
        super().__init__()
        self.runs, self.second = runs, second

    def forward(self, x):
        a = self.runs.until(x)
        return (self.runs.twice(a) if self.second else a).flatten(1)


def test_layers_that_run_several_times():
    torch.manual_seed(3)
    model, x = Runs().double().eval(), torch.randn(2, 1, 5, 6, dtype=torch.float64)
    lrp = LRP(model, composites.alpha_beta(1.0)).record(x)
    assert lrp.layers[:7] == ("first", "act", "twice", "act:2", "twice:2", "act:3", "add")
    relevance, layers = lrp.attribute(x, 1, return_layers=True, start="logit")
    assert tuple(layers) == ("input", *lrp.layers)
    assert torch.equal(relevance, lrp.attribute(x, 1, start="logit"))
    assert not torch.allclose(layers["twice"], layers["twice:2"])
    for name, second in (("act:2", False), ("twice:2", True)):
        wanted = LRP(Until(model, second).eval(), composites.alpha_beta(1.0))
        for flat, neuron in ((13, (1, 0, 1)), (5, (0, 1, 1))):
            torch.testing.assert_close(
                lrp.attribute(x, layer=name, neuron=neuron), wanted.attribute(x, flat, start="logit")
            )


def test_layer_starts_leave_nothing_behind():
    model, x = network(), scans()
    lrp = LRP(model, composites.epsilon())
    hidden = lrp.attribute(x, layer="4", neuron=2)  # the first call checks the whole network, too
    output = lrp.attribute(x, 1, start="logit")
    assert torch.equal(lrp.attribute(x, layer="4", neuron=2), hidden)
    assert torch.equal(LRP(model, composites.epsilon()).attribute(x, 1, start="logit"), output)
    three = scans(batch=3)
    together = lrp.attribute(three, layer="4", neuron=2)
    for index in range(3):
        close(together[index : index + 1], lrp.attribute(three[index : index + 1], layer="4", neuron=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": "44"}, "unknown layer '44'; choose one of: .*4"),
        ({"layer": 4}, "unknown layer 4"),
        ({"layer": "4", "target": 1}, r"both target \(1\) and layer \('4'\) are given"),
        ({"layer": "4", "start": "probability"}, "start is 'probability'"),
        ({"neuron": 1, "target": 1}, "neuron is 1 but layer is None"),
        ({"layer": "4", "neuron": 4}, r"neuron 4 does not exist; layer '4' has outputs of shape \(4, 1, 2, 2\)"),
        ({"layer": "4", "neuron": -1}, "neuron -1 does not exist"),
        ({"layer": "4", "neuron": (0, 0, 0, 2)}, r"neuron \(0, 0, 0, 2\) does not exist"),
        ({"layer": "4", "neuron": (0, 1)}, r"has 2 indices, expected 1 or 4"),
        ({"layer": "4", "neuron": "one"}, "neuron is 'one', expected a channel or"),
        ({"layer": "4", "neuron": True}, "neuron is True, expected a channel or"),
        ({"layer": "4", "neuron": 1.0}, "neuron is 1.0, expected a channel or"),
        ({"layer": "4", "neuron": {"patch": 0, "filter": 0}}, r"layer '4' \(Conv3d\).*PatchIndividualFilter"),
        ({"layer": "4", "neuron": 0, "conditions": {"7": 0}}, "conditioned layer '7'"),
    ],
)
def test_wrong_starts(arguments, message):
    with pytest.raises(InputError, match=message):
        LRP(network(), composites.epsilon()).attribute(scans(), **arguments)


def test_unknown_layers_name_close_ones():
    torch.manual_seed(0)
    model = nn.ModuleDict({"features": nn.Sequential(nn.Linear(2, 3), nn.ReLU()), "head": nn.Linear(3, 2)})

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = model["features"], model["head"]

        def forward(self, x):
            return self.head(self.features(x))

    x = torch.ones(1, 2)
    lrp = LRP(Named().eval(), composites.epsilon())
    with pytest.raises(InputError, match="known once a scan was recorded"):
        lrp.layers  # noqa: B018
    assert lrp.record(x).layers == ("features.0", "features.1", "head")
    with pytest.raises(InputError, match=r"unknown layer 'feature\.1'; choose one of: features\.0, features\.1\. LRP"):
        lrp.attribute(x, layer="feature.1")
    with pytest.raises(InputError, match=r"unknown layer 'features'; choose one of: features\.0, features\.1\."):
        lrp.attribute(x, layer="features")
    assert torch.equal(lrp.attribute(x, layer="head", neuron=1), lrp.attribute(x, 1, start="logit"))


@pytest.mark.parametrize("reassemble", [True, False])
@pytest.mark.parametrize("strains", ["mean", "sum"])
def test_one_patch_and_filter_of_a_patch_individual_layer(reassemble, strains):
    torch.manual_seed(0)
    pif = PatchIndividualFilter(2, 2, 3, in_shape=(7, 6), patch_shape=(4, 3), kernel_size=2, reassemble=reassemble)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), pif, nn.ELU(), nn.Flatten(), nn.LazyLinear(2)).double().eval()
    x = torch.randn(2, 1, 9, 8, dtype=torch.float64)
    model(x)
    composite = Composite(composites.alpha_beta(1.0).rules, strains=strains)
    lrp = LRP(model, composite)
    values = model[:3](x).detach()
    flat = torch.arange(values[0].numel()).view(values.shape[1:])
    seen = []
    for patch, number in ((0, 1), (3, 0), (pif.patches - 1, 2)):
        chosen = flat[pif.neurons(patch, number)].flatten().tolist()
        assert len(chosen) < len(flat.flatten()) / 4
        wanted = of_cut_network(model, 2, composite, x, chosen)
        got = lrp.attribute(x, layer="2", neuron={"patch": patch, "filter": number})
        close(got, wanted)
        seen.append(got)
        start = lrp.report(x, layer="2", neuron={"patch": patch, "filter": number}).start
        torch.testing.assert_close(start, values.flatten(1)[:, chosen].sum(1))
    assert not torch.equal(seen[0] != 0, seen[1] != 0)  # other patches see other voxels
    for neuron, message in (
        ({"patch": pif.patches, "filter": 0}, "patch"),
        ({"patch": 0, "filter": 3}, "filter"),
        ({"patch": 0}, r"neuron is {'patch': 0} at layer '2' \(PatchIndividualFilter\)"),
    ):
        with pytest.raises(InputError, match=message):
            lrp.attribute(x, layer="2", neuron=neuron)


class Gated(nn.Module):
    """A channel gate, as squeeze and excitation has."""

    def __init__(self):
        super().__init__()
        self.conv, self.excite, self.fc = nn.Conv2d(1, 3, 3), nn.Linear(3, 3), nn.Linear(36, 2)

    def forward(self, x):
        x = self.conv(x)
        gate = torch.sigmoid(self.excite(x.mean((2, 3))))
        return self.fc((x * gate[:, :, None, None]).flatten(1))


def test_layers_of_a_gate_carry_no_relevance():
    torch.manual_seed(0)
    lrp, x = LRP(Gated().double().eval(), composites.epsilon()), torch.randn(1, 1, 5, 6, dtype=torch.float64)
    assert "conv" in lrp.record(x).layers
    assert "excite" not in lrp.layers
    with pytest.raises(InputError, match="layer 'excite': no relevance reaches it"):
        lrp.attribute(x, layer="excite")
    with pytest.raises(InputError, match="conditioned layer 'excite': no relevance reaches it"):
        lrp.attribute(x, 1, conditions={"excite": 0}, start="logit")
    each = [lrp.attribute(x, 1, conditions={"conv": c}, start="logit") for c in range(3)]
    close(sum(each), lrp.attribute(x, 1, start="logit"))


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_class_probability_is_explained_if_nothing_is_said(outputs):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, outputs)).double().eval()
    x = torch.rand(5, 1, 6, dtype=torch.float64)
    with torch.no_grad():
        model[1].bias.fill_(-9.0)  # every logit is below 0
        logits = model(x)
    target = outputs - 1
    shares = torch.sigmoid(logits[:, 0]) if outputs == 1 else torch.softmax(logits, 1)[:, 1]
    lrp = LRP(model, composites.boehle2019(0.0))
    plain = lrp.attribute(x, target)
    assert bool((plain >= 0).all())
    torch.testing.assert_close(plain.flatten(1).sum(1), shares, rtol=1e-4, atol=0)  # all but the stabiliser
    assert torch.equal(plain, lrp.attribute(x, target, start="probability"))
    turned = lrp.attribute(x, target, start="logit")
    torch.testing.assert_close(turned, plain * (logits[:, target] / shares)[:, None, None])
    torch.testing.assert_close(lrp.report(x, target).start, shares)


IN_PROPORTION = {f"lrp_{name}" for name in ("zero", "epsilon", "gamma", "eitel2019", "epsilon_plus_flat",
                                            "epsilon_gamma_box")}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in attribution.names() if attribution.takes_start(name)])
@pytest.mark.parametrize("bias", [-9.0, 9.0])
def test_what_supports_the_class_is_positive_by_default_whatever_the_logits_sign(name, bias):
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 1)).double().eval()
    x = torch.linspace(0.1, 1, 6, dtype=torch.float64).reshape(1, 1, 6)
    with torch.no_grad():
        model[1].weight.abs_()
        model[3].weight.abs_()  # all values support the class
        model[3].bias.fill_(bias)
    method = attribution.create(name, model)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "relevance starts at")
        plain = method.attribute(x)
    assert bool((plain > 0).all())
    usual = "logit" if name in IN_PROPORTION else "probability"
    assert method.usual_start == method.start_for(x.shape) == usual
    close(plain, method.attribute(x, start=usual))
    if usual == "logit" and bias < 0:
        with pytest.warns(UserWarning, match="probability of a class whose logit is below 0.*turns every sign") as told:
            turned = method.attribute(x, start="probability")
        assert told[0].filename == __file__
        close(turned * model(x).item(), plain * torch.sigmoid(model(x)).item())


class Halves(Epsilon):
    """A rule of a user's own, of rules that there are."""


@dataclass(frozen=True)
class Shared(Rule):
    """A rule of a user's own: all contributions, as `Zero` has them."""

    parts: ClassVar = (Part((Term("all", WHOLE),), WHOLE),)


@dataclass(frozen=True)
class Supporting(Rule):
    """A rule of a user's own: positive weights alone."""

    parts: ClassVar = (Part((Term("positive", POSITIVE),), POSITIVE),)


@pytest.mark.parametrize(
    ("composite", "usual"),
    [
        (Composite({nn.Linear: Halves()}), "logit"),
        (Composite({nn.Linear: Shared()}), "logit"),
        (Composite({nn.Linear: Supporting()}), "probability"),
        (Composite({nn.Linear: Gamma(gamma=0.0)}), "logit"),
        (Composite({nn.Linear: AlphaBeta(beta=2.0)}), "probability"),
        (Composite({nn.Linear: WSquare()}), "probability"),
        (Composite({nn.Linear: ZPlus()}), "probability"),
        (Composite({nn.Linear: ZPlus(), -1: Epsilon()}), "logit"),
        (Composite({nn.Linear: ZPlus(), "3": Gamma()}), "logit"),
        (Composite({nn.Linear: Gamma(), "[3]": AlphaBeta(beta=1.0)}), "probability"),
    ],
)
def test_the_last_layers_rule_decides_where_relevance_starts(composite, usual):
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    lrp = LRP(model, composite)
    lrp.attribute(torch.rand(1, 1, 6), 1)
    assert lrp.usual_start == usual


def test_a_head_that_is_a_convolution_decides_by_its_own_rule():
    model = nn.Sequential(
        nn.Conv1d(1, 3, 3, bias=False), nn.ReLU(), nn.Conv1d(3, 1, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten()
    )
    with torch.no_grad():
        model[0].weight.abs_()
        model[2].weight.abs_()
        model[2].bias.fill_(-9.0)
    lrp = LRP(model.double().eval())  # z+ in convolutions, epsilon in linear layers
    assert bool((lrp.attribute(torch.rand(1, 1, 6, dtype=torch.float64)) >= 0).all())
    assert lrp.usual_start == "probability"


def test_asking_where_relevance_starts_imports_no_compiler():
    """It took as long as the rest of a command's start; torch's meta device asks for it in most layers."""
    code = """
import sys
from neuroxai import networks
from neuroxai.lrp import LRP
model = networks.create("ad_cnn", (39, 46, 39), padding="same").eval()
assert LRP(model, "z_plus").start_for((1, 1, 39, 46, 39)) == "probability"
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr[-1000:]
