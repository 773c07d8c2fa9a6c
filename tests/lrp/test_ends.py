"""Where networks begin and end: several inputs, output activations, initial relevance; attention; threads."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.lrp import LRP, AlphaBeta, Composite, Epsilon, Flat, composites
from neuroxai.lrp.conservation import ConservationWarning
from oracles.lrp_zero import lrp_zero

pytestmark = pytest.mark.filterwarnings("ignore::neuroxai.lrp.conservation.ConservationWarning")
EXACT = composites.epsilon(0.0)


def scans(batch=2, seed=1):
    return torch.randn(batch, 1, 6, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def body(outputs=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, outputs)).double().eval()
    with torch.no_grad():
        model[3].bias.sub_(0.17)  # one logit of two is below 0
    return model


class End(nn.Module):
    def __init__(self, end, outputs=1):
        super().__init__()
        self.body, self.end = body(outputs), end

    def forward(self, x):
        return self.end(self.body(x))


ENDS = {
    "plain": torch.sigmoid,
    "reshape": lambda z: torch.sigmoid(z).reshape(-1, 1, 1).flatten(1),
    "scale": lambda z: torch.sigmoid(z) * 2,
    "cast": lambda z: torch.sigmoid(z).float(),
    "inactive dropout": lambda z: F.dropout(torch.sigmoid(z), 0.5, training=False),
    "squeeze": lambda z: torch.sigmoid(z).squeeze(1),
    "pair": lambda z: torch.cat([1 - torch.sigmoid(z), torch.sigmoid(z)], 1),
    "pair by stack": lambda z: (lambda p: torch.stack([1 - p, p], 1))(torch.sigmoid(z)[:, 0]),
    "pair of opposites": lambda z: torch.cat([torch.sigmoid(-z), torch.sigmoid(z)], 1),
    "pair of two calls": lambda z: torch.cat([1 - torch.sigmoid(z), torch.sigmoid(z)], 1).clamp(1e-7, 1 - 1e-7),
    "shifted": lambda z: torch.sigmoid(z) * 80 + 10,
    "limited": lambda z: torch.sigmoid(z).clamp(1e-6, 1 - 1e-6),
    "logarithm": lambda z: torch.log(torch.sigmoid(z) + 1e-8),
    "logit": lambda z: torch.logit(torch.sigmoid(z)),
    "pair of one": lambda z: (lambda p: torch.cat((1 - p, p), dim=-1))(torch.sigmoid(z)),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_output_activation_is_looked_through(end):
    x, plain = scans(), body(1)
    logit = plain(x).detach()
    assert bool((logit < 0).any())  # where every voxel's sign would turn
    wanted = LRP(plain, "alpha_beta").attribute(x, start="logit")
    lrp, target = LRP(End(ENDS[end]).eval(), "alpha_beta"), 1 if end.startswith("pair") else None
    torch.testing.assert_close(lrp.attribute(x, target, start="logit"), wanted)
    share = (torch.sigmoid(logit) / logit).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(lrp.attribute(x, target), wanted * share)
    if target:  # the other class's logit is the negative: that of a layer with all signs turned
        with torch.no_grad():
            for parameter in plain[3].parameters():
                parameter.neg_()
        turned = LRP(plain, "alpha_beta").attribute(x, start="logit")
        torch.testing.assert_close(lrp.attribute(x, 0, start="logit"), turned)


def test_of_the_other_class_the_logit_is_the_opposite():
    x, opposite = scans(), End(torch.neg).eval()
    wanted = LRP(opposite, "alpha_beta").attribute(x, start="logit")
    for end in (lambda z: 1 - torch.sigmoid(z), lambda z: torch.rsub(z.sigmoid(), 1) * 3, lambda z: -z.sigmoid() + 1):
        got = LRP(End(end).eval(), "alpha_beta").attribute(x, start="logit")
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-12)
    pair = LRP(End(lambda z: (lambda p: torch.cat([p, 1 - p], 1))(z.sigmoid())).eval(), "alpha_beta")
    torch.testing.assert_close(pair.attribute(x, 1, start="logit"), wanted, rtol=1e-6, atol=1e-12)
    p = torch.sigmoid(opposite(x))[:, 0].detach()
    delta = pair.attribute(x, 1, start="probability", return_convergence_delta=True)
    torch.testing.assert_close(delta[0].flatten(1).sum(1) + delta[1], p)


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_a_softmax_is_looked_through_over_classes_alone():
    x = scans()
    wanted = LRP(body(), "alpha_beta").attribute(x, 1, start="logit")
    for end in (
        lambda z: z[:, None].softmax(-1).squeeze(1),
        lambda z: z.log_softmax(1).exp(),
        lambda z: z.softmax(1).log(),
        lambda z: z[..., None, None, None].log_softmax(1).view(len(z), -1),  # a head that is a convolution
        lambda z: F.softmax(z[..., None, None], _stacklevel=9).flatten(1),  # torch takes axis 1
    ):
        got = LRP(End(end, 2).eval(), "alpha_beta").attribute(x, 1, start="logit")
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-12)
    for end in (
        lambda z: z.softmax(0),
        lambda z: F.softmax(z[:, None], _stacklevel=9).flatten(1),  # torch takes axis 0
    ):
        with pytest.raises(UnsupportedLayerError, match=r"'softmax'.*test_ends.py"):
            LRP(End(end, 2).eval()).record(x)


@pytest.mark.parametrize("preset", ["epsilon", "alpha_beta"])
def test_one_class_picked_from_a_softmax_is_held_against_the_others(preset):
    x, plain = scans(1), body(3)
    with torch.no_grad():
        z = plain(x)
        p = z.softmax(1)[0]
    weights = p[1] * (torch.tensor([0.0, 1.0, 0.0], dtype=p.dtype) - p)[None]
    expected = LRP(plain, preset).attribute(x, start=weights * (z if preset == "epsilon" else 1))
    picked = LRP(End(lambda z: z.softmax(1)[:, 1:2], 3).eval(), preset)
    torch.testing.assert_close(picked.attribute(x), expected, rtol=1e-7, atol=1e-12)
    negative = LRP(End(lambda z: -z.softmax(1), 3).eval(), preset)
    torch.testing.assert_close(negative.attribute(x, 1), -expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.Sigmoid, nn.Softplus, nn.Hardsigmoid, nn.LogSigmoid])
def test_activations_that_do_not_vanish_at_zero_keep_signs(kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4, bias=False), kind(), nn.Linear(4, 2)).double().eval()
    x = torch.randn(3, 5, dtype=torch.float64)
    got = LRP(model, EXACT).attribute(x, 1, start="logit")
    torch.testing.assert_close(got, lrp_zero(model, x, 1, gates=False))
    # by hand: c = x w, z = sum c, f(z) - f(0) is what the neuron adds to what it says of nothing
    z = x @ model[0].weight.detach().T
    share = (kind()(z) - kind()(torch.zeros(1, dtype=z.dtype))) * model[2].weight[1].detach()
    wanted = x * ((share / z) @ model[0].weight.detach())
    torch.testing.assert_close(got, wanted)


class Crops(nn.Module):
    """The halves of a scan, each scored by itself; all contributions support the class."""

    def __init__(self, bias, pool=lambda z: z[:, 0]):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head, self.pool = nn.Conv3d(1, 3, 2), nn.Linear(3, 1), pool
        self.bias = bias
        with torch.no_grad():
            for p in self.parameters():
                p.abs_()

    def forward(self, x):
        halves = x.reshape(-1, 1, 3, *x.shape[3:])
        z = self.head(self.conv(halves).relu().mean((2, 3, 4))) + self.bias
        return self.pool(z.reshape(len(x), -1, 1))


POOLED = {
    "mean of probabilities": lambda z: z.sigmoid().mean(1),
    "their maximum": lambda z: z.sigmoid().amax(1),
    "pair": lambda z: (lambda p: torch.cat([p, p], 1))(z.sigmoid().mean(1)),
    "logsumexp": lambda z: z.logsumexp(1),
    "softplus": lambda z: F.softplus(z).mean(1),
    "soft maximum less log n": lambda z: z.logsumexp(1) - math.log(2),
    "sharper": lambda z: ((3 * z).logsumexp(1) - math.log(2)) / 3,
    "mean of tanh": lambda z: z.tanh().mean(1),
    "tanh of the mean": lambda z: z.mean(1).tanh(),
    "sum of log-probabilities": lambda z: F.logsigmoid(z).sum(1),
    "mean of centred probabilities": lambda z: (2 * z.sigmoid() - 1).mean(1),
    "two of the best": lambda z: z.topk(2, 1).values.mean(1),
    "leaky": lambda z: F.leaky_relu(z).mean(1),
    "weighted": lambda z: (z.flip(1).softmax(1) * z).sum(1),
    "one of several shares at least": lambda z: -F.logsigmoid(-z).sum(1),
    "softplus of the mean": lambda z: F.softplus(z.mean(1)),
}
# those that share by how much each score moves the pool; others by the scores' values, or with gates held
BY_SLOPE = [name for name in list(POOLED)[5:] if name != "weighted"]


@pytest.mark.parametrize("bias", [-6.0, -0.5, 4.0])
@pytest.mark.parametrize("pool", POOLED)
@pytest.mark.parametrize("name", composites.PRESETS)
def test_what_supports_the_class_is_positive_behind_several_scores(name, pool, bias):
    x = torch.rand(2, 1, 6, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    model = Crops(bias, POOLED[pool]).double().eval()
    found = LRP(model, name).attribute(x, 0)
    assert bool((found >= 0).all())
    assert bool(found.any())


@pytest.mark.parametrize("bias", [-6.0, -0.5, 4.0])
@pytest.mark.parametrize("pool", BY_SLOPE)
def test_each_score_has_the_share_by_which_it_moves_their_pool(pool, bias):
    scores, signs = nn.Linear(3, 1).double(), torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    with torch.no_grad():
        scores.weight.copy_(signs)
        scores.bias.fill_(bias)

    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = scores

        def forward(self, x):
            return POOLED[pool](self.scores(x))

    x = torch.rand(1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    found = LRP(Places().eval(), "z_plus").attribute(x)
    z = scores(x).detach().requires_grad_(True)
    probability = POOLED[pool](z).sigmoid().detach()
    (w,) = torch.autograd.grad(POOLED[pool](z).sum(), z)
    positive = (x * signs).clamp(min=0)
    expected = probability * w / w.sum() * positive / (positive.sum(2, keepdim=True) + max(bias, 0))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-12)


def test_what_moves_the_score_down_is_turned():
    def pool(z):
        return (1 - z.sigmoid()).mean(1)

    x = torch.rand(2, 1, 6, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    model = Crops(-1.0, pool).double().eval()
    assert not LRP(model, "z_plus").attribute(x).any()  # nothing supports it
    with torch.no_grad():
        model.head.weight.neg_()
    found = LRP(model, "z_plus").attribute(x)
    assert bool((found > 0).any())
    assert bool((found >= 0).all())


def test_initial_relevance_below_0_turns_the_map_of_turned_scores():
    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.scores = nn.Linear(3, 2)

        def forward(self, x):
            return -self.scores(x).tanh().mean(1)

    lrp = LRP(Places().double().eval(), "z_plus")
    x = torch.rand(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    found = lrp.attribute(x, start=start)
    assert bool((found >= 0).all())
    assert bool(found.flatten(1).any(1).all())
    torch.testing.assert_close(lrp.attribute(x, start=-start), -found)
    one, other = (torch.eye(2, dtype=torch.float64)[[c, c]] for c in (0, 1))
    held = lrp.attribute(x, start=one) - lrp.attribute(x, start=other)
    torch.testing.assert_close(lrp.attribute(x, start=one - other), held)


@pytest.mark.parametrize("bias", [-6.0, 4.0])
def test_a_mean_of_probabilities_has_the_mean_of_their_maps(bias):
    x = torch.rand(2, 1, 6, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one = LRP(Crops(bias).double().eval(), "z_plus")
    halves = [one.attribute(half, start="probability") for half in x.chunk(2, 2)]
    lrp = LRP(Crops(bias, lambda z: z.sigmoid().mean(1)).double().eval(), "z_plus")
    found, delta = lrp.attribute(x, return_convergence_delta=True)
    torch.testing.assert_close(found, torch.cat(halves, 2) / 2, rtol=1e-3, atol=0)  # stabilised
    torch.testing.assert_close(delta + found.flatten(1).sum(1), lrp.model(x)[:, 0].detach())  # begins with it


def test_a_soft_maximum_below_that_of_zeros_turns_no_sign():
    model, x = Crops(-4.0, lambda z: z.logsumexp(1)).double().eval(), torch.zeros(1, 1, 6, 4, 4, dtype=torch.float64)
    empty, full = (Crops(-4.0).double()(x[:, :, :3] + value).item() for value in (0.0, 1.0))
    x[:, :, :3] = (0.1 - empty) / (full - empty)  # one half's score is .1, the other's far below 0
    assert 0 < model(x).item() < 0.6 < torch.tensor(2.0).log()
    found = LRP(model, EXACT).attribute(x)
    torch.testing.assert_close(found, lrp_zero(model, x, 0))
    assert bool((found[:, :, :3] > 0).all())


class Two(nn.Module):
    """A scan and an age."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv3d(1, 4, 3), nn.Linear(5, 2)

    def forward(self, x, age):
        return self.fc(torch.cat([self.conv(x).relu().mean((2, 3, 4)), age], 1))


