"""Agreement between trainings and sensitivity to noise, against closed forms, scipy and captum."""

from __future__ import annotations

import captum.metrics
import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr

from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import agreement, max_sensitivity

SHAPE = (4, 3, 5)


def test_pairs_against_scipy(rng):
    maps, within = rng.normal(size=(4, *SHAPE)), rng.random(SHAPE) < 0.6
    found = agreement(maps, within)
    inside = maps[:, within]
    scaled = inside / np.abs(inside).max(axis=1, keepdims=True)
    np.testing.assert_allclose(found.distance, squareform(pdist(scaled)), rtol=0, atol=1e-12)
    assert found.correlation[1, 3] == pytest.approx(pearsonr(inside[1], inside[3]).statistic, abs=1e-12)
    assert (found.correlation == found.correlation.T).all()
    assert (np.diag(found.correlation) == 1).all()
    upper = [found.correlation[i, j] for i in range(4) for j in range(i + 1, 4)]
    assert found.means()["correlation"] == pytest.approx(np.mean(upper), abs=1e-12)
    assert set(found.means()) == {"correlation", "distance"}


def test_size_does_not_matter_but_the_background_would(rng):
    one = np.where(np.arange(5) < 2, rng.normal(size=SHAPE), 0.0)
    assert agreement([one, 7 * one]).means() == pytest.approx({"correlation": 1, "distance": 0}, abs=1e-12)
    other = np.where(np.arange(5) < 2, rng.random(SHAPE) + 3, 0.0)
    inside = np.broadcast_to(np.arange(5) < 2, SHAPE)
    high = np.abs(one) + 3
    assert agreement([high * inside, other]).means()["correlation"] > 0.9
    assert abs(agreement([high * inside, other], inside).means()["correlation"]) < 0.5


def test_overlap_of_top_regions():
    maps = np.random.default_rng(0).normal(size=(3, *SHAPE))
    scores = np.array([[5, 4, 3, 2, 1, np.nan], [5, 1, 4, 2, 3, 9], [1, 2, 3, 4, 5, -1.0]])
    overlap = agreement(maps, regions=scores, top=3).overlap
    np.testing.assert_allclose(overlap, [[1, 2 / 3, 1 / 3], [2 / 3, 1, 1 / 3], [1 / 3, 1 / 3, 1]])
    with pytest.raises(InputError, match=r"shape \(3, 6\) do not fit 3 heatmaps and the top 7"):
        agreement(maps, regions=scores, top=7)


def test_maps_of_zeros_have_no_correlation(rng):
    found = agreement([np.zeros(SHAPE), rng.normal(size=SHAPE), rng.normal(size=SHAPE)])
    assert np.isnan(found.correlation[0, 1:]).all()
    assert found.means()["correlation"] == found.correlation[1, 2]
    assert np.isfinite(found.distance).all()


def test_sensitivity_of_a_linear_explanation(rng):
    weights = torch.from_numpy(rng.normal(size=SHAPE))
    scans = torch.from_numpy(rng.normal(size=(3, 1, *SHAPE)))
    seen = []

    def explain(x):
        seen.append(x.clone())
        return weights * x

    found = max_sensitivity(explain, scans, radius=0.1, draws=6, seed=4)
    before, noisy = seen[0], torch.stack(seen[1:])
    span = scans.flatten(1).amax(1) - scans.flatten(1).amin(1)
    noise = (noisy - before).abs().flatten(2).amax(2)
    assert bool((noise <= 0.1 * span).all())
    assert bool((noise > 0.09 * span).any())
    change = ((noisy - before) * weights).flatten(2).norm(dim=2) / (weights * before).flatten(1).norm(dim=1)
    np.testing.assert_allclose(found.greatest, change.amax(0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.mean, change.mean(0), rtol=0, atol=1e-12)


def test_the_same_as_captum_on_the_same_noise(rng):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3), torch.nn.ELU(), torch.nn.Flatten(), torch.nn.LazyLinear(1))
    model.double()
    scans = torch.from_numpy(rng.random((2, 1, *SHAPE)))
    scans[:, 0, 0, 0, 0], scans[:, 0, 0, 0, 1] = 0, 1  # a range of one, so that radius is absolute as in captum
    seen = []

    def explain(x, keep=True):
        if keep:
            seen.append(x.detach().clone())
        with torch.enable_grad():  # captum has switched it off
            x = x.detach().requires_grad_(True)
            return torch.autograd.grad(model(x).sum(), x)[0] * x.detach()

    found = max_sensitivity(explain, scans, radius=0.05, draws=4)
    noisy = iter(seen[1:])
    theirs = [
        captum.metrics.sensitivity_max(
            lambda x: (explain(x[0], keep=False),),
            scans,
            perturb_func=lambda x, radius, one=one: (one,),
            n_perturb_samples=1,
        )
        for one in noisy
    ]
    np.testing.assert_allclose(found.greatest, torch.stack(theirs).amax(0), rtol=1e-9, atol=0)


def test_noise_stays_within_and_the_seed_decides(rng):
    scans = torch.from_numpy(rng.random((2, 1, *SHAPE)))
    scans[:, :, 2:] = 0
    seen = []

    def explain(x):
        seen.append(x.clone())
        return x + 1

    first = max_sensitivity(explain, scans, within=scans != 0, seed=1)
    assert all(bool((x[:, :, 2:] == 0).all()) for x in seen)
    assert any(bool((x != scans).any()) for x in seen)
    state = torch.get_rng_state()
    again = max_sensitivity(explain, scans, within=scans != 0, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    other = max_sensitivity(explain, scans, within=scans != 0, seed=2)
    assert (first.greatest == again.greatest).all()
    assert (first.greatest != other.greatest).all()


def test_what_does_not_fit_is_refused():
    cube = np.ones((2, 2, 2))
    with pytest.raises(InputError, match="1 heatmap is given"):
        agreement([cube])
    with pytest.raises(SpaceError, match="one grid for all"):
        agreement([cube, np.ones((2, 2))])
    with pytest.raises(InputError, match="NaN"):
        agreement([cube, cube * np.nan])
    scans = torch.ones(1, 1, 2, 2, 2)
    with pytest.raises(InputError, match="radius is 0"):
        max_sensitivity(lambda x: x, scans, radius=0)
    with pytest.raises(InputError, match=r"maps have shape \(1, 2, 2, 2\)"):
        max_sensitivity(lambda x: x[0], scans)
    assert np.isnan(max_sensitivity(lambda x: 0 * x, scans).greatest).all()
