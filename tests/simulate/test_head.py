from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from neuroxai.errors import InputError
from neuroxai.simulate import RandomPose, Raw, simulate_scan
from neuroxai.simulate.variability import draw_bias, smooth_field, with_head
from neuroxai.space import Space

SPACE = Space((48, 56, 50), np.diag([3.0, 3.0, 3.0, 1.0]))


@pytest.fixture
def ball():
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in SPACE.shape], indexing="ij"))
    return ((grid - np.array([24, 28, 25]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 16**2


@pytest.mark.parametrize(("suffix", "scalp"), [("T1w", 1.15), ("FLAIR", 0.8)])
def test_layers_lie_around_the_brain_and_leave_it_alone(ball, suffix, scalp):
    clean = ball.astype(np.float32)
    head = with_head(np.random.default_rng(1), clean, ball, SPACE, suffix)
    np.testing.assert_array_equal(head[ball], clean[ball])
    distance = ndimage.distance_transform_edt(~ball, sampling=3.0)
    bone = head[(distance > 4) & (distance < 6)]
    skin = head[(distance > 9.5) & (distance < 11)]
    assert np.median(bone) < 0.35
    assert np.median(skin) == pytest.approx(scalp, rel=0.25)
    assert (head[distance > 30] == 0).all()
    # its thickness varies
    thickness = (head > 0.5).sum(axis=2)
    assert thickness.max() < SPACE.shape[2]


def test_the_field_has_the_range_asked_for(ball):
    field = draw_bias(np.random.default_rng(2), SPACE, ball, 0.3)
    assert field[ball].min() == pytest.approx(0.7, abs=1e-5)
    assert field[ball].max() == pytest.approx(1.3, abs=1e-5)
    steps = np.abs(np.diff(field, axis=0))[ball[1:] & ball[:-1]]
    assert steps.max() < 0.1
    assert not np.allclose(field, draw_bias(np.random.default_rng(3), SPACE, ball, 0.3))
    np.testing.assert_array_equal(draw_bias(np.random.default_rng(2), SPACE, ball, 0.0), 1.0)


def test_smooth_fields_are_standardised():
    field = smooth_field(np.random.default_rng(4), SPACE, 12.0)
    assert field.std() == pytest.approx(1.0, abs=1e-4)
    assert np.corrcoef(field[1:].ravel(), field[:-1].ravel())[0, 1] > 0.9


@pytest.mark.parametrize("bias", [-0.1, 0.9, float("nan")])
def test_bias_out_of_range(bias):
    with pytest.raises(InputError, match="0 to 80 %"):
        Raw(bias)


def test_a_raw_scan_shows_a_head_and_its_true_field(lesions_8mm, seed):
    plain = simulate_scan(lesions_8mm, seed, True)
    raw = simulate_scan(lesions_8mm, seed, True, raw=Raw(0.4))
    np.testing.assert_array_equal(raw.brain, plain.brain)
    np.testing.assert_array_equal(raw.mask, plain.mask)
    assert ((plain.image > 0) <= plain.brain).all()
    around = ndimage.binary_dilation(raw.brain, iterations=2) & ~raw.brain
    assert np.median(raw.image[around]) > 3 * np.median(raw.image[~ndimage.binary_dilation(raw.brain, iterations=4)])
    # divided by the field, the brain is that of the plain scan up to gain and noise
    inside = ndimage.binary_erosion(raw.brain)
    a, b = raw.image[inside] / raw.bias[inside], plain.image[inside]
    assert np.corrcoef(a, b)[0, 1] > 0.97
    assert np.corrcoef(a, b)[0, 1] > np.corrcoef(raw.image[inside], b)[0, 1] + 0.05
    moved = simulate_scan(lesions_8mm, seed, True, RandomPose(), Raw())
    faces = [moved.image[0], moved.image[-1], moved.image[:, 0], moved.image[:, -1], moved.image[:, :, -1]]
    assert max(np.median(face) for face in faces) < 0.1 * np.percentile(moved.image, 95)
