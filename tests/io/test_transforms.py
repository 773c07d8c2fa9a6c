from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from neuroxai.deformation import Displacement, grid_points, to_voxels
from neuroxai.derivatives.prepared import transform_name
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_affine, read_warp, write_affine, write_volume, write_warp
from neuroxai.space import Space, Volume

LPS = np.diag([-1.0, -1.0, 1.0])


def affine_map(degrees=(8.0, -14.0, 21.0), scale=(1.1, 0.9, 1.05), shear=0.07, offset=(13.0, -7.0, 4.0)):
    """Asymmetric in every respect."""
    matrix = np.eye(4)
    turned = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, :3] = turned @ (np.diag(scale) + shear * np.eye(3, k=1))
    matrix[:3, 3] = offset
    return matrix


def grid(degrees=(0.0, 0.0, 0.0), flips=(1, 1, 1), shape=(13, 11, 9), spacing=(4.0, 5.0, 6.0)):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * np.array(flips) * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + (5.0, -3.0, 11.0)
    return Space(shape, affine)


GRIDS = {
    "straight": grid(),
    "LPS": grid(flips=(-1, -1, 1)),
    "one flip": grid(flips=(-1, 1, 1)),
    "oblique": grid((10.0, 25.0, -8.0)),
    "oblique LPS": grid((10.0, 25.0, -8.0), (-1, -1, 1)),
}


def smooth_warp(space, size=6.0, seed=3):
    noise = np.random.default_rng(seed).normal(size=(3, *space.shape))
    field = np.stack([ndimage.gaussian_filter(part, 1.5) for part in noise])
    # the three components differ in size, so that a swap shows
    field *= size / np.abs(field).max() * np.array([1.0, 0.6, 0.3]).reshape(3, 1, 1, 1)
    return Displacement(field.astype(np.float32), space)


def points_inside(space, n=40):
    voxels = np.random.default_rng(8).uniform(1, np.array(space.shape) - 2, (n, 3))
    return space.world(voxels).T


def by_ants(points, files):
    """ANTs takes and gives LPS."""
    ants = pytest.importorskip("ants")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame((LPS @ points).T, columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, frame, [str(f) for f in files])
    return LPS @ moved[["x", "y", "z"]].to_numpy().T


def moved_by(matrix, points):
    return matrix[:3, :3] @ points + matrix[:3, 3:]


# --- affine


def test_itk_and_ants_read_the_same_affine_map(tmp_path):
    itk = pytest.importorskip("itk")
    matrix = affine_map()
    file = write_affine(tmp_path / "a.txt", matrix)
    points = points_inside(GRIDS["straight"])
    # ANTs keeps points in single precision
    np.testing.assert_allclose(by_ants(points, [file]), moved_by(matrix, points), atol=1e-4)

    (transform,) = itk.transformread(str(file))
    for point in points.T[:5]:
        np.testing.assert_allclose(LPS @ transform.TransformPoint(LPS @ point), moved_by(matrix, point[:, None])[:, 0])


def test_an_affine_map_of_itk_with_a_centre_is_read(tmp_path):
    itk = pytest.importorskip("itk")
    transform = itk.AffineTransform[itk.D, 3].New()
    transform.SetMatrix(itk.matrix_from_array(np.ascontiguousarray(affine_map()[:3, :3])))
    transform.SetTranslation([1.5, -2.5, 3.5])
    transform.SetCenter([30.0, 20.0, -10.0])
    itk.transformwrite([transform], str(tmp_path / "itk.txt"))
    matrix = read_affine(tmp_path / "itk.txt")
    for point in points_inside(GRIDS["straight"], 5).T:
        np.testing.assert_allclose(
            moved_by(matrix, point[:, None])[:, 0], LPS @ transform.TransformPoint(LPS @ point), atol=1e-9
        )


