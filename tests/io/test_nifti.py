from __future__ import annotations

import gzip
import os
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_labels, read_space, read_volume, set_display, write_volume
from neuroxai.space import Space, Volume

SHAPE = (7, 5, 4)
ORIENTATIONS = ["RAS", "LPS", "LAS", "PSR", "LIA", "SAL", "ASR"]


def affine_of(orientation="RAS", spacing=(1.0, 2.0, 3.5), degrees=(0, 0, 0), origin=(-11.0, 7.0, 30.0)):
    """Affine with voxel axes along `orientation`, then turned about the origin."""
    matrix = np.eye(4)
    # column j is the direction of voxel axis j
    for axis, code in enumerate(orientation):
        world = ["LR", "PA", "IS"].index(next(p for p in ("LR", "PA", "IS") if code in p))
        matrix[:3, axis] = 0
        matrix[world, axis] = spacing[axis] * (1 if code in "RAS" else -1)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ matrix[:3, :3]
    matrix[:3, 3] = origin
    return matrix


def marked(shape=SHAPE, dtype=np.int16):
    """A ramp with one bright voxel off every axis of symmetry."""
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    data[1, 3, 2] = 500
    return data


def save(path, data, affine, **header):
    image = nib.Nifti1Image(data, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (12, -25, 8)])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_marker_keeps_its_place_in_the_world(tmp_path, orientation, degrees, ending):
    affine = affine_of(orientation, degrees=degrees)
    volume = read_volume(save(tmp_path / f"in{ending}", marked(), affine))
    assert volume.space.orientation == orientation == "".join(nib.aff2axcodes(affine))
    place = np.array(np.unravel_index(volume.data.argmax(), SHAPE))
    expected = affine[:3, :3] @ [1, 3, 2] + affine[:3, 3]
    np.testing.assert_allclose(volume.space.world(place), expected, atol=1e-5)

    back = nib.load(write_volume(tmp_path / f"out{ending}", volume))
    np.testing.assert_array_equal(back.get_fdata(), marked())
    np.testing.assert_allclose(back.affine, affine, atol=1e-5)
    np.testing.assert_allclose(back.get_qform(), affine, atol=1e-4)
    np.testing.assert_allclose(back.header.get_zooms(), (1, 2, 3.5), rtol=1e-6)


@given(
    orientation=st.sampled_from(ORIENTATIONS),
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    origin=st.tuples(*[st.floats(-200, 200)] * 3),
    dtype=st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
)
def test_round_trip_of_any_affine(tmp_path, orientation, degrees, spacing, origin, dtype):
    affine = affine_of(orientation, spacing, degrees, origin)
    data = np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)
    write_volume(tmp_path / "x.nii", Volume(data, Space(SHAPE, affine)), dtype=dtype)
    volume = read_volume(tmp_path / "x.nii", dtype=np.float64)
    np.testing.assert_array_equal(volume.data, data)
    assert volume.space.matches(Space(SHAPE, affine), tolerance=1e-3)
    # a quaternion in float32 cannot hold every rotation: it is right at the corners or not there
    image = nib.load(tmp_path / "x.nii")
    if image.header["qform_code"]:
        assert Space(SHAPE, image.get_qform()).matches(Space(SHAPE, affine), tolerance=1.1e-2)


