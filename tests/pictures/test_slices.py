from __future__ import annotations

import numpy as np
import pytest

from neuroxai.pictures import slices
from neuroxai.space import Space, Volume

SHAPE = (7, 9, 5)
ORIENTATIONS = ["RAS", "LPS", "LIA", "PSR", "ASL"]


def volume(orientation: str) -> tuple[Volume, np.ndarray]:
    """A volume whose every value is its own world position, coded; stored in the given orientation."""
    affine = np.array([[2.0, 0, 0, -6], [0, 2, 0, -8], [0, 0, 2, -4], [0, 0, 0, 1]])
    x, y, z = np.indices(SHAPE)
    data = (10000 * x + 100 * y + z).astype(float)
    return Volume(data, Space(SHAPE, affine)).reoriented(orientation), data


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_left_is_left_and_front_is_up_in_axial_slices(orientation):
    stored, _ = volume(orientation)
    picture = slices.slice_image(stored, "axial", 3)
    assert picture.shape == (9, 7)
    # x grows to the right side of the picture, y to its top, z is the slice
    for row in range(9):
        for column in range(7):
            assert picture[row, column] == 10000 * column + 100 * (8 - row) + 3


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_coronal_and_sagittal_slices(orientation):
    stored, data = volume(orientation)
    assert (slices.slice_image(stored, "coronal", 2) == np.rot90(data[:, 2, :])).all()
    assert (slices.slice_image(stored, "sagittal", 6) == np.rot90(data[6])).all()


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LIA"])
@pytest.mark.parametrize("oblique", [False, True])
def test_a_blob_on_the_subjects_left_is_drawn_left(orientation, oblique):
    affine = np.diag([2.0, 3.0, 2.5, 1.0])
    if oblique:
        c, s = np.cos(0.2), np.sin(0.2)
        affine = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ affine
    affine[:3, 3] = (-8.0, -15.0, -10.0)
    space = Space((9, 11, 8), affine)
    data = np.zeros(space.shape)
    # left (x below zero), front, above the middle
    position = np.rint(space.voxels([-6.0, 6.0, 2.5])).astype(int)
    data[tuple(position)] = 1
    assert space.world(position)[0] < -2
    stored = Volume(data, space).reoriented(orientation)
    axial = slices.slice_image(stored, "axial", int(position[2]))
    row, column = np.argwhere(axial)[0]
    assert column < axial.shape[1] / 2 - 1
    assert row < axial.shape[0] / 2 - 1
    assert slices.PLANES["axial"].left == "L"
    coronal = slices.slice_image(stored, "coronal", int(position[1]))
    assert np.argwhere(coronal)[0][1] == column
    sagittal = slices.slice_image(stored, "sagittal", int(position[0]))
    assert np.argwhere(sagittal)[0][1] > sagittal.shape[1] / 2
    assert slices.PLANES["sagittal"].right == "A"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_coordinates_are_those_of_the_world(orientation):
    stored, _ = volume(orientation)
    assert slices.coordinate(stored.space, "sagittal", 0) == -6
    assert slices.coordinate(stored.space, "coronal", 8) == 8
    assert slices.coordinate(stored.space, "axial", 4) == 4


def test_bounding_box():
    inside = np.zeros((8, 9, 10), dtype=bool)
    inside[2:4, 5, 0:7] = True
    assert slices.bounding_box(inside) == [(1, 5), (4, 7), (0, 8)]
    assert slices.bounding_box(np.zeros((2, 3, 4), dtype=bool)) == [(0, 2), (0, 3), (0, 4)]


def test_chosen_slices_are_in_range_rising_and_hold_the_peak():
    for low, high, count, peak in [(0, 50, 7, 13), (10, 14, 7, 11), (5, 6, 3, None), (0, 30, 5, 29), (0, 30, 5, 99)]:
        chosen = slices.choose(low, high, count, peak)
        assert chosen == sorted(set(chosen))
        assert low <= chosen[0]
        assert chosen[-1] < high
        assert len(chosen) <= count
        if peak is not None and low <= peak < high:
            assert peak in chosen


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_strip_is_its_cropped_slices_side_by_side(orientation):
    stored, data = volume(orientation)
    box = [(1, 5), (2, 8), (0, 4)]
    strip = slices.strip(stored, "axial", [1, 3], box)
    cropped = [data[1:5, 2:8, k].T[::-1] for k in (1, 3)]
    assert (strip == np.hstack(cropped)).all()
    strip = slices.strip(stored, "sagittal", [2], box)
    assert (strip == data[2, 2:8, 0:4].T[::-1]).all()


def test_voxels_become_pixels_by_linear_interpolation_between_their_centres():
    data = np.zeros((2, 1, 2))
    data[1, 0, 1], data[0, 0, 1] = 4, 8
    stored = Volume(data, Space((2, 1, 2), np.diag([4.0, 4, 4, 1])))
    strip = slices.strip(stored, "coronal", [0], [(0, 2), (0, 1), (0, 2)], (2, 2))
    # centres of pixels at -.25, .25, .75, 1.25 of the voxels' centres; the left is 8, the right 4, below is nothing
    upper = np.array([8, 7, 5, 4])
    np.testing.assert_allclose(strip, np.outer([1, 0.75, 0.25, 0], upper), atol=1e-6)
