from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from neuroxai.errors import InputError
from neuroxai.statistics import correlation, false_discovery, group_difference
from neuroxai.statistics import permutation as module


def test_correlation_against_scipy(rng):
    x, y = rng.normal(size=30), rng.normal(size=(30, 4))
    y[:, 0] += x
    found = correlation(x, y, permutations=20_000, seed=1)
    for k in range(4):
        expected = stats.pearsonr(x, y[:, k])
        assert found.r[k] == pytest.approx(expected.statistic, abs=1e-12)
        # normal data: the t distribution is the permutation null to first order; Monte Carlo error .0035
        assert found.p[k] == pytest.approx(expected.pvalue, abs=0.015)


def test_correlation_p_is_that_of_all_rearrangements():
    x, y = np.array([1.0, 2.0, 3.0, 4.0, 9.0]), np.array([2.0, 1.0, 4.0, 3.0, 5.0])
    observed = abs(np.corrcoef(x, y)[0, 1])
    every = [abs(np.corrcoef(order, y)[0, 1]) >= observed - 1e-12 for order in permutations(x)]
    found = correlation(x, y, permutations=50_000)
    # binomial error of 50,000 draws is at most .0022
    assert float(found.p) == pytest.approx(np.mean(every), abs=0.008)


def test_the_smallest_p_counts_the_data_themselves():
    # twelve values in one order: no random rearrangement comes near
    x = np.arange(12.0)
    assert float(correlation(x, -x, permutations=999).p) == 1 / 1000
    values = np.concatenate([x, x + 100])[:, None]
    found = group_difference(values, np.arange(24) < 12, permutations=499)
    assert (found.p[0], found.p_family[0]) == (1 / 500, 1 / 500)


def test_each_column_has_its_own_null(rng):
    # one column of rare large values: its null is wide, that of the other is not
    x = rng.normal(size=40)
    y = np.column_stack([np.where(np.arange(40) == 0, 100.0, 0.0), rng.normal(size=40)])
    together = correlation(x, y, permutations=999, seed=3)
    for k in range(2):
        alone = correlation(x, y[:, k], permutations=999, seed=3)
        assert (float(alone.r), float(alone.p)) == pytest.approx((together.r[k], together.p[k]))


def uniform_on_its_grid(p, permutations, rng):
    """Two-sided KS p-value of (b + 1) / (n + 1), spread evenly inside its steps, against the uniform law."""
    return stats.kstest(p - rng.random(len(p)) / (permutations + 1), "uniform").pvalue


def test_correlation_p_is_uniform_without_correlation(rng):
    found = [
        float(correlation(rng.exponential(size=12), rng.lognormal(size=12), permutations=199, seed=k).p)
        for k in range(1000)
    ]
    assert uniform_on_its_grid(np.array(found), 199, rng) > 0.01


def test_group_p_is_uniform_without_difference(rng):
    single, family = [], []
    member = np.arange(14) < 6
    for k in range(1000):
        found = group_difference(rng.lognormal(size=(14, 5)), member, permutations=199, seed=k)
        single.append(found.p[0])
        family.append(found.p_family.min())
    assert uniform_on_its_grid(np.array(single), 199, rng) > 0.01
    # the smallest corrected p of a family is the test of the global null: uniform too
    assert uniform_on_its_grid(np.array(family), 199, rng) > 0.01


def test_group_difference_is_welch_of_scipy(rng):
    values = rng.normal(size=(20, 6)) * [1e-7, 1, 1e6, 1, 1, 1] + [1e-5, 1e6, 0, 0, 0, 0]
    member = rng.permutation(np.arange(20) < 7)
    found = group_difference(values, member, permutations=99)
    expected = stats.ttest_ind(values[member], values[~member], equal_var=False)
    np.testing.assert_allclose(found.t, expected.statistic, rtol=1e-6)
    np.testing.assert_allclose(found.difference, values[member].mean(0) - values[~member].mean(0), rtol=1e-12)


def test_group_p_is_that_of_all_relabelings(rng):
    values = rng.normal(size=(9, 3)) + np.where(np.arange(9) < 4, 1.0, 0.0)[:, None]
    member = np.arange(9) < 4
    observed = np.abs(stats.ttest_ind(values[member], values[~member], equal_var=False).statistic)
    drawn = []
    for chosen in combinations(range(9), 4):
        group = np.isin(np.arange(9), chosen)
        drawn.append(np.abs(stats.ttest_ind(values[group], values[~group], equal_var=False).statistic))
    drawn = np.array(drawn)
    found = group_difference(values, member, permutations=40_000)
    np.testing.assert_allclose(found.p, (drawn >= observed - 1e-9).mean(axis=0), atol=0.008)
    largest = drawn.max(axis=1)[:, None]
    np.testing.assert_allclose(found.p_family, (largest >= observed - 1e-9).mean(axis=0), atol=0.008)


