"""Arithmetic in a network's forward pass: constants, differences, gates; and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.blocks.activation import MemoryEfficientSwish, Mish, Swish
from monai.networks.layers.drop_path import DropPath
from torch import nn

from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import LRP, AlphaBeta, Composite, Epsilon, Flat, Gamma, ZPlus, composites
from oracles import lrp as oracle
from oracles.lrp_zero import lrp_zero

RULES = {
    "epsilon": (Epsilon, {"epsilon": 0.1}),
    "z_plus": (ZPlus, {}),
    "alpha_beta": (AlphaBeta, {"beta": 1.0, "one_signed": "keep"}),
    "gamma": (Gamma, {"gamma": 0.25}),
    "flat": (Flat, {}),
}


class Call(nn.Module):
    """A forward pass with two linear layers and what a layer may hold at hand."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.first, self.second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.scale = nn.Parameter(torch.randn(6, generator=torch.Generator().manual_seed(1)))
        self.register_buffer("shift", torch.randn(6, generator=torch.Generator().manual_seed(2)))

    def forward(self, x):
        return self.function(self, x)


def call(function):
    torch.manual_seed(0)
    return Call(function).double().eval()


def given_scans(batch=2):
    return torch.randn(batch, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def relevance_of(function, rule, target=2, x=None):
    composite = Composite({nn.Linear: Epsilon(0)}, sums=rule)
    return LRP(call(function), composite).attribute(given_scans() if x is None else x, target, start="logit")


SUMS = {
    "parameter": (lambda m, x: x + m.scale, 1.0, lambda m: m.scale),
    "buffer first": (lambda m, x: m.shift + x, 1.0, lambda m: m.shift),
    "number": (lambda m, x: x - 0.7, 1.0, lambda m: torch.full((6,), -0.7, dtype=torch.float64)),
    "taken from": (lambda m, x: 1 - x, -1.0, lambda m: torch.ones(6)),
    "rsub": (lambda m, x: torch.rsub(x, m.shift), -1.0, lambda m: m.shift),
    "factor": (lambda m, x: torch.sub(x, m.shift, alpha=2), 1.0, lambda m: -2 * m.shift),
    "computed": (lambda m, x: x.add(m.shift.abs() * 2 + m.scale), 1.0, lambda m: m.shift.abs() * 2 + m.scale),
}


@settings(derandomize=True)
@given(
    st.sampled_from(sorted(SUMS)), st.sampled_from(sorted(RULES)), st.sampled_from(["absorb", "ignore", "distribute"]),
    st.integers(0, 5),
)  # fmt: skip
def test_constants_in_sums_are_biases(case, name, mode, target):
    function, sign, constant = SUMS[case]
    kind, options = RULES[name]
    options = {**options, "bias": mode}
    model, x = call(function), given_scans()
    bias = constant(model).detach().double().numpy()
    got = LRP(model, Composite({}, sums=kind(**options))).attribute(x, target, start="logit")
    matrix = sign * np.eye(6)
    for sample in range(2):
        upper = np.zeros(6)
        upper[target] = model(x)[sample, target].item()
        reads = {"reads": np.eye(6) > 0}
        wanted = oracle.relevance(name, {**options, **reads}, matrix, bias, x[sample].numpy(), upper)
        np.testing.assert_allclose(got[sample].numpy(), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("alpha", [-1.0, 0.5])
def test_differences_are_sums_with_a_sign(name, alpha):
    kind, options = RULES[name]
    model = call(lambda m, x: torch.add(x[:, :3], x[:, 3:], alpha=alpha))
    x = given_scans()
    got = LRP(model, Composite({}, sums=kind(**options))).attribute(x, 1, start="logit")
    matrix = np.hstack([np.eye(3), alpha * np.eye(3)])
    reads = {"reads": matrix != 0}
    for sample in range(2):
        upper = np.zeros(3)
        upper[1] = model(x)[sample, 1].item()
        wanted = oracle.relevance(name, {**options, **reads}, matrix, np.zeros(3), x[sample].numpy(), upper)
        np.testing.assert_allclose(got[sample].numpy(), wanted, rtol=0, atol=1e-10)
    if alpha == -1:
        same = LRP(call(lambda m, x: x[:, :3] - x[:, 3:]), Composite({}, sums=kind(**options))).attribute(
            x, 1, start="logit"
        )
        assert torch.equal(same, got)


PASSED = {
    "number": lambda m, x: x * 2.5,
    "in place": lambda m, x: (x * 3).mul_(2).div_(m.scale.abs() + 1),
    "parameter": lambda m, x: m.scale * x,
    "buffer below": lambda m, x: x / m.shift,
    "negative": lambda m, x: -x,
    "broadcast": lambda m, x: (x.unsqueeze(1) * m.scale.view(1, 6, 1))[:, 3],
    "zero": lambda m, x: 0 + x + 0.0,
    "dropout": lambda m, x: F.dropout(x, 0.5, m.training),
    "cast": lambda m, x: x.to(torch.float64).double(),
    "swish": lambda m, x: x * torch.sigmoid(x),
    "swish with a factor": lambda m, x: x * torch.sigmoid(1.7 * x),
    "prelu": lambda m, x: F.prelu(x, m.scale),
    "clamp": lambda m, x: x.clamp(min=0),
}


@pytest.mark.parametrize("case", PASSED)
def test_factors_pass(case):
    got = relevance_of(PASSED[case], Epsilon(0))
    wanted = torch.zeros(2, 6, dtype=torch.float64)
    wanted[:, 2] = call(PASSED[case])(given_scans())[:, 2].detach()
    if case == "broadcast":  # all factors of one place come from the same value
        wanted = torch.zeros(2, 6, dtype=torch.float64)
        wanted[:, 2] = (given_scans()[:, 2] * call(PASSED[case]).scale[3]).detach()
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-14)


GATES = {
    "sigmoid": lambda m, x: torch.sigmoid(m.second(x)),
    "method": lambda m, x: m.second(x).sigmoid(),
    "hardsigmoid": lambda m, x: F.hardsigmoid(m.second(x)),
    "softmax": lambda m, x: F.softmax(m.second(x).exp(), 1),  # exp has no rule, and needs none in a gate
    "through shapes": lambda m, x: torch.sigmoid(m.second(x)).view(-1, 6, 1).expand(-1, 6, 2)[..., 0],
    "with constants": lambda m, x: 1 - 0.5 * torch.sigmoid(m.second(x)),
    "written in place": lambda m, x: torch.sigmoid_(m.second(x).mul_(2)),
    "one over": lambda m, x: 1 / (m.second(x).exp() + 1),
    "sign": lambda m, x: m.second(x).sign(),
    "largest of a softmax": lambda m, x: F.softmax(m.second(x), 1).topk(6, 1)[0],
}


@pytest.mark.parametrize("case", GATES)
@pytest.mark.parametrize("swapped", [False, True])
def test_signal_takes_all(case, swapped):
    gate = GATES[case]

    def function(m, x):
        signal = m.first(x)
        return gate(m, x) * signal if swapped else signal * gate(m, x)

    x, model = given_scans(), call(function)
    got = LRP(model, composites.epsilon(0)).attribute(x, 2, start="logit")
    values = (x * model.first.weight[2]).detach()  # contributions to the signal
    wanted = values * gate(model, x)[:, 2:3].detach()
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)