@pytest.mark.parametrize("form", ["sform", "qform", "both"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_order_scaling_and_forms(tmp_path, order, form):
    affine = affine_of("LIA", degrees=(5, 9, -13))
    header = nib.Nifti1Header(endianness=order)
    image = nib.Nifti1Image(marked(), None, header)
    image.header.set_data_dtype(np.dtype(np.int16).newbyteorder(order))
    image.header.set_slope_inter(0.25, -3)
    image.set_sform(affine if form != "qform" else None, code=1 if form != "qform" else 0)
    image.set_qform(affine if form != "sform" else None, code=1 if form != "sform" else 0)
    # written by hand, so that the stored integers and the slope are known
    path = tmp_path / "x.nii"
    image.header["vox_offset"] = 352
    path.write_bytes(image.header.binaryblock.ljust(352, b"\0") + marked().astype(f"{order}i2").tobytes(order="F"))
    stored = nib.load(path)
    assert stored.header.endianness == order
    volume = read_volume(path)
    assert (float(stored.dataobj.slope), float(stored.dataobj.inter)) == (0.25, -3)
    np.testing.assert_allclose(volume.data, marked() * 0.25 - 3)
    np.testing.assert_allclose(volume.space.affine, affine, atol=1e-5)
    assert volume.data.dtype == np.float32
    assert volume.data.dtype.isnative


def test_trailing_axis_of_length_one_is_dropped_and_4d_refused(tmp_path):
    volume = read_volume(save(tmp_path / "x.nii", marked()[..., None], np.eye(4)))
    np.testing.assert_array_equal(volume.data, marked())
    save(tmp_path / "y.nii", np.stack([marked()] * 3, -1), np.eye(4))
    with pytest.raises(SpaceError, match=r"y.nii: has 4 dimensions \(7, 5, 4, 3\), expected 3"):
        read_volume(tmp_path / "y.nii")
    save(tmp_path / "z.nii", marked()[0], np.eye(4))
    with pytest.raises(SpaceError, match="has 2 dimensions"):
        read_volume(tmp_path / "z.nii")


@given(
    bad=st.lists(st.tuples(st.integers(0, 139), st.sampled_from([np.nan, np.inf, -np.inf])), max_size=5),
    dtype=st.sampled_from([np.float32, np.float64]),
    slope=st.sampled_from([1.0, 0.5, np.nan, np.inf, 0.0, 1e38]),
)
def test_voxels_that_are_no_numbers_never_pass(tmp_path, bad, dtype, slope):
    data = (marked() + 1).astype(dtype)
    for place, value in bad:
        data.flat[place] = value
    image = nib.Nifti1Image(data, affine_of("RAS"))
    content = bytearray(image.to_bytes())
    content[112:116] = np.float32(slope).tobytes()  # scl_slope
    (tmp_path / "x.nii").write_bytes(content)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        # 0 and what is no number mean no scaling, as the standard has it
        scaled = data.astype(np.float64) * (slope if np.isfinite(slope) and slope else 1.0)
        theirs = scaled.astype(np.float32)
        expected = int((~np.isfinite(theirs)).sum())
        try:
            volume = read_volume(tmp_path / "x.nii")
        except InputError:
            assert expected or not np.isfinite(slope)
        else:
            assert not expected
            np.testing.assert_allclose(volume.data, theirs, rtol=1e-6)
        if bad:
            with pytest.raises(InputError):
                read_labels(tmp_path / "x.nii")


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "1 of 140 voxels are NaN"), (np.inf, "1 of 140 voxels"), (-np.inf, "1 of 140")]
)
def test_nan_and_infinite_voxels(tmp_path, value, words):
    data = marked(dtype=np.float32)
    data[0, 0, 0] = value
    save(tmp_path / "x.nii.gz", data, np.eye(4))
    with pytest.raises(InputError, match=words):
        read_volume(tmp_path / "x.nii.gz")
    assert np.isfinite(read_volume(tmp_path / "x.nii.gz", check_content=False).data).sum() == 139


@pytest.mark.parametrize("value", [0, 7])
def test_constant_images(tmp_path, value):
    save(tmp_path / "x.nii", np.full(SHAPE, value, np.uint8), np.eye(4))
    with pytest.raises(InputError, match=f"every voxel has the value {value}"):
        read_volume(tmp_path / "x.nii")


@pytest.mark.parametrize("keep", [0, 100, 348, 400, 600])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_truncated_files(tmp_path, ending, keep):
    # noise, so that compressing does not shrink the file below the cut
    data = np.random.default_rng(0).integers(-30000, 30000, SHAPE).astype(np.int16)
    path = save(tmp_path / f"x{ending}", data, np.eye(4))
    content = path.read_bytes()
    path.write_bytes(content[: min(keep, len(content) - 20)])
    with pytest.raises(InputError, match=r"x\.nii.*(cannot be read|truncated)"):
        read_volume(path)


