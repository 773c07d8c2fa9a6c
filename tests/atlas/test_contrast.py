from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from neuroxai.atlas import builtin
from neuroxai.atlas.contrast import RegionContrast
from neuroxai.errors import InputError, SpaceError
from neuroxai.space import mni152

SPACE = mni152(6.0)


@pytest.fixture(scope="module")
def atlas():
    return builtin(SPACE)


@pytest.fixture(scope="module")
def contrast(atlas):
    return RegionContrast(atlas.positions(), len(atlas.names))


def test_white_noise_by_hand():
    # neighbours do not agree: mean 0, variance 3, densities 1 and -1/3
    values = [3.0, -1.0, 1.0, -1.0, 1.0, -1.0, -3.0, 1.0]
    found = RegionContrast([1, 1, 2, 2, 2, 2, 2, 2])(values)
    spread = 24 / 8 / (1 - 1 / 8)
    expected = [1 / np.sqrt(spread * (1 / 2 - 1 / 8)), -1 / 3 / np.sqrt(spread * (1 / 6 - 1 / 8))]
    np.testing.assert_allclose(found, expected)


def test_pairs_that_are_drawn_stand_for_all():
    """Against the double sum over all voxels of two regions on a line, correlation 1, .5, .2."""
    labels, table = np.repeat([1, 2], [4, 12]), np.array([1.0, 0.5, 0.2])
    lag = np.abs(np.arange(16)[:, None] - np.arange(16))
    full = np.where(lag < 3, table[np.minimum(lag, 2)], 0.0)
    found, mean = RegionContrast(labels).scatter([table])
    assert mean == pytest.approx(full.mean(), rel=0.1)
    for n, own in enumerate((labels == 1, labels == 2)):
        expected = full[own][:, own].mean() - 2 * full[own].mean() + full.mean()
        assert found[n] == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.0])
def test_no_region_leads_a_map_of_noise_for_its_size(contrast, sigma):
    rng = np.random.default_rng(1)
    known = contrast.voxels > 0
    small = known & (contrast.voxels <= np.quantile(contrast.voxels[known], 1 / 3))
    large = known & (contrast.voxels >= np.quantile(contrast.voxels[known], 2 / 3))
    values, first, by_density = [], [], []
    for _ in range(120):
        noise = rng.normal(size=SPACE.shape)
        noise = gaussian_filter(noise, sigma, mode="wrap") if sigma else np.abs(noise)
        values.append(contrast(noise))
        first.append(np.nanargmax(values[-1]))
        sums = np.bincount(contrast._own, noise[contrast._box][contrast._inside], minlength=len(known))
        by_density.append(np.argmax(np.where(known, sums / np.maximum(contrast.voxels, 1), -np.inf)))
    spread = np.std(np.array(values), axis=0)
    assert spread[small].mean() == pytest.approx(spread[large].mean(), rel=0.1)
    # a third of the regions leads a third of the maps (four standard errors of a share of 120)
    assert abs(small[first].mean() - 1 / 3) < 0.17
    assert small[by_density].mean() > 0.5  # what is corrected


def test_what_stands_out_of_noise_leads(atlas, contrast):
    noise = gaussian_filter(np.random.default_rng(3).normal(size=SPACE.shape), 1)
    for region in np.flatnonzero(contrast.voxels > 5)[[3, 30, 60]]:
        planted = noise + 5 * noise.std() * (atlas.positions() == region + 1)
        assert int(np.nanargmax(contrast(planted))) == region


def test_where_nothing_can_stand_out_there_is_no_contrast(contrast):
    assert np.isnan(contrast(np.ones(SPACE.shape))).all()
    assert np.isnan(RegionContrast([1, 1, 1])([1.0, 2.0, 0.0])).all()
    assert np.isnan(RegionContrast([1, 0, 2, 2], 3)([1.0, 5.0, 2.0, 0.0])[2])
    with pytest.raises(SpaceError, match="shape"):
        contrast(np.ones((2, 2, 2)))
    with pytest.raises(InputError, match="not all 0"):
        RegionContrast(np.zeros((2, 2), int))
