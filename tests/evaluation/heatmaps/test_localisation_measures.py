"""Areas, pointing game, intersection and tolerance; truths are lopsided, so that a flipped axis would be seen."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import binary_dilation
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score

from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import (
    chance_level,
    localisation_metrics,
    pointing_game,
    relevance_mass,
    top_intersection,
    voxel_areas,
    with_tolerance,
)

SHAPE = (4, 3, 5)
# few distinct values, so that ties happen
maps = hnp.arrays(np.float64, SHAPE, elements=st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0]))
masks = hnp.arrays(bool, SHAPE).filter(lambda m: m.any() and not m.all())


def lopsided():
    """A corner piece that no flip or permutation of axes maps onto itself."""
    mask = np.zeros((9, 8, 7), dtype=bool)
    mask[1:3, 5:7, 1] = True
    mask[1, 5, 2] = True
    return mask


@given(maps, masks)
def test_areas_against_scipy_and_scikit_learn(heatmap, mask):
    roc, precision = voxel_areas(heatmap, mask)
    u = mannwhitneyu(heatmap[mask], heatmap[~mask], method="asymptotic").statistic
    assert roc == pytest.approx(u / (mask.sum() * (~mask).sum()), abs=1e-12)
    assert precision == pytest.approx(average_precision_score(mask.ravel(), heatmap.ravel()), abs=1e-12)


@given(maps, masks, st.floats(0.1, 10), st.floats(-5, 5))
def test_ranks_alone_decide_about_areas(heatmap, mask, scale, shift):
    same = np.arctan(scale * heatmap) + shift
    assert voxel_areas(same, mask) == pytest.approx(voxel_areas(heatmap, mask), abs=1e-12)
    assert voxel_areas(-heatmap, mask)[0] == pytest.approx(1 - voxel_areas(heatmap, mask)[0], abs=1e-12)


@given(masks, st.floats(1e-3, 1e3))
def test_a_constant_map_is_at_chance_in_everything(mask, value):
    brain = np.ones(SHAPE, dtype=bool)
    found = localisation_metrics(np.full(SHAPE, value), mask, brain)
    assert found == pytest.approx(chance_level(mask, brain))
    assert found["relevance_mass"] == pytest.approx(mask.mean())


def test_noise_is_at_chance_on_average(rng):
    mask, brain = lopsided(), rng.random((9, 8, 7)) < 0.7
    found = [localisation_metrics(rng.normal(size=mask.shape), mask, brain, tolerance=1.0) for _ in range(400)]
    for key, level in chance_level(mask, brain, tolerance=1.0).items():
        values = np.array([f[key] for f in found])
        # average precision and a ratio of means are biased upwards in small samples
        slack = 0.03 if key in ("pr_auc", "density_ratio") else 0.0
        assert abs(values.mean() - level) < 4 * values.std() / np.sqrt(len(values)) + slack, key


def test_the_truth_itself_is_perfect_and_its_mirror_images_are_not(rng):
    mask, brain = lopsided(), np.ones((9, 8, 7), dtype=bool)
    heatmap = mask * (1 + rng.random(mask.shape))
    for tolerance in (0.0, 1.5):
        found = localisation_metrics(heatmap, mask, brain, tolerance=tolerance)
        perfect = {key: value for key, value in found.items() if key != "density_ratio"}
        assert perfect == dict.fromkeys(perfect, 1.0)
        assert found["density_ratio"] == np.inf
    for axis in range(3):
        found = localisation_metrics(np.flip(heatmap, axis), mask, brain)
        assert found["relevance_mass"] < 0.3
        assert found["pointing"] < 1
        assert found["roc_auc"] < 0.7


def test_only_the_brain_and_the_truth_are_looked_at(rng):
    mask, brain = lopsided(), np.zeros((9, 8, 7), dtype=bool)
    brain[:4] = True
    heatmap = rng.normal(size=mask.shape)
    wild = np.where(brain | mask, heatmap, 99.0)
    assert localisation_metrics(wild, mask, brain) == localisation_metrics(heatmap, mask, brain)


@given(maps, masks, st.integers(1, 60))
def test_top_intersection_is_the_mean_over_all_orders_of_ties(heatmap, mask, top):
    values = sorted(zip(heatmap.ravel(), mask.ravel(), strict=True), key=lambda pair: -pair[0])
    hits, left = 0.0, top
    for _, group in itertools.groupby(values, key=lambda pair: pair[0]):
        members = [inside for _, inside in group]
        taken = min(left, len(members))
        hits, left = hits + taken * np.mean(members), left - taken
    assert top_intersection(heatmap, mask, top) == pytest.approx(hits / top, abs=1e-12)
    assert pointing_game(heatmap, mask) == pytest.approx(top_intersection(heatmap, mask, 1), abs=1e-12)


@given(
    hnp.arrays(bool, (5, 4, 6)),
    st.tuples(*[st.sampled_from([0.7, 1.0, 1.5, 3.0])] * 3),
    st.sampled_from([0.0, 1.0, 1.5, 3.0, 4.2]),
)
def test_tolerance_is_a_distance_in_mm(mask, spacing, tolerance):
    where = np.stack(np.meshgrid(*[np.arange(n) for n in mask.shape], indexing="ij"), -1) * spacing
    wanted = np.zeros_like(mask)
    for point in where[mask]:
        wanted |= np.linalg.norm(where - point, axis=-1) <= tolerance + 1e-9
    np.testing.assert_array_equal(with_tolerance(mask, spacing, tolerance), wanted)


def test_tolerance_on_an_isotropic_grid_is_dilation_by_a_ball():
    mask = lopsided()
    ball = np.sum(np.square(np.mgrid[-2:3, -2:3, -2:3]), axis=0) <= 4
    np.testing.assert_array_equal(with_tolerance(mask, (1, 1, 1), 2.0), binary_dilation(mask, ball))


def test_a_near_miss_counts_within_tolerance_along_the_fine_axis_alone():
    truth = np.zeros((7, 7, 7), dtype=bool)
    truth[3, 3, 3] = True
    spacing, brain = (1.0, 3.0, 1.0), np.ones((7, 7, 7), dtype=bool)
    for offset, hit in (((2, 0, 0), 1.0), ((0, 1, 0), 0.0), ((0, 0, -2), 1.0), ((0, 0, 3), 0.0)):
        heatmap = np.zeros(truth.shape)
        heatmap[tuple(np.add(3, offset))] = 1.0
        found = localisation_metrics(heatmap, truth, brain, spacing=spacing, tolerance=2.0)
        assert (found["pointing"], found["relevance_mass"]) == (hit, hit)
        assert found["roc_auc"] == pytest.approx(0.5, abs=0.003 if hit else 0.006)
    assert relevance_mass(heatmap, truth) == 0


def test_what_does_not_fit_is_refused():
    cube, corner = np.ones((2, 2, 2)), np.zeros((2, 2, 2), dtype=bool)
    corner[0, 0, 1] = True
    with pytest.raises(InputError, match="holds 8 of 8 voxels"):
        voxel_areas(cube, cube)
    with pytest.raises(InputError, match="top is 9, expected 1 to 8"):
        top_intersection(cube, corner, 9)
    with pytest.raises(InputError, match="tolerance is -1"):
        with_tolerance(corner, (1, 1, 1), -1)
    with pytest.raises(InputError, match=r"spacing \(1, 1\)"):
        with_tolerance(corner, (1, 1), 1)
    with pytest.raises(InputError, match="no voxel on the heatmap's grid"):
        localisation_metrics(cube, np.zeros_like(corner), cube)
    with pytest.raises(SpaceError):
        localisation_metrics(cube, np.zeros((2, 2, 3)), cube)
    with pytest.raises(InputError, match="NaN"):
        localisation_metrics(cube * np.nan, corner, cube)
