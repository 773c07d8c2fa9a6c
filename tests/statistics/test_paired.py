"""Paired differences against a count of all signs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata

from neuroxai.errors import InputError
from neuroxai.statistics import paired_difference


def test_p_is_the_share_of_all_signs_as_extreme(rng):
    first, second = rng.normal(size=7), rng.normal(size=7)
    found = paired_difference(first, second)
    ranks, signs = rankdata(np.abs(first - second)), np.sign(first - second)
    seen = abs((ranks * signs).sum())
    slow = np.mean([abs((ranks * np.array(s)).sum()) >= seen - 1e-9 for s in product((-1, 1), repeat=7)])
    assert found.p == pytest.approx(slow)
    assert found.effect == pytest.approx((ranks * signs).sum() / ranks.sum())
    assert found.low < found.difference < found.high
    assert found.least_p == 2 / 2**7


def test_pairs_that_say_nothing():
    same = paired_difference([1.0, 2.0], [1.0, 2.0])
    assert (same.difference, same.low, same.high, same.p, same.effect) == (0, None, None, 1, 0)
    single = paired_difference([3.0, np.nan], [1.0, 1.0])
    assert (single.n, single.low, single.least_p) == (1, None, 1)
    with pytest.raises(InputError, match="none of 1 pairs has two numbers"):
        paired_difference([np.nan], [1.0])
    with pytest.raises(InputError, match=r"shapes \(2,\) and \(1,\)"):
        paired_difference([1.0, 2.0], [1.0])