def test_damaged_compression(tmp_path):
    path = save(tmp_path / "x.nii.gz", np.random.default_rng(0).random((20, 20, 20)).astype(np.float32), np.eye(4))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.nii\.gz"):
        read_volume(path)


def test_what_is_no_image(tmp_path):
    (tmp_path / "text.nii").write_text("no image " * 100)
    (tmp_path / "text.nii.gz").write_text("no image " * 100)
    (tmp_path / "packed.nii.gz").write_bytes(gzip.compress(b"no image " * 100))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.nii").mkdir()
    for name in ("text.nii", "text.nii.gz", "packed.nii.gz", "notes.txt"):
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            read_volume(tmp_path / name)
    with pytest.raises(InputError, match="is a folder, expected a NIfTI file"):
        read_volume(tmp_path / "folder.nii")
    with pytest.raises(InputError, match="no such file"):
        read_space(tmp_path / "absent.nii")


def test_a_name_that_is_not_the_contents_is_told(tmp_path):
    image = nib.Nifti1Image(np.arange(27, dtype=np.float32).reshape(3, 3, 3), np.eye(4))
    (tmp_path / "packed.nii").write_bytes(gzip.compress(image.to_bytes()))
    (tmp_path / "plain.nii.gz").write_bytes(image.to_bytes())
    nib.save(nib.Nifti1Pair(np.asarray(image.dataobj), np.eye(4)), tmp_path / "alone.img")
    (tmp_path / "alone.hdr").unlink()
    for name, way_out in (
        ("packed.nii", "it is packed: add .gz to its name"),
        ("plain.nii.gz", "it is not packed: take .gz off its name"),
        ("alone.img", "its header, a file .hdr of the same name, is not beside it: copy both"),
    ):
        with pytest.raises(InputError, match=f"{name}: cannot be read as an image .*; {way_out}$"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [
        {"datatype": 9999},  # unknown type code
        {"qform_code": 1, "sform_code": 0, "quatern_b": 0.9, "quatern_c": 0.9, "quatern_d": 0.9},  # no unit quaternion
        {"magic": b"xyz"},
        {"dim": [3, -4, 5, 4, 1, 1, 1, 1]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_broken_headers(tmp_path, change):
    path = save(tmp_path / "x.nii", marked(), np.eye(4))
    header = np.frombuffer(path.read_bytes()[:348], dtype=nib.Nifti1Header.template_dtype).copy()
    for key, value in change.items():
        header[key] = value
    path.write_bytes(header.tobytes() + path.read_bytes()[348:])
    with pytest.raises(InputError, match=r"x\.nii"):
        read_volume(path)


@pytest.mark.parametrize("row", [[0, 0, 0, 5], [np.nan, 0, 0, 0]])
def test_affine_that_cannot_be_inverted(tmp_path, row):
    path = save(tmp_path / "x.nii", marked(), np.eye(4))
    header = np.frombuffer(path.read_bytes()[:348], dtype=nib.Nifti1Header.template_dtype).copy()
    header["srow_x"], header["sform_code"], header["qform_code"] = row, 1, 0
    path.write_bytes(header.tobytes() + path.read_bytes()[348:])
    for read in (read_volume, read_space):
        with pytest.raises(SpaceError, match=r"x\.nii: the affine (cannot be inverted|holds NaN)"):
            read(path)


def test_without_any_form_the_side_is_a_guess_and_said(tmp_path):
    path = save(tmp_path / "x.nii", marked(), None, qform_code=0, sform_code=0)
    with pytest.warns(UserWarning, match=r"x\.nii: .* neither sform nor qform.*left and right") as caught:
        read_volume(path)
    assert caught[0].filename == __file__  # points at who read it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_volume(save(tmp_path / "y.nii", marked(), np.eye(4)))


def test_colour_and_complex_images_are_refused(tmp_path):
    colour = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    save(tmp_path / "x.nii", colour, np.eye(4))
    save(tmp_path / "y.nii", marked().astype(np.complex64), np.eye(4))
    for name in ("x.nii", "y.nii"):
        with pytest.raises(InputError, match="one real number per voxel"):
            read_volume(tmp_path / name)


def test_sheared_affine_is_kept_by_the_sform_alone(tmp_path):
    affine = affine_of("LPS")
    affine[0, 1] = 0.7
    write_volume(tmp_path / "x.nii", Volume(marked(), Space(SHAPE, affine)))
    image = nib.load(tmp_path / "x.nii")
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 0)


def test_a_quaternion_that_is_off_is_left_out(tmp_path):
    """An oblique LPS scan: nearly half a turn, of which float32 quaternions lose up to a thousandth."""
    shape = (256, 256, 100)
    affine = affine_of("LPS", (1.0, 1.0, 2.0), (1, 180, 173))
    rough = nib.Nifti1Image(np.zeros(shape, np.uint8), affine)
    rough.set_qform(affine, code=1)
    # what would have been written is wrong by more than a tenth of a millimetre
    assert not Space(shape, rough.get_qform()).matches(Space(shape, affine), tolerance=0.1)
    data = np.zeros(shape, np.float32)
    data[3, 200, 70] = 1
    image = nib.load(write_volume(tmp_path / "x.nii", Volume(data, Space(shape, affine))))
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 0)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    np.testing.assert_allclose(image.header.get_zooms(), (1, 1, 2), rtol=1e-6)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch, name):
    path = write_volume(tmp_path / name, Volume(marked(), Space(SHAPE, np.eye(4))))
    before = path.read_bytes()
    real = Path.write_bytes

    def fail_midway(self, data):
        real(self, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail_midway)
    with pytest.raises(OSError, match="No space"):
        write_volume(path, Volume(marked() + 1, Space(SHAPE, np.eye(4))))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_range_for_viewers(tmp_path, ending):
    path = tmp_path / f"map{ending}"
    volume = Volume(marked(dtype=np.float32), Space(SHAPE, affine_of()))
    write_volume(path, volume, display=0.25, description="z" * 90)
    assert nib.load(path).header["descrip"].item() == b"z" * 79
    assert [float(nib.load(path).header[name]) for name in ("cal_min", "cal_max")] == [-0.25, 0.25]
    assert not set_display(path, 0.25)
    assert set_display(path, 0.5)
    assert [float(nib.load(path).header[name]) for name in ("cal_min", "cal_max")] == [-0.5, 0.5]
    np.testing.assert_array_equal(read_volume(path).data, volume.data)