AGES = torch.arange(42.0, 82.0, dtype=torch.float64)
READ_OUT = {
    "matmul": lambda z: z.softmax(1) @ AGES[:, None],
    "vector": lambda z: z.softmax(1) @ AGES,
    "sum": lambda z: (z.softmax(1) * AGES).sum(1),
    "kept axis": lambda z: (AGES * F.softmax(z, dim=-1)).sum(1, keepdim=True),
    "logarithm": lambda z: z.log_softmax(1).exp() @ AGES,
    "logarithm of a convolution": lambda z: (F.log_softmax(z[:, :, None], 1).flatten(1).exp() * AGES).sum(1),
    "einsum": lambda z: torch.einsum("bi,i->b", z.softmax(1), AGES),
    "by convolution": lambda z: F.conv1d(z.softmax(1)[:, :, None], AGES[None, :, None])[:, 0],
}


@pytest.mark.parametrize("preset", ["epsilon", "gamma", "z_plus", "alpha_beta", "epsilon_plus_flat", "boehle2019"])
@pytest.mark.parametrize("way", READ_OUT)
def test_an_expected_age_is_one_linear_layer_of_the_logits(way, preset):
    x, plain, found = scans(), body(40), LRP(End(READ_OUT[way], 40).eval(), preset)
    with torch.no_grad():
        shares = plain(x).softmax(1)
    weights = shares * (AGES - (shares @ AGES)[:, None])
    positive = preset in ("z_plus", "alpha_beta", "boehle2019")
    # the network's other end: a linear layer of the logits with the weights of one scan
    for number in range(2):
        one, w = x[number : number + 1], weights[number]
        expected = LRP(plain, preset).attribute(one, start=lambda z, w=w: w if positive else z * w)
        torch.testing.assert_close(found.attribute(one), expected, rtol=1e-7, atol=1e-10)
    if preset == "epsilon":
        exact = LRP(End(READ_OUT[way], 40).eval(), EXACT)
        expected = lrp_zero(plain, x, 0, scores=lambda z: (z * weights).sum(1, keepdim=True))
        torch.testing.assert_close(exact.attribute(x), expected, rtol=1e-9, atol=1e-12)
    moved = End(lambda z: (READ_OUT[way](z) - 62) / 10, 40).eval()
    share = (moved(x).reshape(-1) / (READ_OUT[way](plain(x)).reshape(-1) / 10)).detach().view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(LRP(moved, preset).attribute(x), found.attribute(x) / 10, rtol=1e-6, atol=1e-10)
    assert share.abs().max() < 1  # although so much of the score is a constant


