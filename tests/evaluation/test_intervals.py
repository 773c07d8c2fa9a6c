from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroxai.errors import InputError
from neuroxai.evaluation import intervals
from neuroxai.evaluation.intervals import delong, mean_of_proportions, newcombe_area, roc_area_interval, wilson


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, score method without continuity correction
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilson_published_values(successes, n, expected):
    assert wilson(successes, n) == pytest.approx(expected, abs=5e-5)


@given(st.integers(1, 200), st.data())
def test_wilson_limits_solve_the_score_equation(n, data):
    k = data.draw(st.integers(0, n))
    p, z = k / n, 1.959963984540054
    for limit in wilson(k, n):
        assert (p - limit) ** 2 == pytest.approx(z * z * limit * (1 - limit) / n, abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 4), (5, 4)])
def test_wilson_refuses_what_is_no_proportion(successes, n):
    with pytest.raises(InputError, match="0 <= successes <= n"):
        wilson(successes, n)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_level_is_a_share(level):
    with pytest.raises(InputError, match="between 0 and 1"):
        wilson(1, 2, level)


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


def test_mean_of_proportions_is_not_certain_when_all_is_right():
    low, high = mean_of_proportions((10, 10), (10, 10))
    alone, _ = wilson(10, 10)
    assert high == 1.0
    # half the root of twice the square of one distance
    assert low == pytest.approx(1 - (1 - alone) / np.sqrt(2), abs=1e-12)


def coverage(draw, truth, repeats):
    inside = 0
    for _ in range(repeats):
        low, high = draw()
        inside += low <= truth <= high
    return inside / repeats


def test_balanced_accuracy_interval_covers(rng):
    sensitivity, specificity = 0.9, 0.75

    def draw():
        return mean_of_proportions((int(rng.binomial(20, sensitivity)), 20), (int(rng.binomial(25, specificity)), 25))

    # 2000 repeats: standard error .005
    assert 0.93 < coverage(draw, (sensitivity + specificity) / 2, 2000) < 0.975


def test_area_interval_covers(rng):
    from scipy.stats import norm

    def draw():
        return roc_area_interval(rng.normal(1.2, 1, 20), rng.normal(0, 1, 25))[0]

    assert 0.93 < coverage(draw, norm.cdf(1.2 / np.sqrt(2)), 2000) < 0.975


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=4, max_size=30), st.integers(0, 99))
def test_weighted_areas_equal_sklearn(pairs, seed):
    from sklearn.metrics import roc_auc_score

    true = np.array([a for a, _ in pairs])
    if true.all() or not true.any():
        return
    score = np.array([b for _, b in pairs], dtype=float)
    weights = intervals.subject_weights(np.arange(len(true)), true, 5, seed)
    for row, area in zip(weights, intervals.weighted_areas(true, score, weights), strict=True):
        assert area == pytest.approx(roc_auc_score(true, score, sample_weight=row), abs=1e-12)


def test_subjects_are_drawn_whole_and_within_their_class():
    subjects = np.array(["a", "a", "b", "c", "c", "d"])
    true = np.array([True, True, True, False, False, False])
    weights = intervals.subject_weights(subjects, true, 200, 1)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, 0] + weights[:, 2] == 2).all()
    assert (weights[:, 3] + weights[:, 5] == 2).all()
    assert {0.0, 1.0, 2.0} == set(weights[:, 0])
