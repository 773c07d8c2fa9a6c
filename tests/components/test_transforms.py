from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuroxai import io
from neuroxai.components import LoadScand, NormaliseScand, RandShiftd, ResampleToSpaced
from neuroxai.components.transforms import coverage
from neuroxai.errors import InputError, SpaceError
from neuroxai.space import Space, Volume, mni152

GRID = Space((20, 24, 22), np.array([[4.0, 0, 0, -38], [0, 4, 0, -60], [0, 0, 4, -30], [0, 0, 0, 1]]))


def phantom() -> Volume:
    """One bright voxel block on the left, in front, low."""
    data = np.zeros(GRID.shape, np.float32)
    data[3:5, 18:20, 5:7] = 1.0
    data[2:18, 2:22, 2:20] += 0.2
    return Volume(data, GRID)


def loaded(path, space):
    return ResampleToSpaced("image", space)(LoadScand("image")({"image": str(path)}))


def rotation(degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    return turn


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LAS", "PSR", "LIA", "ASL"])
def test_any_axis_order_arrives_bit_for_bit(tmp_path, orientation):
    original = phantom()
    io.write_volume(tmp_path / "scan.nii.gz", original.reoriented(orientation))
    result = loaded(tmp_path / "scan.nii.gz", GRID)
    assert result["image"].shape == (1, *GRID.shape)
    np.testing.assert_array_equal(np.asarray(result["image"][0]), original.data)
    assert Space(result["scan_shape"].tolist(), result["scan_affine"].numpy()).orientation == orientation


def test_an_oblique_scan_arrives_on_the_right_side(tmp_path):
    # the same world content, sampled on a finer, turned grid
    fine = Space((70, 80, 60), rotation(25) @ np.diag([-2.0, 2, 2, 1]) @ np.array(
        [[1.0, 0, 0, -36], [0, 1, 0, -38], [0, 0, 1, -20], [0, 0, 0, 1]]
    ))  # fmt: skip
    io.write_volume(tmp_path / "scan.nii", phantom().resampled_to(fine))
    image = np.asarray(loaded(tmp_path / "scan.nii", GRID)["image"][0])
    peak = np.array(np.unravel_index(image.argmax(), image.shape))
    assert np.abs(peak - (3.5, 18.5, 5.5)).max() <= 1.0


def test_a_scan_elsewhere_is_refused_with_both_grids_named(tmp_path):
    far = Space(GRID.shape, GRID.affine + np.array([[0, 0, 0, 400.0]] + [[0] * 4] * 3))
    io.write_volume(tmp_path / "scan.nii", Volume(phantom().data, far))
    with pytest.raises(SpaceError, match=r"0%.*20 x 24 x 22.*Register"):
        loaded(tmp_path / "scan.nii", GRID)


def test_a_scan_with_nothing_where_the_network_looks_is_refused(tmp_path):
    wide = Space((60, 24, 22), GRID.affine)
    data = np.zeros(wide.shape, np.float32)
    data[55:] = 1.0
    io.write_volume(tmp_path / "scan.nii", Volume(data, wide))
    with pytest.raises(InputError, match="nothing but zeros"):
        loaded(tmp_path / "scan.nii", GRID)


def test_coverage_is_the_share_of_the_middle():
    assert coverage(mni152(2), mni152(4)) == 1.0
    half = Space((48, 114, 96), mni152(2).affine)
    assert coverage(half, mni152(2)) == pytest.approx(0.5)


AXES = st.one_of(st.integers(0, 2), st.sampled_from([(0, 1), (2, 0), [1], (0, 1, 2)]))


@given(st.integers(0, 5), AXES, st.integers(0, 2**31 - 1))
def test_shifts_move_whole_voxels_and_let_zeros_in(max_shift, axis, seed):
    image = torch.arange(1, 4 * 5 * 6 + 1, dtype=torch.float32).reshape(1, 4, 5, 6)
    transform = RandShiftd("image", max_shift, axis)
    transform.set_random_state(seed=seed)
    moved = transform({"image": image.clone()})["image"]
    shift = np.zeros(3, int)
    shift[list(transform.axes)] = transform._shifts
    assert abs(shift).max() <= max_shift
    expected = torch.zeros_like(image)
    for voxel in np.ndindex(4, 5, 6):
        to = voxel + shift
        if (to >= 0).all() and (to < (4, 5, 6)).all():
            expected[(0, *to)] = image[(0, *voxel)]
    assert torch.equal(moved, expected)


def test_every_shift_is_drawn_and_axes_for_themselves():
    transform = RandShiftd("image", 2, (0, 1))
    transform.set_random_state(seed=0)
    shifts = set()
    for _ in range(500):
        transform({"image": torch.zeros(1, 6, 1, 1)})
        shifts.add(tuple(transform._shifts))
    assert shifts == {(x, y) for x in range(-2, 3) for y in range(-2, 3)}


def test_the_input_is_left_alone():
    image = torch.ones(1, 6, 6, 6)
    transform = RandShiftd("image", 2)
    transform.set_random_state(seed=1)
    for _ in range(10):
        transform({"image": image})
    assert torch.equal(image, torch.ones(1, 6, 6, 6))


def test_bad_shifts_are_refused():
    for axis in (3, (), (0, 0), (1, -1)):
        with pytest.raises(InputError, match=r"axis .*, expected .* one or more of 0, 1 and 2"):
            RandShiftd("image", 2, axis=axis)


@pytest.mark.parametrize("method", ["minmax", "maximum", "zscore"])
def test_normalisation_follows_its_formula_and_ignores_the_scanner_gain(method):
    generator = np.random.default_rng(7)
    brain = generator.random((1, 6, 7, 8)) > 0.4
    raw = np.where(brain, generator.uniform(20, 90, brain.shape), 0)
    scaled = NormaliseScand("image", method)({"image": torch.from_numpy(raw)})["image"].numpy()
    expected = {
        "minmax": raw / raw.max(),
        "maximum": raw / raw.max(),
        "zscore": np.where(brain, (raw - raw[brain].mean()) / raw[brain].std(ddof=1), 0),
    }[method]
    np.testing.assert_allclose(scaled, expected, atol=1e-12)
    louder = NormaliseScand("image", method)({"image": torch.from_numpy(3.7 * raw)})["image"].numpy()
    np.testing.assert_allclose(louder, scaled, atol=1e-12)
    assert (scaled[~brain] == 0).all()


def test_normalisation_refuses_unknown_names_and_flat_scans():
    with pytest.raises(InputError, match="unknown normalisation 'robust'"):
        NormaliseScand("image", "robust")
    for method in ("minmax", "zscore"):
        with pytest.raises(InputError, match="no contrast"):
            NormaliseScand("image", method)({"image": torch.full((1, 3, 3, 3), 2.0)})
    with pytest.raises(InputError, match="no contrast"):
        NormaliseScand("image", "zscore")({"image": torch.eye(3)[None, None]})
