"""DICOM objects: where they lie, what they hold, whose they are; read back by us, by highdicom and by pydicom alone."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from helpers.dicom import PLANES, change, write_enhanced, write_series
from neuroxai import io
from neuroxai.bands import bands
from neuroxai.errors import InputError, SpaceError
from neuroxai.space import Space, Volume

ABOUT = io.Description("saliency for AD", "saliency", {"beta": 0}, "AD", "seed")
FRAME = "1.3.6.1.4.1.5962.99.1"


def turned() -> np.ndarray:
    """An oblique, anisotropic grid that is no other's mirror image."""
    a, b = np.deg2rad(8), np.deg2rad(-5)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([1.1, 1.3, 2.4])
    affine[:3, 3] = [-31, -27, -12]
    return affine


@pytest.fixture
def scan(rng):
    return Volume(rng.integers(0, 900, (24, 21, 18)).astype(np.float32), Space((24, 21, 18), turned()))


def write(kind, folder, scan):
    """A series in one of three planes, or enhanced; returns the place that a user names."""
    if kind == "enhanced":
        return write_enhanced(folder / "e.dcm", scan, "coronal", order=np.arange(21)[::-1], FrameOfReferenceUID=FRAME)
    write_series(folder, scan, kind, seed=4, FrameOfReferenceUID=FRAME)
    return folder


def blob_of(space: Space) -> tuple[Volume, np.ndarray]:
    """Relevance of one voxel on the left, in the world."""
    data = np.zeros(space.shape, np.float32)
    corners = np.argwhere(np.ones(space.shape, bool))
    left = corners[np.argmin(np.abs(space.world(corners) - space.world(np.array(space.shape) / 2) + [9, -4, 3]).sum(1))]
    data[tuple(left)] = 0.7319
    return Volume(data, space), space.world(left)


@pytest.mark.parametrize("kind", [*PLANES, "enhanced"])
def test_a_map_comes_back_with_the_same_values_at_the_same_place(tmp_path, scan, rng, kind):
    place = write(kind, tmp_path / "series", scan)
    series, _ = io.read_series(place)
    origin = io.read_origin(place)
    heatmap = Volume(rng.normal(size=series.space.shape).astype(np.float32), series.space)
    path = io.write_parametric_map(tmp_path / "map.dcm", heatmap, origin, ABOUT)
    back = io.read_parametric_map(path)
    upright, expected = back.reoriented("RAS"), heatmap.reoriented("RAS")
    np.testing.assert_array_equal(upright.data, expected.data)
    np.testing.assert_allclose(upright.space.affine, expected.space.affine, atol=1e-4)
    # the scan's own voxels lie there too, wherever the series keeps them
    np.testing.assert_allclose(upright.space.affine, scan.reoriented("RAS").space.affine, atol=1e-3)


@pytest.mark.parametrize("kind", [*PLANES, "enhanced"])
def test_a_blob_stays_on_the_left_as_pydicom_alone_reads_it(tmp_path, scan, kind):
    place = write(kind, tmp_path / "series", scan)
    origin = io.read_origin(place)
    heatmap, world = blob_of(origin.space)
    path = io.write_parametric_map(tmp_path / "map.dcm", heatmap, origin, ABOUT)
    read = pydicom.dcmread(path)
    frames = np.frombuffer(read.FloatPixelData, "<f4").reshape(read.NumberOfFrames, read.Rows, read.Columns)
    frame, row, column = np.argwhere(frames)[0]
    shared, own = read.SharedFunctionalGroupsSequence[0], read.PerFrameFunctionalGroupsSequence[frame]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    spacing = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    corner = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
    lps = corner + cosines[0] * spacing[1] * column + cosines[1] * spacing[0] * row
    np.testing.assert_allclose(lps * [-1, -1, 1], world, atol=1e-3)
    assert world[0] < scan.space.world((np.array(scan.space.shape) - 1) / 2)[0] - 5
    assert frames[frame, row, column] == np.float32(0.7319)


def test_bands_and_their_names_come_back(tmp_path, scan, rng):
    place = write("sagittal", tmp_path / "series", scan)
    origin = io.read_origin(place)
    labels, found = bands(rng.normal(size=origin.space.shape))
    labels[labels == 3] = 0  # one band that no voxel is in
    segments = [io.Segment(band.value, band.name("AD"), band.colour) for band in found]
    path = io.write_segmentation(tmp_path / "s.dcm", Volume(labels, origin.space), segments, origin, ABOUT)
    back, names = io.read_segmentation(path)
    upright, expected = back.reoriented("RAS"), Volume(labels, origin.space).reoriented("RAS")
    np.testing.assert_allclose(upright.space.affine, expected.space.affine, atol=1e-4)
    assert "against AD, 25 to 50 %" not in names.values()
    assert len(names) == 7
    for number, name in names.items():
        value = next(segment.value for segment in segments if segment.name == name)
        np.testing.assert_array_equal(upright.data == number, expected.data == value)


def objects(folder, place):
    origin = io.read_origin(place)
    heatmap, _ = blob_of(origin.space)
    labels, found = bands(heatmap.data)
    segments = [io.Segment(band.value, band.name("AD"), band.colour) for band in found]
    return [
        io.write_parametric_map(folder / "map.dcm", heatmap, origin, ABOUT),
        io.write_segmentation(folder / "seg.dcm", Volume(labels, origin.space), segments, origin, ABOUT),
        io.write_report(folder / "sr.dcm", origin, ABOUT, {"Probability of AD": 0.25}),
    ]