def test_an_ensemble_of_as_many_networks_as_scans():
    x = given_scans()
    together = LRP(call(lambda m, x: torch.stack([m.first(x), m.second(x)]).mean(0)), composites.epsilon(0))
    each = [
        LRP(call(lambda m, x, name=name: getattr(m, name)(x)), composites.epsilon(0)) for name in ("first", "second")
    ]
    wanted = sum(lrp.attribute(x, 2, start="logit") for lrp in each) / 2
    torch.testing.assert_close(together.attribute(x, 2, start="logit"), wanted, rtol=1e-10, atol=1e-12)


def test_relevance_that_is_no_number_is_refused_by_name():
    def function(m, x):  # no place may be read: softmax gives 0 / 0
        weights = x[:, :, None].expand(-1, 6, 6).masked_fill(torch.ones(6, 6, dtype=torch.bool), -math.inf).softmax(-1)
        return (weights @ x[:, :, None])[..., 0].nan_to_num(0.0) + x

    with pytest.raises(UnsupportedLayerError, match="relevance that 'matmul' passes on is NaN"):
        relevance_of(function, Epsilon(0))


def test_channel_attention_over_a_grid():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv3d(1, 3, 3, bias=False), nn.Linear(3, 3)
            self.end = nn.Linear(3, 2, bias=False)

        def forward(self, x):
            y = self.conv(x)
            b, c = y.shape[:2]
            gate = self.fc(y.mean((2, 3, 4))).sigmoid().view([b, c] + [1] * (y.ndim - 2))
            y = y * gate
            y += gate * y  # a residual in place
            return self.end(y.mean(dim=[-1, -2, -3]))

    torch.manual_seed(0)
    model = Attention().double().eval()
    x = torch.randn(2, 1, 4, 5, 6, dtype=torch.float64)
    got = LRP(model, composites.epsilon(0)).attribute(x, 1, start="logit")
    gradient_on = x.clone().requires_grad_(True)
    y = model.conv(gradient_on)
    gate = model.fc(y.mean((2, 3, 4))).sigmoid().view(2, 3, 1, 1, 1).detach()
    score = model.end((y * gate * (1 + gate)).mean((2, 3, 4)))[:, 1]
    # the gate is a constant, so LRP-0 is gradient times input of what is left
    wanted = torch.autograd.grad(score.sum(), gradient_on)[0] * x
    torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(got.flatten(1).sum(1), model(x)[:, 1].detach(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("activation", [Swish(), Swish(0.7), MemoryEfficientSwish(inplace=True), Mish(), DropPath(0.5)])
def test_activations_of_monai(activation):
    torch.manual_seed(0)
    first, second = nn.Linear(6, 5).double(), nn.Linear(5, 2).double()
    model = nn.Sequential(first, activation, second).eval()
    x = given_scans()
    middle = first(x).detach()
    value = activation(middle.clone())
    _, layers = LRP(model, composites.epsilon(0)).attribute(x, 1, return_layers=True, start="logit")
    assert torch.equal(layers["0"], layers["1"])
    share = value * second.weight[1] / (value @ second.weight[1] + second.bias[1])[:, None]
    torch.testing.assert_close(layers["1"], (share * model(x)[:, 1:]).detach())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda m, x: m.first(x).sigmoid() * m.second(x).sigmoid(), "operation 'mul'.*both factors are gates"),
        (lambda m, x: 1 / x, "operation 'rdiv'"),
        (lambda m, x: torch.div(x, 2, rounding_mode="floor"), "operation 'div'"),
        (lambda m, x: x.exp(), "operation 'exp'"),
        (lambda m, x: x.mean()[None], "operation 'mean'.*mixes the samples"),
        (lambda m, x: x.sum(0, keepdim=True), "operation 'sum'.*mixes the samples"),
        (lambda m, x: x.softmax(1) + x, "operation 'softmax'.*inside the network"),
        (lambda m, x: F.interpolate(x[:, None, None], size=(2, 6), mode="bicubic").flatten(1), "mode 'bicubic'"),
        (lambda m, x: torch.zeros_like(x) + m.scale, "do not depend on the input"),
    ],
)
def test_refused_by_name(function, message):
    with pytest.raises(UnsupportedLayerError, match=message):
        LRP(call(function), composites.epsilon()).record(given_scans())


