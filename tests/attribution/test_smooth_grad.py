"""SmoothGrad: the mean over noise of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neuroxai import attribution
from neuroxai.errors import InputError


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 2)).double().eval()


X = torch.randn(2, 1, 10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def smooth(**options):
    return attribution.create("smooth_grad", network(), **options).attribute(X, 1)


def plain(x):
    return attribution.create("saliency", network(), absolute=False).attribute(x, 1)


def test_by_hand():
    generator = torch.Generator().manual_seed(4)
    wanted = 0
    for _ in range(5):
        noise = torch.randn(1, 10, generator=generator).double()
        level = torch.stack([0.2 * (x.max() - x.min()) for x in X]).view(-1, 1, 1)  # each scan's own range
        wanted = wanted + plain(X + level * noise) / 5
    torch.testing.assert_close(smooth(nt_samples=5, stdevs=0.2, seed=4), wanted)
    torch.testing.assert_close(smooth(nt_samples=5, stdevs=0.2, seed=4, absolute=True), wanted.abs())


def test_no_noise_is_the_gradient():
    torch.testing.assert_close(smooth(stdevs=0.0, nt_samples=3), plain(X))


def test_the_seed_decides():
    assert torch.equal(smooth(seed=1), smooth(seed=1))
    assert not torch.allclose(smooth(seed=1), smooth(seed=2))


def test_torchs_random_stream_stays_where_it_is():
    method = attribution.create("smooth_grad", network())
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    method.attribute(X, 1)
    assert torch.equal(torch.rand(3), wanted)


def test_more_samples_approach_the_mean():
    truth = smooth(nt_samples=600, seed=9)
    errors = [float((smooth(nt_samples=n, seed=1) - truth).norm()) for n in (2, 200)]
    assert errors[1] < errors[0] / 3  # a tenth is expected, and the truth's own error


def test_a_constant_scan_has_no_range_and_no_noise():
    method = attribution.create("smooth_grad", network())
    x = torch.ones_like(X)
    torch.testing.assert_close(method.attribute(x, 1), plain(x))


def test_one_noisy_copy_at_a_time():
    seen = []
    model = network()

    class Watch(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x

    attribution.create("smooth_grad", nn.Sequential(Watch(), model).eval(), nt_samples=6).attribute(X, 1)
    assert seen == [2] * 6


@pytest.mark.parametrize(("method", "option"), [("smooth_grad", "nt_samples"), ("integrated_gradients", "n_steps")])
def test_passes_without_end_are_refused(method, option):
    with pytest.raises(InputError, match=f"{option} is 100001; a whole number from 1 to 100000 is expected"):
        attribution.create(method, network(), **{option: 100_001})


def copies(count, seed=4):
    """The noisy copies that a seed means."""
    generator = torch.Generator().manual_seed(seed)
    level = torch.stack([0.2 * (x.max() - x.min()) for x in X]).view(-1, 1, 1)
    return [X + level * torch.randn(1, 10, generator=generator).double() for _ in range(count)]


@pytest.mark.parametrize("of", ["gradient", "gradient_x_input", "integrated_gradients", "deep_lift"])
def test_its_relatives_by_hand(of):
    inner = attribution.create("saliency", network(), absolute=False) if of == "gradient" else attribution.create(
        of, network())  # fmt: skip
    each = torch.stack([inner.attribute(x, 1) for x in copies(6)])
    options = {"nt_samples": 6, "stdevs": 0.2, "seed": 4, "of": of}
    wanted = {
        "smooth_grad": each.mean(0),
        "smooth_grad_squared": (each**2).mean(0),
        "var_grad": (each**2).mean(0) - each.mean(0) ** 2,
    }
    for name, one in wanted.items():
        torch.testing.assert_close(attribution.create(name, network(), **options).attribute(X, 1), one)


def test_of_guided_back_propagation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)).double().eval()
    inner = attribution.create("guided_backprop", model)
    each = torch.stack([inner.attribute(x, [0, 1]) for x in copies(4)])
    found = attribution.create("var_grad", model, nt_samples=4, stdevs=0.2, seed=4, of="guided_backprop")
    torch.testing.assert_close(found.attribute(X, [0, 1]), each.var(0, correction=0))
    with pytest.raises(InputError, match="of is 'occlusion'; one of gradient, gradient_x_input, "):
        attribution.create("var_grad", model, of="occlusion")


def test_a_variance_far_from_zero_keeps_its_digits():
    model = nn.Sequential(nn.Linear(3, 1)).eval()
    with torch.no_grad():
        model[0].weight[:] = 1e4  # of a linear model the gradient does not vary
    found = attribution.create("var_grad", model).attribute(torch.rand(2, 3))
    assert not found.any()


@pytest.mark.parametrize(
    ("name", "kind"), [("smooth_grad", "smoothgrad"), ("smooth_grad_squared", "smoothgrad_sq"), ("var_grad", "vargrad")]
)
def test_the_limit_is_captums(name, kind):
    import captum.attr

    model = network()
    torch.manual_seed(0)
    theirs = captum.attr.NoiseTunnel(captum.attr.Saliency(model)).attribute(
        X[:1], nt_type=kind, nt_samples=1000, stdevs=0.1, target=1, abs=False
    )
    stdevs = 0.1 / float(X[0].max() - X[0].min())
    found = attribution.create(name, model, nt_samples=1000, stdevs=stdevs).attribute(X[:1], 1)
    torch.testing.assert_close(found, theirs, rtol=0.1, atol=0.06 * float(theirs.abs().max()))
