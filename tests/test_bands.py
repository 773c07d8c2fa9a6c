"""Bands of a heatmap: sign, strength, order and names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neuroxai.bands import LEVELS, bands
from neuroxai.errors import InputError


def test_values_rise_from_against_to_for():
    relevance = np.array([-1.0, -0.6, -0.3, -0.2, -0.05, 0.0, 0.05, 0.2, 0.3, 0.6, 1.0])
    labels, found = bands(relevance, limit=1.0)
    assert labels.tolist() == [1, 2, 3, 4, 0, 0, 0, 5, 6, 7, 8]
    assert [band.value for band in found] == list(range(1, 9))
    assert found[-1].name("AD") == "for AD, 75 % and more"
    assert found[4].name("AD") == "for AD, 10 to 25 %"
    assert found[1].name("AD") == "against AD, 50 to 75 %"


@given(
    arrays(np.float64, (3, 4, 5), elements=st.floats(-1e3, 1e3)),
    st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True),
)
def test_each_voxel_is_in_the_band_that_its_relevance_says(relevance, hundredths):
    levels = sorted(n / 100 for n in hundredths)
    labels, found = bands(relevance, levels, limit=700.0)
    assert sum(band.voxels for band in found) == np.count_nonzero(labels)
    inside = np.zeros(relevance.shape, bool)
    for band in found:
        here = labels == band.value
        share = relevance[here] * band.sign / 700.0
        assert band.voxels == here.sum()
        assert ((share >= band.low) & (share < band.high)).all()
        inside |= here
    assert (np.abs(relevance[~inside]) / 700.0 < levels[0]).all()
    # the other sign is the mirror image
    assert np.array_equal(bands(-relevance, levels, limit=700.0)[0][inside], 2 * len(levels) + 1 - labels[inside])


def test_an_empty_heatmap_has_no_bands():
    labels, found = bands(np.zeros((2, 3, 4)))
    assert not labels.any()
    assert len(found) == 2 * len(LEVELS)


@pytest.mark.parametrize("levels", [[], [0.5, 0.2], [0.0, 0.5], [0.5, 1.0], [0.1, 0.2, 0.3, 0.4, 0.5]])
def test_levels_that_do_not_ascend_are_refused(levels):
    with pytest.raises(InputError, match="levels of bands"):
        bands(np.ones(3), levels)


def test_not_a_number_is_refused():
    with pytest.raises(InputError, match="NaN"):
        bands(np.array([np.nan, 1.0]))
