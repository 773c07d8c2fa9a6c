"""Layers that mix values, with weights or without, under every rule, against their dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.layers import Scores, randomised
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.lrp import LRP, AlphaBeta, Composite, Epsilon, Flat, Gamma, Pass, WSquare, ZBox, ZPlus, composites
from oracles import lrp as oracle
from oracles import lrp_layers

RULES = {
    "epsilon": (Epsilon, [{"epsilon": 1e-6}, {"epsilon": 0.1}]),
    "z_plus": (ZPlus, [{}]),
    "alpha_beta": (AlphaBeta, [{"beta": 0.0}, {"beta": 1.0}, {"beta": 0.5, "one_signed": "keep"}]),
    "gamma": (Gamma, [{"gamma": 0.25}]),
    "z_box": (ZBox, [{"low": -1.0, "high": 2.0}, {"low": None, "high": 2.0}, {"low": None, "high": None}]),
    "w_square": (WSquare, [{}]),
    "flat": (Flat, [{}]),
}


@st.composite
def rules(draw):
    name = draw(st.sampled_from(sorted(RULES)))
    kind, drawn = RULES[name]
    options = {**draw(st.sampled_from(drawn)), "bias": draw(st.sampled_from(["absorb", "ignore", "distribute"]))}
    return name, kind(**options), options


def inputs(shape, sign, seed, dtype=torch.float64):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).clamp(-1, 2)
    x = x.abs() if sign == "nonnegative" else -x.abs().clamp(max=1) if sign == "negative" else x
    return x.to(dtype)


signs = st.sampled_from(["signed", "nonnegative", "negative"])
seeds = st.integers(0, 10**6)


class Call(nn.Module):
    """A functional call as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def check(layer, composite, rule, x, seed, reads=None):
    """Hold a one-layer network against its matrix, for two samples with different targets."""
    name, _, options = rule
    matrix, bias = lrp_layers.dense(layer, x.shape[1:])
    reads = matrix > 0 if reads is None else reads
    targets = torch.tensor(np.random.default_rng(seed).integers(0, len(bias), len(x)))
    got = LRP(Scores(layer).eval(), composite).attribute(x, targets, start="logit").numpy()
    for sample, target in enumerate(targets):
        flat = x[sample].numpy().ravel()
        upper = np.zeros(len(bias))
        upper[target] = (matrix @ flat + bias)[target]
        wanted = oracle.relevance(name, {**options, "reads": reads}, matrix, bias, flat, upper)
        scale = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(got[sample].ravel(), wanted, rtol=0, atol=1e-10 * scale)


@st.composite
def transposed(draw):
    axes = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2]))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kernel, stride, dilation, padding = each(1, 3), each(1, 3), each(1, 2), each(0, 1)
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    grid = each(1, 2) if axes == 3 else each(1, 3)
    out = [
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(grid, stride, padding, dilation, kernel, extra, strict=True)
    ]
    assume(min(out) > 0)
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
    layer = kind(
        groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), kernel, stride, padding, extra, groups,
        draw(st.booleans()), dilation,
    )  # fmt: skip
    return layer.double().eval(), grid


@settings(derandomize=True)
@given(transposed(), rules(), signs, seeds)
def test_transposed_convolutions(layer_and_grid, rule, sign, seed):
    layer, grid = layer_and_grid
    randomised(layer, seed)
    x = inputs((2, layer.in_channels, *grid), sign, seed)
    composite = Composite({type(layer): rule[1]})
    check(layer, composite, rule, x, seed, lrp_layers.reads(layer, x.shape[1:]))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("rule", [Epsilon(), AlphaBeta(beta=1.0), Gamma(bias="distribute")])
