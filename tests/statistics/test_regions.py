"""Regions against size and controls, their overlap, and fingerprints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroxai.errors import InputError
from neuroxai.statistics import (
    cosine_distances,
    density,
    gain,
    group_gain,
    most_different,
    overlap,
    overlaps,
    top_regions,
)
from neuroxai.statistics.regions import gain_is_known, gains_are_scores, pairs

positive = st.floats(0.01, 100)
tables = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(5)), elements=positive)
ranks = hnp.arrays(np.float64, 12, elements=st.floats(-5, 5))


def test_figures_by_hand():
    controls = [[1.0, 4.0, -1.0], [3.0, 0.0, 1.0]]
    patients = [[4.0, 1.0, 2.0], [2.0, 2.0, 2.0]]
    np.testing.assert_array_equal(gain(patients, controls), [[2.0, 0.5, np.nan], [1.0, 1.0, np.nan]])
    np.testing.assert_array_equal(group_gain(patients, controls), [1.5, 0.75, np.nan])
    np.testing.assert_array_equal(density([[6.0, 1.0]], [3, 0]), [[2.0, np.nan]])


def test_where_the_controls_have_as_good_as_nothing_gain_is_left_out():
    # by hand: means 2 and standard errors 2, 1 and .5; one control of four has all (mean and error 1); signed
    assert gain_is_known([[4.0, 3.0, 2.5], [0.0, 1.0, 1.5]]).tolist() == [False, True, True]
    assert gain_is_known([[4.0], [0.0], [0.0], [0.0]]).tolist() == [False]
    assert gain_is_known([[1.0], [-0.9], [1.1], [-1.0]]).tolist() == [False]
    assert gain_is_known([[2.0, 0.0, -1.0]]).tolist() == [True, False, False]


def test_gains_that_are_ratios_of_class_scores_are_told():
    assert gains_are_scores(patients=1.0, controls=0.02) == ""
    assert gains_are_scores(patients=1.0, controls=-0.02) == ""
    told = gains_are_scores(patients=0.95, controls=1e-5)
    assert "the regions of a control hold 1e-05 together, of a patient 0.95" in told


@given(tables, tables, positive)
def test_gain_knows_no_scale_and_is_the_mean_of_patients(patients, controls, factor):
    # two networks whose relevance differs by a factor have the same gain
    np.testing.assert_allclose(gain(factor * patients, factor * controls), gain(patients, controls), rtol=1e-12)
    np.testing.assert_allclose(group_gain(patients, controls), gain(patients, controls).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(group_gain(controls, controls), 1.0, rtol=1e-12)
    # normalising by size changes nothing
    sizes = np.arange(1, 6)
    np.testing.assert_allclose(
        gain(density(patients, sizes), density(controls, sizes)), gain(patients, controls), rtol=1e-12
    )


def test_gain_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="2 regions against 3"):
        gain([[1.0, 2.0]], [[1.0, 2.0, 3.0]])
    with pytest.raises(InputError, match="controls: 0 scans"):
        gain([[1.0]], np.zeros((0, 1)))
    with pytest.raises(InputError, match=r"shape \(2,\), expected \(scans, regions\)"):
        gain([1.0, 2.0], [1.0, 2.0])


def test_leading_regions():
    assert top_regions([1.0, np.nan, 3.0, 3.0, -2.0], 3) == [2, 3, 0]
    with pytest.raises(InputError, match="top 5 of 4 regions"):
        top_regions([1.0, np.nan, 3.0, 3.0, -2.0], 5)


@given(ranks, ranks, st.integers(1, 12))
def test_overlap_is_a_symmetric_share(first, second, k):
    found = overlap(first, second, k)
    assert found == overlap(second, first, k)
    assert overlap(first, first, k) == 1.0
    assert 0 <= found <= 1
    # two sets of k among 12 share at least 2k - 12
    assert found >= (2 * k - 12) / k - 1e-12
    by_hand = {i for i in range(12) if sum(first > first[i]) + sum(first[:i] == first[i]) < k}
    assert set(top_regions(first, k)) == by_hand
    # no measure's unit matters
    assert overlap(4 * first, second, k) == found


def test_overlap_of_random_orders_is_chance(rng):
    runs = rng.normal(size=(80, 50))
    pairs = overlaps(runs, 10)[np.triu_indices(80, 1)]
    assert pairs.mean() == pytest.approx(10 / 50, abs=0.01)


def test_overlaps_between_runs(rng):
    runs = rng.normal(size=(4, 20))
    found = overlaps(runs, 5)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 1.0)
    assert found[1, 3] == overlap(runs[1], runs[3], 5)


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
