from __future__ import annotations

import tracemalloc
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from neuroxai.deformation import Displacement, grid_points, to_voxels
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import write_affine, write_volume
from neuroxai.preprocess.mapping import Mapping
from neuroxai.space import Space, Volume, mni152

CODES = ["".join(c) for p in permutations(("LR", "PA", "IS")) for c in product(*p)]
GRID = mni152(6.0)


def rigid(degrees=(7.0, -11.0, 16.0), offset=(6.0, -9.0, 4.0), scale=(1.0, 1.0, 1.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * np.array(scale)
    matrix[:3, 3] = offset
    return matrix


AFFINE = rigid(scale=(1.1, 0.92, 1.05))


def native_space(orientation="RAS", degrees=(0.0, 0.0, 0.0), shape=(34, 41, 37), spacing=(5.5, 5.0, 6.0)):
    """A head's field of view with voxel axes along `orientation`."""
    turned = rigid(degrees, (0.0, 0.0, 0.0))
    middle = turned[:3, :3] @ np.diag(spacing) @ ((np.array(shape) - 1) / 2)
    affine = turned @ np.diag([*spacing, 1.0])
    affine[:3, 3] = np.array([1.0, -17.0, 19.0]) - middle
    return Space(shape, affine).reoriented(orientation)


def smooth_warp(space=GRID, size=9.0, seed=3):
    """Random, differing along the axes, and its inverse by fixed-point iteration."""
    noise = np.random.default_rng(seed).normal(size=(3, *space.shape))
    field = np.stack([ndimage.gaussian_filter(part, 3.0) for part in noise])
    field *= size / np.abs(field).max(axis=(1, 2, 3), keepdims=True) * np.array([1.0, 0.7, 0.4]).reshape(3, 1, 1, 1)
    warp = Displacement(field.astype(np.float32), space)
    points = grid_points(space)
    inverse = np.zeros_like(points)
    for _ in range(40):
        inverse = points - warp(points + inverse) + inverse
    return warp, Displacement(inverse.reshape(3, *space.shape).astype(np.float32), space)


def blob_at(space, place, width=9.0):
    squares = ((grid_points(space) - np.asarray(place)[:, None]) ** 2).sum(0)
    return Volume(np.exp(-squares / (2 * width**2)).reshape(space.shape).astype(np.float32), space)


def centre_of(volume):
    weights = volume.data.ravel().astype(np.float64)
    return grid_points(volume.space) @ weights / weights.sum()


def noise_on(space, dtype=np.float64):
    return Volume((np.random.default_rng(5).uniform(1, 90, space.shape)).astype(dtype), space)


def explicit(data, space, points, order=1):
    """Sampling in float64 at points listed one by one; nothing outside."""
    padded = np.pad(data.astype(np.float64), 20)
    voxels = to_voxels(space, points)
    return ndimage.map_coordinates(padded, voxels + 20, order=order, mode="constant")


def labels_on(space):
    """Blocks of three voxels a side."""
    blocks = np.random.default_rng(5).integers(0, 9, [n // 3 + 1 for n in space.shape])
    data = blocks.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(slice(n) for n in space.shape)]
    return Volume(data.astype(np.float64), space)


def most_of(volume, space, carry):
    """How many of 3 x 3 x 3 points of each voxel meet each label."""
    padded, votes = np.pad(volume.data.astype(int), 30), np.zeros((9, np.prod(space.shape)))
    for step in np.ndindex(3, 3, 3):
        points = carry(space.world(np.indices(space.shape).reshape(3, -1).T + (np.array(step) - 1) / 3).T)
        at = np.clip(
            np.rint(to_voxels(volume.space, points)).astype(int), -30, np.array(volume.data.shape)[:, None] + 29
        )
        votes[padded[tuple(at + 30)], np.arange(votes.shape[1])] += 1 / 27
    return votes


affines = st.builds(
    rigid,
    degrees=st.tuples(*[st.floats(-40, 40)] * 3),
    offset=st.tuples(*[st.floats(-30, 30)] * 3),
    scale=st.tuples(*[st.floats(0.7, 1.4)] * 3),
)


# --- against explicit points


@given(affine=affines, orientation=st.sampled_from(CODES), order=st.sampled_from([1, 3]))
def test_an_affine_map_is_a_scan_with_its_affine_moved(affine, orientation, order):
    native = noise_on(native_space(orientation, (3.0, -5.0, 2.0), (15, 17, 13), (12.0, 11.0, 13.0)))
    mapping = Mapping(affine)
    carried = mapping.carry(native, GRID, order, antialias=False)
    expected = explicit(native.data, native.space, mapping.to_native(grid_points(GRID)), order)
    same = np.isclose(carried.data.ravel(), expected, atol=1e-6 if order < 3 else 1e-4)
    assert same.mean() > 0.9999

    moved = Volume(native.data, Space(native.data.shape, np.linalg.inv(affine) @ native.space.affine))
    np.testing.assert_allclose(mapping.carry(native, GRID, order=1).data, moved.resampled_to(GRID).data, atol=1e-6)

    heatmap = noise_on(GRID)
    back = mapping.carry_back(heatmap, native.space, antialias=False)
    expected = explicit(heatmap.data, GRID, mapping.to_prepared(grid_points(native.space)))
    np.testing.assert_allclose(back.data.ravel(), expected, atol=1e-5)
    assert back.space is native.space


@pytest.mark.parametrize("orientation", ["RAS", "LIP", "PSR"])
def test_labels_go_where_they_fill_most_of_a_voxel(orientation):
    warped, turned = Mapping(AFFINE, *smooth_warp()), Mapping(AFFINE)
    native = labels_on(native_space(orientation, (6.0, 12.0, -4.0)))
    for mapping in (turned, warped):
        got = mapping.carry(native, GRID, order=0).data.ravel()
        votes = most_of(native, GRID, mapping.to_native)
        assert (votes[got.astype(int), np.arange(got.size)] > votes.max(axis=0) - 0.34).mean() > 0.999
        assert (got == votes.argmax(axis=0)).mean() > 0.95
        assert len(np.unique(got)) == 9


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("orientation", ["RAS", "LIP", "PSR"])
def test_a_warp_and_an_affine_map_are_one_interpolation(orientation, order):
    mapping = Mapping(AFFINE, *smooth_warp())
    native = noise_on(native_space(orientation, (6.0, 12.0, -4.0)))
    for carried, source, points in (
        (mapping.carry(native, GRID, order, False), native, mapping.to_native(grid_points(GRID))),
        (
            mapping.carry_back(noise_on(GRID), native.space, order, False),
            noise_on(GRID),
            mapping.to_prepared(grid_points(native.space)),
        ),
    ):
        expected = explicit(source.data, source.space, points, order)
        close = np.isclose(carried.data.ravel(), expected, atol=2e-3)
        assert close.mean() > 0.99999
        assert carried.data.dtype == np.float64


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("finer", [1.0, 2.5])
def test_a_warp_of_zero_changes_nothing(order, finer):
    still = Displacement(np.zeros((3, *GRID.shape), np.float32), GRID)
    native = noise_on(native_space("PIL", (6.0, 12.0, -4.0), spacing=np.array((5.5, 5.0, 6.0)) / finer))
    with_warp, without = Mapping(AFFINE, still, still), Mapping(AFFINE)
    for method, arguments in (("carry", (native, GRID)), ("carry_back", (noise_on(GRID), native.space))):
        arguments = (labels_on(arguments[0].space), arguments[1]) if order == 0 else arguments
        got = getattr(with_warp, method)(*arguments, order=order).data
        wanted = getattr(without, method)(*arguments, order=order).data
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    # whole-voxel maps copy, bit by bit
    exact = Mapping(np.eye(4), still, still).carry(noise_on(GRID, np.float32), GRID, order=1)
    np.testing.assert_array_equal(exact.data, noise_on(GRID, np.float32).data)


def test_the_warp_may_have_a_grid_of_its_own():
    coarse = Space((20, 22, 19), mni152(12.0).affine @ rigid((4.0, 3.0, 9.0), (0.3, 0.5, 0.2)))
    mapping = Mapping(AFFINE, *smooth_warp(coarse, 12.0))
    native = noise_on(native_space("LAS"))
    expected = explicit(native.data, native.space, mapping.to_native(grid_points(GRID)))
    np.testing.assert_allclose(mapping.carry(native, GRID, 1, False).data.ravel(), expected, atol=2e-3)


def test_a_warp_that_only_shifts_is_a_shift():
    shift = np.array([35.0, -45.0, 25.0])
    there, back = (
        Displacement(np.broadcast_to(sign * shift.reshape(3, 1, 1, 1), (3, *GRID.shape)).astype(np.float32), GRID)
        for sign in (1, -1)
    )
    # a small scan and no turn, so that looking on the wrong side would show
    shifted, native = rigid((0, 0, 0), shift), noise_on(native_space("LPS", shape=(18, 20, 16)))
    affine = rigid((0, 0, 0))
    for method, arguments in (("carry", (native, GRID)), ("carry_back", (noise_on(GRID), native.space))):
        wanted = getattr(Mapping(affine @ shifted), method)(*arguments, antialias=False).data
        got = getattr(Mapping(affine, there, back), method)(*arguments, antialias=False).data
        assert (wanted > 0).mean() > 0.1
        np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_nothing_is_seen_where_nothing_is():
    mapping = Mapping(rigid(offset=(900.0, 0.0, 0.0)), *smooth_warp())
    assert not mapping.carry(noise_on(native_space()), GRID).data.any()
    assert not mapping.carry_back(noise_on(GRID), native_space()).data.any()


# --- sides and places


@pytest.mark.parametrize("warped", [False, True])
@pytest.mark.parametrize("orientation", CODES)
def test_a_phantom_keeps_its_side_in_every_orientation(orientation, warped):
    mapping = Mapping(AFFINE, *(WARPS if warped else ()))
    native = native_space(orientation)
    # left is big, right is small, and one spot is off all planes of symmetry
    left, right = np.array([[-45.0, 20.0, 30.0], [38.0, -35.0, -5.0]])
    scan = Volume(blob_at(native, left, 12.0).data + 0.5 * blob_at(native, right, 8.0).data, native)
    carried = mapping.carry(scan, GRID)
    for place, width in ((left, 12.0), (right, 8.0)):
        expected = mapping.to_prepared(place[:, None])[:, 0]
        peak = _peak_near(carried, expected, width)
        assert np.linalg.norm(peak - expected) < 6.0, (place, peak, expected)
    assert np.sign(centre_of(carried)[0]) == -1

    heat = Volume(blob_at(GRID, left, 12.0).data + 0.5 * blob_at(GRID, right, 8.0).data, GRID)
    back = mapping.carry_back(heat, native)
    assert back.space.orientation == orientation
    for place, width in ((left, 12.0), (right, 8.0)):
        expected = mapping.to_native(place[:, None])[:, 0]
        assert np.linalg.norm(_peak_near(back, expected, width) - expected) < 6.0


WARPS = smooth_warp()


def _peak_near(volume, place, width):
    """Centre of mass of what lies within two widths of a place."""
    near = ((grid_points(volume.space) - place[:, None]) ** 2).sum(0) < (2 * width) ** 2
    return centre_of(Volume(np.where(near.reshape(volume.data.shape), volume.data, 0), volume.space))


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "SAL"])
def test_a_blob_goes_to_the_template_and_back(orientation):
    mapping = Mapping(AFFINE, *WARPS)
    native = native_space(orientation, (8.0, -6.0, 4.0))
    for voxel in ((12, 25, 20), (20, 14, 15), (17, 20, 24)):
        voxel = np.array(voxel)[[int(np.argmax(np.abs(row))) for row in native.affine[:3, :3].T]]
        place = native.world(voxel)
        back = mapping.carry_back(mapping.carry(blob_at(native, place, 10.0), GRID), native)
        assert np.linalg.norm(native.voxels(centre_of(back)) - voxel) < 1.0


@given(affine=affines, place=st.tuples(*[st.floats(-50, 50)] * 3))
def test_points_go_there_and_back(affine, place):
    points = np.array(place)[:, None]
    np.testing.assert_allclose(Mapping(affine).to_native(Mapping(affine).to_prepared(points)), points, atol=1e-9)
    mapping = Mapping(affine, *WARPS)
    prepared = points / 2
    # the inverse is sampled: exact at voxels, linear between
    assert np.abs(mapping.to_prepared(mapping.to_native(prepared)) - prepared).max() < 0.5


def test_composing_appends_the_way_to_another_scan():
    to_flair, points = rigid((3.0, 9.0, -2.0), (1.0, 4.0, -8.0)), grid_points(mni152(16.0))[:, ::50]
    mapping = Mapping(AFFINE, *WARPS)
    composed = mapping.compose(to_flair)
    expected = to_flair[:3, :3] @ mapping.to_native(points) + to_flair[:3, 3:]
    np.testing.assert_allclose(composed.to_native(points), expected, atol=1e-9)
    back = np.linalg.inv(to_flair)
    np.testing.assert_allclose(
        composed.to_prepared(expected), mapping.to_prepared(back[:3, :3] @ expected + back[:3, 3:]), atol=1e-6
    )


def test_labels_stay_labels_and_masks_stay_masks():
    mapping = Mapping(AFFINE, *WARPS)
    labels = Volume(np.random.default_rng(0).integers(0, 300, GRID.shape).astype(np.int32), GRID)
    back = mapping.carry_back(labels, native_space("LPS"), order=0)
    assert back.data.dtype == np.int32
    assert set(np.unique(back.data)) <= set(range(300))
    mask = mapping.carry(Volume(noise_on(native_space()).data > 50, native_space()), GRID, order=0)
    assert mask.data.dtype == bool
    assert mapping.carry_back(labels, native_space(), order=1).data.dtype == np.float32


def test_smoothing_is_as_without_a_warp():
    still = Displacement(np.zeros((3, *GRID.shape), np.float32), GRID)
    fine = noise_on(native_space("ASL", spacing=(1.5, 1.5, 1.5), shape=(60, 60, 60)))
    mapping, inner = Mapping(AFFINE, still, still), np.s_[12:18, 14:20, 12:18]
    smooth = mapping.carry(fine, GRID).data
    np.testing.assert_allclose(smooth, Mapping(AFFINE).carry(fine, GRID).data, atol=1e-6)
    assert smooth[inner].std() < 0.5 * mapping.carry(fine, GRID, antialias=False).data[inner].std()


# --- files


@pytest.mark.parametrize("warped", [False, True])
def test_a_mapping_is_saved_and_loaded(tmp_path, warped):
    mapping = Mapping(AFFINE, *(WARPS if warped else ()))
    files = mapping.save(tmp_path, "sub-01", "ses-1")
    assert [str(f.relative_to(tmp_path)) for f in files] == [
        f"sub-01/ses-1/anat/sub-01_ses-1_{rest}"
        for rest in [
            "from-T1w_to-MNI152_mode-image_desc-affine_xfm.txt",
            "from-T1w_to-MNI152_mode-image_desc-warp_xfm.nii.gz",
            "from-MNI152_to-T1w_mode-image_desc-warp_xfm.nii.gz",
        ][: len(files)]
    ]
    assert len(files) == (3 if warped else 1)
    loaded = Mapping.load(tmp_path, "sub-01", "ses-1")
    np.testing.assert_array_equal(loaded.affine, AFFINE)
    if warped:
        np.testing.assert_array_equal(loaded.warp.field, WARPS[0].field)
        np.testing.assert_array_equal(loaded.inverse_warp.field, WARPS[1].field)
    else:
        assert loaded.warp is None
        assert loaded.inverse_warp is None


def test_an_old_warp_is_not_paired_with_a_new_affine_map(tmp_path):
    Mapping(AFFINE, *WARPS).save(tmp_path, "sub-01")
    Mapping(np.eye(4)).save(tmp_path, "sub-01")
    loaded = Mapping.load(tmp_path, "sub-01")
    assert loaded.warp is None
    np.testing.assert_array_equal(loaded.affine, np.eye(4))


def test_a_mapping_of_which_a_part_could_not_be_written_does_not_load(tmp_path, monkeypatch):
    from neuroxai.preprocess import mapping

    Mapping(np.eye(4)).save(tmp_path, "sub-01")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(mapping, "write_warp", full)
    with pytest.raises(OSError, match="no space left"):
        Mapping(AFFINE, *WARPS).save(tmp_path, "sub-01")
    with pytest.raises(InputError, match="no such file"):
        Mapping.load(tmp_path, "sub-01")


def test_half_a_mapping_is_refused(tmp_path):
    with pytest.raises(InputError, match="a warp without its inverse"):
        Mapping(AFFINE, WARPS[0])
    with pytest.raises(InputError, match="an inverse warp without the warp"):
        Mapping(AFFINE, None, WARPS[1])
    with pytest.raises(SpaceError, match="inverted"):
        Mapping(np.diag([1.0, 1.0, 0.0, 1.0]))
    with pytest.raises(InputError, match="choose one of: 0, 1, 3"):
        Mapping(AFFINE, *WARPS).carry(noise_on(GRID), GRID, order=2)
    with pytest.raises(InputError, match="no such file"):
        Mapping.load(tmp_path, "sub-01")
    files = Mapping(AFFINE, *WARPS).save(tmp_path, "sub-01")
    files[2].unlink()
    with pytest.raises(InputError, match=r"from-MNI152_to-T1w.*no such file beside .*from-T1w_to-MNI152"):
        Mapping.load(tmp_path, "sub-01")


def test_the_affine_map_is_frozen():
    matrix = AFFINE.copy()
    mapping = Mapping(matrix)
    matrix[0, 3] = 99.0
    assert mapping.affine[0, 3] == AFFINE[0, 3]
    with pytest.raises(ValueError, match="read-only"):
        mapping.affine[0, 3] = 1.0


@pytest.mark.parametrize("orientation", ["LPS", "PSR"])
def test_ants_carries_there_and_back_alike_by_the_files(tmp_path, orientation):
    ants = pytest.importorskip("ants")
    mapping = Mapping(rigid(), *WARPS)
    affine, warp, inverse = (str(f) for f in mapping.save(tmp_path, "sub-01"))
    native = native_space(orientation, (8.0, -6.0, 4.0))
    smooth = {
        "native": Volume(ndimage.gaussian_filter(noise_on(native, np.float32).data, 1.0), native),
        "prepared": Volume(ndimage.gaussian_filter(noise_on(GRID, np.float32).data, 1.0), GRID),
    }
    images = {k: ants.image_read(str(write_volume(tmp_path / f"{k}.nii.gz", v))) for k, v in smooth.items()}
    there = ants.apply_transforms(images["prepared"], images["native"], [warp, affine]).numpy()
    # antspyx inverts on the fly what is called .mat alone
    undone = write_affine(tmp_path / "inverse.txt", np.linalg.inv(rigid()))
    back = ants.apply_transforms(images["native"], images["prepared"], [str(undone), inverse]).numpy()
    for theirs, ours, source, points in (
        (there, mapping.carry(smooth["native"], GRID, antialias=False), native, mapping.to_native(grid_points(GRID))),
        (
            back,
            mapping.carry_back(smooth["prepared"], native, antialias=False),
            GRID,
            mapping.to_prepared(grid_points(native)),
        ),
    ):
        # at the border ITK extrapolates by half a voxel, and beyond a warp's grid it moves nothing
        voxels = to_voxels(source, points)
        seen = ((voxels > 1) & (voxels < np.array(source.shape)[:, None] - 2)).all(0).reshape(theirs.shape)
        assert seen.mean() > 0.3
        difference = np.abs(theirs - ours.data)[seen]
        assert np.quantile(difference, 0.98) < 0.02
        assert np.abs(ours.data[seen]).std() > 1.0


def test_memory_stays_bounded():
    mapping, native = Mapping(AFFINE, *WARPS), native_space(shape=(160, 160, 160), spacing=(1.2, 1.2, 1.2))
    heat = noise_on(GRID, np.float32)
    tracemalloc.start()
    mapping.carry_back(heat, native)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # the result has 16 MB; all positions at once would take 98 MB, with their parts twice that
    assert peak < 90e6
