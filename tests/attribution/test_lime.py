"""LIME over regions: Captum's, with the same coalitions."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from torch import nn

from neuroxai import attribution
from neuroxai.errors import InputError

GRID = (6, 5, 4)
LABELS = (torch.arange(120) * 7 % 8).reshape(GRID)  # seven regions and a background
SAMPLES, WIDTH, ALPHA = 40, 0.3, 0.5


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 2)).double().eval()


def scans(batch=1):
    return torch.randn(batch, 1, *GRID, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def lime(labels=LABELS, **options):
    given = {"n_samples": SAMPLES, "kernel_width": WIDTH, "alpha": ALPHA, **options}
    return attribution.create("region_lime", network(), labels=labels, **given)


def test_as_captum_fits_it():
    x, start = scans(), 0.2
    kept = np.random.default_rng(3).random((SAMPLES, 7)) < 0.5
    kept[0] = True
    drawn = iter(torch.from_numpy(kept))

    def similarity(original, changed, coalition, **_):
        away = 1 - coalition.double().mean().sqrt()
        return torch.exp(-((away / WIDTH) ** 2))

    theirs = captum.attr.LimeBase(
        network(), SkLearnRidge(alpha=ALPHA), similarity, lambda *_, **__: next(drawn)[None].double(),
        True, lambda c, x, **_: torch.where((LABELS == 0) | torch.cat([torch.ones(1), c[0]])[LABELS].bool(), x, start),
        lambda *_, **__: 7,
    )  # fmt: skip
    wanted = theirs.attribute(x, target=1, n_samples=SAMPLES)
    values, errors, regions = lime(baselines=start, seed=3).shares(x, 1)
    torch.testing.assert_close(values, wanted.double().view(1, 7), rtol=0, atol=1e-6)  # captum fits in float32
    assert regions == tuple(range(1, 8))
    assert bool((errors > 0).all())


def test_a_linear_model_is_found_and_each_scan_stands_alone():
    x, model = scans(2), nn.Sequential(nn.Flatten(), nn.Linear(120, 2)).double().eval()
    method = attribution.create("region_lime", model, labels=LABELS, alpha=0.0, kernel_width=1.0, n_samples=60)
    values, errors, _ = method.shares(x, [0, 1])
    parts = model[1].weight.view(2, *GRID).detach() * x[:, 0]
    wanted = torch.stack([(parts * (r == LABELS)).flatten(1).sum(1) for r in range(1, 8)], 1)
    torch.testing.assert_close(values, wanted, rtol=0, atol=1e-9)
    assert float(errors.max()) < 1e-9
    heatmap = method.attribute(x, [0, 1])
    sums = torch.stack([(heatmap[:, 0] * (r == LABELS)).flatten(1).sum(1) for r in range(1, 8)], 1)
    torch.testing.assert_close(sums, wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(method.attribute(x[1:], 1), heatmap[1:])


def test_the_error_is_the_spread_over_draws():
    x = scans()
    found = torch.cat([lime(seed=seed, n_samples=150).shares(x, 0)[0] for seed in range(40)])
    told = torch.cat([lime(seed=seed, n_samples=150).shares(x, 0)[1] for seed in range(10)]).mean(0)
    ratio = found.std(0) / told
    assert float(ratio.min()) > 0.6
    assert float(ratio.max()) < 1.6


def test_options_that_do_not_fit_are_refused():
    for option, value in [("n_samples", 1), ("kernel_width", 0), ("alpha", -1), ("seed", 0.5)]:
        with pytest.raises(InputError, match=f"{option} is {value}"):
            lime(**{option: value})
