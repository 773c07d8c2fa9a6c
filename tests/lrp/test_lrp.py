"""The attribution: what it takes, returns, refuses and leaves behind."""

from __future__ import annotations

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.layers import randomised
from neuroxai.attribution import registry
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.graph.eval_copy import eval_copy
from neuroxai.graph.record import record
from neuroxai.lrp import (
    LRP,
    AlphaBeta,
    Composite,
    Epsilon,
    Flat,
    Gamma,
    Pass,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
    api,
    composites,
)
from neuroxai.lrp.conservation import ConservationWarning
from neuroxai.lrp.plan import serves_any_batch
from oracles.lrp_zero import lrp_zero

PRESETS = {
    "epsilon": composites.epsilon(),
    "alpha_beta_0": composites.alpha_beta(),
    "alpha_beta_1": composites.alpha_beta(1.0),
    "z_plus": composites.z_plus(),
    "boehle2019": composites.boehle2019(0.5),
}


def small_network(seed=0, activation=nn.ReLU, classes=2):
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), activation(), nn.MaxPool3d(2), nn.Conv3d(4, 5, 3, padding="same"),
        nn.BatchNorm3d(5), activation(), nn.MaxPool3d(2), nn.Flatten(), nn.Dropout(0.4), nn.Linear(40, 6), activation(),
        nn.Dropout(0.4), nn.Linear(6, classes),
    )  # fmt: skip
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.3, 2)
                module.weight.normal_()
                module.bias.normal_()
    return network.eval()


def scans(batch=2, dtype=torch.float32, seed=1):
    return torch.randn(batch, 1, 10, 11, 12, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def state_of(model):
    return {
        "tensors": {k: v.clone() for k, v in model.state_dict().items()},
        "training": [m.training for m in model.modules()],
        "hooks": [sum(len(getattr(m, n)) for n in vars(m) if n.endswith("_hooks")) for m in model.modules()],
        "gradients": [(p.requires_grad, p.grad is None) for p in model.parameters()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "inplace": [getattr(m, "inplace", None) for m in model.modules()],
    }


def assert_same_state(before, model):
    after = state_of(model)
    for key, value in after["tensors"].items():
        assert torch.equal(value, before["tensors"].pop(key)), key
    assert not before["tensors"]
    for key in ("training", "hooks", "gradients", "attributes", "inplace"):
        assert after[key] == before[key], key


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("training", [False, True])
def test_model_stays_bit_identical_and_second_call_is_identical(preset, training):
    model = small_network(activation=lambda: nn.ReLU(inplace=True)).train(training)
    evaluated = LRP(copy.deepcopy(model).eval(), PRESETS[preset]).attribute(scans(), 1, start="logit")
    before, x = state_of(model), scans()
    lrp = LRP(model, PRESETS[preset])
    assert isinstance(lrp, captum.attr.Attribution)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if training else "error")
        warnings.simplefilter("ignore", ConservationWarning)
        first, second = lrp.attribute(x, target=1, start="logit"), lrp.attribute(x, target=1, start="logit")
    assert torch.equal(first, second)
    assert torch.equal(first, evaluated)
    assert torch.equal(x, scans())
    assert_same_state(before, model)
    if training:
        with pytest.warns(UserWarning, match="training mode"):
            lrp.attribute(x, target=1, start="logit")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ELU])
def test_batch_of_three_equals_three_singles(preset, activation):
    model, x = small_network(activation=activation).double(), scans(3, torch.float64)
    x[1] = x[1].abs()  # a sample that is >= 0 beside others that are not
    lrp = LRP(model, PRESETS[preset])
    targets = torch.tensor([0, 1, 1])
    together = lrp.attribute(x, targets, start="logit")
    assert together.shape == x.shape
    for index in range(3):
        alone = lrp.attribute(x[index : index + 1], int(targets[index]), start="logit")
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-9, atol=1e-12)


def counted(monkeypatch):
    """Return a list that takes the number of samples of each record that relevance makes."""
    found = []
    monkeypatch.setattr(api, "record", lambda copy, args: found.append(len(args[0])) or record(copy, args))
    return found


