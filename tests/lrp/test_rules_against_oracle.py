"""Every rule on every linear layer against its formula on a dense matrix."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuroxai.errors import InputError
from neuroxai.lrp import LRP, AlphaBeta, Composite, Epsilon, Flat, Gamma, WSquare, ZBox, Zero, ZPlus, composites

_spec = importlib.util.spec_from_file_location("oracle", Path(__file__).parents[1] / "oracles" / "lrp.py")
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

rules = st.one_of(
    st.builds(
        lambda e, b: ("epsilon", Epsilon(e, b), {"epsilon": e, "bias": b}),
        st.sampled_from([1e-6, 1e-3, 0.1]),
        st.sampled_from(["absorb", "ignore", "distribute"]),
    ),
    st.builds(lambda b: ("zero", Zero(bias=b), {"bias": b}), st.sampled_from(["absorb", "ignore"])),
    st.builds(lambda b: ("z_plus", ZPlus(bias=b), {"bias": b}), st.sampled_from(["absorb", "ignore", "distribute"])),
    st.builds(
        lambda beta, b, o: (
            "alpha_beta",
            AlphaBeta(beta=beta, bias=b, one_signed=o),
            {"beta": beta, "bias": b, "one_signed": o},
        ),
        st.sampled_from([0.0, 0.5, 1.0, 4.0]),
        st.sampled_from(["absorb", "ignore", "distribute"]),
        st.sampled_from(["scale", "keep"]),
    ),
    st.builds(
        lambda g, b: ("gamma", Gamma(gamma=g, bias=b), {"gamma": g, "bias": b}),
        st.sampled_from([0.0, 0.25, 2.0]),
        st.sampled_from(["absorb", "ignore", "distribute"]),
    ),
    st.builds(
        lambda b: ("w_square", WSquare(bias=b), {"bias": b}), st.sampled_from(["absorb", "ignore", "distribute"])
    ),
    st.builds(lambda b: ("flat", Flat(bias=b), {"bias": b}), st.sampled_from(["absorb", "ignore", "distribute"])),
)
boxes = st.builds(
    lambda low, high, b: ("z_box", ZBox(low=low, high=high, bias=b), {"low": low, "high": high, "bias": b}),
    st.sampled_from([0, -0.5, -2.0, None]),
    st.sampled_from([1, 2.5, None]),
    st.sampled_from(["absorb", "ignore", "distribute"]),
)
signs = st.sampled_from(["signed", "nonnegative", "negative", "sparse"])


def drawn_input(shape, sign, generator):
    x = generator.standard_normal(shape)
    if sign == "nonnegative":
        x = np.abs(x)
    if sign == "negative":
        x = -np.abs(x)
    if sign == "sparse":
        x = np.where(generator.random(shape) < 0.6, 0, x)
    return torch.tensor(x)


def drawn_weights(layer, generator):
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.tensor(generator.standard_normal(p.shape)))


class Scores(nn.Module):
    """The layer's whole output as scores, so that any output neuron can be the target."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).flatten(1)


@st.composite
def conv_layers(draw):
    axes = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2]))
    each = st.lists(st.integers(1, 2), min_size=axes, max_size=axes).map(tuple)
    kernel = draw(st.lists(st.integers(1, 3), min_size=axes, max_size=axes).map(tuple))
    dilation = draw(each)
    padding = draw(
        st.one_of(
            st.sampled_from(["same", "valid"]), st.lists(st.integers(0, 2), min_size=axes, max_size=axes).map(tuple)
        )
    )
    stride = (1,) * axes if padding == "same" else draw(each)
    layer = CONVS[axes - 1](
        groups * draw(st.integers(1, 2)),
        2 * draw(st.integers(1, 2)),
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias=draw(st.booleans()),
    )
    grid = tuple(draw(st.integers(d * (k - 1) + 1, d * (k - 1) + 3)) for k, d in zip(kernel, dilation, strict=True))
    return layer.double().eval(), grid


def oracle_of_conv(layer, grid):
    axes = len(layer.kernel_size)
    if layer.padding == "same":
        padding = oracle.same_padding(layer.kernel_size, layer.dilation)
    else:
        padding = [(p, p) for p in ((0,) * axes if layer.padding == "valid" else layer.padding)]
    arguments = (grid, layer.stride, padding, layer.dilation, layer.groups)
    weight = layer.weight.detach().numpy()
    matrix, shape = oracle.conv_matrix(weight, *arguments)
    reads = oracle.conv_matrix(np.ones_like(weight), *arguments)[0]
    bias = np.zeros(shape[0]) if layer.bias is None else layer.bias.detach().numpy()
    return matrix, np.repeat(bias, int(np.prod(shape[1:]))), reads


