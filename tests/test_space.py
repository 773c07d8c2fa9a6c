from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.processing import resample_from_to
from scipy import ndimage
from scipy.spatial.transform import Rotation

from neuroxai.errors import SpaceError
from neuroxai.io import read_labels, read_volume
from neuroxai.sampling import smoothing
from neuroxai.space import Space, Volume, mni152

CODES = ["".join(c) for p in permutations(("LR", "PA", "IS")) for c in product(*p)]
SHAPE = (9, 7, 6)


def oblique(degrees=(0.0, 0.0, 0.0), spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), flips=(1, 1, 1), order=(0, 1, 2)):
    affine = np.eye(4)
    turned = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine[:3, :3] = (turned * np.array(flips) * np.array(spacing))[:, list(order)]
    affine[:3, 3] = origin
    return affine


affines = st.builds(
    oblique,
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 4)] * 3),
    origin=st.tuples(*[st.floats(-100, 100)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    order=st.permutations(range(3)),
)


def runs_one_way(affine):
    """Whether one order of the axes fits better than any other: of two that fit equally, rounding chooses."""
    cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    fits = sorted((sum(chosen := cosines[list(order), range(3)]), min(chosen)) for order in permutations(range(3)))
    return bool(fits[-1][0] - fits[-2][0] > 1e-6 and fits[-1][1] > 1e-6)


gently_turned = st.builds(
    oblique,
    degrees=st.tuples(*[st.floats(-15, 15)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 4)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    order=st.permutations(range(3)),
)


def noise(shape=SHAPE, dtype=np.float64):
    return np.random.default_rng(5).uniform(1, 2, shape).astype(dtype)


# --- Space


@given(affine=affines)
def test_world_and_voxels_are_inverse_and_right(affine):
    space = Space(SHAPE, affine)
    voxels = np.array([[1.0, 2, 3], [8, 0, 5], [0.5, 3.25, -2]])
    world = space.world(voxels)
    np.testing.assert_allclose(world, nib.affines.apply_affine(affine, voxels), atol=1e-9)
    np.testing.assert_allclose(space.voxels(world), voxels, atol=1e-8)
    np.testing.assert_allclose(space.spacing, nib.affines.voxel_sizes(affine))
    assert space.voxel_volume == pytest.approx(np.prod(space.spacing))
    assert Space.from_dict(space.to_dict()).matches(space, tolerance=0)


@given(affine=gently_turned)
def test_orientation_is_nibabels(affine):
    assert Space(SHAPE, affine).orientation == "".join(nib.aff2axcodes(affine))


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((4, 4), np.eye(4), "three positive axis lengths"),
        ((4, 0, 4), np.eye(4), "three positive axis lengths"),
        ((4, 4, 4), np.eye(3), "4 x 4"),
        ((4, 4, 4), np.full((4, 4), np.nan), "NaN"),
        ((4, 4, 4), np.diag([1.0, 0, 1, 1]), "cannot be inverted"),
        ((4, 4, 4), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "cannot be inverted"),
        ((4, 4, 4), np.eye(4)[::-1], "last row"),
    ],
)
def test_spaces_that_cannot_be(shape, affine, words):
    with pytest.raises(SpaceError, match=words):
        Space(shape, affine)


def test_small_voxels_are_not_taken_for_singular():
    assert Space((4, 4, 4), np.diag([0.01, 0.01, 0.01, 1])).spacing == (0.01, 0.01, 0.01)


def test_space_is_a_frozen_copy():
    affine = np.eye(4)
    space = Space((4, 4, 4), affine)
    affine[0, 0] = 9
    assert space.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        space.affine[0, 0] = 9
    with pytest.raises(AttributeError):
        space.shape = (1, 1, 1)  # type: ignore[misc]


def test_matches_measures_at_the_corners():
    space = Space((100, 100, 100), np.eye(4))
    turned = np.eye(4)
    turned[0, 1] = 2e-4  # harmless at the origin, 0.02 mm at the far corner
    assert not space.matches(Space((100, 100, 100), turned))
    assert space.matches(Space((100, 100, 100), turned), tolerance=0.03)
    assert not space.matches(Space((100, 100, 99), np.eye(4)))