def test_patient_study_and_place_are_the_series(tmp_path, scan):
    place = write("axial", tmp_path / "series", scan)
    header = pydicom.dcmread(next(place.iterdir()), stop_before_pixels=True)
    files = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in place.iterdir()}
    seen = set()
    for path in objects(tmp_path, place):
        made = pydicom.dcmread(path)
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID"):
            assert made[keyword].value == header[keyword].value, keyword
        if made.Modality != "SR":
            assert made.FrameOfReferenceUID == FRAME
        assert made.SeriesInstanceUID != header.SeriesInstanceUID
        seen |= {made.SOPInstanceUID, made.SeriesInstanceUID}
        for uid in (made.SOPInstanceUID, made.SeriesInstanceUID, made.file_meta.MediaStorageSOPInstanceUID):
            assert uid.is_valid, uid
            assert uid.startswith("2.25."), uid
        assert "research only" in made.SeriesDescription
        referred = {str(element.value) for element in made.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
        assert referred
        assert referred <= files | {made.SOPInstanceUID}
    assert len(seen) == 6


def test_every_object_says_its_use_in_full(tmp_path, scan):
    map_, segmentation, report = map(pydicom.dcmread, objects(tmp_path, write("axial", tmp_path / "series", scan)))
    full = "For research use only; not a medical device."
    assert map_.ContentDescription == segmentation.ContentDescription == full
    assert report.ContentSequence[0].TextValue == full


def test_the_report_is_a_list_of_items_of_their_own(tmp_path, scan):
    """One that is CONTINUOUS is a sentence to viewers, in which names and units of items are not shown."""
    path = objects(tmp_path, write("axial", tmp_path / "series", scan))[-1]
    assert pydicom.dcmread(path).ContinuityOfContent == "SEPARATE"
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is absent: apt-get install dcmtk")
    told = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True, text=True, check=True).stdout
    assert '<CONTAINER:(,,"Diagnostic Imaging Report")=SEPARATE>' in told
    assert '<contains TEXT:(,,"Use")="For research use only; not a medical device."' in told
    assert '<contains NUM:(,,"Probability of AD")="25.0" (%,UCUM,"Percent")>' in told


def test_the_same_input_gives_the_same_bytes_and_another_other_identifiers(tmp_path, scan):
    place = write("coronal", tmp_path / "series", scan)
    first = [path.read_bytes() for path in objects(tmp_path / "a", place)]
    assert [path.read_bytes() for path in objects(tmp_path / "b", place)] == first
    other = io.Description(ABOUT.label, ABOUT.method, ABOUT.options, ABOUT.target, "another seed")
    origin = io.read_origin(place)
    path = io.write_parametric_map(tmp_path / "c.dcm", blob_of(origin.space)[0], origin, other)
    assert pydicom.dcmread(path).SOPInstanceUID != pydicom.dcmread(tmp_path / "a" / "map.dcm").SOPInstanceUID


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is absent: apt-get install dicom3tools")
@pytest.mark.parametrize("kind", ["axial", "enhanced"])
def test_a_validator_of_others_finds_no_error(tmp_path, scan, kind):
    place = write(kind, tmp_path / "series", scan)
    for path in objects(tmp_path, place):
        told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        lines = (told.stdout + told.stderr).splitlines()
        assert lines, path.name
        assert not [line for line in lines if line.startswith(("Error", "Abort"))], path.name


def test_what_does_not_fit_is_refused(tmp_path, scan):
    place = write("axial", tmp_path / "series", scan)
    origin = io.read_origin(place)
    heatmap, _ = blob_of(origin.space)
    shifted = np.array(origin.space.affine)
    shifted[0, 3] += 2
    for wrong, kind, message in (
        (Volume(heatmap.data, Space(heatmap.space.shape, shifted)), SpaceError, "explain the series itself"),
        (Volume(np.full_like(heatmap.data, np.nan), heatmap.space), InputError, "NaN"),
    ):
        with pytest.raises(kind, match=message):
            io.write_parametric_map(tmp_path / "wrong.dcm", wrong, origin, ABOUT)
    labels = Volume(np.full(origin.space.shape, 3, np.uint8), origin.space)
    with pytest.raises(InputError, match="holds 3, which has no name"):
        io.write_segmentation(tmp_path / "wrong.dcm", labels, [], origin, ABOUT)
    empty = Volume(np.zeros(origin.space.shape, np.uint8), origin.space)
    with pytest.raises(InputError, match="no segment at all"):
        io.write_segmentation(tmp_path / "wrong.dcm", empty, [], origin, ABOUT)
    assert not (tmp_path / "wrong.dcm").exists()


def test_a_series_with_a_gap_or_without_spacing_has_no_objects(tmp_path, scan):
    files = write_series(tmp_path / "gap", scan)
    files[7].unlink()
    with pytest.raises(InputError, match="slices are missing"):
        io.read_origin(tmp_path / "gap")
    files = write_series(tmp_path / "bare", scan)
    change(files[3], PixelSpacing=None)
    with pytest.raises(InputError, match="PixelSpacing is absent"):
        io.read_origin(tmp_path / "bare")


def test_reading_back_refuses_other_objects(tmp_path, scan):
    place = write("axial", tmp_path / "series", scan)
    map_, segmentation, report = objects(tmp_path, place)
    with pytest.raises(InputError, match="expected Segmentation Storage"):
        io.read_segmentation(map_)
    with pytest.raises(InputError, match="expected Parametric Map Storage"):
        io.read_parametric_map(segmentation)
    with pytest.raises(InputError, match="Parametric Map"):
        io.read_parametric_map(report)
    with pytest.raises(InputError, match="no such file"):
        io.read_parametric_map(tmp_path / "absent.dcm")
