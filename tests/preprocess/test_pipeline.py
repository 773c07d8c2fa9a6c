"""Placing without registration: nothing is turned, mirrored or, at the same voxel size, interpolated."""

import itertools

import numpy as np
import pytest

from neuroxai.preprocess.mapping import Mapping
from neuroxai.preprocess.pipeline import centring
from neuroxai.space import Space, Volume, mni152

ORIENTATIONS = [
    "".join(codes) for order in itertools.permutations(("RL", "AP", "SI")) for codes in itertools.product(*order)
]


def phantom(orientation="RAS", spacing=2.0):
    data = np.zeros((80, 90, 70), np.float32)
    data[20:60, 20:70, 15:55] = 1.0
    data[50:60, 60:70, 50:55] = 5.0  # right, front, top
    return Volume(data, Space(data.shape, np.diag([spacing, spacing, spacing, 1.0]))).reoriented(orientation)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_gives_the_same_picture(orientation):
    grid = mni152(2.0)
    scan = phantom(orientation)
    carried = Mapping(centring(scan.space, grid), None, None).carry(scan, grid)
    expected = np.zeros(grid.shape, np.float32)
    expected[8:88, 12:102, 13:83] = phantom().data
    np.testing.assert_array_equal(carried.data, expected)


def test_an_oblique_scan_is_not_turned():
    scan = phantom()
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.array([[c, -s, 0, 40], [s, c, 0, -25], [0, 0, 1, 300], [0, 0, 0, 1]])
    oblique = Volume(scan.data, Space(scan.space.shape, turn @ scan.space.affine))
    grid = mni152(2.0)
    straight, turned = (Mapping(centring(v.space, grid), None, None).carry(v, grid).data for v in (scan, oblique))
    np.testing.assert_allclose(turned, straight, atol=1e-5)


def test_the_brain_comes_into_the_middle():
    scan = phantom()
    grid = mni152(2.0)
    carried = Mapping(centring(scan.space, grid, scan.data > 0), None, None).carry(scan, grid)
    found = np.argwhere(carried.data > 0)
    np.testing.assert_allclose((found.min(0) + found.max(0)) / 2, (np.array(grid.shape) - 1) / 2, atol=0.5)
    assert (carried.data == 5).sum() == (scan.data == 5).sum()
    # the bright corner is still right, front, top
    assert (np.argwhere(carried.data == 5).mean(0) > np.argwhere(carried.data > 0).mean(0)).all()


def test_another_voxel_size_keeps_the_middle():
    scan, grid = phantom(spacing=1.5), mni152(2.0)
    matrix = centring(scan.space, grid)
    middle = grid.world((np.array(grid.shape) - 1) / 2)
    expected = scan.space.world((np.array(scan.space.shape) - 1) / 2)
    np.testing.assert_allclose(matrix[:3, :3] @ middle + matrix[:3, 3], expected, atol=1e-9)