# --- reorientation


@given(affine=affines.filter(runs_one_way), code=st.sampled_from(CODES))
def test_reorienting_moves_no_voxel_in_the_world(affine, code):
    volume = Volume(noise(), Space(SHAPE, affine))
    turned = volume.reoriented(code)
    assert turned.space.orientation == code
    assert turned.space.matches(volume.space.reoriented(code), tolerance=0)
    grid = np.indices(turned.data.shape).reshape(3, -1).T
    back = volume.space.voxels(turned.space.world(grid))
    np.testing.assert_allclose(back, np.rint(back), atol=1e-6)
    np.testing.assert_array_equal(volume.data[tuple(np.rint(back).astype(int).T)], turned.data.ravel())
    again = turned.reoriented(volume.space.orientation)
    np.testing.assert_array_equal(again.data, volume.data)
    np.testing.assert_allclose(again.space.affine, affine, atol=1e-9)


@given(affine=gently_turned)
def test_ras_is_nibabels_closest_canonical(affine):
    turned = Volume(noise(), Space(SHAPE, affine)).reoriented("RAS")
    canonical = nib.as_closest_canonical(nib.Nifti1Image(noise(), affine))
    np.testing.assert_array_equal(turned.data, canonical.get_fdata())
    np.testing.assert_allclose(turned.space.affine, canonical.affine, atol=1e-9)


@pytest.mark.parametrize("code", ["RAR", "XYZ", "RA", "RASL", ""])
def test_orientations_that_are_none(code):
    with pytest.raises(SpaceError, match="not valid"):
        Space(SHAPE, np.eye(4)).reoriented(code)


# --- resampling


def oracle(volume, space, order):
    """Each new voxel's centre through the world into the old grid, interpolated there one by one."""
    world = nib.affines.apply_affine(space.affine, np.indices(space.shape).reshape(3, -1).T)
    voxels = nib.affines.apply_affine(np.linalg.inv(volume.space.affine), world)
    values = ndimage.map_coordinates(volume.data, voxels.T, order=order, mode="grid-constant", cval=0.0)
    return values.reshape(space.shape)


@given(source=affines, target=affines, order=st.sampled_from([1, 3]))
def test_resampling_against_world_coordinates(source, target, order):
    volume = Volume(noise(), Space(SHAPE, source))
    target = np.array(target)
    # the two grids overlap: their centres coincide up to a third of a voxel
    centre = np.array([3.3, 4.1, 2.7])
    target[:3, 3] = nib.affines.apply_affine(source, [4, 3, 2.5]) - target[:3, :3] @ centre
    space = Space((8, 9, 6), target)
    got = volume.resampled_to(space, order=order, antialias=False)
    np.testing.assert_allclose(got.data, oracle(volume, space, order), atol=1e-6)
    assert got.space is space


@given(source=gently_turned)
def test_resampling_against_nibabel(source):
    volume = Volume(noise(), Space(SHAPE, source))
    space = Space((8, 8, 8), np.array([[1.1, 0, 0, -4], [0, 1.2, 0, -4], [0, 0, 0.9, -3], [0, 0, 0, 1]]))
    theirs = resample_from_to(
        nib.Nifti1Image(volume.data, source), (space.shape, space.affine), order=1, mode="nearest"
    )
    inside = volume.space.voxels(space.world(np.indices(space.shape).reshape(3, -1).T))
    inside = ((inside >= 0) & (inside <= np.array(SHAPE) - 1)).all(1).reshape(space.shape)
    ours = volume.resampled_to(space, antialias=False).data
    np.testing.assert_allclose(ours[inside], theirs.get_fdata()[inside], atol=1e-6)