@pytest.mark.parametrize(
    ("of_lines", "degree"),
    [
        (lambda h: h.std(2), 1),
        (lambda h: h.std(dim=2, keepdim=True).squeeze(2), 1),
        (lambda h: torch.std_mean(h, 2)[0], 1),
        (lambda h: h.norm(dim=2), 1),
        (lambda h: torch.linalg.vector_norm(h, dim=2), 1),
        (lambda h: torch.quantile(h, 0.3, dim=2), 1),
        (lambda h: torch.cdist(h.mean(2), torch.zeros(4, 4, dtype=h.dtype)), 1),
        (lambda h: h.var(2), 2),
    ],
)
def test_lengths_and_spreads_share_in_proportion_and_lose_nothing(of_lines, degree):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv1d(2, 4, 3, bias=False), nn.Linear(4, 2, bias=False)

        def forward(self, x):
            return self.head(of_lines(self.conv(x)))

    torch.manual_seed(0)
    model = Network().double().eval()
    x = torch.randn(3, 2, 9, dtype=torch.float64, requires_grad=True)
    # linear but for one degree: one factor varies, the others are held
    (gradient,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    found = LRP(model, composites.epsilon(0.0)).attribute(x.detach(), 1)
    torch.testing.assert_close(found, gradient * x / degree)
    torch.testing.assert_close(found.sum((1, 2)), model(x)[:, 1])


@pytest.mark.parametrize(
    ("layer", "pick"),
    [
        (nn.Upsample(None, 2, "bicubic"), lambda y: y),
        (nn.FractionalMaxPool2d(2, 1), lambda y: y),
    ],
)
def test_layers_refused_by_name(layer, pick):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = layer

        def forward(self, x):
            return pick(self.inner(x)).flatten(1)

    x = torch.rand(2, 1, 6, 6)
    with pytest.raises(UnsupportedLayerError, match=rf"'inner' \({type(layer).__name__}\)"):
        LRP(Network().eval(), composites.epsilon()).record(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.first(x) * m.second(x),
        lambda m, x: m.first(x) * m.second(x).relu(),
        lambda m, x: x / x.sum(1, keepdim=True),
        lambda m, x: x**2,
        lambda m, x: x @ m.first.weight,
        lambda m, x: x.max(1, keepdim=True)[0] * torch.arange(1, 7),
        lambda m, x: x[:, x.argmax(1)],
        # activations whose bounds keep 0 out
        lambda m, x: x.clamp(min=0.3),
        lambda m, x: F.hardtanh(x, 1, 2),
        lambda m, x: F.threshold(x, 0.1, 20.0),
        lambda m, x: torch.clamp(x, m.shift[0].abs() + 0.1, m.shift[0].abs() + 2),
        lambda m, x: x.relu() ** m.shift[0].abs(),
        # masks, by any type
        lambda m, x: x * (x > 0).to(x.dtype),
        lambda m, x: (x * x.gt(0).double() - x.lt(0).to(x)) / (x > 0).sum(1, keepdim=True),
        # sums of values put together
        lambda m, x: torch.zeros_like(x).scatter_add(1, torch.tensor([[0, 1, 1, 0, 2, 2]]).expand(len(x), 6), x),
        lambda m, x: m.first(x).index_add(1, torch.tensor([0, 1, 1, 0, 2, 2]), m.second(x)),
        lambda m, x: x.T.index_put((torch.tensor([0, 1, 1, 0, 2, 2]),), m.first(x).T, accumulate=True).T,
        lambda m, x: x.cumsum(1),
        lambda m, x: torch.tensordot(x, m.first.weight, dims=1) + torch.inner(x, m.second.weight),
        # values chosen by their order
        lambda m, x: x.topk(3, dim=1).values,
        lambda m, x: torch.cat(
            [x.sort(1, descending=True)[0], x.kthvalue(2, 1).values[:, None], x.amin(1)[:, None]], 1
        ),
        lambda m, x: torch.minimum(m.first(x), m.second(x)) + x.median(1, keepdim=True)[0] + x.min(1, True).values,
        # of a tensor that only lends its shape
        lambda m, x: m.scale.expand_as(x) * x + torch.zeros_like(x),
        lambda m, x: torch.mul(*torch.broadcast_tensors(x, m.scale)),
    ],
)
def test_products_quotients_and_maxima(function):
    model, x = call(function), given_scans()
    got = LRP(model, composites.epsilon(0.0)).attribute(x, 0, start="logit")
    torch.testing.assert_close(got, lrp_zero(model, x, 0), rtol=1e-9, atol=1e-12)