@given(
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    scale=st.tuples(*[st.floats(0.5, 2)] * 3),
    offset=st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_affine_round_trip_is_exact(tmp_path, degrees, scale, offset):
    matrix = affine_map(degrees, scale, 0.1, offset)
    np.testing.assert_array_equal(read_affine(write_affine(tmp_path / "a.txt", matrix)), matrix)


GOOD = (
    "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
    "Parameters: 1 0 0 0 1 0 0 0 1 0.25 0 0\nFixedParameters: 0 0 0\n"
)


def test_the_file_is_as_itk_writes_it(tmp_path):
    matrix = np.eye(4)
    matrix[0, 3] = -0.25
    text = write_affine(tmp_path / "a.tfm", matrix).read_text()
    assert text == GOOD.replace("1 0 0 0 1 0 0 0 1 0.25 0 0", "1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0 0.25 0.0 0.0")
    (tmp_path / "b.txt").write_text(GOOD)
    np.testing.assert_array_equal(read_affine(tmp_path / "b.txt"), matrix)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no ITK text transform"),
        ("hello\n", "no ITK text transform"),
        (
            GOOD.replace("AffineTransform_double_3_3", "Euler3DTransform_double_3_3"),
            "Euler3DTransform_double_3_3, expected",
        ),
        (GOOD.replace("_3_3", "_2_2").replace("1 0 0 0 1 0 0 0 1 0.25 0 0", "1 0 0 1 2 3"), "double_2_2, expected"),
        (GOOD.replace(" 0.25 0 0", ""), "has 9 Parameters, expected 12"),
        (GOOD.replace("0.25", "fast"), "Parameters are not numbers"),
        (GOOD.replace("0.25", "nan"), "NaN"),
        (GOOD.replace(": 1 0 0 0", ": 0 0 0 0"), "cannot be inverted"),
        (GOOD + GOOD, "several transforms"),
        *[
            (GOOD[:end], "cut off|no transform|no ITK text")
            for end in (10, 50, 100, 120, 140, len(GOOD) - 3, len(GOOD) - 1)
        ],
    ],
)
def test_broken_affine_files_are_refused(tmp_path, text, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_affine(tmp_path / "a.txt")


def test_what_is_no_affine_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_affine(tmp_path / "absent.txt")
    (tmp_path / "a.mat").write_bytes(b"\x00\x00\xff\xfeAffineTransform_double_3_3")
    with pytest.raises(InputError, match=r"binary \.mat"):
        read_affine(tmp_path / "a.mat")
    with pytest.raises(InputError, match=r"ends in \.txt"):
        write_affine(tmp_path / "a.mat", np.eye(4))
    with pytest.raises(SpaceError, match="4 x 4"):
        write_affine(tmp_path / "a.txt", np.eye(3))
    assert not list(tmp_path.glob("a.t*"))


# --- warp


@pytest.mark.parametrize("name", GRIDS)
def test_ants_moves_points_by_our_warp_as_we_do(tmp_path, name):
    warp = smooth_warp(GRIDS[name])
    file = write_warp(tmp_path / "w.nii.gz", warp)
    points = points_inside(GRIDS[name])
    expected = warp(points)
    assert np.abs(expected - points).max() > 1.0
    np.testing.assert_allclose(by_ants(points, [file]), expected, atol=2e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_ants_resamples_by_warp_then_affine_as_we_do(tmp_path, name):
    ants = pytest.importorskip("ants")
    fixed, warp, matrix = GRIDS[name], smooth_warp(GRIDS[name]), affine_map()
    moving = grid((0.0, 0.0, 0.0), (-1, 1, 1), (21, 23, 19), (3.5, 3.0, 4.0))
    data = ndimage.gaussian_filter(np.random.default_rng(1).uniform(0, 9, moving.shape), 1.0).astype(np.float32)
    data[14:, :9, 12:] += 5.0
    write_volume(tmp_path / "moving.nii.gz", Volume(data, moving))
    write_volume(tmp_path / "fixed.nii.gz", Volume(np.zeros(fixed.shape, np.float32), fixed))
    files = [
        write_warp(tmp_path / "w.nii.gz", warp),
        write_affine(tmp_path / "a.txt", matrix),
    ]
    images = {"fixed": tmp_path / "fixed.nii.gz", "moving": tmp_path / "moving.nii.gz"}
    images = {key: ants.image_read(str(file)) for key, file in images.items()}
    theirs = ants.apply_transforms(**images, transformlist=[str(f) for f in files]).numpy()

    voxels = to_voxels(moving, moved_by(matrix, warp(grid_points(fixed))))
    ours = ndimage.map_coordinates(data.astype(np.float64), voxels, order=1).reshape(fixed.shape)
    # at the border ITK extrapolates by half a voxel
    inner = ((voxels > 0.1) & (voxels < np.array(moving.shape)[:, None] - 1.1)).all(0).reshape(fixed.shape)
    assert inner.mean() > 0.2
    np.testing.assert_allclose(theirs[inner], ours[inner], atol=2e-3)

    points = points_inside(fixed)
    np.testing.assert_allclose(by_ants(points, files), moved_by(matrix, warp(points)), atol=2e-3)
    # the order matters, or the test would prove nothing
    assert np.abs(warp(moved_by(matrix, points)) - moved_by(matrix, warp(points))).max() > 0.5


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_warp_round_trip_is_exact(tmp_path, name, ending):
    warp = smooth_warp(GRIDS[name])
    back = read_warp(write_warp(tmp_path / f"w{ending}", warp))
    np.testing.assert_array_equal(back.field, warp.field)
    assert back.field.dtype == np.float32
    # NIfTI keeps affines in single precision
    np.testing.assert_allclose(back.space.affine, warp.space.affine, rtol=1e-6, atol=1e-6)


def test_warps_of_equal_value_are_equal_files_headed_as_by_ants(tmp_path):
    a, b = (write_warp(tmp_path / f"{n}.nii.gz", smooth_warp(GRIDS["LPS"])) for n in "ab")
    assert a.read_bytes() == b.read_bytes()
    header = nib.load(a).header
    assert header["intent_code"] == 1007
    assert header["dim"].tolist() == [5, 13, 11, 9, 1, 3, 1, 1]
    assert header["datatype"] == 16


def test_a_warp_that_ants_writes_is_read(tmp_path):
    ants = pytest.importorskip("ants")
    space = grid(flips=(-1, -1, 1))
    warp = smooth_warp(space)
    origin, direction = LPS @ space.affine[:3, 3], LPS @ space.affine[:3, :3] / np.array(space.spacing)
    vectors = np.moveaxis(warp.field * np.diag(LPS).reshape(3, 1, 1, 1), 0, -1).astype(np.float32)
    image = ants.from_numpy(vectors, list(origin), list(space.spacing), direction, has_components=True)
    ants.image_write(image, str(tmp_path / "ants.nii.gz"))
    back = read_warp(tmp_path / "ants.nii.gz")
    np.testing.assert_array_equal(back.field, warp.field)
    assert back.space.matches(space)


def test_broken_warps_are_refused(tmp_path):
    space = GRIDS["straight"]
    good = write_warp(tmp_path / "good.nii.gz", smooth_warp(space))
    with pytest.raises(InputError, match="no such file"):
        read_warp(tmp_path / "absent.nii.gz")
    for name, payload in {
        "cut.nii.gz": good.read_bytes()[:-2000],
        "cut.nii": gzip.decompress(good.read_bytes())[:-500],
    }.items():
        (tmp_path / name).write_bytes(payload)
        with pytest.raises(InputError, match="truncated or damaged"):
            read_warp(tmp_path / name)
    scan = write_volume(tmp_path / "scan.nii.gz", Volume(np.zeros(space.shape, np.float32), space))
    with pytest.raises(SpaceError, match=r"expected a 3D displacement field"):
        read_warp(scan)
    flat = nib.Nifti1Image(np.zeros((5, 6, 1, 1, 2), np.float32), np.eye(4))
    nib.save(flat, tmp_path / "flat.nii.gz")
    with pytest.raises(SpaceError, match=r"\(5, 6, 1, 1, 2\)"):
        read_warp(tmp_path / "flat.nii.gz")
    image = nib.load(good)
    image.header.set_intent(1006)
    nib.save(image, tmp_path / "fsl.nii.gz")
    with pytest.raises(InputError, match="intent 1006, expected 1007"):
        read_warp(tmp_path / "fsl.nii.gz")


def test_warps_that_cannot_be_written_are_refused(tmp_path):
    space = GRIDS["straight"]
    field = np.zeros((3, *space.shape), np.float32)
    with pytest.raises(InputError, match=r"ends in \.nii"):
        write_warp(tmp_path / "w.txt", Displacement(field, space))
    with pytest.raises(SpaceError, match="got"):
        write_warp(tmp_path / "w.nii.gz", Displacement(np.moveaxis(field, 0, -1), space))
    sheared = space.affine.copy()
    sheared[0, 1] = 0.5
    with pytest.raises(SpaceError, match="sheared"):
        write_warp(tmp_path / "w.nii.gz", Displacement(field, Space(space.shape, sheared)))
    field[1, 2, 3, 4] = np.nan
    with pytest.raises(InputError, match="NaN"):
        write_warp(tmp_path / "w.nii.gz", Displacement(field, space))
    assert not list(tmp_path.iterdir())


# --- names


def test_transforms_are_named_as_bids_derivatives():
    folder = "sub-01/ses-1/anat/sub-01_ses-1"
    assert transform_name("sub-01", "ses-1", "T1w", "MNI152", "affine") == (
        f"{folder}_from-T1w_to-MNI152_mode-image_desc-affine_xfm.txt"
    )
    assert transform_name("sub-01", "ses-1", "MNI152", "T1w", "warp") == (
        f"{folder}_from-MNI152_to-T1w_mode-image_desc-warp_xfm.nii.gz"
    )
    assert transform_name("sub-01", None, "T1w", "MNI152", "warp").startswith("sub-01/anat/sub-01_from-T1w_")
    with pytest.raises(InputError, match="choose one of: affine, warp"):
        transform_name("sub-01", None, "T1w", "MNI152", "rigid")
    with pytest.raises(InputError, match="letters and digits"):
        transform_name("sub-01", None, "../T1w", "MNI152", "warp")
