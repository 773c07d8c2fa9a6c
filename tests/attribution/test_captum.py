"""Captum's own classes run on every method, as they run on captum's."""

from __future__ import annotations

import warnings

import captum.attr
import pytest
import torch
from captum.metrics import infidelity, sensitivity_max
from torch import nn

from neuroxai import attribution
from neuroxai.errors import InputError

GRID = (6, 7, 8)
OPTIONS = {
    "smooth_grad": {"nt_samples": 3},
    "smooth_grad_squared": {"nt_samples": 3},
    "var_grad": {"nt_samples": 3},
    "occlusion": {"patch": 4},
    "region_occlusion": {"labels": (torch.arange(6 * 7 * 8) % 3).reshape(GRID)},
    "region_lime": {"labels": (torch.arange(6 * 7 * 8) % 3).reshape(GRID), "n_samples": 20},
    "region_shapley": {"labels": (torch.arange(6 * 7 * 8) % 3).reshape(GRID)},
    "region_swap": {"labels": (torch.arange(6 * 7 * 8) % 3).reshape(GRID), "baselines": 0.2},
    "integrated_gradients": {"n_steps": 20},
}
OURS = attribution.names()
COMPLETE = ("integrated_gradients", "deep_lift", "gradient_shap")


def network():
    torch.manual_seed(0)
    body = [nn.Conv3d(1, 3, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(36, 2)]
    return nn.Sequential(*body).double().eval()


def scans():
    return torch.rand(2, 1, *GRID, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def create(name, model):
    return attribution.create(name, model, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", OURS)
def test_noise_tunnel_is_the_mean_over_noise(name):
    method, x = create(name, network()), scans()
    torch.manual_seed(3)
    got = captum.attr.NoiseTunnel(method).attribute(x, nt_samples=3, stdevs=0.1, target=[0, 1])
    torch.manual_seed(3)
    noise = torch.normal(0, torch.full((6, 1, *GRID), 0.1))
    wanted = method.attribute(x.repeat_interleave(3, 0) + noise, [0, 0, 0, 1, 1, 1])
    torch.testing.assert_close(got, wanted.reshape(2, 3, 1, *GRID).mean(1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", COMPLETE)
def test_convergence_delta_through_the_noise_tunnel(name):
    method, x = create(name, network()), scans()
    found, delta = captum.attr.NoiseTunnel(method).attribute(
        x, nt_samples=2, stdevs=0.1, target=1, return_convergence_delta=True
    )
    assert found.shape == x.shape
    assert delta.shape == (4,)
    assert float(delta.abs().max()) < 0.02


@pytest.mark.parametrize("name", OURS)
def test_sensitivity_and_infidelity(name):
    model, x = network(), scans()
    method = create(name, model)
    torch.manual_seed(0)
    found = sensitivity_max(method.attribute, x, perturb_radius=0.01, n_perturb_samples=2, target=1)
    assert found.shape == (2,)
    assert bool(found.isfinite().all())

    def shift(inputs):
        noise = 0.1 * torch.rand_like(inputs)
        return noise, inputs - noise

    map_ = method.attribute(x, target=1)
    got = infidelity(model, shift, x, map_, target=1, n_perturb_samples=4)
    assert got.shape == (2,)
    assert bool(got.isfinite().all())


class Two(nn.Module):
    """A scan, a second one on another grid, and an age."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv3d(1, 3, 3), nn.Conv3d(1, 3, 2)
        self.fc, self.out = nn.Linear(7, 5), nn.Linear(5, 2)

    def forward(self, x, y, age):
        x, y = (torch.relu(conv(v)).flatten(2).mean(2) for conv, v in ((self.a, x), (self.b, y)))
        return self.out(torch.relu(self.fc(torch.cat([x, y, age], 1))))


def several():
    age = torch.tensor([[0.7], [1.3]], dtype=torch.float64)
    return Two().double().eval(), scans(), scans()[..., :5] + 0.1, age


@pytest.mark.parametrize(
    ("name", "captums", "options"),
    [
        ("saliency", captum.attr.Saliency, {}),
        ("gradient_x_input", captum.attr.InputXGradient, {}),
        ("integrated_gradients", captum.attr.IntegratedGradients, {"n_steps": 20}),
    ],
)
@pytest.mark.parametrize("given", [3, 2, 1])
def test_several_inputs_as_captum_explains_them(name, captums, options, given):
    model, *inputs = several()
    ours, more = tuple(inputs[:given]), tuple(inputs[given:]) or None
    got = create(name, model).attribute(ours, [0, 1], more)
    wanted = captums(model).attribute(
        tuple(v.clone().requires_grad_() for v in ours),
        target=torch.tensor([0, 1]),
        additional_forward_args=more,
        **options,
    )
    assert isinstance(got, tuple)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("given", [3, 2, 1])
def test_contributions_of_several_inputs_add_up(given):
    model, *inputs = several()
    ours, more = tuple(inputs[:given]), tuple(inputs[given:])
    starts = (0.2, 0.1, 1.0)[:given]
    found, delta = attribution.create("deep_lift", model, baselines=starts).attribute(
        ours, 1, more, return_convergence_delta=True
    )
    drop = model(*inputs) - model(*(torch.full_like(x, b) for x, b in zip(ours, starts, strict=True)), *more)
    total = sum(one.flatten(1).sum(1) for one in found)
    torch.testing.assert_close(total, drop[:, 1].detach(), rtol=1e-10, atol=1e-12)
    assert float(delta.abs().max()) < 1e-12


@pytest.mark.parametrize("name", ["grad_cam", "guided_backprop", "guided_grad_cam", "lrp_epsilon", "lrp_z_plus"])
def test_several_inputs_one_map_each(name):
    model, *inputs = several()
    got = create(name, model).attribute(tuple(inputs), 1)
    assert [one.shape for one in got] == [x.shape for x in inputs]
    first = create(name, model).attribute(inputs[0], 1, tuple(inputs[1:]))
    torch.testing.assert_close(got[0], first)
    assert bool(got[1].any())


def test_gaps_are_reported():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.InstanceNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)).eval()
    x = 100 * torch.rand(2, 1, 10)
    method = attribution.create("integrated_gradients", model, n_steps=20)
    with pytest.warns(UserWarning, match="attributions of sample . add up to .* but the score differs"):
        found, delta = method.attribute(x, 1, return_convergence_delta=True)
    wanted = found.flatten(1).sum(1) - (model(x) - model(torch.zeros_like(x)))[:, 1].detach()
    torch.testing.assert_close(delta, wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attribution.create("integrated_gradients", nn.Sequential(nn.Flatten(), nn.Linear(10, 2)).eval()).attribute(x, 1)


def test_what_need_not_add_up_has_no_delta():
    with pytest.raises(InputError, match="has no convergence delta"):
        create("saliency", network()).attribute(scans(), 1, return_convergence_delta=True)


def test_samples_that_do_not_match_and_nothing_are_refused():
    model, x, y, age = several()
    method = create("saliency", model)
    with pytest.raises(InputError, match="inputs hold 2, 1, 2 samples"):
        method.attribute((x, y[:1], age), 1)
    with pytest.raises(InputError, match="empty tuple"):
        method.attribute((), 1)


@pytest.mark.parametrize(
    ("method", "old", "new"),
    [
        ("integrated_gradients", "steps", "n_steps"),
        ("integrated_gradients", "baseline", "baselines"),
        ("smooth_grad", "noise", "stdevs"),
        ("smooth_grad", "samples", "nt_samples"),
        ("occlusion", "per_pass", "perturbations_per_eval"),
    ],
)
def test_names_that_options_had_before_are_refused_with_captums(method, old, new):
    with pytest.raises(InputError) as caught:
        attribution.create(method, network(), **{old: 1})
    assert f"{old!r} is called {new!r} now" in str(caught.value)
