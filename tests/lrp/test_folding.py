"""One linear layer written in several ways has one relevance, also under rules that tell signs apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.thirds import sampled
from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import LRP, AlphaBeta, Composite, Epsilon, Flat, WSquare, ZBox, composites

pytestmark = pytest.mark.filterwarnings("ignore::neuroxai.lrp.conservation.ConservationWarning")
RULES = {
    "z_plus": composites.z_plus(),
    "alpha_beta": composites.alpha_beta(1.0),
    "boehle2019": composites.boehle2019(0.5),
    "deep_taylor": composites.deep_taylor(),
    "epsilon": composites.epsilon(0.0),
    "gamma": composites.gamma(),
    "flat at the end": Composite({**composites.z_plus().rules, -1: Flat()}),
    "w-square at the end": Composite({**composites.z_plus().rules, -1: WSquare()}),
}


class Network(nn.Module):
    """Features, and a head that is a function of them."""

    def __init__(self, head, weight, bias=None):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv3d(1, 3, 2).double(), head
        self.weight = nn.Parameter(weight.double())
        self.bias = nn.Parameter(torch.zeros(len(weight)).double() if bias is None else bias.double())

    def forward(self, x):
        return self.head(F.relu(self.conv(x)), self.weight, self.bias)


def flat(f):
    return f.mean((2, 3, 4))


def conv(f, w, b):
    return F.conv3d(f, w[..., None, None, None], b)


def plain(f, w, b):
    return F.linear(flat(f), w, b)


AVERAGED = ("z_plus", "alpha_beta", "boehle2019", "deep_taylor", "epsilon", "gamma")
MINUS = {
    "neg": lambda f, w, b: -F.linear(flat(f), -w, -b),
    "number": lambda f, w, b: F.linear(flat(f), -w / 2, -b / 2) * -2,
    "quotient": lambda f, w, b: F.linear(flat(f), -w * 2, -b * 2) / -2.0,
    "minus from": lambda f, w, b: b - F.linear(flat(f), -w),
    "none less": lambda f, w, b: 0 - F.linear(flat(f), -w, -b),
    "tensor": lambda f, w, b: F.linear(flat(f), -w, -b) * w.new_tensor([-1.0]),
    "a factor each": lambda f, w, b: (
        F.linear(flat(f), w * w.new_tensor([[-1.0], [2.0]]), b * w.new_tensor([-1.0, 2.0])) * w.new_tensor([-1.0, 0.5])
    ),
    "behind a reshape": lambda f, w, b: -F.linear(flat(f), -w, -b)[:, None].flatten(1),
    "moved": lambda f, w, b: -(F.linear(flat(f), -w, -b)[:, None].flatten(1)),
    "convolution": lambda f, w, b: -conv(flat(f)[..., None, None, None], -w, -b).flatten(1),
    "read twice": lambda f, w, b: (lambda z: torch.stack([z[:, 0], -z[:, 1]], 1))(
        F.linear(flat(f), w * w.new_tensor([[1.0], [-1.0]]), b * w.new_tensor([1.0, -1.0]))
    ),
}
SHIFT = {
    "matrix product": lambda f, w, b: flat(f) @ w.T + b,
    "einsum": lambda f, w, b: torch.einsum("bi,oi->bo", flat(f), w) + b,
    "weights on the left": lambda f, w, b: (w @ flat(f).T + b[:, None]).T,
    "batches of matrices": lambda f, w, b: torch.baddbmm(b, flat(f)[:, None], w.T.expand(len(f), -1, -1)).squeeze(1),
    "bias later": lambda f, w, b: F.linear(flat(f), w) + b,
    "two biases": lambda f, w, b: F.linear(flat(f), w, b / 2) + b / 2,
    "number": lambda f, w, b: F.linear(flat(f), w, b - 3.0) + 3.0,
    "of a convolution": lambda f, w, b: (
        conv(flat(f)[..., None, None, None], w, None) + b[:, None, None, None]
    ).flatten(1),
    "minus": lambda f, w, b: F.linear(flat(f), w) - -b + 0.0,
}
SUMMED = {
    "product": lambda f, w, b: (flat(f)[:, None] * w).sum(-1) + b,
    "turned": lambda f, w, b: (w.T * flat(f)[..., None]).sum(1) + b,
    "mean": lambda f, w, b: (flat(f)[:, None] * w).mean(-1) * w.shape[1] + b,
    "one by one": lambda f, w, b: torch.stack([(flat(f) * o).sum(1) + c for o, c in zip(w, b, strict=True)], 1),
    "in place": lambda f, w, b: flat(f)[:, None].mul(w).sum(2).add_(b),
    "vecdot": lambda f, w, b: torch.linalg.vecdot(flat(f)[:, None], w) + b,
    "several axes": lambda f, w, b: (flat(f)[:, None, :, None] * w[None, ..., None]).sum((2, 3)) + b,
}
AVERAGE = {
    "mean": lambda f, w, b: conv(f, w, b).mean((2, 3, 4)),
    "pooling": lambda f, w, b: F.adaptive_avg_pool3d(conv(f, w, b), 1).flatten(1),
    "places on one axis": lambda f, w, b: conv(f, w, b).flatten(2).mean(2),
    "tokens": lambda f, w, b: F.linear(f.flatten(2).transpose(1, 2), w, b).mean(1),
    "minus, then mean": lambda f, w, b: (-conv(f, -w, -b)).mean((2, 3, 4)),
    "mean, then minus": lambda f, w, b: -conv(f, -w, -b).mean((2, 3, 4)),
    "scaled": lambda f, w, b: conv(f, w / 3, b / 3).mean((2, 3, 4)) * 3,
}


def scans(batch=2):
    return torch.randn(batch, 1, 4, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def compare(way, composite, shift=0.0):
    generator = torch.Generator().manual_seed(2)
    weight, bias = torch.randn(2, 3, generator=generator), torch.randn(2, generator=generator) + shift
    x, one, other = scans(), Network(plain, weight, bias).eval(), Network(way, weight, bias).eval()
    torch.testing.assert_close(one(x), other(x))
    for target in (0, 1):
        for start in (None, "logit")[: target + 1]:
            wanted = LRP(one, composite).attribute(x, target, start=start)
            got = LRP(other, composite).attribute(x, target, start=start)
            # the stabiliser meets other values
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6 * float(wanted.abs().max()))
            assert bool(wanted.any())


def normalised(f, w, b):
    factor = w.new_tensor([-1.0, 2.0])  # it may be learnt to be below 0
    return F.batch_norm(F.linear(flat(f), w / factor[:, None]), w.new_zeros(2), w.new_ones(2) - 1e-5, factor, b)


@pytest.mark.filterwarnings("ignore:relevance starts at")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("move", [lambda z: z, lambda z: z[:, None].flatten(1).softmax(1)])
def test_a_normalisation_at_the_end_is_part_of_the_last_layer(move, rule):
    weight, bias = torch.randn(2, 3, generator=torch.Generator().manual_seed(2)), torch.tensor([0.3, -0.4])
    one, other = (Network(lambda *args, way=way: move(way(*args)), weight, bias).eval() for way in (plain, normalised))
    x = scans()
    torch.testing.assert_close(one(x), other(x))
    for target in (0, 1):
        wanted, got = (LRP(model, RULES[rule]).attribute(x, target) for model in (one, other))
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6 * float(wanted.abs().max()))
        assert bool(wanted.any())


@pytest.mark.filterwarnings("ignore:relevance starts at")
@pytest.mark.parametrize(("way", "rule"), sampled(product(MINUS, RULES), 3))
def test_a_minus_turns_the_weights(way, rule):
    compare(MINUS[way], RULES[rule])


@pytest.mark.filterwarnings("ignore:relevance starts at")
@pytest.mark.parametrize(("way", "rule"), sampled(product(SHIFT, RULES), 3))
def test_a_bias_may_stand_behind_the_layer(way, rule):
    compare(SHIFT[way], RULES[rule])


@pytest.mark.filterwarnings("ignore:relevance starts at")
@pytest.mark.parametrize(("way", "rule"), sampled(product(SUMMED, [name for name in RULES if "end" not in name]), 2))
def test_a_product_that_is_summed_up_is_a_linear_layer(way, rule):
    compare(SUMMED[way], RULES[rule])


def test_a_mean_under_a_mask_is_no_layer_with_weights():
    class Masked(nn.Module):
        def __init__(self, masked):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.fc, self.masked = nn.Conv3d(1, 3, 2), nn.Linear(3, 2), masked
            self.register_buffer("brain", torch.ones(4, 5, 3))

        def forward(self, x):
            if self.masked:
                x = x - (x * (x > -9)).sum((2, 3, 4), keepdim=True) * 0
                x = x + (x * self.brain).sum((2, 3, 4), keepdim=True) * 0
            return self.fc(self.conv(x).relu().mean((2, 3, 4)))

    for composite in ("epsilon_plus_flat", "epsilon_gamma_box", "deep_taylor"):  # with a rule for what reads the scan
        maps = [LRP(Masked(masked).double().eval(), composite).attribute(scans().abs(), 1) for masked in (True, False)]
        torch.testing.assert_close(*maps, rtol=0, atol=1e-3 * float(maps[1].abs().max()))  # stabilised


def test_a_product_that_is_summed_up_has_the_rule_of_a_linear_layer():
    x = scans().flatten(1)
    weight = nn.Parameter(torch.randn(2, x.shape[1], generator=torch.Generator().manual_seed(2), dtype=torch.float64))

    class Summed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = weight

        def forward(self, x):
            return (x[:, None] * self.weight).sum(-1)

    linear = nn.Linear(x.shape[1], 2, bias=False).double()
    linear.weight = weight
    for composite in ("epsilon_plus_flat", "deep_taylor", Composite({0: AlphaBeta(beta=0.5)}, sums=Epsilon())):
        one, other = (LRP(model.eval(), composite) for model in (Summed(), linear))
        assert one.start_for((1, x.shape[1])) == other.start_for((1, x.shape[1]))
        got, wanted = one.attribute(x, 1), other.attribute(x, 1)
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.filterwarnings("ignore:relevance starts at")
# at -9 no place has a score above 0
@pytest.mark.parametrize(("way", "rule", "shift"), sampled(product(AVERAGE, AVERAGED, (-9.0, 0.0, 9.0)), 4))
def test_a_head_may_average_scores_of_places(way, rule, shift):
    compare(
        AVERAGE[way], replace(RULES[rule], sums=Epsilon()), shift
    )  # features >= 0: no rule, but alpha, would differ


def test_a_difference_of_layers_keeps_the_signs_of_both():
    weight = torch.tensor([[1.0, 2.0, 0.5], [-1.0, -0.5, -2.0]])  # all features support the first less the second
    for head in (
        lambda f, w, b: (lambda z: z[:, :1] - z[:, 1:])(F.linear(flat(f), w, b)),
        lambda f, w, b: F.linear(flat(f), w[:1]) - F.linear(flat(f), w[1:]),
        lambda f, w, b: (conv(f, w[:1], b[:1]) - conv(f, w[1:], b[1:])).mean((2, 3, 4)),
    ):
        model, x = Network(head, weight).eval(), scans()
        with torch.no_grad():
            model.conv.weight.abs_()
        for rule in ("z_plus", "boehle2019"):
            got = LRP(model, RULES[rule]).attribute(x.abs())
            assert bool((got >= 0).all())
            assert float(got.sum()) > 0.1


def test_a_shift_that_makes_several_outputs_of_one_is_a_sum():
    cuts = torch.tensor([-0.3, 0.0, 0.4])  # of an ordinal scale
    model, x = Network(lambda f, w, b: F.linear(flat(f), w[:1]) + cuts.to(f), torch.ones(1, 3)).eval(), scans()
    got = LRP(model, composites.z_plus()).attribute(x, 2, start="logit")
    part = flat(F.relu(model.conv(x))).sum(1).detach()
    torch.testing.assert_close(got.flatten(1).sum(1) > 0, part > 0)


def test_bounds_of_each_sample_are_not_those_of_the_batch():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.weight = nn.Parameter(torch.randn(2, 60).double())

        def forward(self, x):
            return torch.einsum("bi,oi->bo", x.flatten(1), self.weight)

    model, x = Product().eval(), scans()
    with pytest.raises(UnsupportedLayerError, match="each sample's bounds are not; explain one sample at a time"):
        LRP(model, "epsilon_gamma_box").attribute(x, 1)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(60, 2, bias=False)).double().eval()
    linear[1].weight = model.weight
    wanted = LRP(linear, "epsilon_gamma_box").attribute(x, 1)
    torch.testing.assert_close(LRP(model, "epsilon_gamma_box").attribute(x[:1], 1), wanted[:1])
    with_bounds = Composite({0: ZBox(low=-9.0, high=9.0)})
    torch.testing.assert_close(LRP(model, with_bounds).attribute(x, 1), LRP(linear, with_bounds).attribute(x, 1))


def test_layers_inside_what_is_folded_can_be_started_from_and_named():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(1, 3, 2), nn.ReLU(), nn.Conv3d(3, 2, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    model, x = model.double().eval(), scans()
    with torch.no_grad():
        model[2].weight.abs_()  # some contributions are above 0
    lrp = LRP(model, composites.z_plus())
    cut = LRP(nn.Sequential(*model[:3], nn.Flatten()).eval(), composites.z_plus())
    values = model[:3](x).detach().flatten(1)
    torch.testing.assert_close(lrp.attribute(x, layer="2"), cut.attribute(x, start=values), rtol=1e-9, atol=1e-12)
    assert lrp.layers == ("0", "1", "2", "3", "4")
    relevance, layers = lrp.attribute(x, 1, return_layers=True)
    ranks = {"input": 5, "0": 5, "1": 5, "2": 5, "3": 5, "4": 2}
    assert {name: one.ndim for name, one in layers.items()} == ranks
    torch.testing.assert_close(relevance, lrp.attribute(x, 1))
    # each place's part goes on from there as the whole does
    torch.testing.assert_close(cut.attribute(x, start=layers["2"].flatten(1)), relevance, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(layers["2"].flatten(2).sum(2), layers["4"], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("rule", AVERAGED)
@pytest.mark.parametrize("way", ["mean, then minus", "tokens"])
def test_layers_behind_which_there_is_an_average_have_relevance_of_their_own(way, rule):
    model = Network(AVERAGE[way], torch.randn(2, 3, generator=torch.Generator().manual_seed(2))).eval()
    lrp = LRP(model, RULES[rule])
    _, layers = lrp.attribute(scans(), 1, return_layers=True)
    assert set(layers) == {"input", *lrp.layers}
    beta = {"alpha_beta": 1.0, "boehle2019": 0.5}.get(rule, 0)  # where one of the two parts is empty, the other stays
    sums = [layer.flatten(1).sum(1) for layer in layers.values()][2:]
    if not beta:
        assert all(torch.allclose(one, sums[-1], rtol=1e-3) for one in sums)


def test_gradients_of_an_averaged_layer_are_those_of_differences():
    generator = torch.Generator().manual_seed(2)
    model = Network(AVERAGE["places on one axis"], torch.randn(2, 3, generator=generator)).eval()
    x = scans()

    def loss():
        return (LRP(model, RULES["alpha_beta"]).attribute(x, 1, create_graph=True) ** 2).sum()

    loss().backward()
    wanted = model.weight.grad[1, 0].item()
    with torch.no_grad():
        model.weight[1, 0] += 1e-6
        up = loss().item()
        model.weight[1, 0] -= 2e-6
        down = loss().item()
    assert (up - down) / 2e-6 == pytest.approx(wanted, rel=1e-4)


def test_a_rule_that_shares_in_proportion_leaves_the_steps_as_they_are():
    model = Network(AVERAGE["mean"], torch.ones(2, 3)).eval()
    lrp = LRP(model, Composite({nn.Conv3d: Epsilon(), 0: AlphaBeta(beta=1.0)}))
    lrp.attribute(scans(), 1)
    assert lrp.usual_start == "logit"