@pytest.mark.parametrize("preset", ["epsilon", "z_plus", "alpha_beta"])
def test_what_speaks_for_a_higher_age_is_positive_whatever_the_logits_sign(preset):
    end = nn.Linear(2, 2, bias=True).double()
    with torch.no_grad():
        end.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))  # one value of the scan for each age
        end.bias.copy_(torch.tensor([-9.0, -9.0]))
    model = nn.Sequential(end, nn.Softmax(1), nn.Linear(2, 1, bias=False).double()).eval()
    model[2].weight.data = torch.tensor([[30.0, 80.0]], dtype=torch.float64)
    younger, older = LRP(model, preset).attribute(torch.tensor([[1.0, 2.0]], dtype=torch.float64))[0]
    assert younger < 0 < older


def test_an_expected_age_is_not_said_to_be_lost():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConservationWarning)
        LRP(End(READ_OUT["vector"], 40).eval(), "z_plus").attribute(scans())


def test_softmaxes_that_are_read_out_otherwise_are_refused():
    for end in (lambda z: (z.softmax(1) @ AGES[:, None]).tanh(), lambda z: z.softmax(0) @ AGES, lambda z: 1 / (
        z.softmax(1) @ AGES)):  # fmt: skip
        with pytest.raises(UnsupportedLayerError):
            LRP(End(end, 40).eval(), "epsilon").record(scans())


