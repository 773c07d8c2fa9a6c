from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from neuroxai.errors import InputError
from neuroxai.statistics.deviations import left_out_t, percentiles, two_sided, without


def test_left_out_t_by_fitting_without_that_row(rng):
    x, y = np.column_stack([np.ones(12), rng.normal(size=12)]), rng.normal(size=12)
    hat = x @ np.linalg.inv(x.T @ x) @ x.T
    error = y - hat @ y
    sd = np.sqrt((error**2).sum() / 10)
    for k in range(12):
        rest = np.arange(12) != k
        beta, rss, _, _ = np.linalg.lstsq(x[rest], y[rest], rcond=None)
        spread = np.sqrt(rss[0] / 9 * (1 + x[k] @ np.linalg.inv(x[rest].T @ x[rest]) @ x[k]))
        assert float(left_out_t(error[k], hat[k, k], sd, 10)) == pytest.approx((y[k] - x[k] @ beta) / spread)


def test_two_sided_is_students():
    t = np.array([-2.0, 0.0, 2.228])
    np.testing.assert_allclose(two_sided(t, 10), 2 * stats.t.sf(np.abs(t), 10))
    assert two_sided(t, 10)[2] == pytest.approx(0.05, abs=1e-4)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30), st.integers(-6, 6))
def test_percentile_is_the_middle_of_ties(values, own):
    ordered = np.sort(np.array(values, dtype=float))[:, None]
    found = percentiles(ordered, np.array([float(own)]))[0]
    below, ties = sum(v < own for v in values), values.count(own)
    assert found == pytest.approx(100 * (below + ties / 2 + 0.5) / (len(values) + 1))
    assert 0 < found < 100


def test_one_control_is_taken_out_of_each_region():
    ordered = np.array([[1.0, -3.0], [2.0, 0.0], [5.0, 4.0]])
    np.testing.assert_array_equal(without(ordered, np.array([5.0, 0.0]), "x"), [[1, -3], [2, 4]])
    with pytest.raises(InputError, match="x: scores, age or sex are not those"):
        without(ordered, np.array([5.0, 0.1]), "x")
