"""What the plain gradient methods compute."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from neuroxai import attribution
from neuroxai.errors import InputError, UnsupportedLayerError


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(108, 2)
    )  # fmt: skip
    model[1].running_mean.normal_()
    return model.double().eval()


X = torch.randn(3, 1, 8, 9, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def gradient(model, x, target):
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(model(x)[:, target].sum(), x)[0]


def test_saliency_and_gradient_x_input():
    model, plain = network(), gradient(network(), X, 1)
    torch.testing.assert_close(attribution.create("saliency", model).attribute(X, 1), plain.abs())
    torch.testing.assert_close(attribution.create("saliency", model, absolute=False).attribute(X, 1), plain)
    torch.testing.assert_close(attribution.create("gradient_x_input", model).attribute(X, 1), plain * X)


class Written(nn.Module):
    """The network with something of its own behind its convolution, or in front of it."""

    def __init__(self, middle, start=lambda x: x):
        super().__init__()
        self.net, self.middle, self.start = network(), middle, start

    def forward(self, x):
        return self.net[1:](self.middle(self.net[0](self.start(x))))


def overwritten(h):
    h = h.relu()
    h[:, 0] = 0  # autograd needs what stood there
    return h


@pytest.mark.parametrize(
    ("in_place", "plain"),
    [
        (Written(overwritten), Written(lambda h: torch.cat([torch.zeros_like(h[:, :1]), h[:, 1:].relu()], 1))),
        (Written(lambda h: torch.mul(h, 2, out=torch.zeros_like(h))), Written(lambda h: h * 2)),
        (Written(lambda h: h, lambda x: x.mul_(2)), Written(lambda h: h, lambda x: x * 2)),
    ],
)
def test_where_writes_in_place_stop_autograd_the_record_serves(in_place, plain):
    for name in ("saliency", "gradient_x_input", "integrated_gradients", "guided_backprop"):
        methods = [attribution.create(name, model.eval()) for model in (in_place, plain)]
        got, wanted = (method.attribute(X, 1) for method in methods)
        torch.testing.assert_close(got, wanted, msg=name)


def test_scores_without_gradient_are_refused():
    rounded = nn.Sequential(network(), Argmax()).eval()
    for name in ("saliency", "integrated_gradients", "grad_cam"):
        with pytest.raises(UnsupportedLayerError, match=r"no gradient comes back .* Return the scores themselves"):
            attribution.create(name, rounded).attribute(X)


class Frozen(nn.Module):
    """A backbone that gives no gradients, and a head whose weights do."""

    def __init__(self, how):
        super().__init__()
        self.net, self.how = network(), how

    def forward(self, x):
        if self.how == "no_grad":
            with torch.no_grad():
                features = self.net[:-1](x)
        else:
            features = self.net[:-1](x)
        return self.net[-1]({"detach": features.detach(), "data": features.data}.get(self.how, features))


@pytest.mark.parametrize("name", ["saliency", "gradient_x_input", "integrated_gradients", "smooth_grad", "var_grad"])
def test_a_frozen_backbone_is_not_shown_as_unused(name):
    wanted = attribution.create(name, network()).attribute(X, 1)
    torch.testing.assert_close(attribution.create(name, Frozen("no_grad").eval()).attribute(X, 1), wanted)
    for how in ("detach", "data"):  # written in forward, they are part of what the network is
        with pytest.raises(UnsupportedLayerError, match=r"cuts it off \(torch\.no_grad, detach"):
            attribution.create(name, Frozen(how).eval()).attribute(X, 1)


class Dropping(nn.Module):
    """Its dropout is on in evaluation, too, as for Monte Carlo dropout."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        return self.net(nn.functional.dropout(x, 0.5))


@pytest.mark.parametrize(
    "name", ["saliency", "gradient_x_input", "integrated_gradients", "smooth_grad", "gradient_shap"]
)
def test_a_network_that_draws_random_numbers_is_refused(name):
    with pytest.raises(UnsupportedLayerError, match="draws random numbers"):
        attribution.create(name, Dropping().eval()).attribute(X, 1)


class Argmax(nn.Module):
    """Returns classes, not scores."""

    def forward(self, x):
        return x.argmax(1, keepdim=True).double()