def test_several_inputs_each_have_relevance():
    model, x, age = Two().double().eval(), scans(), torch.tensor([[0.5], [-2.0]], dtype=torch.float64)
    lrp = LRP(model, EXACT)
    of_scan, of_age = lrp.attribute((x, age), 1, start="logit")
    torch.testing.assert_close(of_age, age * model.fc.weight[1, 4].detach())
    torch.testing.assert_close(of_scan, lrp_zero(model, x, 1, more=(age,)))
    alone, delta = lrp.attribute(x, 1, age, start="logit", return_convergence_delta=True)
    assert torch.equal(alone, of_scan)
    torch.testing.assert_close(delta, model(x, age)[:, 1].detach() - alone.flatten(1).sum(1))
    other = lrp.attribute(x, 1, age + 1, start="logit")  # an argument is no constant of the record
    torch.testing.assert_close(other, lrp_zero(model, x, 1, more=(age + 1,)))
    with pytest.raises(InputError, match="inputs hold 2, 1 samples; as many in each are expected"):
        lrp.attribute((x, age[:1]), 1)
    with pytest.raises(InputError, match="empty tuple"):
        lrp.attribute((), 1)


def test_initial_relevance_is_a_tensor_or_made_of_the_logits():
    model, x = body(3), scans()
    lrp = LRP(model, EXACT)
    first, second = (lrp.attribute(x, target, start="logit") for target in (0, 2))
    torch.testing.assert_close(lrp.attribute(x, start=lambda z: z * torch.tensor([-1.0, 0, 1])), second - first)
    given = model(x).detach() * torch.tensor([0.0, 0, 2])
    torch.testing.assert_close(lrp.attribute(x, start=given), 2 * second)
    for wrong, message in (
        (torch.ones(2, 2), r"start gives \(2, 2\), expected a tensor of shape \(2, 3\)"),
        (lambda z: 3, "start gives int"),
        (torch.full((2, 3), torch.nan), "NaN or infinite"),
    ):
        with pytest.raises(InputError, match=message):
            lrp.attribute(x, start=wrong)
    with pytest.raises(InputError, match="it goes without target and layer"):
        lrp.attribute(x, 1, start=given)