def test_norm_is_folded_into_a_transposed_convolution(groups, rule):
    layer = nn.ConvTranspose3d(4, 6, 2, 2, groups=groups)
    norm = nn.BatchNorm3d(6)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    pair = randomised(nn.Sequential(layer, norm), 3).double().eval()
    x = inputs((2, 4, 2, 1, 2), "signed", 1)
    merged = nn.ConvTranspose3d(4, 6, 2, 2, groups=groups).double()
    with torch.no_grad():  # from the pair's own outputs: (outputs, inputs) of the folded layer
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        each = 6 // groups
        for out in range(6):
            members = slice(out // each * (4 // groups), (out // each + 1) * (4 // groups))
            merged.weight[members, out % each] = layer.weight[members, out % each] * factor[out]
        merged.bias.copy_((layer.bias - norm.running_mean) * factor + norm.bias)
    torch.testing.assert_close(merged(x), pair(x))
    composite = composites.everywhere(rule)
    got = LRP(Scores(pair).eval(), composite).attribute(x, 11, start="logit")
    torch.testing.assert_close(
        got, LRP(Scores(merged).eval(), composite).attribute(x, 11, start="logit"), rtol=1e-10, atol=1e-10
    )


@st.composite
def mixing(draw):
    """Layer, grid: linear maps with fixed weights >= 0, as modules or functional calls."""
    axes = draw(st.integers(1, 3))
    grid = tuple(draw(st.integers(2, 5 if axes < 3 else 3)) for _ in range(axes))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kind = draw(st.sampled_from(["pool", "adaptive", "interpolate", "mean", "sum"]))
    functional = draw(st.booleans())
    if kind == "pool":
        kernel = tuple(draw(st.integers(1, n)) for n in grid)
        padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
        options = {
            "stride": draw(st.one_of(st.none(), st.just(each(1, 3)))), "padding": padding,
            "ceil_mode": draw(st.booleans()), "count_include_pad": draw(st.booleans()),
        }  # fmt: skip
        if axes > 1:
            options["divisor_override"] = draw(st.sampled_from([None, 3]))
        if functional:
            pool = getattr(F, f"avg_pool{axes}d")
            return Call(lambda x: pool(x, kernel, **options)), grid
        return getattr(nn, f"AvgPool{axes}d")(kernel, **options), grid
    if kind == "adaptive":
        size = tuple(draw(st.one_of(st.none(), st.integers(1, 4))) for _ in range(axes))
        size = draw(st.sampled_from([1, size])) if axes > 1 else draw(st.integers(1, 4))
        if functional:
            pool = getattr(F, f"adaptive_avg_pool{axes}d")
            return Call(lambda x: pool(x, size)), grid
        return getattr(nn, f"AdaptiveAvgPool{axes}d")(size), grid
    if kind == "interpolate":
        mode = draw(st.sampled_from([("linear", "bilinear", "trilinear")[axes - 1], "area"]))
        align = None if mode == "area" else draw(st.booleans())
        if draw(st.booleans()):
            size, factor = each(1, 6), None
        else:
            size, factor = None, draw(st.sampled_from([2, 1.7, 0.6]))
            assume(all(int(n * factor) > 0 for n in grid))
        if functional:
            return Call(lambda x: F.interpolate(x, size, factor, mode, align_corners=align)), grid
        return nn.Upsample(size, factor, mode, align), grid
    dims = tuple(draw(st.sets(st.integers(1, axes + 1), min_size=1)))
    dims = tuple(d - draw(st.sampled_from([0, axes + 2])) for d in dims)
    keep = draw(st.booleans()) or len(dims) == axes + 1
    return Call(lambda x: getattr(x, kind)(dims, keepdim=keep)), grid


@settings(derandomize=True)
@given(mixing(), rules(), signs, seeds)
def test_maps_with_fixed_weights_follow_the_rule_of_sums(layer_and_grid, rule, sign, seed):
    layer, grid = layer_and_grid
    x = inputs((2, 2, *grid), sign, seed)
    check(layer.eval(), Composite({}, sums=rule[1]), rule, x, seed)


def test_a_named_rule_goes_before_the_rule_of_sums():
    x = inputs((2, 2, 4, 4), "signed", 0)
    rule = ("z_plus", ZPlus(), {})
    for key in (nn.AvgPool2d, "layer"):
        check(nn.AvgPool2d(2), Composite({key: ZPlus()}), rule, x, 0)
    with pytest.raises(UnsupportedLayerError, match=r"'layer' \(AvgPool2d\): Pass is no rule for a layer that mixes"):
        LRP(Scores(nn.AvgPool2d(2)), Composite({nn.AvgPool2d: Pass()})).record(x)


COPIES = {
    "nearest": nn.Upsample(scale_factor=(2, 1.7), mode="nearest"),
    "nearest down": Call(lambda x: F.interpolate(x, size=(2, 7), mode="nearest-exact")),
    "reflection": nn.ReflectionPad2d((1, 2, 0, 1)),
    "replication": nn.ReplicationPad2d((2, 0, 1, 3)),
    "circular": nn.CircularPad2d((1, 2, 2, 0)),
    "functional": Call(lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect")),
    "zeros": nn.ZeroPad2d((1, -1, 2, 0)),
    "constant": nn.ConstantPad2d((1, 2, 0, 1), 3.0),
    "functional zeros": Call(lambda x: F.pad(x, (1, 0, 0, 2, 1, 0))),
    "slice": Call(lambda x: x[:, 1:, ..., ::2]),
    "number": Call(lambda x: x[:, 1, 1]),
    "new axis": Call(lambda x: x[:, None, :, 2:]),
    "listed": Call(lambda x: x[:, [1, 0, 1]]),
    "narrow": Call(lambda x: x.narrow(2, 1, 2)),
    "select": Call(lambda x: torch.select(x, 3, 1)),
    "chunk": Call(lambda x: torch.cat([x.chunk(2, 2)[1], x.chunk(2, 2)[0]], 2)),
    "split": Call(lambda x: torch.split(x, [1, 3], 3)[1]),
    "unbind": Call(lambda x: torch.stack([x.unbind(1)[1], x.unbind(1)[0]], -1)),
    "repeat": Call(lambda x: x.repeat(1, 2, 1, 3)),
    "expand": Call(lambda x: x.unsqueeze(1).expand(-1, 3, -1, -1, -1)),
    "expand as": Call(lambda x: x[:, :1].expand_as(x)),
    "flip": Call(lambda x: x.flip(2)),
    "roll": Call(lambda x: torch.roll(x, 1, 3)),
    "interleave": Call(lambda x: x.repeat_interleave(2, 2)),
    "shuffle": Call(lambda x: F.pixel_shuffle(x.repeat(1, 2, 1, 1), 2)),
    "swap": Call(lambda x: x.swapaxes(1, 3)),
    "constants beside": Call(lambda x: torch.cat([torch.zeros_like(x), x, x.new_ones(x.shape)], 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("rule", [Epsilon(), ZPlus(), Flat()])
def test_copied_values_take_their_relevance_back(name, rule):
    layer = COPIES[name].eval()
    x = inputs((2, 2, 3, 4), "signed", 5)
    matrix, bias = lrp_layers.dense(layer, x.shape[1:])
    assert set(np.unique(matrix)) <= {0.0, 1.0}
    head = randomised(nn.Linear(len(bias), 2, bias=False).double(), 7)
    network = nn.Sequential(layer, nn.Flatten(), head).eval()
    got = LRP(network, Composite({nn.Linear: Epsilon(0)}, sums=rule)).attribute(x, 1, start="logit")
    for sample in range(2):
        value = matrix @ x[sample].numpy().ravel() + bias
        at_copies = head.weight[1].detach().numpy() * value
        wanted = matrix.T @ at_copies  # whatever stands at a constant is lost
        np.testing.assert_allclose(got[sample].numpy().ravel(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("functional", [False, True])
def test_adaptive_maxima_win_all(axes, functional):
    size = {1: 2, 2: (2, None), 3: 1}[axes]
    x = torch.randperm(2 * 5**axes * 2, generator=torch.Generator().manual_seed(axes)).double()
    x = x.reshape(2, 2, *(5,) * axes) - 20
    pool = getattr(F, f"adaptive_max_pool{axes}d")
    layer = Call(lambda x: pool(x, size)) if functional else getattr(nn, f"AdaptiveMaxPool{axes}d")(size)
    out = layer(x).flatten(1)
    for target in range(0, out.shape[1], 2):
        got = LRP(Scores(layer).eval(), composites.z_plus()).attribute(x, target, start="logit")
        winners = torch.zeros_like(x)
        for sample in range(2):  # all values differ: the winner is where the output's value stands
            winners[sample] = torch.where(x[sample] == out[sample, target], x[sample], 0.0)
        torch.testing.assert_close(got, winners)
    with_indices = Scores(Call(lambda x: pool(x, size, return_indices=True)[0])).eval()
    got = LRP(with_indices, composites.z_plus()).attribute(x, 0, start="logit")
    assert torch.equal(got, LRP(Scores(layer).eval(), composites.z_plus()).attribute(x, 0, start="logit"))


def test_conservation_through_every_layer():
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1, bias=False), nn.ReLU(), nn.AvgPool3d(2, ceil_mode=True, count_include_pad=False),
        nn.ReplicationPad3d(1), nn.ConvTranspose3d(4, 6, 3, 2, output_padding=1, groups=2, bias=False), nn.ReLU(),
        nn.Upsample(scale_factor=1.3, mode="trilinear"), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool3d((2, 3, 1)),
        nn.AdaptiveMaxPool3d((2, 2, 1)), nn.Flatten(), nn.Linear(24, 2, bias=False),
    ).double().eval()  # fmt: skip
    randomised(network, 1)
    with torch.no_grad():
        network[-1].weight.abs_()
    x = torch.randn(2, 1, 5, 6, 7, generator=generator, dtype=torch.float64)
    logit = network(x)[:, 0].detach()
    for rule in (Epsilon(0), AlphaBeta(beta=0, epsilon=0), Gamma(epsilon=0)):
        lrp = LRP(network, composites.everywhere(rule))
        relevance, layers = lrp.attribute(x, 0, return_layers=True, start="logit")
        for name, value in {**layers, "all": relevance}.items():
            torch.testing.assert_close(value.flatten(1).sum(1), logit, rtol=1e-10, atol=0, msg=name)
        torch.testing.assert_close(lrp.attribute(x, 0, start="logit"), relevance, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            nn.ConvTranspose3d(2, 1, 2),
            (1, 1, 3, 3, 3),
            r"'layer' .*\(1, 1, 3, 3, 3\) arrives, expected \(batch, 2, x, y, z\)",
        ),
        (nn.AvgPool3d(2), (1, 2, 3), "layer 'layer'"),
        (nn.AdaptiveAvgPool3d(1), (1, 2), "layer 'layer'"),
    ],
)
def test_wrong_shapes_are_named(layer, shape, message):
    with pytest.raises(InputError, match=message):
        LRP(Scores(layer).eval(), composites.epsilon()).attribute(torch.ones(shape), 0, start="logit")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layout_and_dtype(dtype):
    layer = nn.Sequential(nn.AvgPool3d(2), nn.Upsample(scale_factor=2, mode="trilinear"), nn.InstanceNorm3d(2))
    x = inputs((2, 2, 4, 6, 4), "signed", 1, dtype)
    lrp = LRP(Scores(layer).eval(), composites.epsilon())
    plain = lrp.attribute(x, 3, start="logit")
    assert plain.dtype == dtype
    again = lrp.attribute(x.contiguous(memory_format=torch.channels_last_3d), 3, start="logit")
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-10}[dtype] * float(plain.abs().max())
    torch.testing.assert_close(again, plain, rtol=0, atol=tolerance)
