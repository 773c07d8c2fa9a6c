"""Orders of voxels and regions, and fill-ins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation.heatmaps.faithfulness import filling, region_order, voxel_order

SHAPE = (4, 3, 5)
maps = hnp.arrays(np.float64, SHAPE, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0]))


@given(maps, hnp.arrays(bool, SHAPE), st.integers(1, 7))
def test_no_voxel_comes_before_a_greater_one_and_steps_are_of_one_size(heatmap, within, steps):
    within[0, 0, :3] = within[1, 1, :4] = True
    order = voxel_order(heatmap, steps, within)
    assert ((order.turn > 0) == within).all()
    sizes = np.bincount(order.turn[within], minlength=steps + 1)[1:]
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_allclose(order.shares, np.r_[0, np.cumsum(sizes)] / within.sum(), rtol=0, atol=1e-15)
    for step in range(1, steps):
        assert heatmap[order.turn == step].min() >= heatmap[order.turn == step + 1].max()


def test_equal_voxels_come_in_no_order_of_place():
    order = voxel_order(np.zeros((20, 20, 20)), 2)
    first = np.argwhere(order.turn == 1).mean(axis=0)
    assert np.abs(first - 9.5).max() < 0.5  # about 6 standard errors; array order would give 4.5 along the first axis
    assert (voxel_order(np.zeros((20, 20, 20)), 2, seed=1).turn != order.turn).mean() > 0.4


def test_regions_come_by_density_not_by_sum():
    regions, heatmap = np.zeros(SHAPE, dtype=int), np.zeros(SHAPE)
    regions[0], regions[1, 0, :2], regions[2, 1] = 7, 3, 40
    heatmap[regions == 7], heatmap[regions == 3], heatmap[regions == 40] = 1, 4, -2  # sums 15, 8, -10
    order = region_order(heatmap, regions)
    assert [int(order.turn[regions == v][0]) for v in (0, 3, 7, 40)] == [0, 1, 2, 3]
    assert all(len(np.unique(order.turn[regions == v])) == 1 for v in (3, 7, 40))
    assert order.shares.tolist() == [0, 2 / 22, 17 / 22, 1]


def test_by_contrast_no_region_leads_noise_for_its_size(rng):
    regions = np.zeros((24, 24, 24), dtype=int)
    regions[:20] = 1  # eight small regions beside a large one, and six of a middling size
    for n in range(8):
        regions[20, 3 * n : 3 * n + 2, :6] = 2 + n
    for n in range(6):
        regions[21:, 4 * n : 4 * n + 4] = 10 + n
    first = {by: [] for by in ("density", "contrast")}
    for seed in range(150):
        noise = np.random.default_rng(seed).normal(size=regions.shape)
        for by, found in first.items():
            turn = region_order(noise, regions, by=by).turn
            found.append(2 <= regions[turn == 1][0] < 10)
    assert np.mean(first["density"]) > 0.97
    assert abs(np.mean(first["contrast"]) - 8 / 15) < 0.13  # three standard errors
    strong = np.where(regions == 12, 3.0, 0.0) + rng.normal(size=regions.shape)
    assert (regions[region_order(strong, regions, by="contrast").turn == 1] == 12).all()
    with pytest.raises(InputError, match="unknown rank of regions 'sum'"):
        region_order(strong, regions, by="sum")


def test_a_random_order_keeps_regions_whole_and_shares_in_step(rng):
    regions = rng.integers(0, 6, SHAPE)
    order = region_order(rng.normal(size=SHAPE), regions)
    seen = set()
    for seed in range(30):
        other = order.shuffled(seed)
        assert all(len(np.unique(other.turn[regions == v])) == 1 for v in range(6))
        sizes = np.bincount(other.turn.ravel(), minlength=6)[1:]
        np.testing.assert_allclose(other.shares, np.r_[0, np.cumsum(sizes)] / sizes.sum())
        seen.add(tuple(int(other.turn[regions == v][0]) for v in range(1, 6)))
    assert len(seen) > 15
    voxels = voxel_order(rng.normal(size=SHAPE), 5)
    mixed = voxels.shuffled(3)
    assert sorted(mixed.turn.ravel()) == sorted(voxels.turn.ravel())
    assert (mixed.turn != voxels.turn).any()


def test_fill_ins(rng):
    scan = torch.from_numpy(rng.normal(size=(2, 12, 11, 13)))
    assert not filling(scan, "zero").any()
    blurred = filling(scan, "blur", sigma=1.5).numpy()
    for channel in range(2):
        wanted = gaussian_filter(scan[channel].numpy(), 1.5, mode="constant", truncate=4)
        np.testing.assert_allclose(blurred[channel], wanted, rtol=0, atol=1e-3 * np.abs(wanted).max())
    image = torch.rand(2, 12, 11, 13)
    assert filling(scan, image).dtype == scan.dtype
    with pytest.raises(SpaceError, match=r"fill has shape \(1, 12, 11, 13\)"):
        filling(scan, image[:1])
    with pytest.raises(InputError, match="unknown fill 'mean'"):
        filling(scan, "mean")
    with pytest.raises(InputError, match="sigma is 0"):
        filling(scan, "blur", sigma=0)


def test_what_does_not_fit_is_refused():
    cube = np.ones((2, 2, 2))
    with pytest.raises(InputError, match="steps is 9, expected 1 to 8"):
        voxel_order(cube, 9)
    with pytest.raises(InputError, match="NaN"):
        voxel_order(cube * np.nan, 2)
    with pytest.raises(SpaceError, match=r"mask of shape \(2,\)"):
        voxel_order(cube, 2, np.ones(2))
    with pytest.raises(SpaceError, match=r"regions of shape \(2,\)"):
        region_order(cube, np.ones(2, dtype=int))
    for labels in (cube, np.zeros((2, 2, 2), dtype=int), -np.ones((2, 2, 2), dtype=int)):
        with pytest.raises(InputError, match="whole numbers >= 0"):
            region_order(cube, labels)