def test_one_record_of_one_sample_serves_batches_of_any_size(monkeypatch):
    sizes, model, x = counted(monkeypatch), small_network().double(), scans(3, torch.float64)
    lrp = LRP(model, composites.alpha_beta(1.0))
    whole = lrp.attribute(x, 1, start="logit")
    singles = torch.cat([lrp.attribute(one, 1, start="logit") for one in x.split(1)])
    assert sizes == [1]
    torch.testing.assert_close(whole, singles, rtol=1e-9, atol=1e-12)
    wide = torch.cat([x, x], 2)
    with pytest.raises(InputError, match="80 features arrive, expected 40"):
        lrp.attribute(wide, 1)
    assert sizes == [1, 1, 3]  # another shape, which fails for one sample as for all


class Written(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run, self.layer, self.held = run, nn.Linear(3, 3, bias=False), nn.Parameter(torch.ones(1, 3))
        self.wide = nn.Parameter(torch.rand(3, 6))

    def forward(self, x):
        return self.layer(self.run(x, self))


# what each makes of a batch: how many samples there are decides, or may; or samples are put together or apart
BATCHES = {
    "len": lambda x, m: x * len(x), "shape": lambda x, m: x / x.shape[0], "size": lambda x, m: x + x.size(0),
    "loop": lambda x, m: torch.cat([row[None] for row in x]), "zeros_like": lambda x, m: x + torch.zeros_like(x),
    "its length": lambda x, m: x * len(torch.ones_like(x)), "numel": lambda x, m: x * (x.numel() // 3),
    "mean": lambda x, m: x - x.mean(0), "mean of all": lambda x, m: x - x.mean(),
    "flatten": lambda x, m: x.flatten()[None], "cat": lambda x, m: torch.cat([x, x], 0),
    "softmax": lambda x, m: x * x.softmax(0), "view": lambda x, m: x.view(-1, 3),
    "constant": lambda x, m: x + torch.ones(1, 3), "transposed": lambda x, m: x.T.contiguous().T,
    "last axis but one": lambda x, m: x - x.mean(-2, keepdim=True), "parameter": lambda x, m: x + m.held,
    "window": lambda x, m: F.max_pool1d(x, 1), "without a batch": lambda x, m: F.conv1d(x, m.layer.weight[:, :1, None]),
}  # fmt: skip
APART = {
    "relu": lambda x, m: x.relu(), "twice": lambda x, m: x + x * 2, "gate": lambda x, m: x * x.sigmoid(),
    "linear": lambda x, m: F.linear(x, m.layer.weight), "flatten": lambda x, m: x.flatten(1),
    "mean": lambda x, m: x - x.mean(-1, keepdim=True), "dim": lambda x, m: x * x.dim(),
    "softmax": lambda x, m: x * x.softmax(1), "cat": lambda x, m: F.linear(torch.cat([x, x], 1), m.wide),
}  # fmt: skip


@pytest.mark.parametrize("run", BATCHES.values(), ids=BATCHES)
def test_a_network_that_may_know_how_many_samples_there_are_is_recorded_with_all(run):
    assert not serves_any_batch(record(eval_copy(Written(run).eval()), [torch.rand(1, 3)]))


@pytest.mark.parametrize("run", APART.values(), ids=APART)
def test_a_network_that_keeps_samples_apart_is_recorded_with_one(run):
    assert serves_any_batch(record(eval_copy(Written(run).eval()), [torch.rand(1, 3)]))


def test_a_factor_of_the_batch_is_explained_as_it_ran():
    model, x = Written(BATCHES["len"]).double().eval(), torch.rand(4, 3, dtype=torch.float64)
    by_hand = x * model.layer.weight[1] * 4  # the logit is 4 w x
    found = LRP(model, composites.epsilon(0.0)).attribute(x, 1, start="logit")
    torch.testing.assert_close(found, by_hand.detach(), rtol=1e-12, atol=0)


def test_targets_in_all_spellings():
    lrp, x = LRP(small_network(), composites.epsilon()), scans()
    wanted = lrp.attribute(x, 1, start="logit")
    for target in (torch.tensor(1), torch.tensor([1, 1]), [1, 1], (1, 1), np.int64(1), np.array([1, 1])):
        assert torch.equal(lrp.attribute(x, target, start="logit"), wanted)
    assert not torch.allclose(lrp.attribute(x, 0, start="logit"), wanted)
    mixed = lrp.attribute(x, [0, 1], start="logit")
    assert torch.equal(mixed[1], wanted[1])
    assert not torch.equal(mixed[0], wanted[0])


def test_one_logit():
    model, x = small_network(classes=1), scans()
    lrp = LRP(model, composites.epsilon())
    assert torch.equal(lrp.attribute(x, start="logit"), lrp.attribute(x, 0, start="logit"))
    with pytest.raises(InputError, match="target 1 does not exist; the network has 1 output: target must be 0 or None"):
        lrp.attribute(x, 1, start="logit")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "the network has 2 outputs"),
        (2, "target 2 does not exist; the network has 2 outputs: 0 to 1"),
        (-1, "target -1 does not exist"),
        ([0, 1, 1], r"shape \(3,\); an integer or one integer for each of the 2"),
        ("AD", "target is 'AD'"),
        (True, "target is True"),
        (torch.tensor([0.0, 1.0]), "float32"),
    ],
)
def test_wrong_targets(target, message):
    with pytest.raises(InputError, match=message):
        LRP(small_network(), composites.epsilon()).attribute(scans(), target, start="logit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], "layer '"),
        (lambda x: x[:, 0, 0], "layer '0'"),
        (lambda x: x[:0], "non-empty batch"),
        (lambda x: x.repeat(1, 2, 1, 1, 1), r"\(2, 2, 10, 11, 12\) arrives"),
        (lambda x: x[..., :-6], "smaller|features arrive|cannot take"),
        (lambda x: x[:, :, :2], r"grid \(2, 11, 12\).*smaller than what the filter \(3, 3, 3\) reaches"),
        (lambda x: torch.cat([x, x], 4), "layer '10' .* features arrive, expected 40"),
        (lambda x: x.masked_fill(x > 2, float("nan")), "values that are NaN or infinite"),
        (lambda x: x.masked_fill(x > 2, float("inf")), "values that are NaN or infinite"),
        (lambda x: x.double(), "inputs are torch.float64 on cpu, but parameter '0.weight' is torch.float32"),
        (lambda x: x.half(), "inputs are torch.float16 on cpu, but parameter '0.weight' is torch.float32"),
        (lambda x: x.int(), "inputs are torch.int32; float32 or float64 is expected"),
        (lambda x: x.numpy(), "inputs are a ndarray"),
    ],
)
def test_wrong_inputs(change, message):
    lrp = LRP(small_network(), composites.epsilon())
    with pytest.raises(InputError, match=message):
        lrp.attribute(change(scans()), 1, start="logit")


