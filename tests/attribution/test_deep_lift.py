"""DeepLIFT: contributions add up, equal the rule written out, and do not depend on a scan's company."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from neuroxai import attribution
from neuroxai.errors import UnsupportedLayerError

ACTIVATIONS = [nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.SiLU, nn.GELU, nn.Hardswish]


def lift(model, x, target=1, **options):
    return attribution.create("deep_lift", model.eval(), **options).attribute(x, target)


def adds_up(model, x, baseline=0.0, limit=1e-10):
    found = lift(model, x, baselines=baseline)
    start = torch.zeros_like(x) + baseline
    drop = (model(x) - model(start))[:, 1].detach()
    torch.testing.assert_close(found.flatten(1).sum(1), drop, rtol=limit, atol=limit * float(drop.abs().max() + 1))
    return found


@given(
    axes=st.sampled_from([1, 2, 3]),
    activation=st.sampled_from(ACTIVATIONS),
    kernel=st.sampled_from([2, 3]),
    stride=st.sampled_from([1, 2, 3]),
    padding=st.sampled_from([0, 1]),
    dilation=st.sampled_from([1, 2]),
    ceil=st.booleans(),
    image=st.booleans(),
    seed=st.integers(0, 99),
)
def test_contributions_add_up(axes, activation, kernel, stride, padding, dilation, ceil, image, seed):
    torch.manual_seed(seed)
    conv, norm, pool = (getattr(nn, f"{kind}{axes}d") for kind in ("Conv", "BatchNorm", "MaxPool"))
    body = nn.Sequential(
        conv(2, 3, 2), norm(3), activation(), pool(kernel, stride, padding, dilation, ceil_mode=ceil), conv(3, 3, 1),
        pool(2, 1), activation(), nn.Flatten(),
    )  # fmt: skip
    x = torch.randn(2, 2, *range(9, 9 + axes), dtype=torch.float64)
    x[:, :, :4] = 0  # a background that equals the baseline
    body.double().eval()
    body[1].running_mean.normal_()
    model = nn.Sequential(body, nn.Linear(body(x).shape[1], 2, dtype=torch.float64)).eval()
    adds_up(model, x, torch.randn(x.shape[1:], dtype=torch.float64) if image else 0.0)


def test_by_hand():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 2)).double().eval()
    x, start = torch.randn(4, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    with torch.no_grad():
        a, a0 = model[0](x), model[0](start)
        b, b0 = model[2](a.relu()), model[2](a0.relu())
        back = model[4].weight[1] * (b.tanh() - b0.tanh()) / (b - b0) @ model[2].weight
        wanted = (x - start) * (back * (a.relu() - a0.relu()) / (a - a0) @ model[0].weight)
    torch.testing.assert_close(lift(model, x, baselines=start), wanted)


def test_max_pooling_by_hand():
    model = nn.Sequential(nn.MaxPool1d(3, 1), nn.Flatten(), nn.Linear(3, 2, bias=False)).double()
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, 10.0, 100.0]]))
    x = torch.tensor([[[1.0, 5.0, 1.0, 0.0, 0.5]]], dtype=torch.float64)
    start = torch.tensor([[4.0, 1.0, 0.0, 2.0, 2.0]], dtype=torch.float64)
    # windows of x: 5 5 1 (places 1, 1, 2); of the baseline: 4 2 2 (places 0, 3, 3). The rises 5 - 4 and 5 - 2 go to the
    # scan's winner, the fall 1 - 2 to the baseline's
    wanted = torch.tensor([[[0.0, 1.0 * (5 - 4) + 10.0 * (5 - 2), 0.0, 100.0 * (1 - 2), 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(lift(model, x, baselines=start), wanted)


class Largest(nn.Module):
    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.fc, self.how = nn.Conv2d(1, 3, 2), nn.LazyLinear(2), how

    def forward(self, x):
        return self.fc(self.how(self.a(x)).flatten(1))


@pytest.mark.parametrize(
    "how",
    [
        lambda x: x.amax((2, 3)),
        lambda x: torch.amax(x, dim=(-1, 1), keepdim=True),
        lambda x: x.amax(2),
        nn.AdaptiveMaxPool2d((2, 3)),
        lambda x: F.adaptive_max_pool1d(x.flatten(2), 4),
    ],
)
def test_maxima_over_axes_and_adaptive_windows(how):
    x = torch.randn(3, 1, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x[:, :, :2] = 0.1
    model = Largest(how).double()
    model(x)
    found = adds_up(model.eval(), x, 0.1)
    assert not found[:, :, 0].any()  # as in the baseline


def test_equals_captum_where_captum_is_right():
    torch.manual_seed(0)
    model = (
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 2)).double().eval()
    )
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64) + 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = captum.attr.DeepLift(model).attribute(x, baselines=torch.zeros_like(x), target=1)
    torch.testing.assert_close(lift(model, x), wanted.detach())


def test_a_scan_with_background_does_not_depend_on_its_company():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(3, 2), nn.ELU(), nn.Flatten(), nn.Linear(108, 2)
    ).double()  # fmt: skip
    x = torch.zeros(3, 1, 9, 10, 10, dtype=torch.float64)
    x[:, :, 3:6, 2:8, 4:] = torch.rand(3, 1, 3, 6, 6, dtype=torch.float64)
    together = adds_up(model, x)
    alone = torch.cat([lift(model, x[n : n + 1]) for n in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-14)
    assert not bool(together[:, :, :3].any())


class Written(nn.Module):
    """One activation used twice, others as function and method; a residual sum; a concatenation; a functional pool."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.act, self.a, self.b = nn.ReLU(inplace=True), nn.Conv1d(2, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=1)
        self.fc = nn.Linear(48, 2)

    def forward(self, x):
        x = self.act(self.a(x))
        x = torch.cat([self.act(self.b(x)) + x, F.elu(x), x.tanh()], dim=1)
        return self.fc(F.max_pool1d(x, 3, stride=2).flatten(1))


