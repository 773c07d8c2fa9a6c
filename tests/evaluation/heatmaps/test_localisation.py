from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import mask_in_space, positive_density_ratio, relevance_mass
from neuroxai.space import Space, Volume

SHAPE = (3, 4, 2)
maps = hnp.arrays(np.float32, SHAPE, elements=st.floats(-5, 5, width=32))
masks = hnp.arrays(bool, SHAPE)


def slow(heatmap, mask, brain):
    inside, rest, in_count, rest_count = 0.0, 0.0, 0, 0
    for i, j, k in itertools.product(*map(range, SHAPE)):
        value = max(float(heatmap[i, j, k]), 0.0)
        if mask[i, j, k]:
            inside, in_count = inside + value, in_count + 1
        elif brain[i, j, k]:
            rest, rest_count = rest + value, rest_count + 1
    return inside, in_count, rest, rest_count


@given(maps, masks, masks)
def test_density_ratio_against_a_loop(heatmap, mask, brain):
    inside, in_count, rest, rest_count = slow(heatmap, mask, brain)
    if not in_count or not rest_count:
        with pytest.raises(InputError):
            positive_density_ratio(heatmap, mask, brain)
        return
    found = positive_density_ratio(heatmap, mask, brain)
    if rest:
        assert found == pytest.approx((inside / in_count) / (rest / rest_count), rel=1e-12)
    else:
        assert np.isinf(found) if inside else np.isnan(found)


@given(maps, masks)
def test_relevance_mass_against_a_loop(heatmap, mask):
    inside, _, outside, _ = slow(heatmap, mask, np.ones(SHAPE, bool))
    found = relevance_mass(heatmap, mask)
    if inside + outside:
        assert found == pytest.approx(inside / (inside + outside), rel=1e-12)
        assert relevance_mass(heatmap, ~mask) == pytest.approx(1 - found, abs=1e-12)
    else:
        assert np.isnan(found)


def test_a_flat_map_has_ratio_one_and_mass_by_chance(rng):
    mask = rng.random((6, 7, 5)) < 0.2
    flat = np.full(mask.shape, 0.1, dtype=np.float32)
    assert positive_density_ratio(flat, mask, np.ones_like(mask)) == pytest.approx(1, abs=1e-12)
    assert relevance_mass(flat, mask) == pytest.approx(mask.mean(), abs=1e-12)


def test_negative_relevance_counts_as_none():
    heatmap = np.array([2.0, -50.0, 1.0, 1.0]).reshape(4, 1, 1)
    mask = np.array([1, 1, 0, 0], dtype=bool).reshape(4, 1, 1)
    assert positive_density_ratio(heatmap, mask, np.ones_like(mask)) == 1
    assert relevance_mass(heatmap, mask) == 0.5


def test_shapes_and_nan_are_refused():
    cube = np.ones((2, 2, 2))
    with pytest.raises(SpaceError, match=r"mask of shape \(2, 2\)"):
        relevance_mass(cube, np.ones((2, 2)))
    with pytest.raises(SpaceError, match=r"brain of shape \(2, 2\)"):
        positive_density_ratio(cube, cube, np.ones((2, 2)))
    with pytest.raises(InputError, match="NaN"):
        relevance_mass(cube * np.nan, cube)


@pytest.mark.parametrize("orientation", ["LPS", "LIA", "PSR"])
def test_a_mask_of_any_orientation_lands_on_the_right_side(rng, orientation):
    affine = np.array([[2.0, 0, 0, -9], [0, 2, 0, -4], [0, 0, 2, 5], [0, 0, 0, 1]])
    space = Space((6, 5, 4), affine)
    mask = rng.random(space.shape) < 0.3
    stored = Volume(mask.astype(np.int32) * 7, space).reoriented(orientation)
    assert (mask_in_space(stored, space) == mask).all()


def test_a_fine_mask_goes_to_the_nearest_voxel():
    fine = Space((8, 8, 8), np.diag([1.0, 1, 1, 1]))
    coarse = np.diag([3.0, 3, 3, 1])
    coarse[:3, 3] = 1
    data = np.zeros(fine.shape)
    data[4, 1, 7] = 0.2
    found = mask_in_space(Volume(data, fine), Space((3, 3, 3), coarse))
    assert np.argwhere(found).tolist() == [[1, 0, 2]]
