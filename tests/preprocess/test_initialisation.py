"""Pictures made ready, and the similarity that starts are judged by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.heads import painted, posed
from neuroxai.preprocess.registration.initialisation import (
    BINS,
    normalised_mutual_information,
    pair,
    pose,
    similarity,
    start,
)
from neuroxai.space import Volume


@given(seed=st.integers(0, 1000), n=st.integers(20, 400))
def test_similarity_against_the_formula(seed, n):
    rng = np.random.default_rng(seed)
    one, two = rng.integers(0, BINS, (2, n))
    two = np.where(rng.random(n) < 0.5, one, two)
    pairs = list(zip(one.tolist(), two.tolist(), strict=True))

    def entropy(values):
        shares = [values.count(v) / len(values) for v in set(values)]
        return -sum(p * np.log(p) for p in shares)

    expected = (entropy(one.tolist()) + entropy(two.tolist())) / entropy(pairs)
    assert normalised_mutual_information(one, two) == pytest.approx(expected)
    assert normalised_mutual_information(one, one[::-1][::-1]) == pytest.approx(2)


@pytest.mark.parametrize("orientation", ["LPS", "PSR", "AIL", "SRP"])
def test_how_voxels_are_stored_does_not_matter(grid, orientation):
    brain = painted(grid)
    one, two = pair(brain, brain), pair(brain.reoriented(orientation), brain.reoriented("LIP"))
    assert one.fixed.space.matches(two.fixed.space)
    np.testing.assert_allclose(one.fixed.data, two.fixed.data, atol=1e-5)
    np.testing.assert_allclose(one.moving.data, two.moving.data, atol=1e-5)
    np.testing.assert_allclose(one.moving_centres[0], two.moving_centres[0], atol=1e-3)


def test_a_start_is_nearer_than_a_descent_needs(grid):
    true = posed((25, -15, 18), (20, -25, 20))
    both = pair(painted(grid), painted(grid, true))
    found = start(both, scale=False)
    middle = both.fixed_centre
    assert np.linalg.norm((found - true)[:3, :3] @ middle + (found - true)[:3, 3]) < 8
    assert np.degrees(np.arccos((np.trace(found[:3, :3] @ true[:3, :3].T) - 1) / 2)) < 12
    score = similarity(both)
    assert score(true) > score(np.eye(4))
    far = np.eye(4)
    far[0, 3] = 500
    assert score(far) == 0


def test_a_pose_turns_about_its_centre():
    centre = np.array([3.0, -20, 8])
    matrix = pose(np.array([0.3, -0.2, 0.1, 4, 5, 6, np.log(1.2)]), centre)
    np.testing.assert_allclose(matrix[:3, :3] @ centre + matrix[:3, 3], (7, -15, 14))
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1.2**3)


def test_a_brain_against_a_head_is_judged_near_the_brain(grid):
    brain = painted(grid)
    head = Volume(np.where(brain.data > 0.1, brain.data, 0.3 + 0.2 * np.sin(brain.data.shape[0])).astype("f4"), grid)
    head = Volume(head.data + np.random.default_rng(0).uniform(0, 0.1, grid.shape).astype("f4"), grid)
    both = pair(brain, head)
    assert both.moving_where is None
    assert 0.1 < both.fixed_where.mean() < 0.6
    swapped = pair(head, brain)
    assert swapped.fixed_where is None
    assert swapped.moving_where is not None
    assert pair(brain, head, moving_mask=Volume(brain.data > 0.1, grid)).fixed_where is None