def test_how_much_is_conserved_is_said():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(216, 1)).double().eval(), scans()
    with torch.no_grad():
        model[1].weight.copy_(torch.sign(x[0].flatten()) * 1e-4)
        model[1].bias.fill_(10.0)
    lrp = LRP(model, EXACT)
    with pytest.warns(ConservationWarning, match=r"0\.00.* times as much arrives at the inputs"):
        lrp.attribute(x[:1], start="logit")
    assert lrp.conserved == pytest.approx(float((x[0].abs().sum() * 1e-4) / model(x[:1])))
    assert repr(lrp).startswith("LRP(Sequential, 9 rules, of the last start 0.")


def attentive():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.encoder, self.fc = nn.Conv3d(1, 4, 3), layer, nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.encoder(self.conv(x).flatten(2).transpose(1, 2)).mean(1))

    return Network().double().eval()


def test_attention_by_its_values_and_by_its_softmax():
    model, x = attentive(), scans(1)
    values = LRP(model, Composite(EXACT.rules, sums=Epsilon(0.0))).attribute(x, 1, start="logit")
    torch.testing.assert_close(values, lrp_zero(model, x, 1))
    softmax = Composite(EXACT.rules, sums=Epsilon(0.0), attention="attn_lrp")
    assert not torch.allclose(LRP(model, softmax).attribute(x, 1, start="logit"), values)
    with pytest.raises(InputError, match="unknown way through an attention 'both'"):
        Composite({}, attention="both")


