"""A series read right: values, places and sides, whatever the plane, the kind of file and the compression."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

pydicom = pytest.importorskip("pydicom")
from pydicom.data import get_testdata_file  # noqa: E402

from helpers.dicom import ENHANCED_MR, PATIENT, PLANES, change, write_enhanced, write_series  # noqa: E402
from helpers.draws import COSTLY  # noqa: E402
from helpers.thirds import sampled  # noqa: E402
from neuroxai.errors import InputError  # noqa: E402
from neuroxai.io import list_series, read_series, read_volume  # noqa: E402
from neuroxai.space import Space, Volume  # noqa: E402

SHAPE = (13, 11, 9)


def phantom(degrees=(0.0, 0.0, 0.0), orientation="RAS", shape=SHAPE, dtype=np.int16):
    """A ramp with a big blob on the left at the front and a small one on the right above; uneven voxels."""
    data = np.arange(np.prod(shape)).reshape(shape) % 400
    data[1:4, 6:10, 2:4] = 3000
    data[9, 2, 7] = 2000
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * (1.25, 1.5, 2.5)
    affine[:3, 3] = (-11.0, 7.0, 30.0)
    return Volume(data.astype(dtype), Space(shape, affine)).reoriented(orientation)


def assert_same_in_the_world(got, wanted, atol=1e-4):
    """Where one has a voxel the other has one of the same value; halfway between axes no orientation is the nearer."""
    assert got.data.size == wanted.data.size
    places = wanted.space.world(np.argwhere(np.ones(wanted.data.shape)))
    voxels = np.rint(got.space.voxels(places)).astype(int)
    np.testing.assert_allclose(got.space.world(voxels), places, atol=atol)
    assert len(np.unique(np.ravel_multi_index(voxels.T, got.data.shape))) == got.data.size
    np.testing.assert_array_equal(got.data[tuple(voxels.T)], wanted.data.ravel().astype(np.float32))


@pytest.mark.parametrize("degrees", [(0, 0, 0), (12, -25, 8)])
@pytest.mark.parametrize("orientation", ["RAS", "LPI", "ASL"])
@pytest.mark.parametrize("plane", PLANES)
def test_a_series_in_any_plane_is_the_same_scan(tmp_path, plane, orientation, degrees):
    scan = phantom(degrees, orientation)
    write_series(tmp_path, scan, plane)
    volume, facts = read_series(tmp_path)
    assert_same_in_the_world(volume, scan)
    assert volume.data.dtype == np.float32
    assert facts["files"] == volume.data.shape[2]
    # axes as the scanner has them
    assert volume.space.orientation[:2] == PLANES[plane][:2]


@pytest.mark.parametrize("plane", PLANES)
def test_left_stays_left(tmp_path, plane):
    write_series(tmp_path, phantom(), plane)
    volume, _ = read_series(tmp_path)
    big = volume.space.world(np.argwhere(volume.data == 3000)).mean(axis=0)
    small = volume.space.world(np.argwhere(volume.data == 2000)).mean(axis=0)
    np.testing.assert_allclose(big, (-11 + 2 * 1.25, 7 + 7.5 * 1.5, 30 + 2.5 * 2.5), atol=1e-4)
    np.testing.assert_allclose(small, (-11 + 9 * 1.25, 7 + 2 * 1.5, 30 + 7 * 2.5), atol=1e-4)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (12, -25, 8)])
@pytest.mark.parametrize("plane", PLANES)
def test_itk_sees_the_same_grid(tmp_path, plane, degrees):
    itk = pytest.importorskip("itk")
    write_series(tmp_path, phantom(degrees), plane)
    names = itk.GDCMSeriesFileNames.New()
    names.SetDirectory(str(tmp_path))
    image = itk.imread(names.GetFileNames(names.GetSeriesUIDs()[0]), itk.F)
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1
    theirs = Volume(
        itk.array_from_image(image).transpose(2, 1, 0), Space(image.GetLargestPossibleRegion().GetSize(), affine)
    )
    assert_same_in_the_world(read_series(tmp_path)[0], theirs)


@example(degrees=(37.0, -26.0, 37.0), plane="axial")
@COSTLY
@given(degrees=st.tuples(*[st.floats(-180, 180)] * 3), plane=st.sampled_from(list(PLANES)))
def test_any_oblique_series_is_read_in_its_place(tmp_path, degrees, plane):
    folder = tmp_path / "series"
    shutil.rmtree(folder, ignore_errors=True)
    # never fewer slices than a scan has
    scan = phantom(degrees, shape=(10, 9, 8))
    write_series(folder, scan, plane)
    assert_same_in_the_world(read_series(folder)[0], scan)


def test_slope_and_intercept_are_applied(tmp_path):
    scan = phantom()
    files = write_series(tmp_path, scan, rescale=(2.5, -100))
    # and may differ from slice to slice
    change(files[4], RescaleSlope="4", RescaleIntercept="7")
    data = read_series(tmp_path)[0].reoriented("RAS").data
    expected = scan.data * 2.5 - 100
    expected[:, :, 4] = scan.data[:, :, 4] * 4.0 + 7
    np.testing.assert_array_equal(data, expected)


def test_negative_and_unsigned_numbers_keep_their_value(tmp_path):
    negative = Volume(phantom().data - 500, phantom().space)
    write_series(tmp_path / "a", negative)
    np.testing.assert_array_equal(read_series(tmp_path / "a")[0].reoriented("RAS").data, negative.data)
    large = Volume(phantom(dtype=np.int32).data * 20, phantom().space)
    assert large.data.max() > 2**15
    write_series(tmp_path / "b", large)
    np.testing.assert_array_equal(read_series(tmp_path / "b")[0].reoriented("RAS").data, large.data)


def test_positions_of_few_decimals_do(tmp_path):
    scan = phantom((3, 4, 5))
    for file in write_series(tmp_path, scan):
        header = pydicom.dcmread(file)
        change(
            file,
            ImagePositionPatient=[f"{float(v):.3f}" for v in header.ImagePositionPatient],
            ImageOrientationPatient=[f"{float(v):.4f}" for v in header.ImageOrientationPatient],
        )
    assert_same_in_the_world(read_series(tmp_path)[0], scan, atol=2e-3)


# --- enhanced files


@pytest.mark.parametrize("plane", PLANES)
def test_an_enhanced_file_is_read_by_its_functional_groups(tmp_path, plane):
    scan = phantom((12, -25, 8))
    slices = scan.reoriented(PLANES[plane]).data.shape[2]
    order = np.random.default_rng(2).permutation(slices)
    file = write_enhanced(tmp_path / "scan.dcm", scan, plane, order)
    volume, facts = read_series(file)
    stored = scan.reoriented(PLANES[plane])
    k = np.arange(slices)
    scaled = Volume((stored.data * (1 + 0.5 * (k % 3)) + k).astype(np.float32), stored.space)
    assert_same_in_the_world(volume, scaled)
    assert (facts["RepetitionTime"], facts["EchoTime"], facts["InversionTime"]) == (2.3, 0.00298, 0.9)
    assert facts["SliceThickness"] == pytest.approx(stored.space.spacing[2])
    assert facts["files"] == 1
    (series,) = list_series(tmp_path)
    assert series.size == (*stored.data.shape[:2], slices)


def test_itk_sees_an_enhanced_file_in_the_same_place(tmp_path):
    itk = pytest.importorskip("itk")
    file = write_enhanced(tmp_path / "scan.dcm", phantom((12, -25, 8)), "sagittal")
    image = itk.imread(str(file), itk.F)
    space = read_series(file)[0].space
    np.testing.assert_allclose(np.array(image.GetOrigin()) * (-1, -1, 1), space.affine[:3, 3], atol=1e-4)
    directions = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    np.testing.assert_allclose(np.diag([-1, -1, 1]) @ directions, space.affine[:3, :3], atol=1e-4)


def test_an_enhanced_file_of_two_echoes_is_refused(tmp_path):
    from pydicom.dataset import Dataset

    def echo(place, frame):
        item = Dataset()
        item.EffectiveEchoTime = 2.5 if place < 9 else 7.5
        frame.MREchoSequence = [item]

    file = write_enhanced(tmp_path / "scan.dcm", phantom(), order=[*range(9), *range(9)], frame_tags=[echo])
    with pytest.raises(InputError, match=r"10 of 18 images lie at the place of another.*EchoTime 2\.5 and 7\.5"):
        read_series(file)


def test_a_multi_frame_file_without_groups_is_refused(tmp_path):
    nothing = {"SharedFunctionalGroupsSequence": None, "PerFrameFunctionalGroupsSequence": None}
    file = write_enhanced(tmp_path / "scan.dcm", phantom(), **nothing)
    with pytest.raises(InputError, match="9 images in one file without functional groups"):
        read_series(file)
    cut = write_enhanced(tmp_path / "cut.dcm", phantom(), NumberOfFrames=10)
    with pytest.raises(InputError, match="10 images, but functional groups for 9"):
        read_series(cut)
    nowhere = write_enhanced(
        tmp_path / "no.dcm", phantom(), frame_tags=[lambda place, frame: frame.pop("PlanePositionSequence")]
    )
    with pytest.raises(InputError, match=r"image 1: ImagePositionPatient is absent"):
        read_series(nowhere)


# --- compression and encodings, on pydicom's own files

KINDS = ["", "_RLE", "_bigendian", "_expb", "_implicit", "_jp2klossless", "_jpeg_ls_lossless", "_padded"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_syntax_gives_the_same_pixels(tmp_path, kind):
    from neuroxai.io.dicom.pixels import stored_pixels

    if kind in ("_jp2klossless", "_jpeg_ls_lossless"):
        pytest.importorskip("itk")
    source = Path(get_testdata_file(f"MR_small{kind}.dcm", download=False))
    plain = pydicom.dcmread(get_testdata_file("MR_small.dcm")).pixel_array
    pixels = stored_pixels(source)
    assert pixels.shape == (1, 64, 64)
    np.testing.assert_array_equal(pixels[0], plain)
    assert plain.min() < 0 or plain.max() > 255


def test_a_compressed_series_is_scaled_once(tmp_path):
    pytest.importorskip("itk")
    source = pydicom.dcmread(get_testdata_file("MR_small_jpeg_ls_lossless.dcm"))
    uid = pydicom.uid.generate_uid()
    for k in range(8):
        source.SeriesInstanceUID, source.SOPInstanceUID = uid, pydicom.uid.generate_uid()
        source.file_meta.MediaStorageSOPInstanceUID = source.SOPInstanceUID
        source.ImagePositionPatient = [0, 0, 3 * k]
        source.RescaleSlope, source.RescaleIntercept = "2", "10"
        source.save_as(tmp_path / f"{k}.dcm")
    plain = pydicom.dcmread(get_testdata_file("MR_small.dcm")).pixel_array
    data = read_series(tmp_path)[0].data
    for k in range(8):
        np.testing.assert_array_equal(data[:, :, k].T, plain * 2.0 + 10)


@pytest.mark.parametrize("frames", [9, 8])
def test_a_compressed_enhanced_file_is_read_frame_by_frame(tmp_path, frames):
    itk = pytest.importorskip("itk")
    from pydicom.encaps import encapsulate, generate_frames

    scan = phantom(shape=(16, 18, 9), dtype=np.uint16)
    streams = []
    for k in range(frames):
        writer = itk.GDCMImageIO.New()
        writer.SetCompressor("JPEG2000")
        image = itk.image_from_array(np.ascontiguousarray(scan.reoriented("LPS").data[:, :, k].T)[None])
        itk.imwrite(image, str(tmp_path / "one.dcm"), imageio=writer, compression=True)
        one = pydicom.dcmread(tmp_path / "one.dcm")
        streams += generate_frames(one.PixelData, number_of_frames=1)
    (tmp_path / "one.dcm").unlink()
    plain = write_enhanced(tmp_path / "plain.dcm", scan)
    header = pydicom.dcmread(plain)
    header.PixelData = encapsulate(streams)
    header["PixelData"].VR = "OB"
    header.file_meta.TransferSyntaxUID = one.file_meta.TransferSyntaxUID
    packed = tmp_path / "packed.dcm"
    header.save_as(packed)
    if frames < 9:
        with pytest.raises(InputError, match="8 of 9 images are there"):
            read_series(packed)
    else:
        assert one.file_meta.TransferSyntaxUID.is_compressed
        np.testing.assert_array_equal(read_series(packed)[0].data, read_series(plain)[0].data)


# --- what comes with it


def test_facts_hold_the_measurement_and_nothing_of_the_person(tmp_path):
    write_series(tmp_path, phantom(), uid="1.2.3.4")
    (tmp_path / "README.txt").write_text("not DICOM")
    _, facts = read_series(tmp_path)
    assert facts == {
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": "MR",
        "Manufacturer": "Maker",
        "ManufacturersModelName": "Magnet 3000",
        "SoftwareVersions": "V1\\B17",
        "MRAcquisitionType": "3D",
        "MagneticFieldStrength": 3.0,
        "RepetitionTime": 2.3,
        "EchoTime": 0.00298,
        "InversionTime": 0.9,
        "FlipAngle": 9.0,
        "SliceThickness": 2.5,
        "files": 9,
        "skipped": 1,
    }
    text = json.dumps(facts)
    assert not [value for value in [*PATIENT.values(), "Doe"] if value in text and value != "F"]


def test_absent_facts_are_left_out(tmp_path):
    write_series(tmp_path, phantom(), EchoTime=None, RepetitionTime="", MagneticFieldStrength=None, Manufacturer="")
    assert not {"EchoTime", "RepetitionTime", "MagneticFieldStrength", "Manufacturer"} & set(read_series(tmp_path)[1])


@pytest.mark.real
@pytest.mark.parametrize("plane", sampled(PLANES, 3))
def test_a_real_scan_written_as_a_series_is_the_same_scan(tmp_path, real_data, plane):
    scan = read_volume(real_data / "t1w" / "ixi" / "IXI012-HH-1211-T1_ds.nii.gz")
    assert scan.space.orientation == "PSR"
    whole = Volume(np.rint(scan.data * (30000 / scan.data.max())).astype(np.int16), scan.space)
    write_series(tmp_path, whole, plane)
    assert_same_in_the_world(read_series(tmp_path)[0], whole, atol=1e-3)


def test_the_kind_of_file_is_the_enhanced_one(tmp_path):
    file = write_enhanced(tmp_path / "scan.dcm", phantom())
    assert pydicom.dcmread(file).file_meta.MediaStorageSOPClassUID == ENHANCED_MR