def test_dtype_and_gradient_modes():
    model = small_network()
    lrp = LRP(model, composites.alpha_beta(1.0))
    single = lrp.attribute(scans(), 1, start="logit")
    assert single.dtype == torch.float32
    assert not single.requires_grad
    with torch.no_grad():
        assert torch.equal(lrp.attribute(scans(), 1, start="logit"), single)
    with torch.inference_mode():
        assert torch.equal(lrp.attribute(scans(), 1, start="logit"), single)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(lrp.attribute(scans(), 1, start="logit"), single)
    x = scans().requires_grad_(True)
    assert torch.equal(lrp.attribute(x, 1, start="logit"), single)
    assert x.requires_grad
    model.double()  # the same instance follows the model
    double = lrp.attribute(scans().double(), 1, start="logit")
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-3, atol=1e-5 * float(single.abs().max()))
    channels_last = model.to(memory_format=torch.channels_last_3d)
    again = LRP(channels_last, composites.alpha_beta(1.0)).attribute(scans().double(), 1, start="logit")
    torch.testing.assert_close(again, double, rtol=1e-9, atol=1e-12)


def test_weights_changed_after_construction_are_seen():
    model = small_network(0)
    lrp = LRP(model, composites.epsilon())
    lrp.attribute(scans(), 1, start="logit")
    model.load_state_dict(small_network(5).state_dict())
    assert torch.equal(
        lrp.attribute(scans(), 1, start="logit"),
        LRP(small_network(5), composites.epsilon()).attribute(scans(), 1, start="logit"),
    )