def test_buffers_that_forward_changes_stay_as_they_are():
    counting = Counting().eval()
    for name in ("saliency", "integrated_gradients", "guided_backprop", "occlusion", "lrp_epsilon"):
        attribution.create(name, counting).attribute(X, 1)
        assert float(counting.seen) == 0, name


class Counting(nn.Module):
    """Counts its runs in a buffer."""

    def __init__(self):
        super().__init__()
        self.net = network()
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        self.seen += 1
        return self.net(x)


@pytest.mark.parametrize("image", [False, True])
def test_integrated_gradients_add_up_to_the_difference(image):
    model = network()
    baseline = torch.linspace(-1, 1, 720, dtype=torch.float64).reshape(1, 8, 9, 10) if image else 0.5
    found = attribution.create("integrated_gradients", model, n_steps=200, baselines=baseline).attribute(X, 1)
    start = baseline[None].expand_as(X) if image else torch.full_like(X, 0.5)
    drop = model(X)[:, 1] - model(start)[:, 1]
    torch.testing.assert_close(found.flatten(1).sum(1), drop.detach(), rtol=0.02, atol=0.01)


def test_integrated_gradients_by_the_midpoint_sum():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double().eval()
    x, start = torch.randn(2, 4, dtype=torch.float64), 0.25
    points = torch.arange(400, dtype=torch.float64).add(0.5).div(400)
    wanted = sum(gradient(model, start + p * (x - start), 0) for p in points) / 400 * (x - start)
    found = attribution.create("integrated_gradients", model, n_steps=60, baselines=start).attribute(x, 0)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["integrated_gradients", "deep_lift"])
def test_a_baseline_of_another_grid_is_refused(name):
    method = attribution.create(name, network(), baselines=torch.zeros(1, 8, 9, 9))
    with pytest.raises(InputError, match=r"baselines have shape \(1, 8, 9, 9\); .* \(1, 8, 9, 10\) are expected"):
        method.attribute(X, 1)


def test_an_inplace_activation_whose_input_is_read_again_is_explained_as_the_network_runs():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.fc = nn.ReLU(inplace=True), nn.Linear(4, 2)

        def forward(self, x):
            x = x * 1
            return self.fc(self.act(x) + x)  # x is rectified by now

    model = Shared().double().eval()
    x = torch.randn(3, 4, dtype=torch.float64)
    wanted = 2 * model.fc.weight[1] * (x > 0)
    torch.testing.assert_close(attribution.create("saliency", model, absolute=False).attribute(x, 1), wanted.detach())


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("name", ["saliency", "gradient_x_input", "smooth_grad", "integrated_gradients"])
def test_checkpoints_of_both_kinds(name, reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.body, self.fc, self.on = nn.Sequential(nn.Linear(4, 3), nn.Tanh()), nn.Linear(3, 2), True

        def forward(self, x):
            return self.fc(checkpoint(self.body, x, use_reentrant=reentrant) if self.on else self.body(x))

    model, x = Checkpointed().double().eval(), torch.randn(2, 4, dtype=torch.float64)
    found = attribution.create(name, model).attribute(x, 1)
    model.on = False
    torch.testing.assert_close(found, attribution.create(name, model).attribute(x, 1))
    assert all(p.grad is None for p in model.parameters())


class Written(nn.Module):
    """A convolution, what `run` makes of it, and a linear layer."""

    def __init__(self, run):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.run = nn.Conv1d(1, 3, 3), nn.Linear(24, 2), run

    def forward(self, x):
        return self.fc(self.run(self.conv, x).flatten(1))


METHODS = ["saliency", "gradient_x_input", "smooth_grad", "integrated_gradients"]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", METHODS)
def test_where_torch_takes_no_gradients_through_checkpoints_those_of_the_record_are_taken(name):
    def reentrant(conv, x):
        return checkpoint(lambda y: conv(y).relu(), x, use_reentrant=True)

    model, plain = Written(reentrant).double().eval(), Written(lambda conv, x: conv(x).relu()).double().eval()
    x = torch.randn(2, 1, 10, dtype=torch.float64)
    found = attribution.create(name, model).attribute(x, 1)
    torch.testing.assert_close(found, attribution.create(name, plain).attribute(x, 1))
    assert found.abs().max() > 0
    assert all(p.grad is None for p in model.parameters())
