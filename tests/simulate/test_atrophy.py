from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from neuroxai.deformation import grid_points, jacobian_determinant, sample
from neuroxai.simulate.effects.atrophy import DOSES, FIELD_SPACING, VENTRICLE_GAIN
from neuroxai.simulate.effects.base import exponential, velocity
from neuroxai.space import Volume

BOTH = ["hippocampus_left", "hippocampus_right"]


@pytest.fixture(scope="module")
def strongest(atrophy):
    """The largest dose, with the largest ventricles and asymmetry that can be drawn."""
    strength = float(np.interp(DOSES[1], *atrophy._calibration)) * 1.12
    growth = 1.3 * VENTRICLE_GAIN * DOSES[1] / 25.0
    prescribed = atrophy.log_jacobian({"left": strength, "right": strength}, dict.fromkeys(("left", "right"), growth))
    warp, change = atrophy.integrate(prescribed)
    return prescribed, warp, change


def test_prescription_balances(atrophy):
    prescribed = atrophy.log_jacobian({"left": 0.4, "right": 0.3}, {"left": 0.3})
    assert abs(prescribed.sum(dtype=np.float64)) < 1e-4 * np.abs(prescribed).sum(dtype=np.float64)


def test_no_folding_at_the_largest_dose(strongest):
    _, warp, _ = strongest
    assert jacobian_determinant(warp).min() > 0.05


def test_realised_log_jacobian_follows_the_prescribed_one(strongest):
    prescribed, _, change = strongest
    inside = np.abs(prescribed) > 0.1
    assert np.corrcoef(prescribed[inside], change[inside])[0, 1] > 0.75


def test_loss_by_pull_back_equals_the_integral_of_the_forward_jacobian(atrophy):
    # the slow formula: det D(exp(v)) integrated over the region, on the forward map
    prescribed = atrophy.log_jacobian({"left": 0.5, "right": 0.5})
    warp, _ = atrophy.integrate(prescribed)
    forward = exponential(velocity(prescribed, FIELD_SPACING) * atrophy._window, atrophy.local)
    determinant = jacobian_determinant(forward).ravel()
    points = grid_points(atrophy.local)
    space = atrophy.anatomy.space
    for name in BOTH:
        roi = sample(atrophy.rois[name], space.voxels(points.T).T)
        slow = float((determinant * roi).sum() / roi.sum()) - 1
        assert atrophy.realised_change(warp, [name]) == pytest.approx(slow, abs=0.01)
        assert slow < -0.2


def test_a_loss_on_the_left_stays_on_the_left(atrophy):
    warp, _ = atrophy.integrate(atrophy.log_jacobian({"left": 0.5}))
    assert atrophy.realised_change(warp, ["hippocampus_left"]) < -0.2
    assert abs(atrophy.realised_change(warp, ["hippocampus_right"])) < 0.01
    moved = np.linalg.norm(warp.field, axis=0)
    assert grid_points(atrophy.local)[0][moved.argmax()] < -10


def test_drawn_doses_are_realised_between_15_and_35_percent(atrophy):
    losses = []
    for i in range(6):
        planted = atrophy.plant(np.random.default_rng(i), True)
        losses.append(planted.columns["hippocampus_loss_percent"])
        assert losses[-1] == pytest.approx(planted.columns["dose"], abs=1.0)
        assert planted.columns["inferior_horn_gain_percent"] > 20
    assert min(losses) >= 15
    assert max(losses) <= 35
    assert np.ptp(losses) > 8


def test_the_extremes_of_the_dose_are_realised_within_15_and_35_percent(atrophy):
    for dose in DOSES:
        strength = float(np.interp(dose, *atrophy._calibration))
        for asymmetry in (-0.12, 0.12):
            warp, _ = atrophy.integrate(
                atrophy.log_jacobian({"left": strength * (1 + asymmetry), "right": strength * (1 - asymmetry)})
            )
            assert -35 <= 100 * atrophy.realised_change(warp, BOTH) <= -15


def test_a_sham_moves_nothing(atrophy):
    planted = atrophy.plant(np.random.default_rng(1), False)
    assert not planted.warp.field.any()
    assert not planted.log_jacobian.any()
    assert set(planted.columns.values()) == {0.0}


def test_the_rest_of_the_brain_hardly_moves(atrophy, strongest):
    _, warp, change = strongest
    brain = Volume(atrophy.anatomy.brain.astype(np.float32), atrophy.anatomy.space).resampled_to(atrophy.local).data
    near = ndimage.binary_dilation(np.abs(change) > 0.05, iterations=4)
    rest = (brain > 0.5) & ~near
    moved = np.linalg.norm(warp.field, axis=0)
    # at the largest dose less than half a voxel of the 2 mm grid anywhere, and hardly anything on average
    assert moved[rest].max() < 1.0
    assert moved[rest].mean() < 0.1
    assert np.abs(change[rest]).max() < 0.05
    assert not moved[0].any()
    assert not moved[:, :, -1].any()