def test_a_single_slice_is_a_volume(tmp_path):
    assert read_volume(save(tmp_path / "one.nii", marked()[:, :, 2:3], affine_of())).space.shape == (7, 5, 1)


def test_same_data_same_bytes(tmp_path, monkeypatch):
    volume = Volume(marked(), Space(SHAPE, affine_of("PSR", degrees=(1, 2, 3))))
    first = write_volume(tmp_path / "a.nii.gz", volume).read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert write_volume(tmp_path / "b.nii.gz", volume).read_bytes() == first


def test_reading_does_not_depend_on_memory_order(tmp_path):
    volume = Volume(np.asfortranarray(marked()), Space(SHAPE, np.eye(4)))
    np.testing.assert_array_equal(read_volume(write_volume(tmp_path / "x.nii", volume)).data, marked())


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_what_was_read_is_the_callers_own(tmp_path, ending):
    path = tmp_path / f"image{ending}"
    save(path, marked(dtype=np.float32), affine_of())
    before, volume = path.read_bytes(), read_volume(path)
    assert type(volume.data) is np.ndarray
    volume.data[:] = 7
    assert path.read_bytes() == before
    assert (read_volume(path).data != 7).any()


def test_write_refuses_what_the_type_cannot_hold(tmp_path):
    space = Space(SHAPE, np.eye(4))
    data = marked(dtype=np.float64)
    with pytest.raises(InputError, match=r"500.*uint8.*0 to 255"):
        write_volume(tmp_path / "x.nii", Volume(data, space), dtype=np.uint8)
    with pytest.raises(InputError, match=r"0\.5.*whole"):
        write_volume(tmp_path / "x.nii", Volume(data + 0.5, space), dtype=np.int16)
    with pytest.raises(InputError, match="NaN"):
        write_volume(tmp_path / "x.nii", Volume(data * np.nan, space), dtype=np.int16)
    with pytest.raises(InputError, match=r"1e\+300.*float32"):
        write_volume(tmp_path / "x.nii", Volume(data + 1e300, space))
    with pytest.raises(InputError, match="int64"):
        write_volume(tmp_path / "x.nii", Volume(data, space), dtype=np.int64)
    with pytest.raises(InputError, match=r"\.nii or \.nii\.gz"):
        write_volume(tmp_path / "x.img", Volume(data, space))
    assert os.listdir(tmp_path) == []
    write_volume(tmp_path / "m.nii", Volume(data > 3, space), dtype=bool)
    assert nib.load(tmp_path / "m.nii").get_data_dtype() == np.uint8


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_labels_of_every_type(tmp_path, dtype, order):
    top = 250 if dtype == np.uint8 else 32000 if dtype == np.int16 else 65000 if dtype == np.uint16 else 4_000_001
    labels = np.random.default_rng(0).choice([0, 1, 127, 128, 129, 200, top], SHAPE).astype(np.int64)
    image = nib.Nifti1Image(labels.astype(dtype), np.eye(4), nib.Nifti1Header(endianness=order))
    image.header.set_data_dtype(dtype)
    nib.save(image, tmp_path / "x.nii.gz")
    got = read_labels(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(got.data, labels)
    assert got.data.dtype == np.int32


def test_labels_that_are_none(tmp_path):
    for value, words in ((0.4, "0.4; labels are whole numbers"), (np.nan, "NaN"), (3e9, "does not fit 32 bits")):
        data = np.zeros(SHAPE)
        data[0, 0, 0], data[2, 2, 2] = 7, value
        save(tmp_path / "x.nii", data, np.eye(4))
        with pytest.raises(InputError, match=words):
            read_labels(tmp_path / "x.nii")


def test_the_largest_label(tmp_path):
    data = np.full(SHAPE, 2.0**31 - 1)
    assert (read_labels(save(tmp_path / "x.nii", data, np.eye(4))).data == 2**31 - 1).all()
    with pytest.raises(InputError, match="does not fit 32 bits"):
        read_labels(save(tmp_path / "x.nii", data + 1, np.eye(4)))


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "orientation"),
    [
        ("t1w/ds002748/sub-01_T1w.nii.gz", "LAS"),
        ("t1w/ixi/IXI012-HH-1211-T1_ds.nii.gz", "PSR"),
        ("flair/open_ms_native/long_patient01_study1_FLAIR.nii.gz", "LPS"),
        ("cohorts/ds002748/sub-01/anat/sub-01_space-MNI152_res-2_desc-brain_T1w.nii.gz", "RAS"),
    ],
)
def test_real_scans_against_nibabel(real_data, tmp_path, name, orientation):
    image = nib.load(real_data / name)
    volume = read_volume(real_data / name)
    np.testing.assert_array_equal(volume.data, image.get_fdata(dtype=np.float32).reshape(image.shape[:3]))
    np.testing.assert_array_equal(volume.space.affine, image.affine)
    assert volume.space.orientation == orientation
    canonical = nib.as_closest_canonical(image)
    turned = volume.reoriented("RAS")
    np.testing.assert_array_equal(turned.data, canonical.get_fdata(dtype=np.float32).reshape(canonical.shape[:3]))
    np.testing.assert_allclose(turned.space.affine, canonical.affine, atol=1e-6)
    back = nib.load(write_volume(tmp_path / "x.nii", volume))
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(back.dataobj), volume.data)


@pytest.mark.real
def test_real_labels_against_nibabel(real_data):
    path = real_data / "labelmaps/synthseg/training_seg_01.nii.gz"
    got = read_labels(path)
    assert got.space.orientation == "LIA"
    np.testing.assert_array_equal(got.data, np.asarray(nib.load(path).dataobj))
