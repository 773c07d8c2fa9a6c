"""Hedges' g against a worked example and against simulation."""

from __future__ import annotations

import numpy as np
import pytest

from neuroxai.statistics.effects import hedges_g


def test_the_worked_example_of_borenstein():
    """Borenstein 2009, Introduction to Meta-Analysis, ch. 4: means 103 and 100, sd 5.5 and 4.5, n 50 each: g .5924."""
    rng = np.random.default_rng(0)

    def sample(mean, sd):
        values = rng.normal(size=50)
        return mean + sd * (values - values.mean()) / values.std(ddof=1)

    effect = hedges_g(sample(103, 5.5), sample(100, 4.5))
    assert effect.g == pytest.approx(0.5924, abs=1e-4)
    # its variance of d is .0411; ours has g in d's place: .04176
    assert (effect.high - effect.low) / 2 == pytest.approx(1.96 * np.sqrt(0.04 + 0.5924**2 / 200), rel=1e-3)


def test_sign_order_and_what_has_no_spread():
    assert hedges_g([1, 2, 3], [4, 5, 6]).g < 0
    assert hedges_g([1, 2], [4, 5, 6]) is None
    assert hedges_g([1, 1, 1], [1, 1, 1]) is None


def test_intervals_cover():
    rng = np.random.default_rng(1)
    found = [hedges_g(rng.normal(0.8, 1, 20), rng.normal(0, 1, 25)) for _ in range(2000)]
    covered = np.mean([one.low <= 0.8 <= one.high for one in found])
    assert 0.93 < covered < 0.97
