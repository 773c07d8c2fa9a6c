from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.errors import InputError
from neuroxai.statistics.intervals import Estimate, critical_value, mean_of_proportions, subject_weights, wilson


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


def test_subjects_are_drawn_whole_and_within_their_class():
    subjects = np.array(["a", "a", "b", "c", "c", "d"])
    true = np.array([True, True, True, False, False, False])
    weights = subject_weights(subjects, true, 200, 1)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, 0] + weights[:, 2] == 2).all()
    assert (weights[:, 3] + weights[:, 5] == 2).all()
    assert {0.0, 1.0, 2.0} == set(weights[:, 0])


def test_the_normal_quantile_and_an_estimates_plain_values():
    # tables of the standard normal distribution
    assert critical_value(0.95) == pytest.approx(1.959963984540054, rel=1e-12)
    assert critical_value(0.9) == pytest.approx(1.6448536269514722, rel=1e-12)
    told = Estimate(0.5, 0.4, 0.6, "by hand", 10)
    assert told.to_dict() == {
        "value": 0.5, "low": 0.4, "high": 0.6, "method": "by hand", "n": 10, "level": 0.95, "reason": "",
    }  # fmt: skip
    with pytest.raises(FrozenInstanceError):
        told.value = 0.7


def test_subjects_of_both_classes_are_drawn_among_themselves():
    clusters, true = np.array(list("aabcde")), np.array([True, False, False, False, True, True])
    weights = subject_weights(clusters, true, 200, 3)
    # the one with scans of both classes is alone of its kind; of the others there are two each
    assert (weights[:, :2] == 1).all()
    for pair in (weights[:, 2:4], weights[:, 4:]):
        assert (pair.sum(axis=1) == 2).all()
        assert set(pair[:, 0]) == {0.0, 1.0, 2.0}