def test_a_softmax_by_hand_is_a_gate():
    def weighed(weights):
        return lambda m, x: weights(m.second(x)) * m.first(x)

    by_hand = weighed(lambda z: z.exp() / (z.exp().sum(1, keepdim=True) + 1e-9))
    lrp, x = LRP(call(by_hand), composites.epsilon(0.0)), given_scans()
    wanted = LRP(call(weighed(lambda z: z.softmax(1))), composites.epsilon(0.0)).attribute(x, 1, start="logit")
    torch.testing.assert_close(lrp.attribute(x, 1, start="logit"), wanted, rtol=1e-6, atol=1e-9)


def test_random_numbers_are_found_at_the_first_call():
    with pytest.raises(UnsupportedLayerError, match=r"'random'.*draws random numbers"):
        relevance_of(lambda m, x: x + torch.rand(6), Epsilon())


def test_places_that_come_from_nowhere_take_nothing():
    def windows(m, x):
        return F.unfold(x.view(-1, 1, 2, 3), 2, padding=1).flatten(1)

    model = call(windows)
    got = LRP(model, composites.epsilon()).attribute(
        given_scans(), 0, start="logit"
    )  # the first window's first value is padding
    assert not got.any()
    x = given_scans()
    out = model(x).detach()
    target = int((out[0] == x[0, 5]).nonzero()[0])
    wanted = torch.zeros_like(x)
    wanted[:, 5] = x[:, 5]
    torch.testing.assert_close(LRP(model, composites.epsilon()).attribute(x, target, start="logit"), wanted)