def test_however_the_network_is_written():
    x = torch.randn(3, 2, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    x[:, :, 5:] = 0
    adds_up(Written().double().eval(), x)


def test_float32_is_close_to_float64():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.ELU(), nn.MaxPool3d(3, 2), nn.Conv3d(4, 4, 2), nn.ELU(), nn.Flatten(), nn.Linear(32, 2)
    ).double()  # fmt: skip
    x = torch.rand(2, 1, 9, 10, 10, dtype=torch.float64)
    x[:, :, :, :4] = 0
    exact = lift(model, x)
    single = lift(model.float(), x.float())
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max()))


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()])
def test_probabilities_at_the_end_are_looked_through(end):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.randn(2, 4)
    assert torch.equal(lift(nn.Sequential(*model, end), x), lift(model, x))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.InstanceNorm1d(4), r"layer '1' \(InstanceNorm1d\).*: deep_lift has no rule"),
        (nn.GroupNorm(2, 4), "GroupNorm"),
        (nn.LayerNorm([4, 4]), "LayerNorm"),
        (nn.BatchNorm1d(4, track_running_stats=False), "BatchNorm1d"),
        (nn.LPPool1d(2, 1), "LPPool1d"),
        (nn.Softmax(1), "Softmax"),
    ],
)
def test_what_would_break_the_sum_is_refused_by_name(layer, message):
    with pytest.raises(UnsupportedLayerError, match=message):
        lift(nn.Sequential(nn.Conv1d(1, 4, 1), layer, nn.Flatten(), nn.Linear(16, 2)), torch.rand(1, 1, 4))


class Gated(nn.Module):
    """Squeeze and excitation, a product of two maps, a square and a detached branch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.gate, self.fc = nn.Conv1d(2, 4, 3), nn.Linear(4, 4), nn.Linear(16, 2)

    def forward(self, x):
        x = self.a(x)
        x = x * self.gate(x.mean(2)).sigmoid()[:, :, None]
        maps = [x * x, x.tanh() * F.silu(x), x @ x.transpose(1, 2), x.detach().relu()]
        return self.fc(torch.cat([one.mean(2) for one in maps], 1))


class Turned(nn.Module):
    """Steps first, as recurrent networks have it, and views that merge steps and batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.fc = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = x.permute(2, 0, 1)  # (steps, batch, features)
        steps, batch, _ = x.shape
        x = torch.relu(self.a(x.reshape(steps * batch, -1))).view(steps, batch, -1).sigmoid()
        return self.fc(x.transpose(0, 1).tanh().sum(1))


class Nested(nn.Module):
    """Python in forward: squeeze with one scan, the size in a view, a layer made there."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.fc = nn.Conv1d(2, 3, 3), nn.Linear(3 * 8, 2)

    def forward(self, x):
        assert isinstance(x, torch.Tensor)
        assert x.ndim == 3
        assert len(x)
        x = nn.ReLU()(self.a(x)).squeeze()
        x += 0.5
        x = F.elu_(x) * 2
        return self.fc(x.contiguous().view(-1, self.fc.in_features))


@pytest.mark.parametrize(("kind", "shape"), [(Gated, (3, 2, 10)), (Turned, (3, 5, 4)), (Nested, (1, 2, 10))])
def test_products_views_of_the_batch_and_python(kind, shape):
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    adds_up(kind().double().eval(), x, 0.3)


def test_a_gate_by_hand():
    class Product(nn.Module):
        def forward(self, x):
            return x[:, :1] * x[:, 1:]

    x, start = torch.tensor([[3.0, 5.0]], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    found = lift(Product(), x, 0, baselines=start)
    wanted = torch.tensor([[(3 - 1) * (5 + 2) / 2, (5 - 2) * (3 + 1) / 2]], dtype=torch.float64)
    torch.testing.assert_close(found, wanted)  # 7 + 6 = 15 - 2


def test_networks_that_mix_samples_are_refused():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc((x - 0.5 * x.mean(0)).relu())

    with pytest.raises(UnsupportedLayerError, match=r"deep_lift.s contributions of sample . add up to"):
        lift(Mixed(), torch.randn(5, 4) + 2)


def test_a_branch_that_the_baseline_does_not_take_is_refused():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(x) if x.sum() > 0 else 1 + 3 * self.fc(x)

    x = torch.rand(2, 4, dtype=torch.float64)
    adds_up(Branching().double().eval(), x, 0.5)
    with pytest.raises(UnsupportedLayerError, match="differs from the model's"):
        lift(Branching().double(), x, baselines=-0.5)


def test_pooling_in_many_threads():
    """Forward-mode derivatives are one for all threads of a process: half of these calls failed with them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(54, 2))
    model.double().eval()
    x = torch.rand(2, 1, 8, 8, 8, dtype=torch.float64)
    method = attribution.create("deep_lift", model)
    expected = method.attribute(x, target=1)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda _: method.attribute(x, target=1), range(100)):
            assert torch.equal(found, expected)
