from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.explain.scores import resampled
from neuroxai.space import Space, Volume


def turned(angle, axis, spacing, flips):
    """An oblique affine about the origin."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    first, second = [a for a in range(3) if a != axis]
    turn[[first, first, second, second], [first, second, first, second]] = cosine, -sine, sine, cosine
    return turn @ np.diag(spacing) @ np.diag(flips)


@given(
    seed=st.integers(0, 2**31),
    angle=st.sampled_from([0.0, 0.1, 0.7, np.pi / 2]),
    axis=st.integers(0, 2),
    spacing=st.tuples(*[st.sampled_from([0.5, 0.9, 1.0, 2.0, 3.7])] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    shape=st.tuples(*[st.integers(1, 23)] * 3),
)
def test_it_does_what_the_volume_does(seed, angle, axis, spacing, flips, shape):
    generator = np.random.default_rng(seed)
    source = Space((9, 12, 10), np.diag([2.0, 2.0, 2.0, 1.0]))
    affine = np.eye(4)
    affine[:3, :3] = turned(angle, axis, spacing, flips)
    affine[:3, 3] = source.world([4, 6, 5]) - affine[:3, :3] @ (np.array(shape) / 2) + generator.normal(size=3)
    target = Space(shape, affine)
    data = generator.normal(size=source.shape)
    wanted = Volume(data, source).resampled_to(target).data
    found = resampled(torch.from_numpy(data)[None, None], source, target)
    assert found.shape == (1, 1, *shape)
    np.testing.assert_allclose(found[0, 0].numpy(), wanted, atol=2e-5)


@pytest.mark.parametrize("corner", [(0, 0, 0), (8, 0, 3), (8, 11, 9)])
def test_a_voxel_comes_to_its_place_in_the_world(corner):
    source = Space((9, 12, 10), np.array([[-2, 0, 0, 7], [0, 0, 2, -5], [0, 2, 0, 1], [0, 0, 0, 1.0]]))
    data = torch.zeros(1, 1, 9, 12, 10)
    data[(0, 0, *corner)] = 1
    target = Space((40, 40, 40), np.array([[1, 0, 0, -20], [0, 1, 0, -15], [0, 0, 1, -10], [0, 0, 0, 1.0]]))
    found = np.unravel_index(int(resampled(data, source, target).argmax()), target.shape)
    np.testing.assert_allclose(target.world(found), source.world(corner))
