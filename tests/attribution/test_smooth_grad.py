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
