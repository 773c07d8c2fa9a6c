from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroxai.errors import InputError, SpaceError
from neuroxai.statistics import l2_distance, l2_distances
from neuroxai.statistics.maps import scaled

maps = hnp.arrays(np.float64, (2, 3, 4), elements=st.floats(0.01, 10))


@given(maps, maps, st.sampled_from(["maximum", "sum"]), st.floats(0.1, 100))
def test_distance_of_scaled_maps(first, second, scale, factor):
    divide = {"maximum": np.max, "sum": np.sum}[scale]
    difference = first / divide(first) - second / divide(second)
    found = l2_distance(first, second, scale)
    assert found == pytest.approx(float(np.sqrt((difference**2).sum())), abs=1e-12)
    assert found == pytest.approx(l2_distance(second, first, scale), abs=1e-12)
    # the unit of relevance does not matter
    assert l2_distance(factor * first, second, scale) == pytest.approx(found, abs=1e-9)


def test_float32_maps_are_added_in_float64(rng):
    many = rng.random((40, 40, 40), dtype=np.float32)
    exact = many.astype(np.float64)
    assert float(scaled(many, "sum").sum()) == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_array_equal(scaled(many, "sum"), exact / exact.sum())


def test_distances_between_runs(rng):
    runs = rng.random((4, 2, 3, 4))
    found = l2_distances(list(runs), "sum")
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 0.0)
    assert found[2, 1] == pytest.approx(l2_distance(runs[2], runs[1], "sum"), abs=1e-15)


def test_what_cannot_be_scaled_is_refused():
    with pytest.raises(InputError, match="sum of the heatmap is -1"):
        scaled([1.0, -2.0], "sum")
    with pytest.raises(InputError, match="maximum of the heatmap is 0"):
        scaled([0.0, -2.0])
    with pytest.raises(InputError, match="unknown scale 'mean'"):
        scaled([1.0], "mean")
    with pytest.raises(InputError, match="NaN"):
        scaled([1.0, np.nan])
    with pytest.raises(SpaceError, match=r"\(2,\) and \(3,\)"):
        l2_distance([1.0, 2.0], [1.0, 2.0, 3.0])