def inside(x, bounds):
    """Values within the bounds that are given."""
    low, high = ((-np.inf, np.inf)[n] if bounds[key] is None else bounds[key] for n, key in enumerate(("low", "high")))
    return x.clamp(low, high)


@settings(derandomize=True)
@given(conv_layers(), st.one_of(rules, boxes), signs, st.integers(0, 10**6))
def test_convolutions(layer_and_grid, rule, sign, seed):
    layer, grid = layer_and_grid
    generator = np.random.default_rng(seed)
    drawn_weights(layer, generator)
    name, ours, options = rule
    x = drawn_input((2, layer.in_channels, *grid), sign, generator)
    if name == "z_box":
        x = inside(x, options)
    matrix, bias, reads = oracle_of_conv(layer, grid)
    targets = torch.tensor(generator.integers(0, len(bias), 2))
    got = LRP(Scores(layer).eval(), Composite({type(layer): ours})).attribute(x, targets, start="logit").numpy()
    for sample in range(2):
        flat = x[sample].numpy().ravel()
        upper = np.zeros(len(bias))
        upper[targets[sample]] = (matrix @ flat + bias)[targets[sample]]
        wanted = oracle.relevance(name, {**options, "reads": reads}, matrix, bias, flat, upper)
        np.testing.assert_allclose(got[sample].ravel(), wanted, rtol=0, atol=1e-10 * max(1, np.abs(wanted).max()))


@settings(derandomize=True)
@given(st.one_of(rules, boxes), signs, st.integers(1, 6), st.integers(1, 4), st.booleans(), st.integers(0, 10**6))
def test_linear(rule, sign, inputs, outputs, with_bias, seed):
    generator = np.random.default_rng(seed)
    layer = nn.Linear(inputs, outputs, bias=with_bias).double().eval()
    drawn_weights(layer, generator)
    name, ours, options = rule
    x = drawn_input((1, inputs), sign, generator)
    if name == "z_box":
        x = inside(x, options)
    matrix = layer.weight.detach().numpy()
    bias = layer.bias.detach().numpy() if with_bias else np.zeros(outputs)
    target = int(generator.integers(outputs))
    upper = np.zeros(outputs)
    upper[target] = (matrix @ x[0].numpy() + bias)[target]
    wanted = oracle.relevance(name, {**options, "reads": np.ones_like(matrix)}, matrix, bias, x[0].numpy(), upper)
    got = LRP(layer, Composite({nn.Linear: ours})).attribute(x, target, start="logit")[0].numpy()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-10 * max(1, np.abs(wanted).max()))


def randomised(network, generator):
    """Random weights, and running statistics as after training."""
    drawn_weights(network, generator)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.copy_(torch.tensor(generator.standard_normal(module.num_features)))
            module.running_var.copy_(torch.tensor(generator.uniform(0.2, 2, module.num_features)))
    return network


@st.composite
def networks(draw):
    """Conv (BN) activation pool, twice a linear layer: what ad_cnn and ms_cnn are made of."""
    axes = draw(st.integers(1, 3))
    conv, norm, pool = (
        CONVS[axes - 1],
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1],
        (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1],
    )
    activation = draw(st.sampled_from([nn.ReLU, nn.ELU, lambda: nn.LeakyReLU(0.2)]))
    kernel = draw(st.integers(2, 3))
    pooling = pool(
        kernel,
        draw(st.sampled_from([None, 1, 2])),
        draw(st.integers(0, 1)),
        draw(st.integers(1, 2)),
        ceil_mode=draw(st.booleans()),
    )
    layers = [conv(1, 2, 3, padding="same")]
    layers += [norm(2)] if draw(st.booleans()) else []
    layers += [activation(), pooling] if draw(st.booleans()) else [pooling, activation()]
    grid = tuple(draw(st.integers(5, 6)) for _ in range(axes))
    size = int(np.prod(nn.Sequential(*layers)(torch.zeros(2, 1, *grid)).shape[1:]))
    layers += [nn.Flatten(), nn.Dropout(0.5), nn.Linear(size, 3), activation(), nn.Linear(3, 2)]
    return nn.Sequential(*layers).double().eval(), grid


