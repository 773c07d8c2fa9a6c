"""Calibration: known curves are found again, perfect and hopeless probabilities have their scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.errors import InputError
from neuroxai.evaluation.calibration import Calibration, brier, logit, reliability


def drawn(rng, n=3000, slope=0.5, intercept=-0.7):
    """Probabilities that are overconfident by a known curve, and truths drawn from the right ones."""
    value = rng.normal(0, 2.5, n)
    right = 1 / (1 + np.exp(-(slope * value + intercept)))
    return rng.random(n) < right, 1 / (1 + np.exp(-value)), right


def test_a_known_distortion_is_undone(rng):
    truth, share, right = drawn(rng)
    found = Calibration.fit(truth, share, [f"sub-{n}" for n in range(len(truth))], replicates=50)
    assert found.slope == pytest.approx(0.5, abs=0.06)
    assert found.intercept == pytest.approx(-0.7, abs=0.12)
    for n in range(0, 200, 20):
        value, low, high = found.probability(share[n])
        assert low <= value <= high
        assert value == pytest.approx(right[n], abs=0.05)
    calibrated = [found.probability(one)[0] for one in share[:500]]
    assert brier(truth[:500], calibrated) < brier(truth[:500], share[:500])


def test_the_fit_is_the_maximum_of_its_likelihood(rng):
    """Against the formula of Platt (1999): no point nearby is more likely."""
    truth, share, _ = drawn(rng, 60)
    found = Calibration.fit(truth, share, [str(n) for n in range(60)], replicates=1)
    positives, negatives = truth.sum(), (~truth).sum()
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def likelihood(slope, intercept):
        p = 1 / (1 + np.exp(-(slope * logit(share) + intercept)))
        return (target * np.log(p) + (1 - target) * np.log(1 - p)).sum()

    best = likelihood(found.slope, found.intercept)
    for step in ((0.02, 0), (-0.02, 0), (0, 0.05), (0, -0.05)):
        assert likelihood(found.slope + step[0], found.intercept + step[1]) < best


def test_classes_told_apart_fully_leave_a_finite_curve():
    share = np.concatenate([np.full(15, 0.001), np.full(15, 0.999)])
    found = Calibration.fit(share > 0.5, share, [str(n) for n in range(30)], replicates=20)
    value, low, high = found.probability(0.999)
    assert 0.85 < low <= value <= high < 1


def test_people_are_resampled_whole(rng):
    """Ten scans of each person say no more than one: the interval must not shrink by a factor of three."""
    truth, share, _ = drawn(rng, 80)
    people = [f"sub-{n}" for n in range(80)]
    alone = Calibration.fit(truth, share, people, replicates=200)
    often = Calibration.fit(np.repeat(truth, 10), np.repeat(share, 10), np.repeat(people, 10), replicates=200)
    narrow, wide = (np.ptp(one.probability(0.7)[1:]) for one in (often, alone))
    assert narrow > 0.75 * wide


def test_too_few_scans_are_refused():
    with pytest.raises(InputError, match="3 positive and 20 other scans, expected 10 of each"):
        Calibration.fit([True] * 3 + [False] * 20, [0.5] * 23, [str(n) for n in range(23)])


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=80))
def test_bins_hold_every_scan_once(cases):
    truth, share = zip(*cases, strict=True)
    found = reliability(truth, share)
    assert sum(one.n for one in found) == len(cases)
    assert sum(round(one.observed * one.n) for one in found) == sum(truth)
    assert [one.predicted for one in found] == sorted(one.predicted for one in found)
    for one in found:
        assert one.low <= one.observed <= one.high
    # no point stands farther from one of its scans than a bin may span, and none twice at one place
    for value in share:
        assert min(abs(one.predicted - value) for one in found) <= 0.25 + 1e-12
    assert len({one.predicted for one in found}) == len(found)


def test_sure_scans_have_no_point_at_one_half():
    truth, share = [False] * 6 + [True] * 6, [0.001] * 6 + [0.999] * 6
    assert [(one.predicted, one.observed, one.n) for one in reliability(truth, share)] == [
        (pytest.approx(0.001), 0.0, 6),
        (pytest.approx(0.999), 1.0, 6),
    ]
    (alone,) = reliability([True, False] * 20, [0.5] * 40)
    assert (alone.predicted, alone.observed, alone.n) == (0.5, 0.5, 40)


def test_brier_scores_of_known_forecasts():
    assert brier([True, False], [1.0, 0.0]) == 0
    assert brier([True, False], [0.5, 0.5]) == 0.25
    assert brier([True, False], [0.0, 1.0]) == 1
    with pytest.raises(InputError, match="not between 0 and 1"):
        brier([True], [1.2])