@given(
    source=affines,
    code=st.sampled_from(CODES),
    shift=st.tuples(*[st.integers(-3, 3)] * 3),
    order=st.sampled_from([0, 1]),
)
def test_flips_permutations_and_whole_voxel_shifts_are_exact(source, code, shift, order):
    volume = Volume(noise(dtype=np.float32), Space(SHAPE, source))
    turned = volume.reoriented(code)
    step = np.eye(4)
    step[:3, 3] = shift
    space = Space(turned.space.shape, turned.space.affine @ step)
    padded = np.pad(turned.data, 3)
    cut = tuple(slice(3 + s, 3 + s + n) for s, n in zip(shift, turned.data.shape, strict=True))
    np.testing.assert_array_equal(volume.resampled_to(space, order=order).data, padded[cut])


def test_cubic_splines_keep_values_at_the_nodes():
    volume = Volume(noise(), Space(SHAPE, oblique((20, 5, -9))))
    np.testing.assert_allclose(volume.resampled_to(volume.space, order=3).data, volume.data, atol=1e-9)


def test_outside_the_field_of_view_is_zero():
    volume = Volume(noise(), Space(SHAPE, np.eye(4)))
    far = np.eye(4)
    far[0, 3] = 1000
    for order in (0, 1, 3):
        assert not volume.resampled_to(Space(SHAPE, far), order=order).data.any()


@pytest.mark.parametrize("top", [128, 255, 32768, 65536, 2_000_000_001])
def test_labels_are_never_blended_or_wrapped(top):
    rng = np.random.default_rng(1)
    labels = rng.choice(np.array([0, 1, 127, top], dtype=np.int32), (12, 10, 8))
    volume = Volume(labels, Space(labels.shape, oblique((10, 20, 30), (1, 1.5, 2))))
    got = volume.resampled_to(Space((20, 20, 20), oblique(origin=(-4, -4, -4))), order=0)
    assert got.data.dtype == np.int32
    assert set(np.unique(got.data)) == {0, 1, 127, top}
    grid = np.indices((20, 20, 20)).reshape(3, -1).T
    voxels = volume.space.voxels(got.space.world(grid))
    # a voxel well inside an old one is filled by it: half a diagonal in voxels of 1 mm and more
    nearest = np.rint(voxels).astype(int)
    deep = (np.abs(voxels - nearest) * np.array(volume.space.spacing) < np.array([1, 1.5, 2]) / 2 - 0.45).all(1)
    inside = ((nearest >= 0) & (nearest < labels.shape)).all(1) & deep
    assert inside.sum() > 20
    np.testing.assert_array_equal(got.data.ravel()[inside], labels[tuple(nearest[inside].T)])


def test_integers_become_floats_when_blended_and_floats_keep_their_type():
    space = Space(SHAPE, np.eye(4))
    half = Space(SHAPE, oblique(origin=(0.5, 0, 0)))
    assert Volume(np.arange(378).reshape(SHAPE), space).resampled_to(half).data[0, 0, 0] == 21.0
    for dtype in (np.float32, np.float64):
        assert Volume(noise(dtype=dtype), space).resampled_to(half).data.dtype == dtype
    mask = Volume(noise() > 1.5, space)
    np.testing.assert_array_equal(mask.resampled_to(space, order=0).data, mask.data)


def test_antialiasing_keeps_points_that_would_fall_through():
    data = np.zeros((40, 40, 40))
    data[21, 18, 19] = 1.0  # between the nodes of the coarse grid
    volume = Volume(data, Space(data.shape, np.eye(4)))
    coarse = Space((10, 10, 10), np.diag([4.0, 4, 4, 1]))
    assert volume.resampled_to(coarse, antialias=False).data.sum() == 0
    assert volume.resampled_to(coarse).data.sum() * 64 == pytest.approx(1.0, rel=0.1)
    # the mass of one point depends a little on where it lies between the nodes; over all places it is kept
    block = np.zeros_like(data)
    block[16:20, 20:24, 16:20] = 1.0
    assert Volume(block, volume.space).resampled_to(coarse).data.sum() == pytest.approx(1.0, rel=1e-3)
    # a finer or an equal grid is not smoothed
    fine = Space((20, 20, 20), np.diag([0.5, 0.5, 0.5, 1]))
    np.testing.assert_array_equal(volume.resampled_to(fine).data, volume.resampled_to(fine, antialias=False).data)


