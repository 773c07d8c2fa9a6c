from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from neuroxai.errors import InputError
from neuroxai.statistics import bootstrap, difference_interval, mean_interval, ratio_interval


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_each_region_as_scipy_alone(rng, method):
    values = rng.lognormal(size=(15, 3))
    found = mean_interval(values, method=method, replicates=300, seed=4)
    for k in range(3):
        alone = stats.bootstrap(
            (values[:, k],), np.mean, method=method, n_resamples=300, rng=np.random.default_rng(4)
        ).confidence_interval
        assert (found.low[k], found.high[k]) == pytest.approx(tuple(alone), rel=1e-12)
    np.testing.assert_allclose(found.value, values.mean(axis=0))


def test_mean_interval_covers(rng):
    # 1500 samples of 30 as columns: standard error .0056
    sample = rng.normal(1.0, 2.0, size=(30, 1500))
    for method in ("BCa", "percentile"):
        found = mean_interval(sample, method=method, replicates=500)
        assert 0.91 < np.mean((found.low <= 1.0) & (found.high >= 1.0)) < 0.965


def test_difference_and_ratio_cover(rng):
    a, b = rng.normal(3.0, 1.0, size=(25, 1500)), rng.normal(2.0, 0.8, size=(35, 1500))
    difference = difference_interval(a, b, replicates=400)
    assert 0.91 < np.mean((difference.low <= 1.0) & (difference.high >= 1.0)) < 0.965
    ratio = ratio_interval(a, b, replicates=400)
    assert 0.91 < np.mean((ratio.low <= 1.5) & (ratio.high >= 1.5)) < 0.965
    np.testing.assert_allclose(ratio.value, a.mean(axis=0) / b.mean(axis=0))


def test_a_ratio_whose_denominator_may_vanish_has_no_upper_limit():
    controls = np.array([[-1.0], [-1.0], [2.0], [1.0], [0.5]])
    found = ratio_interval(np.array([[3.0], [4.0], [5.0]]), controls)
    assert found.value[0] == pytest.approx(4.0 / 0.3)
    assert np.isfinite(found.low[0])
    assert found.high[0] == np.inf
    assert np.isnan(ratio_interval([[1.0], [2.0]], [[-1.0], [-2.0]]).value[0])


def test_scans_of_a_subject_come_along(rng):
    # every subject scanned four times with the same result: as wide as one scan each, not half of it
    once = rng.normal(size=20)
    scans, subjects = np.repeat(once, 4), np.repeat(np.arange(20), 4)
    plain = bootstrap(np.mean, once, method="percentile", seed=2)
    clustered = bootstrap(np.mean, scans, clusters=[subjects], method="percentile", seed=2)
    naive = bootstrap(np.mean, scans, method="percentile", seed=2)
    assert (clustered.low, clustered.high) == pytest.approx((plain.low, plain.high), abs=1e-12)
    assert (naive.high - naive.low) < 0.6 * (clustered.high - clustered.low)


def test_what_does_not_vary_has_no_interval():
    found = mean_interval(np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 5.0]]))
    assert np.isnan([found.low[0], found.high[0]]).all()
    assert found.low[1] < found.value[1] < found.high[1]


def test_same_seed_same_limits(rng):
    sample = rng.normal(size=12)
    assert mean_interval(sample, seed=1) == mean_interval(sample, seed=1)
    assert mean_interval(sample, seed=1) != mean_interval(sample, seed=2)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="two rows or more"):
        mean_interval([1.0])
    with pytest.raises(InputError, match="unknown bootstrap method 'basic'"):
        mean_interval([1.0, 2.0], method="basic")
    with pytest.raises(InputError, match="1 clusters for 2 rows"):
        bootstrap(np.mean, [1.0, 2.0], clusters=[["a"]])
    with pytest.raises(InputError, match="one subject"):
        bootstrap(np.mean, [1.0, 2.0], clusters=[["a", "a"]])
    with pytest.raises(InputError, match="level 2"):
        mean_interval([1.0, 2.0], level=2)