def oracle_of_network(network, rule, options, x, target):
    """Walk a sequential network by dense matrices; x is (channels, *grid)."""
    layers, back = list(network), []
    value = x
    skip = False
    for index, layer in enumerate(layers):
        if skip:
            skip = False
            continue
        if isinstance(layer, (nn.Linear, *CONVS)):
            if isinstance(layer, nn.Linear):
                matrix, bias, shape = layer.weight.detach().numpy(), layer.bias.detach().numpy(), (layer.out_features,)
                reads = np.ones_like(matrix)
            else:
                matrix, bias, reads = oracle_of_conv(layer, value.shape[1:])
                shape = (layer.out_channels, *value.shape[1:])
            norm = layers[index + 1] if index + 1 < len(layers) else None
            if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                factor = norm.weight.detach().numpy() / np.sqrt(norm.running_var.numpy() + norm.eps)
                offset = norm.bias.detach().numpy() - factor * norm.running_mean.numpy()
                each = int(np.prod(shape[1:]))
                matrix = matrix * np.repeat(factor, each)[:, None]
                bias = bias * np.repeat(factor, each) + np.repeat(offset, each)
                skip = True
            flat = value.ravel()
            back.append(
                lambda r, m=matrix, b=bias, f=flat, s=value.shape, n=reads: oracle.relevance(
                    rule, {**options, "reads": n}, m, b, f, r.ravel()
                ).reshape(s)
            )
            value = (matrix @ flat + bias).reshape(shape)
        elif isinstance(layer, (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)):
            axes = value.ndim - 1
            arguments = [(a,) * axes for a in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)]
            grid = value.shape[1:]
            value, winners = oracle.max_pool(value, *arguments, layer.ceil_mode)
            back.append(lambda r, w=winners, g=grid: oracle.unpool(r, w, g))
        elif isinstance(layer, nn.Flatten):
            back.append(lambda r, s=value.shape: r.reshape(s))
            value = value.ravel()
        elif isinstance(layer, nn.ReLU):
            value = np.maximum(value, 0)
        elif isinstance(layer, nn.ELU):
            value = np.where(value > 0, value, np.exp(np.minimum(value, 0)) - 1)
        elif isinstance(layer, nn.LeakyReLU):
            value = np.where(value > 0, value, 0.2 * value)
    upper = np.zeros(2)
    upper[target] = value[target]
    for step in reversed(back):
        upper = step(upper)
    return upper