def test_antialiasing_smooths_only_the_axis_that_becomes_coarser():
    data = np.zeros((21, 21, 21))
    data[10, 10, 10] = 1.0
    # stored LIA, so that the world's axes are not the array's
    volume = Volume(data, Space(data.shape, np.eye(4))).reoriented("LIA")
    coarse = Space((7, 21, 21), np.diag([3.0, 1, 1, 1]))
    got = volume.resampled_to(coarse).data
    assert got[3].sum() > 0
    off_line = got.copy()
    off_line[:, 10, 10] = 0
    assert np.abs(off_line).max() == 0


def test_data_must_fit_the_space():
    with pytest.raises(SpaceError, match=r"\(2, 2, 2\) does not fit a space of shape \(9, 7, 6\)"):
        Volume(np.zeros((2, 2, 2)), Space(SHAPE, np.eye(4)))


# --- the standard grid


@pytest.mark.parametrize(
    ("spacing", "shape"), [(1.0, (193, 229, 193)), (2.0, (96, 114, 96)), (4.0, (48, 57, 48)), (8.0, (24, 29, 24))]
)
def test_mni152(spacing, shape):
    space = mni152(spacing)
    assert space.shape == shape
    assert space.spacing == (spacing,) * 3
    assert space.orientation == "RAS"
    if spacing == 1:
        # ICBM152 2009c: its corners are voxel centres
        np.testing.assert_array_equal(space.world([[0, 0, 0], [192, 228, 192]]), [[-96, -132, -78], [96, 96, 114]])
        return
    # other grids cover the field of view of the 2 mm one, edge to edge, and are centred on it
    edges = space.world([[-0.5] * 3, np.array(shape) - 0.5])
    assert (edges[0] <= [-97, -131, -77]).all()
    assert (edges[1] >= [95, 97, 115]).all()
    np.testing.assert_allclose(edges.mean(0), [-1, -17, 19])


@pytest.mark.parametrize("spacing", [0, 0.1, 20, -2, float("nan")])
def test_spacing_out_of_range(spacing):
    with pytest.raises(SpaceError, match="out of range"):
        mni152(spacing)


@pytest.mark.real
def test_the_2_mm_grid_is_the_real_cohorts(real_data):
    scan = read_volume(real_data / "cohorts/ds002748/sub-01/anat/sub-01_space-MNI152_res-2_desc-brain_T1w.nii.gz")
    assert scan.space.matches(mni152(2))


@pytest.mark.real
def test_real_labels_keep_their_side(real_data):
    """Left and right hippocampus (17 and 53 in FreeSurfer's table), stored as LIA, after resampling into MNI's axes."""
    labels = read_labels(real_data / "labelmaps/synthseg/training_seg_01.nii.gz")
    assert labels.space.orientation == "LIA"
    for volume in (labels, labels.reoriented("RAS"), labels.resampled_to(mni152(2), order=0)):
        left, right = (volume.space.world(np.argwhere(volume.data == v)).mean(0) for v in (17, 53))
        assert left[0] < right[0]
        assert 30 < right[0] - left[0] < 80
        assert np.abs(left[1:] - right[1:]).max() < 12


@pytest.mark.real
def test_real_oblique_scan_there_and_back(real_data):
    """An anisotropic oblique FLAIR: centre of mass in the world stays, on the RAS grid and at 2 mm."""
    scan = read_volume(real_data / "flair/open_ms_native/long_patient01_study1_FLAIR.nii.gz")

    def centre(volume):
        weights = volume.data.astype(np.float64)
        index = np.array(
            [(weights.sum(tuple({0, 1, 2} - {a})) * np.arange(n)).sum() for a, n in enumerate(weights.shape)]
        )
        return volume.space.world(index / weights.sum())

    np.testing.assert_allclose(centre(scan.reoriented("RAS")), centre(scan), atol=1e-6)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = scan.space.world((np.array(scan.space.shape) - 1) / 2) - 130
    got = scan.resampled_to(Space((131, 131, 131), affine))
    np.testing.assert_allclose(centre(got), centre(scan), atol=0.5)


