from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from neuroxai.errors import InputError
from neuroxai.statistics import compare_areas, roc_area
from neuroxai.statistics.intervals import subject_weights
from neuroxai.statistics.roc import delong, newcombe_area, roc_area_interval, weighted_areas


def slow_delong(x, y):
    """DeLong 1988 written out with the kernel, pair by pair."""
    m, n = len(x), len(y)
    psi = [[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x]
    area = sum(map(sum, psi)) / (m * n)
    v10 = [sum(psi[i]) / n for i in range(m)]
    v01 = [sum(psi[i][j] for i in range(m)) / m for j in range(n)]
    s10 = sum((v - area) ** 2 for v in v10) / (m - 1)
    s01 = sum((v - area) ** 2 for v in v01) / (n - 1)
    return area, s10 / m + s01 / n


# whole numbers: ties occur
scores = st.lists(st.integers(0, 8).map(float), min_size=2, max_size=25)


@given(scores, scores)
def test_delong_against_the_slow_formula(x, y):
    assert delong(np.array(x), np.array(y)) == pytest.approx(slow_delong(x, y), abs=1e-12)


def test_delong_needs_both_classes():
    with pytest.raises(InputError, match="0 negative"):
        delong(np.ones(3), np.ones(0))


@given(scores, scores)
def test_area_interval_holds_the_area_and_stays_in_range(x, y):
    (low, high), _ = roc_area_interval(np.array(x), np.array(y))
    area, _ = delong(np.array(x), np.array(y))
    assert 0 <= low <= area <= high <= 1
    assert high - low > 0


@given(st.floats(0.02, 0.98), st.integers(2, 60), st.integers(2, 60))
def test_newcombe_limits_solve_their_equation(area, m, n):
    z, star = 1.959963984540054, (m + n) / 2 - 1
    for t in newcombe_area(area, m, n):
        variance = t * (1 - t) * (1 + star * (1 - t) / (2 - t) + star * t / (1 + t)) / (m * n)
        assert (area - t) ** 2 == pytest.approx(z * z * variance, abs=1e-9)


def test_newcombe_area_is_symmetric_and_honest_at_one():
    low, high = newcombe_area(1.0, 10, 10)
    assert high == 1.0
    assert 0.6 < low < 0.95
    assert newcombe_area(0.0, 10, 10) == pytest.approx((0.0, 1 - low), abs=1e-9)


def test_area_interval_covers(rng):
    from scipy.stats import norm

    def draw():
        return roc_area_interval(rng.normal(1.2, 1, 20), rng.normal(0, 1, 25))[0]

    truth = norm.cdf(1.2 / np.sqrt(2))
    limits = np.array([draw() for _ in range(2000)])
    # 2000 repeats: standard error .005
    assert 0.93 < np.mean((limits[:, 0] <= truth) & (truth <= limits[:, 1])) < 0.975


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=4, max_size=30), st.integers(0, 99))
def test_weighted_areas_equal_sklearn(pairs, seed):
    from sklearn.metrics import roc_auc_score

    true = np.array([a for a, _ in pairs])
    if true.all() or not true.any():
        return
    score = np.array([b for _, b in pairs], dtype=float)
    weights = subject_weights(np.arange(len(true)), true, 5, seed)
    for row, area in zip(weights, weighted_areas(true, score, weights), strict=True):
        assert area == pytest.approx(roc_auc_score(true, score, sample_weight=row), abs=1e-12)


def slow_covariance(first, second, true):
    """Covariance of two areas, pair by pair (DeLong 1988, eq. 4 to 6)."""
    v10, v01, areas = [], [], []
    for score in (first, second):
        x = [s for s, t in zip(score, true, strict=True) if t]
        y = [s for s, t in zip(score, true, strict=True) if not t]
        psi = [[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x]
        v10.append([sum(row) / len(y) for row in psi])
        v01.append([sum(row[j] for row in psi) / len(x) for j in range(len(y))])
        areas.append(sum(map(sum, psi)) / (len(x) * len(y)))
    result = [[0.0, 0.0], [0.0, 0.0]]
    for r in range(2):
        for s in range(2):
            for v in (v10, v01):
                n = len(v[0])
                products = [(v[r][i] - areas[r]) * (v[s][i] - areas[s]) for i in range(n)]
                result[r][s] += sum(products) / (n - 1) / n
    return areas, result


pairs = st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), min_size=5, max_size=30)


@given(pairs)
def test_two_areas_are_compared_as_in_the_slow_formula(rows):
    true, first, second = (list(column) for column in zip(*rows, strict=True))
    assume(2 <= sum(true) <= len(true) - 2)
    areas, covariance = slow_covariance(first, second, true)
    found = compare_areas(true, first, second)
    assert (found.first, found.second) == pytest.approx(areas, abs=1e-12)
    error = np.sqrt(max(covariance[0][0] + covariance[1][1] - 2 * covariance[0][1], 0))
    assert found.high - found.low == pytest.approx(2 * 1.959963984540054 * error, abs=1e-7)
    if error > 1e-6:
        assert found.z == pytest.approx((areas[0] - areas[1]) / error, rel=1e-6, abs=1e-6)
    swapped = compare_areas(true, second, first)
    assert swapped.difference == pytest.approx(-found.difference, abs=1e-12)
    np.testing.assert_allclose(swapped.p, found.p, atol=1e-9)


def test_comparison_has_its_nominal_error_rate(rng):
    # two networks equally good, errors correlated: p is uniform up to the normal approximation
    rejected = 0
    true = np.arange(120) < 60
    for _ in range(1000):
        shared = rng.normal(size=120) + true
        p = compare_areas(true, shared + rng.normal(size=120), shared + rng.normal(size=120)).p
        rejected += p < 0.05
    # binomial(1000, .05): mean 50, sd 6.9
    assert 30 < rejected < 75


def test_equal_scores_do_not_differ():
    found = compare_areas([True, True, False, False], [1, 2, 1, 0], [2, 4, 2, 0])
    assert (found.difference, found.z, found.p) == (0.0, 0.0, 1.0)


def test_area_with_its_interval(rng):
    from sklearn.metrics import roc_auc_score

    true, score = rng.random(40) < 0.5, rng.normal(size=40)
    found = roc_area(true, score)
    assert found.value == pytest.approx(roc_auc_score(true, score), abs=1e-12)
    assert (found.low, found.high) == roc_area_interval(score[true], score[~true])[0]


def test_scores_are_checked():
    with pytest.raises(InputError, match="NaN"):
        roc_area([True, False], [float("nan"), 1.0])
    with pytest.raises(InputError, match="one score per scan"):
        roc_area([True, False], [1.0])
    with pytest.raises(InputError, match="got 1 positive and 2"):
        compare_areas([True, False, False], [1, 2, 3], [1, 2, 3])