@settings(derandomize=True)
@given(networks(), rules, signs, st.integers(0, 10**6))
def test_networks(network_and_grid, rule, sign, seed):
    network, grid = network_and_grid
    generator = np.random.default_rng(seed)
    randomised(network, generator)
    name, ours, options = rule
    x = drawn_input((2, 1, *grid), sign, generator)
    composite = Composite({**dict.fromkeys((*CONVS, nn.Linear), ours), nn.modules.batchnorm._BatchNorm: ours})
    lrp = LRP(network, composite)
    got = lrp.attribute(x, target=1, start="logit")
    stepwise, _ = lrp.attribute(x, target=1, return_layers=True, start="logit")
    for sample in range(2):
        wanted = oracle_of_network(network, name, options, x[sample].numpy(), 1)
        # near-zero denominators magnify rounding: the tolerance follows the largest value
        scale = max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(got[sample].numpy(), wanted, rtol=0, atol=1e-10 * scale)
        np.testing.assert_allclose(stepwise[sample].numpy(), wanted, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize(
    "rule",
    [
        Epsilon(epsilon=0),
        AlphaBeta(epsilon=0),
        ZPlus(epsilon=0),
        AlphaBeta(beta=1.0, epsilon=0, one_signed="keep"),
        Gamma(epsilon=0),
    ],
)
def test_relevance_is_conserved_without_biases(rule, rng):
    # behind an ELU a neuron may have negative contributions only; z+ and beta = 0 pass nothing on there
    activation = nn.ReLU if len(rule.parts) == 1 and not isinstance(rule, Epsilon) else nn.ELU
    network = nn.Sequential(
        nn.Conv3d(1, 3, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool3d(2),
        nn.Conv3d(3, 4, 3, stride=2, padding=2, bias=False),
        activation(), nn.Flatten(), nn.Linear(4 * 3 * 3 * 3, 32, bias=False), nn.ReLU(), nn.Linear(32, 2, bias=False),
    ).double().eval()  # fmt: skip
    drawn_weights(network, rng)
    with torch.no_grad():
        network[-1].weight.abs_()  # the logit has positive contributions, as alpha-beta needs
    x = torch.tensor(rng.standard_normal((2, 1, 6, 8, 6)))
    composite = Composite(dict.fromkeys((nn.Conv3d, nn.Linear), rule))
    relevance, layers = LRP(network, composite).attribute(x, target=0, return_layers=True, start="logit")
    logit = network(x)[:, 0].detach()
    assert logit.abs().min() > 1e-3
    torch.testing.assert_close(relevance.flatten(1).sum(1), logit, rtol=1e-10, atol=0)
    for name, value in layers.items():
        torch.testing.assert_close(value.flatten(1).sum(1), logit, rtol=1e-10, atol=0, msg=name)


def test_distributed_bias_conserves(rng):
    layer = nn.Conv3d(2, 3, 3, padding=1, stride=2).double()
    network = Scores(layer).eval()
    drawn_weights(network, rng)
    x = torch.tensor(rng.standard_normal((1, 2, 5, 6, 7)))
    relevance = LRP(network, Composite({nn.Conv3d: Epsilon(0, "distribute")})).attribute(x, target=7, start="logit")
    torch.testing.assert_close(relevance.sum(), network(x)[0, 7].detach(), rtol=1e-10, atol=0)


def test_box_refuses_what_lies_outside_it():
    layer = nn.Linear(3, 2).eval()
    lrp = LRP(layer, Composite({nn.Linear: ZBox()}))  # scaled scans
    with pytest.raises(InputError, match=r"from -0.5 to 2 arrive .*ZBox\(0.0, 1.0\)"):
        lrp.attribute(torch.tensor([[-0.5, 0.0, 2.0]]), target=0, start="logit")
    # but for rounding
    lrp.attribute(torch.tensor([[-9e-7, 0.5, 1 + 9e-7]]), target=0, start="logit")
    for outside in (-2e-6, 1 + 2e-6):
        with pytest.raises(InputError, match="give bounds that hold them all"):
            lrp.attribute(torch.tensor([[outside, 0.5, 0.5]]), target=0, start="logit")
    # a sample's own bounds hold it also where it is one value
    own = LRP(layer, Composite({nn.Linear: ZBox(None, None)}))
    assert own.attribute(torch.ones(1, 3), target=0, start="logit").isfinite().all()
    for low, high in ((0.1, 1), (-1, -0.5), (0, 0), (0.1, None), (None, -0.5), (0, float("nan")), ("0", 1)):
        with pytest.raises(InputError, match="low <= 0 <= high"):
            ZBox(low=low, high=high)


def preset_layers(preset, x):
    network = nn.Sequential(
        nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Conv3d(2, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4), nn.ReLU(),
        nn.Linear(4, 2),
    ).double().eval()  # fmt: skip
    drawn_weights(network, np.random.default_rng(0))
    return LRP(network, preset).attribute(x, target=0, start="logit"), network


@pytest.mark.parametrize(
    ("preset", "first", "convolution", "linear"),
    [
        (composites.epsilon_plus_flat(), ("flat", {}), ("z_plus", {}), ("epsilon", {})),
        (
            composites.epsilon_gamma_box(0.0, 1.0),
            ("z_box", {"low": 0, "high": 1}),
            ("gamma", {"gamma": 0.25}),
            ("epsilon", {}),
        ),
        (composites.deep_taylor(), ("w_square", {}), ("z_plus", {}), ("z_plus", {})),
        (composites.deep_taylor(-1, 2), ("z_box", {"low": -1, "high": 2}), ("z_plus", {}), ("z_plus", {})),
        (composites.eitel2019(), *[("epsilon", {"epsilon": 1e-3})] * 3),
    ],
)
def test_presets(preset, first, convolution, linear, rng):
    x = torch.tensor(rng.random((1, 1, 6, 6, 6)))
    got, network = preset_layers(preset, x)
    value, back = x[0].numpy(), []
    for layer, (name, options) in zip(
        (network[0], network[2], network[5], network[7]), (first, convolution, linear, linear), strict=True
    ):
        if isinstance(layer, nn.Linear):
            matrix, bias, shape = layer.weight.detach().numpy(), layer.bias.detach().numpy(), (layer.out_features,)
            reads = np.ones_like(matrix)
        else:
            matrix, bias, reads = oracle_of_conv(layer, value.shape[1:])
            shape = (layer.out_channels, *(n - 2 for n in value.shape[1:]))
        flat = value.ravel()
        back.append((name, {**options, "reads": reads}, matrix, bias, flat))
        value = np.maximum(matrix @ flat + bias, 0).reshape(shape)
    upper = np.array([(matrix @ flat + bias)[0], 0.0])
    for step in reversed(back):
        upper = oracle.relevance(*step, upper)
    np.testing.assert_allclose(got.numpy().ravel(), upper, rtol=0, atol=1e-10 * max(1, np.abs(upper).max()))


def test_deep_taylor_takes_both_bounds_or_none():
    with pytest.raises(InputError, match="low is None, high is 1; give both"):
        composites.deep_taylor(high=1)