def test_threads():
    model, x = small_network(), scans(4)
    lrp = LRP(model, composites.alpha_beta(1.0))
    wanted = [lrp.attribute(x, t, start="logit") for t in (0, 1)]
    with ThreadPoolExecutor(4) as pool:
        for index, got in enumerate(pool.map(lambda i: lrp.attribute(x, i % 2, start="logit"), range(16))):
            assert torch.equal(got, wanted[index % 2])


@pytest.mark.parametrize("end", [None, nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()])
def test_start_and_probabilities_at_the_end(end):
    model, x = small_network().double(), scans(dtype=torch.float64)
    logits = model(x).detach()
    ended = nn.Sequential(*model, *([] if end is None else [end])).eval()
    lrp = LRP(ended, composites.epsilon())
    plain = LRP(model, composites.epsilon())
    torch.testing.assert_close(lrp.attribute(x, 1, start="logit"), plain.attribute(x, 1, start="logit"))
    probability = (logits.sigmoid() if isinstance(end, nn.Sigmoid) else logits.softmax(1))[:, 1]
    wanted = plain.attribute(x, 1, start="logit") * (probability / logits[:, 1]).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(lrp.attribute(x, 1, start="probability"), wanted)
    with pytest.raises(InputError, match="unknown start 'odds'"):
        lrp.attribute(x, 1, start="odds")


def test_relevance_of_layers():
    model, x = small_network(), scans()
    lrp = LRP(model, composites.epsilon())
    relevance, layers = lrp.attribute(x, 1, return_layers=True, start="logit")
    assert next(iter(layers)) == "input"
    assert {name for name, _ in model.named_modules() if name} <= set(layers)
    assert torch.equal(layers["input"], relevance)
    value = x
    for index, module in enumerate(model):
        value = module(value)
        assert layers[str(index)].shape == value.shape
    torch.testing.assert_close(layers["13"][:, 1], value[:, 1].detach())
    assert not layers["13"][:, 0].any()


class Functional(nn.Module):
    """The same network as `Layers`, in functional calls."""

    def __init__(self, layers):
        super().__init__()
        self.conv, self.norm, self.conv2, self.fc = layers[0], layers[1], layers[4], layers[9]

    def forward(self, x, unused=None):
        x = F.relu(self.norm(self.conv(x)), True) if unused is None else x * 0
        x = F.max_pool3d(x, 2, stride=1)
        x = torch.relu_(self.conv2(x))
        x = F.dropout(F.max_pool3d(x, kernel_size=2), 0.5, self.training)
        x = torch.flatten(x, 1).view(x.size(0), -1).reshape(x.shape[0], -1)
        return self.fc(x.contiguous().unsqueeze(1)).squeeze(1)


def test_functional_calls_equal_layers(rng):
    torch.manual_seed(3)
    layers = nn.Sequential(
        nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU(), nn.MaxPool3d(2, 1), nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(),
        nn.MaxPool3d(2), nn.Flatten(), nn.Dropout(), nn.Linear(4 * 3 * 4 * 4, 2),
    ).eval()  # fmt: skip
    functional = Functional(layers).eval()
    x = scans()
    torch.testing.assert_close(functional(x), layers(x))
    for composite in PRESETS.values():
        wanted = LRP(layers, composite).attribute(x, 1, start="logit")
        torch.testing.assert_close(LRP(functional, composite).attribute(x, 1, start="logit"), wanted)
        with pytest.warns(UserWarning, match="training mode"):  # the functional dropout must not switch on
            torch.testing.assert_close(LRP(functional.train(), composite).attribute(x, 1, start="logit"), wanted)
        functional.eval()


