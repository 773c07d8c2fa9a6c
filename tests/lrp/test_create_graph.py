"""Relevance with its graph: gradients by the weights, held against finite differences in float64."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp import LRP, Composite, Epsilon, composites

PRESETS = {
    "z_plus": composites.z_plus(),
    "epsilon": composites.epsilon(),
    "epsilon, no stabiliser": composites.epsilon(0.0),
    "epsilon_plus_flat": composites.epsilon_plus_flat(),
    "alpha_beta": composites.alpha_beta(1.0),
    "gamma": composites.gamma(),
    "boehle2019": composites.boehle2019(),
}


def conv_net():
    return nn.Sequential(
        nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.ReLU(inplace=True), nn.MaxPool3d(2), nn.Dropout3d(0.4),
        nn.Conv3d(2, 2, 2), nn.ELU(), nn.AvgPool3d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(2, 3), nn.ReLU(),
        nn.Linear(3, 2),
    )  # fmt: skip


def pif_net():
    return nn.Sequential(
        nn.Conv3d(1, 2, 3), nn.ReLU(), nn.MaxPool3d(2), PatchIndividualFilter(3, 2, 2, (3, 3, 3), 2, kernel_size=2),
        nn.ELU(), nn.Flatten(), nn.Linear(32, 3), nn.Sigmoid(), nn.Linear(3, 1),
    )  # fmt: skip


def ready(network, shape=(2, 1, 8, 8, 8)):
    """A network in training mode, its running statistics not those of its start, and an input."""
    torch.manual_seed(3)
    network = network.double().train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network, torch.rand(shape, dtype=torch.float64)


def check(network, x, composite, **options):
    lrp = LRP(network, composite)
    # LRP reads the parameters anew, which gradcheck moves a little
    return torch.autograd.gradcheck(
        lambda *_: lrp.attribute(x, target=0, create_graph=True, **options),
        list(network.parameters()), atol=1e-5, rtol=1e-4, fast_mode=True,
    )  # fmt: skip


@pytest.mark.parametrize("make", [conv_net, pif_net])
@pytest.mark.parametrize("preset", PRESETS)
def test_gradients_by_the_weights(make, preset):
    network, x = ready(make())
    assert check(network, x, PRESETS[preset])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.mixes, self.head, self.norm = nn.Linear(3, 9), nn.Linear(3, 2), nn.LayerNorm(3)

    def forward(self, x):
        q, k, v = self.mixes(self.norm(x)).chunk(3, -1)
        mixed = torch.softmax(q @ k.transpose(1, 2), -1) @ v
        return self.head((x + mixed * torch.sigmoid(mixed)).logsumexp(1))


class Products(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = (nn.Parameter(torch.randn(3, n)) for n in (4, 4, 2))

    def forward(self, x):
        a, b = torch.einsum("bti,ij->btj", x, self.first), x @ self.second
        return (a * b)[..., :3].amax(1) @ self.out


@pytest.mark.parametrize("attention", ["cp_lrp", "attn_lrp"])
@pytest.mark.parametrize("make", [Attention, Products])
def test_gradients_through_attention_norms_products_and_soft_maxima(make, attention):
    torch.manual_seed(0)
    network, x = ready(make(), (2, 4, 3))
    rules = Composite(composites.epsilon(1e-3).rules, sums=Epsilon(1e-3), attention=attention)
    assert check(network, x, rules, start="logit")


class Visits(nn.Module):
    """A recurrent layer over visits; what is made of its scores of each visit is `end`."""

    def __init__(self, end):
        super().__init__()
        self.layer, self.scores, self.end = nn.GRU(3, 2, batch_first=True), nn.Linear(2, 2), end

    def forward(self, x):
        return self.end(self.scores(self.layer(x)[0]))


@pytest.mark.parametrize("preset", ["epsilon", "z_plus", "alpha_beta"])
@pytest.mark.parametrize(
    "end",
    [
        lambda z: z.tanh().mean(1),
        lambda z: (1 - z.sigmoid()).mean(1),
        lambda z: z[:, -1].softmax(1) @ torch.tensor([60.0, 75.0], dtype=z.dtype),
    ],
)
def test_gradients_through_recurrent_layers_and_what_pools_or_reads_out_scores(end, preset):
    torch.manual_seed(0)
    network, x = ready(Visits(end), (2, 4, 3))
    assert check(network, x, PRESETS[preset])


def test_the_gradient_is_that_of_the_formula_written_out():
    network, x = ready(nn.Sequential(nn.Linear(3, 1, bias=False)), (2, 3))
    weight = network[0].weight.detach().clone().requires_grad_(True)
    z = x @ weight.T
    expected = x * weight * z / (z + 0.1 * z.sign())
    found = LRP(network, composites.epsilon(0.1)).attribute(x, start="logit", create_graph=True)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for each in (found, expected):
        each.square().sum().backward()
    torch.testing.assert_close(network[0].weight.grad, weight.grad, rtol=1e-12, atol=0)


def test_relevance_is_that_without_a_graph_and_the_model_stays_as_it_is():
    network, x = ready(conv_net())
    before = copy.deepcopy(network.state_dict())
    plain = LRP(copy.deepcopy(network).eval()).attribute(x, target=1)
    lrp = LRP(network)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # training mode is what a graph is for
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            found = lrp.attribute(x, target=1, create_graph=True)
    torch.testing.assert_close(found, plain, rtol=1e-10, atol=1e-14)
    found.sum().backward()
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.warns(UserWarning, match="training mode"):
        assert not lrp.attribute(x, target=1).requires_grad


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Own(nn.Linear):
    def __init__(self, how):
        super().__init__(3, 2)
        self.how = how

    def forward(self, x):
        weight = Rounded.apply(self.weight) if self.how == "round" else self.weight.detach() + 0 * self.weight
        return nn.functional.linear(x, weight)


@pytest.mark.parametrize("how", ["round", "detach"])
def test_a_gradient_of_the_users_own_is_refused_by_name(how):
    network, x = ready(nn.Sequential(nn.Linear(3, 3), Own(how)), (2, 3))
    lrp = LRP(network.eval())
    lrp.attribute(x, target=0)
    with pytest.raises(UnsupportedLayerError, match=rf"operation '{how}'.* in module '1' \(Own\), line \d+ of test_"):
        lrp.attribute(x, target=0, create_graph=True)


def test_half_precision_is_refused():
    network, x = ready(conv_net())
    with pytest.raises(InputError, match=r"inputs are torch.bfloat16; float32 or float64 is expected"):
        LRP(network.bfloat16()).attribute(x.bfloat16(), target=0, create_graph=True)