@given(
    orientation=st.sampled_from(["RAS", "LPS", "LIA", "PSR", "ASL", "SRP"]),
    step=st.tuples(*[st.sampled_from([0.5, 1.0, 1.3, 2.0])] * 3),
    offset=st.tuples(*[st.sampled_from([-7.0, -2.25, 0.0, 1.0, 3.5, 30.0])] * 3),
    order=st.sampled_from([0, 1]),
)
def test_axis_by_axis_sampling_equals_the_general_transform(orientation, step, offset, order):
    # a turn of 1e-7 takes the general way, and moves no point by more than 1e-5 voxel
    source = Volume(np.random.default_rng(3).random((9, 8, 7)), Space((9, 8, 7), np.diag([1.0, 1, 1, 1])))
    source = source.reoriented(orientation)
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = np.array(offset) + 0.01
    aligned = source.resampled_to(Space((6, 7, 8), affine), order=order, antialias=False)
    affine = affine.copy()
    affine[0, 1] = 1e-7
    general = source.resampled_to(Space((6, 7, 8), affine), order=order, antialias=False)
    np.testing.assert_allclose(aligned.data, general.data, atol=1e-5)


@given(
    shift=st.tuples(*[st.integers(-9, 9)] * 3),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    orientation=st.sampled_from(["RAS", "LPS", "LIA", "PSR"]),
)
def test_whole_voxel_shifts_copy_values(shift, shape, orientation):
    data = np.random.default_rng(4).integers(1, 1000, (5, 6, 7)).astype(np.float32)
    source = Volume(data, Space(data.shape, np.eye(4)))
    affine = np.eye(4)
    affine[:3, 3] = shift
    result = source.reoriented(orientation).resampled_to(Space(shape, affine)).data
    for voxel in np.ndindex(*shape):
        at = np.array(voxel) + shift
        inside = ((at >= 0) & (at < data.shape)).all()
        assert result[voxel] == (data[tuple(at)] if inside else 0)


@given(
    source=gently_turned,
    spacing=st.tuples(*[st.floats(0.4, 5.0)] * 3),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_smoothing_and_sampling_are_those_of_one_after_the_other(source, spacing, dtype):
    """Axis by axis (aligned grids) and in the box that is not 0 (oblique ones), as smoothed and sampled by scipy."""
    volume = Volume(noise(dtype=dtype), Space(SHAPE, source))
    volume.data[:2] = 0
    for space in (
        Space((9, 8, 7), source @ np.diag([*spacing, 1.0])),
        Space((9, 8, 7), np.diag([*spacing, 1.0])),
    ):
        matrix = space.to_voxels_of(volume.space)
        smooth = ndimage.gaussian_filter(volume.data, smoothing(matrix), mode="constant")
        expected = ndimage.affine_transform(
            smooth, matrix[:3, :3], matrix[:3, 3], output_shape=space.shape, order=1, mode="grid-constant"
        )
        found = volume.resampled_to(space).data
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, atol=2e-6 if dtype == np.float32 else 1e-12)


def test_a_voxel_that_is_no_number_stays_where_it_is():
    volume = Volume(noise(), Space(SHAPE, np.eye(4)))
    volume.data[1, 1, 1] = np.nan
    found = volume.resampled_to(Space(SHAPE, np.diag([0.5, 0.5, 0.5, 1.0]))).data
    assert np.isnan(found[2, 2, 2])
    assert np.isfinite(found[5:]).all()


@pytest.mark.parametrize("corner", [(0, 0, 0), (8, 0, 3), (8, 11, 9)])
def test_a_voxel_comes_to_its_place_on_a_finer_grid(corner):
    source = Space((9, 12, 10), np.array([[-2, 0, 0, 7], [0, 0, 2, -5], [0, 2, 0, 1], [0, 0, 0, 1.0]]))
    data = np.zeros(source.shape, np.float32)
    data[corner] = 1
    target = Space((40, 40, 40), np.array([[1, 0, 0, -20], [0, 1, 0, -15], [0, 0, 1, -10], [0, 0, 0, 1.0]]))
    found = np.unravel_index(int(Volume(data, source).resampled_to(target).data.argmax()), target.shape)
    np.testing.assert_allclose(target.world(found), source.world(corner))