def test_family_wise_p_is_never_smaller_and_q_is_scipys(rng):
    found = group_difference(rng.normal(size=(20, 30)), np.arange(20) < 10, permutations=499)
    assert (found.p_family >= found.p).all()
    np.testing.assert_allclose(found.q, stats.false_discovery_control(found.p))


def test_blocks_do_not_change_the_result(rng, monkeypatch):
    values, member = rng.normal(size=(16, 4)), np.arange(16) < 8
    whole = group_difference(values, member, permutations=333, seed=5)
    monkeypatch.setattr(module, "_BLOCK", 200)
    parts = group_difference(values, member, permutations=333, seed=5)
    np.testing.assert_array_equal(parts.p, whole.p)
    np.testing.assert_array_equal(parts.p_family, whole.p_family)


@given(st.floats(0.001, 1000), st.floats(-100, 100), st.integers(0, 50))
def test_unit_and_offset_do_not_matter(factor, offset, seed):
    values = np.random.default_rng(seed).normal(size=(12, 3))
    member = np.arange(12) < 5
    one = group_difference(values, member, permutations=49, seed=1)
    two = group_difference(factor * values + offset, member, permutations=49, seed=1)
    np.testing.assert_allclose(two.t, one.t, rtol=1e-6)
    np.testing.assert_array_equal(two.p, one.p)
    mirrored = group_difference(values, ~member, permutations=49, seed=1)
    np.testing.assert_allclose(mirrored.t, -one.t, rtol=1e-9)


def test_false_discovery_is_nominal(rng):
    # 40 of 50 regions carry nothing; the share of false ones among the found is at most .1 * 40 / 50
    shares, found_at_all = [], 0
    for _ in range(400):
        z = rng.normal(size=50) + np.where(np.arange(50) < 10, 3.0, 0.0)
        found = false_discovery(2 * stats.norm.sf(np.abs(z))) <= 0.1
        shares.append(found[10:].sum() / max(found.sum(), 1))
        found_at_all += found[:10].sum()
    error = np.std(shares) / np.sqrt(400)
    assert np.mean(shares) == pytest.approx(0.1 * 40 / 50, abs=3 * error)
    assert found_at_all / 4000 > 0.6


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=20))
def test_false_discovery_by_its_definition(p):
    values = np.sort(p)[::-1]
    running, expected = 1.0, []
    for k, value in enumerate(values):
        running = min(running, value * len(p) / (len(p) - k))
        expected.append(running)
    np.testing.assert_allclose(np.sort(false_discovery(p))[::-1], expected, rtol=1e-12)
    padded = false_discovery([[*p, np.nan], [*p, 1e-9]])
    np.testing.assert_allclose(padded[0, :-1], false_discovery(p))
    assert np.isnan(padded[0, -1])


def test_regions_without_voxels_or_spread():
    values = np.random.default_rng(0).normal(size=(10, 3))
    values[:, 1], values[:, 2] = np.nan, 0.1
    found = group_difference(values, np.arange(10) < 5, permutations=99)
    assert np.isnan([found.difference[1], found.t[1], found.p[1], found.p_family[1], found.q[1]]).all()
    assert (found.t[2], found.p[2], found.p_family[2]) == (0.0, 1.0, 1.0)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="got 1 and 3"):
        group_difference(np.ones((4, 2)), [True, False, False, False])
    with pytest.raises(InputError, match="in some subjects only"):
        group_difference([[np.nan], [1.0], [2.0], [3.0]], [True, True, False, False])
    with pytest.raises(InputError, match="0 permutations"):
        correlation([1, 2, 3], [1, 2, 4], permutations=0)
    with pytest.raises(InputError, match="same in all subjects"):
        correlation([1, 1, 1], [1, 2, 4])
    with pytest.raises(InputError, match=r"shape \(2,\) for relevance of shape \(3,\)"):
        correlation([1, 2], [1, 2, 4])
    with pytest.raises(InputError, match="three subjects"):
        correlation([1, 2], [1, 2])
    assert np.isnan(correlation([1, 2, 3], [[1, 5], [2, 5], [4, 5]], permutations=9).p[1])
