"""Means of groups, distances of maps, relevance in lesions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroxai.errors import InputError, SpaceError
from neuroxai.statistics import (
    GroupMeans,
    TableMeans,
    correlation,
    l2_distance,
    l2_distances,
    lesion_coverage,
    lesion_relevance,
)
from neuroxai.statistics.maps import scaled


def test_group_means_against_numpy(rng):
    data = rng.normal(size=(9, 2, 3)).astype(np.float32)
    means = GroupMeans((2, 3))
    for n, array in enumerate(data):
        means.add(array, ["all", "even" if n % 2 == 0 else "odd"])
    np.testing.assert_allclose(means.mean("even"), data[::2].astype(np.float64).mean(axis=0), rtol=0, atol=1e-15)
    assert (means.count("odd"), means.count("none"), means.mean("none")) == (4, 0, None)
    with pytest.raises(SpaceError, match=r"\(3, 2\)"):
        means.add(np.ones((3, 2)), ["all"])


def test_group_means_of_many_small_float32_values_do_not_drift():
    means = GroupMeans((1,))
    for _ in range(20000):
        means.add(np.array([0.1], dtype=np.float32), ["all"])
    assert means.mean("all")[0] == pytest.approx(float(np.float32(0.1)), abs=1e-12)


def test_table_means_skip_missing_values():
    table = TableMeans()
    table.add({"a": 1.0, "b": float("nan")}, ["x", "y"])
    table.add({"c": 5.0, "a": 3.0, "b": 4.0}, ["x"])
    assert table.names == ["a", "b", "c"]
    assert (table.mean("x", "a"), table.mean("x", "b"), table.mean("y", "b")) == (2.0, 4.0, None)


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


SHAPE = (3, 4, 2)
maps = hnp.arrays(np.float32, SHAPE, elements=st.floats(-5, 5, width=32))
masks = hnp.arrays(bool, SHAPE)


@given(maps, masks, masks)
def test_against_the_equation_and_its_complement(heatmap, mask, brain):
    inside = sum(max(float(v), 0.0) for v, m in zip(heatmap.flat, mask.flat, strict=True) if m)
    total = sum(max(float(v), 0.0) for v in heatmap.flat)
    found = lesion_relevance(heatmap, mask)
    if total == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(inside / total, abs=1e-12)
        assert found + lesion_relevance(heatmap, ~mask) == pytest.approx(1.0, abs=1e-12)
        assert lesion_relevance(2 * heatmap, mask) == pytest.approx(found, abs=1e-12)
    if brain.any():
        assert lesion_coverage(mask, brain) == pytest.approx(
            sum(m and b for m, b in zip(mask.flat, brain.flat, strict=True)) / brain.sum()
        )


def test_a_map_that_knows_nothing_gives_lesions_their_coverage():
    brain = np.ones(SHAPE, dtype=bool)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0, :2] = True
    assert lesion_relevance(np.ones(SHAPE), mask) == lesion_coverage(mask, brain) == 4 / 24


def test_lesion_load_and_relevance_of_planted_lesions(rng):
    loads, sums, unrelated = [], [], []
    for subject in range(25):
        mask = rng.random(SHAPE) < (subject + 1) / 30
        loads.append(mask.sum())
        sums.append((mask + rng.normal(0, 0.3, SHAPE)).sum())
        unrelated.append(rng.normal())
    found = correlation(loads, np.column_stack([sums, unrelated]), permutations=1999)
    assert found.r[0] > 0.8
    assert found.p[0] == 1 / 2000
    assert found.p[1] > 0.05


def test_grids_must_agree():
    with pytest.raises(SpaceError, match=r"\(2,\).*\(3,\)"):
        lesion_relevance(np.ones(3), np.ones(2))
    with pytest.raises(SpaceError, match=r"\(2,\).*\(3,\)"):
        lesion_coverage(np.ones(2), np.ones(3))
    with pytest.raises(InputError, match="no voxel"):
        lesion_coverage(np.ones(3), np.zeros(3))