class SoftPooling(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, x):
        return self.pool(x.flatten(2))


def of_softmax(x):
    return (x.softmax(2) * x).sum(2)


def mean_of_exponentials(x):  # Pinheiro & Collobert 2015, equation 6
    return torch.logsumexp(x, dim=2) - math.log(x.shape[2])


@pytest.mark.parametrize("pool", [of_softmax, mean_of_exponentials])
def test_soft_maxima_share_by_their_softmax(pool):
    x = torch.tensor([[[math.log(1.0), math.log(2.0), math.log(5.0), math.log(8.0)]]], dtype=torch.float64)
    wanted = torch.tensor([1, 2, 5, 8]) / 16 * x  # the softmax of logarithms, times the values
    found = LRP(SoftPooling(pool), composites.epsilon(0.0)).attribute(x[..., None], 0, start="logit")
    torch.testing.assert_close(found[..., 0], wanted)


def test_of_a_plain_logsumexp_the_entropy_is_a_bias():
    x = torch.tensor([[[0.0, math.log(2.0), math.log(5.0), -torch.inf]]], dtype=torch.float64)
    lrp = LRP(SoftPooling(lambda x: x.masked_fill(x < 0, -torch.inf).logsumexp(2)), composites.epsilon(0.0))
    wanted = torch.tensor([0.0, 2 * math.log(2.0), 5 * math.log(5.0), 0.0], dtype=torch.float64) / 8
    found = lrp.attribute(x.clamp(min=-1), 0, start="logit")
    torch.testing.assert_close(found[0, 0], wanted)


def test_a_tensor_of_which_only_the_shape_is_read_takes_no_relevance():
    class Model(nn.Module):
        def forward(self, x):
            return x.flatten(1).mean(1, keepdim=True).expand_as(torch.cumsum(x[:, 0, 0], 1))

    x = torch.rand(2, 1, 3, 4, dtype=torch.float64)
    found = LRP(Model(), composites.epsilon(0.0)).attribute(x, 1, start="logit")
    torch.testing.assert_close(found, x / 12)