class Branches(nn.Module):
    """Residual sum (one side broadcast), concatenation, transposition, and a layer that runs twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.squeeze = (
            nn.Conv3d(1, 3, 3, padding=1),
            nn.Conv3d(3, 3, 3, padding=1),
            nn.Conv3d(3, 1, 1),
        )
        self.fc = nn.Linear(6 * 3 * 4 * 5, 2)
        self.act = nn.ELU(inplace=True)

    def forward(self, x):
        a = self.first(x)
        b = self.act(self.second(a)) + self.squeeze(a)
        c = self.second(b)
        joined = torch.cat((c, a), dim=1).transpose(2, 4).permute(0, 1, 4, 3, 2)
        return self.fc(joined.flatten(1))


def test_branches_conserve_and_follow_gradient_times_input():
    torch.manual_seed(0)
    model = Branches().double().eval()
    for layer in (model.first, model.second, model.squeeze, model.fc):
        nn.init.zeros_(layer.bias)
    x = torch.randn(2, 1, 3, 4, 5, dtype=torch.float64)
    composite = Composite({nn.Conv3d: Epsilon(0), nn.Linear: Epsilon(0)}, sums=Epsilon(0))
    relevance = LRP(model, composite).attribute(x, 1, start="logit")
    torch.testing.assert_close(relevance.flatten(1).sum(1), model(x)[:, 1].detach(), rtol=1e-9, atol=0)
    # without activations and biases, LRP-0 is gradient times input (Shrikumar 2016)
    model.act = nn.Identity()
    x.requires_grad_(True)
    gradient = torch.autograd.grad(model(x)[:, 1].sum(), x)[0] * x
    torch.testing.assert_close(
        LRP(model, composite).attribute(x, 1, start="logit"), gradient.detach(), rtol=1e-7, atol=1e-10
    )


def test_sums_under_alpha_beta():
    class Sum(nn.Module):
        def forward(self, x):
            return x[:, :] if False else x + x.flatten(1)

    x = torch.tensor([[3.0, -2.0]], dtype=torch.float64)
    rule = AlphaBeta(beta=1.0, epsilon=0)
    got = LRP(Sum(), Composite({}, sums=rule)).attribute(x, 0, start="logit")
    assert torch.allclose(got, torch.tensor([[12.0, 0.0]], dtype=torch.float64))  # alpha 2 x R 6, no negative part


def test_batch_normalisation_on_its_own_is_a_linear_layer():
    torch.manual_seed(0)
    norm = nn.BatchNorm3d(2)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    model = nn.Sequential(norm, nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).double().eval()
    x = torch.randn(2, 2, 2, 2, 2, dtype=torch.float64)
    as_conv = nn.Conv3d(2, 2, 1, groups=2).double()
    with torch.no_grad():
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        as_conv.weight.copy_(factor.view(2, 1, 1, 1, 1))
        as_conv.bias.copy_(norm.bias - factor * norm.running_mean)
    twin = nn.Sequential(as_conv, *model[1:]).eval()
    for composite in (composites.epsilon(), composites.alpha_beta(1.0), composites.everywhere(Gamma())):
        torch.testing.assert_close(
            LRP(model, composite).attribute(x, 1, start="logit"), LRP(twin, composite).attribute(x, 1, start="logit")
        )


@pytest.mark.parametrize("features", [4, 6])
def test_a_norm_along_the_rows_of_a_linear_layer_is_not_folded_into_its_features(features):
    # torch's BatchNorm1d normalises along axis 1 of (batch, rows, features), Linear's outputs stand on the last
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4)
    norm.running_mean.normal_()
    model = nn.Sequential(nn.Linear(5, features), norm, nn.ReLU(), nn.Flatten(), nn.Linear(4 * features, 2))
    model, x = model.double().eval(), torch.randn(2, 4, 5, dtype=torch.float64)
    got = LRP(model, composites.epsilon(0.0)).attribute(x, 0, start="logit")
    torch.testing.assert_close(got, lrp_zero(model, x, 0), rtol=1e-10, atol=1e-12)
    passing = Composite({nn.Linear: Epsilon(), nn.BatchNorm1d: Pass()})
    assert LRP(model, passing).attribute(x, 0, start="logit").any()


def test_a_dilated_window_without_a_value_has_no_winner():
    # 2 x 2 windows of dilation 2 about a single voxel: both of their values are padding, and tanh(-inf) is finite
    model = nn.Sequential(nn.MaxPool1d(2, 1, padding=1, dilation=2), nn.Tanh(), nn.Linear(1, 1), nn.Flatten()).eval()
    assert bool(model(torch.rand(1, 1, 1)).isfinite().all())
    with pytest.raises(InputError, match=r"layer '0': a dilated .* window lies wholly outside the grid \(1,\)"):
        LRP(model, composites.epsilon()).attribute(torch.rand(1, 1, 1), 0, start="logit")


def test_winner_takes_all():
    model = nn.Sequential(nn.MaxPool1d(3, 2), nn.Flatten()).eval()
    x = torch.tensor([[[0.0, 5.0, 4.0, 9.0, 4.0, 4.0, 1.0]]])
    got = LRP(model, composites.epsilon())
    assert got.attribute(x, 0, start="logit").tolist() == [[[0, 5, 0, 0, 0, 0, 0]]]
    assert got.attribute(x, 1, start="logit").tolist() == [[[0, 0, 0, 9, 0, 0, 0]]]
    assert got.attribute(x, 2, start="logit").tolist() == [[[0, 0, 0, 0, 4, 0, 0]]]  # a tie: the first


class OwnLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))

    def forward(self, x):
        return F.linear(x, self.weight)


class OwnConvolution(nn.Conv3d):
    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.conv = nn.Conv3d(1, 1, 1)

    def forward(self, x):
        return self.function(self.conv(x)).flatten(1)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair = nn.Bilinear(2, 2, 2)

    def forward(self, x):
        return self.pair(x, x)


class SharedWrite(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        y = self.fc(x)
        return self.act(y.view(-1, 2)) + y


class SilentWrite(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        y = z = self.fc(x)
        y += x  # torch.fx records y = y + x and does not see that z changed too
        return y + z


class DependsOnValues(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


GRID, ROW = (2, 1, 4, 4, 4), (3, 2)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (nn.Sequential(nn.BatchNorm3d(1, track_running_stats=False)), GRID, "layer '0' .*no running statistics"),
        (nn.Sequential(nn.Softmax(1), nn.Linear(2, 2)), ROW, "layer '0' .*softmax inside the network"),
        (Call(lambda x: x - x.mean()), GRID, "operation 'mean'.*line .*test_lrp.py"),
        (Call(lambda x: F.interpolate(x[:, :, 0], scale_factor=2, mode="bicubic")), GRID, "operation 'interpolate'"),
    ],
)
def test_refused_by_name(model, shape, message):
    with pytest.raises(UnsupportedLayerError, match=message):
        LRP(model.eval(), composites.epsilon()).record(torch.rand(shape))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Flatten(), nn.Sequential(OwnLinear())), ROW),
        (nn.Sequential(OwnConvolution(1, 2, 3), nn.Flatten()), GRID),
        (Pair(), ROW),
        (nn.Sequential(nn.Conv3d(1, 2, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Flatten()), GRID),
        (Call(lambda x: x * x), GRID),
        (Call(lambda x: F.max_pool3d(x, 2, return_indices=True)[0]), GRID),
        (Call(lambda x: F.conv3d(x, torch.ones(1, 1, 1, 1, 1, dtype=x.dtype))), GRID),
        (SharedWrite(), ROW),
        (SilentWrite(), ROW),
        (DependsOnValues(), ROW),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))), ROW),
    ],
)
def test_what_the_network_does_is_followed(model, shape):
    model = randomised(model.double().eval())
    for seed in range(3):  # of both signs: a branch may take either way
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        got = LRP(model, composites.epsilon(0.0)).attribute(x, 1, start="logit")
        torch.testing.assert_close(got, lrp_zero(model, x, 1), rtol=1e-9, atol=1e-12)


def test_a_record_serves_the_scan_that_it_was_made_of_where_a_value_decides():
    lrp = LRP(DependsOnValues().double().eval(), composites.epsilon(0.0))
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    assert lrp.attribute(x, 1, start="logit").tolist() == [[0.0, 2.0]]
    assert lrp.attribute(-x, 1, start="logit").tolist() == [[0.0, 2.0]]  # -(-2)


def test_weights_made_in_a_hook_are_those_of_the_layer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 2))).eval()
    plain = nn.Sequential(nn.Linear(2, 2)).eval()
    plain.load_state_dict({"0.weight": model[0].weight.detach(), "0.bias": model[0].bias.detach()})
    x = torch.rand(1, 2)
    wanted = LRP(plain, composites.epsilon()).attribute(x, 1)
    torch.testing.assert_close(LRP(model, composites.epsilon()).attribute(x, 1), wanted)


def test_parametrised_weights_and_wrappers_are_seen_through():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    x = torch.randn(2, 1, 2, 2)
    wanted = LRP(model, composites.epsilon()).attribute(x, 1, start="logit")
    assert torch.equal(LRP(nn.DataParallel(model), composites.epsilon()).attribute(x, 1, start="logit"), wanted)
    nn.utils.parametrizations.weight_norm(model[1])
    torch.testing.assert_close(LRP(model, composites.epsilon()).attribute(x, 1, start="logit"), wanted)


def test_hooks_are_named_and_not_run():
    model = small_network()
    handle = model[0].register_forward_hook(lambda *_: pytest.fail("a hook ran"))
    with pytest.warns(UserWarning, match="forward hooks of 0 are not run"):
        lrp = LRP(model, composites.epsilon())
    handle.remove()
    lrp.attribute(scans(), 1, start="logit")


def test_composite_precedence_and_refusals():
    model, x = small_network(), scans()
    mixed = Composite({nn.Conv3d: ZPlus(), nn.Linear: Epsilon(), nn.BatchNorm3d: Epsilon()})
    base = LRP(model, mixed).attribute(x, 1, start="logit")
    by_position = LRP(model, Composite({**mixed.rules, 0: Epsilon(0.1)})).attribute(x, 1, start="logit")
    assert not torch.allclose(base, by_position)
    by_name = LRP(model, Composite({**mixed.rules, 0: Gamma(), "0": Epsilon(0.1)})).attribute(x, 1, start="logit")
    assert torch.equal(by_name, by_position)
    last = LRP(model, Composite({**mixed.rules, -1: Epsilon(5.0)})).attribute(x, 1, start="logit")
    assert torch.equal(last, LRP(model, Composite({**mixed.rules, "13": Epsilon(5.0)})).attribute(x, 1, start="logit"))
    assert torch.equal(LRP(model, Composite({**mixed.rules, "1*": Epsilon()})).attribute(x, 1, start="logit"), base)
    with pytest.raises(InputError, match=r"pattern 'features\.\*' matches no layer; the layers are 0, 1"):
        LRP(model, Composite({**mixed.rules, "features.*": ZPlus()})).record(x)
    with pytest.raises(InputError, match="position 4: the network has 4 layers with weights"):
        LRP(model, Composite({**mixed.rules, 4: ZPlus()})).record(x)
    with pytest.raises(UnsupportedLayerError, match=r"no rule for layer '10' \(Linear\)"):
        LRP(model, Composite({nn.Conv3d: ZPlus(), nn.BatchNorm3d: ZPlus()})).record(x)
    with pytest.raises(UnsupportedLayerError, match=r"layer '0' \(Conv3d\): Pass is no rule"):
        LRP(model, Composite({nn.Conv3d: Pass(), nn.Linear: Epsilon(), nn.BatchNorm3d: Pass()})).record(x)
    assert torch.equal(LRP(model).attribute(x, 1), LRP(model, composites.epsilon_plus_flat()).attribute(x, 1))
    assert torch.equal(LRP(model, "z_plus").attribute(x, 1), LRP(model, composites.z_plus()).attribute(x, 1))
    assert torch.equal(LRP(model, dict(mixed.rules)).attribute(x, 1, start="logit"), base)
    with pytest.raises(InputError, match="unknown composite 'zplus'; choose one of"):
        LRP(model, "zplus")
    with pytest.raises(InputError, match=r"z_plus, zero\. Or one of these with lrp_ before it"):
        LRP(model, "lrp_zplus")
    with pytest.raises(InputError, match="composite is 3, expected a Composite"):
        LRP(model, 3)
    with pytest.raises(InputError, match="model is a str"):
        LRP("model", composites.epsilon())
    for wrong in ({nn.Conv3d: "epsilon"}, {1.5: Epsilon()}, {True: Epsilon()}):
        with pytest.raises(InputError, match="composite key"):
            Composite(wrong)


@pytest.mark.parametrize("name", [name for name in registry.names() if registry.takes_start(name)])
def test_a_composite_by_its_methods_name_is_the_methods(name):
    assert LRP(small_network(), name).composite == registry.create(name, small_network()).composite
    assert LRP(small_network(), {name.removeprefix("lrp_"): {}}).composite == LRP(small_network(), name).composite


def test_options_of_a_composite_stand_in_a_dict():
    model = small_network()
    assert LRP(model, {"lrp_alpha_beta": {"beta": 2.0}}).composite == composites.alpha_beta(2.0)
    box = LRP(model, {"epsilon_gamma_box": {"low": -1, "high": 2, "gamma": 0.5}}).composite
    assert box == composites.epsilon_gamma_box(-1, 2, gamma=0.5)
    with pytest.raises(InputError, match="'z_plus': got an unexpected keyword argument 'beta'; its options are: none"):
        LRP(model, {"z_plus": {"beta": 1.0}})
    with pytest.raises(InputError, match="its options are: epsilon"):
        LRP(model, {"epsilon": {"gamma": 1.0}})
    with pytest.raises(InputError, match="unknown composite 'zplus'"):
        LRP(model, {"zplus": {}})
    with pytest.raises(InputError, match="composite key"):
        LRP(model, {1.5: Epsilon()})


@pytest.mark.parametrize(
    "make",
    [lambda: Epsilon(-1), lambda: AlphaBeta(beta=-0.5), lambda: AlphaBeta(beta=float("nan")), lambda: Gamma(gamma=-1),
     lambda: Epsilon(bias="share"), lambda: AlphaBeta(one_signed="drop"), lambda: composites.epsilon("1e-6")],
)  # fmt: skip
def test_rules_refuse_bad_numbers(make):
    with pytest.raises(InputError):
        make()


def test_a_rules_own_parameter_stands_first():
    # a lone number could be alpha, beta or the stabiliser
    for numbers in ((1.0,), (2.0, 1.0)):
        with pytest.raises(TypeError):
            AlphaBeta(*numbers)
    assert AlphaBeta(alpha=2.0) == AlphaBeta(beta=1.0) == AlphaBeta(alpha=2.0, beta=1.0)
    with pytest.raises(InputError, match=r"alpha is 2.0, beta is 2.0; alpha - beta must be 1"):
        AlphaBeta(alpha=2.0, beta=2.0)
    with pytest.raises(InputError, match=r"alpha is 0.5, beta is -0.5; alpha - beta must be 1, and beta >= 0"):
        AlphaBeta(alpha=0.5)
    assert Gamma(0.5) == Gamma(gamma=0.5)
    assert ZBox(-1.0, 2.0) == ZBox(low=-1.0, high=2.0)
    assert ZBox() == ZBox(low=0.0, high=1.0)
    assert Epsilon(1e-3, "ignore") == Epsilon(epsilon=1e-3, bias="ignore")
    for rule in (Zero, ZPlus, WSquare, Flat, Pass):
        with pytest.raises(TypeError):
            rule(1.0)


@pytest.mark.parametrize(
    "rule", [Zero(), Epsilon(), AlphaBeta(beta=1.0), Gamma(0.5), ZBox(), WSquare(), Flat(), ZPlus()]
)
def test_rules_and_what_they_are_made_of_cannot_be_changed(rule):
    part = rule.parts[0]
    for piece in (rule, part, part.terms[0], part.terms[0].weight):
        with pytest.raises(FrozenInstanceError):
            setattr(piece, fields(piece)[0].name, 2.0)


def test_sign_of_a_zero_denominator_is_positive():
    model = nn.Linear(2, 1, bias=False).eval()
    nn.init.ones_(model.weight)
    x = torch.tensor([[1.0, -1.0]])  # cancels to a logit of 0, a probability of 1/2
    got = LRP(model, composites.epsilon(0.1)).attribute(x, start="probability")
    torch.testing.assert_close(got, torch.tensor([[5.0, -5.0]]))
