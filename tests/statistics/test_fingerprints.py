from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroxai.errors import InputError
from neuroxai.statistics import cosine_distances, most_different
from neuroxai.statistics.fingerprints import pairs

tables = hnp.arrays(np.float64, (4, 6), elements=st.floats(0.1, 10) | st.floats(-10, -0.1))


def slow(a, b):
    return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


@given(tables, st.floats(1e-9, 1e9))
def test_distances_against_the_slow_formula(table, factor):
    found = cosine_distances(table)
    for i in range(4):
        for j in range(4):
            assert found[i, j] == pytest.approx(slow(table[i], table[j]), abs=1e-12)
    # strength does not matter, only the pattern
    np.testing.assert_allclose(cosine_distances(table * np.array([[factor], [1], [1], [1]])), found, atol=1e-12)


def test_tiny_densities_keep_their_direction():
    assert cosine_distances([[1e-200, 0.0], [0.0, 1e-200]])[0, 1] == pytest.approx(1.0)


def test_the_most_different_pair_is_among_the_sure():
    densities = [[1.0, 0.0, np.nan], [0.0, 1.0, np.nan], [1.0, 1.0, np.nan], [-1.0, 0.0, np.nan]]
    # scans 0 and 3 point in opposite directions, but 3 is not sure enough
    first, second, distance = most_different(densities, [0.95, 0.99, 0.92, 0.90])
    assert (first, second) == (0, 1)
    assert distance == pytest.approx(1.0)
    assert most_different(densities, [0.95, 0.99, 0.92, 0.90], above=0.5)[:2] == (0, 3)
    with pytest.raises(InputError, match=r"1 scans have a score above 0.98"):
        most_different(densities, [0.95, 0.99, 0.92, 0.90], above=0.98)
    with pytest.raises(InputError, match=r"scores of shape \(2,\)"):
        most_different(densities, [0.95, 0.99])


def test_pairs_come_in_order(rng):
    table = rng.normal(size=(7, 5))
    found = pairs(table)
    assert len(found) == 21
    assert [p.distance for p in found] == sorted((p.distance for p in found), reverse=True)
    assert found[0] == most_different(table, np.ones(7))


def test_scans_without_a_direction_are_refused():
    with pytest.raises(InputError, match="scan 1 has no relevance"):
        cosine_distances([[1.0, 2.0], [0.0, 0.0]])
    with pytest.raises(InputError, match="region 1 in scan 0 is nan"):
        cosine_distances([[1.0, np.nan], [1.0, 2.0]])
