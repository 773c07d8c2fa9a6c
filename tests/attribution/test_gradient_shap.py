"""GradientShap: its formula, its limit, its baselines."""

from __future__ import annotations

import captum.attr
import pytest
import torch
from torch import nn

from neuroxai import attribution
from neuroxai.attribution import ControlReference
from neuroxai.errors import InputError

GRID = (5, 6, 4)


def network(classes=2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, classes)).double().eval()


def scans(batch=2, seed=1):
    return torch.randn(batch, 1, *GRID, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(model, x, target):
    leaf = x.clone().requires_grad_(True)
    return torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]


@pytest.mark.parametrize("stdevs", [0.0, 0.1])
def test_the_formula(stdevs):
    model, x, images = network(), scans(), list(scans(3, 7))
    found, delta = attribution.create(
        "gradient_shap", model, n_samples=7, baselines=images, stdevs=stdevs, seed=5
    ).attribute(x, 1, return_convergence_delta=True)
    generator = torch.Generator().manual_seed(5)
    which = torch.cat([torch.randperm(3, generator=generator) for _ in range(3)])[:7]
    assert sorted(which[:6].tolist()) == [0, 0, 1, 1, 2, 2]  # equally often
    parts = (torch.randperm(7, generator=generator) + torch.rand(7, generator=generator)).tolist()
    assert sorted(int(p) for p in parts) == list(range(7))  # one in each seventh of the way
    level = stdevs * torch.stack([one.max() - one.min() for one in x]).view(-1, 1, 1, 1, 1)
    wanted = torch.zeros_like(x)
    for number, part in zip(which, parts, strict=True):
        way = x + level * torch.randn(1, *GRID, generator=generator).double() - images[number]
        wanted += way * gradient(model, images[number] + part / 7 * way, 1) / 7
    torch.testing.assert_close(found, wanted)
    begin = torch.stack([model(images[n][None])[0, 1] for n in which]).mean()
    torch.testing.assert_close(delta, (wanted.flatten(1).sum(1) - (model(x)[:, 1] - begin)).detach())


def test_the_limit_is_captums_and_integrated_gradients():
    model, x, images = network(), scans(1), list(scans(3, 7))
    found = attribution.create("gradient_shap", model, n_samples=300, baselines=images).attribute(x, 1)
    exact = attribution.create("integrated_gradients", model, baselines=images).attribute(x, 1)
    scale = float(exact.abs().max())
    torch.testing.assert_close(found, exact, rtol=0, atol=0.01 * scale)
    torch.manual_seed(0)
    theirs = captum.attr.GradientShap(model).attribute(x, torch.stack(images), n_samples=3000, target=1)
    torch.testing.assert_close(found, theirs, rtol=0, atol=0.1 * scale)


def test_of_a_linear_model_one_draw_is_enough():
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(120, 3)).double().eval(), scans()
    found = attribution.create("gradient_shap", model, n_samples=1, baselines=0.3).attribute(x, [2, 0])
    torch.testing.assert_close(found, (x - 0.3) * model[1].weight[[2, 0]].detach().view(2, 1, *GRID))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", ["zero", "blur", "mean_control", "nearest_controls", "fitted_control"])
def test_named_baselines_and_each_scan_alone(name, classes):
    reference = ControlReference.of(scans(6, 3).float(), (2.0, 2.0, 3.0), keep_scans=True)
    baselines = reference.baselines(name) if "control" in name else name
    model, x = network(classes), scans()
    both = attribution.create("gradient_shap", model, n_samples=60, baselines=baselines)
    found, delta = both.attribute(x, classes - 1, return_convergence_delta=True)
    torch.testing.assert_close(both.attribute(x[1:], classes - 1), found[1:])
    assert float(delta.abs().max()) < 0.05 * float(found.flatten(1).sum(1).abs().max())


def test_two_inputs_each_from_its_own_baseline():
    class Two(nn.Module):
        def forward(self, x, age):
            return x.flatten(1).mean(1, keepdim=True) * age**2

    x, age = scans(), torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    found, delta = attribution.create("gradient_shap", Two().eval(), n_samples=500, baselines=(0.0, 1.0)).attribute(
        (x, age), return_convergence_delta=True
    )
    assert [one.shape for one in found] == [x.shape, age.shape]
    assert float(delta.abs().max()) < 1e-3


def test_options_that_do_not_fit_are_refused():
    for option, value in [("n_samples", 0), ("stdevs", -1), ("seed", 0.5), ("baselines", "black")]:
        with pytest.raises(InputError, match=f"{option} (is|are) '?{value}"):
            attribution.create("gradient_shap", network(), **{option: value})
    with pytest.raises(InputError, match="'fitted_control', which needs a reference of controls"):
        attribution.create("gradient_shap", network(), baselines="fitted_control")


@pytest.mark.parametrize("method", ["integrated_gradients", "deep_lift", "gradient_shap"])
def test_a_blurred_scan_is_a_baseline(method):
    from scipy.ndimage import gaussian_filter

    model, x = network(), scans()
    blurred = torch.stack([
        torch.from_numpy(gaussian_filter(one.numpy(), [0.05 * n for n in GRID], mode="nearest")) for one in x[:, 0]
    ])  # fmt: skip
    found = attribution.create(method, model, baselines="blur").attribute(x, 1)
    for n in range(2):
        one = attribution.create(method, model, baselines=blurred[n][None]).attribute(x[n : n + 1], 1)
        torch.testing.assert_close(found[n : n + 1], one)
    flat = nn.Linear(4, 2).eval()
    with pytest.raises(InputError, match=r"'blur', which needs a grid; inputs have shape \(2, 4\)"):
        attribution.create(method, flat, baselines="blur").attribute(torch.rand(2, 4), 1)


def test_a_blurred_scan_replaces_patches_and_regions():
    model, x = network(), scans(1)
    labels = (torch.arange(120) % 4).reshape(GRID)
    for method, options in [
        ("occlusion", {"patch": 3}),
        ("region_occlusion", {"labels": labels}),
        ("region_shapley", {"labels": labels}),
        ("region_lime", {"labels": labels, "n_samples": 9}),
    ]:
        found = attribution.create(method, model, baselines="blur", **options).attribute(x, 1)
        assert not torch.allclose(found, attribution.create(method, model, baselines=0.0, **options).attribute(x, 1))