def test_the_softmax_rule_by_hand():
    # weights s of the tokens q k; out = s v, with v constant: half of R goes to s, all of it on to the logits
    keys = torch.tensor([[1.0, 0.0], [0.5, 2.0], [-1.0, 1.0]], dtype=torch.float64)
    v = torch.tensor([[2.0], [1.0], [-3.0]], dtype=torch.float64)

    class Lookup(nn.Module):
        def forward(self, x):
            return torch.softmax(x @ keys.T, -1) @ v

    x = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    composite = Composite(EXACT.rules, sums=Epsilon(0.0), attention="attn_lrp")
    got = LRP(Lookup().eval(), composite).attribute(x, start="logit")
    z = x @ keys.T
    s = torch.softmax(z, -1)
    of_weights = s * v.T  # the product with a constant: all goes to the weights
    of_logits = z * (of_weights - s * of_weights.sum())
    torch.testing.assert_close(got, x * ((of_logits / z) @ keys))


def test_the_first_rule_reaches_both_halves_of_a_shared_encoder():
    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.second, self.fc = nn.Conv3d(1, 2, 2), nn.Conv3d(2, 2, 2), nn.Linear(2, 2)

        def forward(self, x):
            halves = [self.second(self.conv(half).relu()).relu().mean((2, 3, 4)) for half in (x[..., :3], x[..., 3:])]
            return self.fc(halves[0] + halves[1])

    model, x = Siamese().double().eval(), torch.rand(1, 1, 4, 4, 6, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    x[..., 0, 0, :] = 0  # where the flat rule gives relevance and no other does
    rules = {nn.Conv3d: AlphaBeta(), nn.Linear: Epsilon()}
    got = LRP(model, {**rules, 0: Flat()}).attribute(x, 1, start="logit")
    by_name = LRP(model, {**rules, "conv": Flat()}).attribute(x, 1, start="logit")
    assert torch.equal(got, by_name)
    assert bool(got[..., 0, 0, :3].any())
    assert bool(got[..., 0, 0, 3:].any())
    # a position that is named goes before that of the first
    second = LRP(model, {**rules, 0: Flat(), 2: AlphaBeta()}).attribute(x, 1, start="logit")
    assert not bool(second[..., 0, 0, 3:].any())


def test_exact_names_win_over_patterns_and_longer_patterns_over_shorter():
    rules = {"*": Epsilon(1.0), "conv*": Epsilon(2.0), "conv.first": Epsilon(3.0), "co*": Epsilon(4.0)}
    for order in (rules, dict(reversed(rules.items()))):
        composite = Composite(order)
        found = [composite.find(name, nn.Conv3d) for name in ("conv.first", "conv.second", "come", "head")]
        assert [rule.epsilon for rule in found] == [3.0, 2.0, 4.0, 1.0]


def test_many_threads_with_records_made_at_once():
    models = [body(2), attentive(), Two().double().eval(), End(torch.sigmoid, 2).eval()]

    def attributions(shared):
        def job(number):
            kind = number % 4
            x = scans(1 + number % 2, seed=number)
            age = torch.ones(len(x), 1, dtype=torch.float64) if kind == 2 else None
            lrp = shared[kind] if number % 3 else LRP(models[kind], "epsilon")
            return lrp.attribute(x, 0, age, start="logit")

        return job

    serial = [attributions([LRP(model, "epsilon") for model in models])(number) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(attributions([LRP(model, "epsilon") for model in models]), range(200)))
    assert all(torch.equal(a, b) for a, b in zip(serial, parallel, strict=True))
