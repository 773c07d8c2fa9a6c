"""Where others put our objects: a blob left of the midline stays there, in every orientation and for every reader.

The right place is worked out by PS3.3 C.7.6.2.1.1 from the geometry that the series was written with:
P = corner + slice * step + row * (row spacing) * (column cosines) + column * (column spacing) * (row cosines).
"""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from helpers.dicom import write_planes
from helpers.thirds import sampled
from neuroxai import io
from neuroxai.explain.overlay import overlay
from neuroxai.space import Volume

SPACING, GAP, SHAPE = (1.3, 1.1), 2.4, (18, 21, 24)  # between rows, between columns; slices, rows, columns
BLOB, RELEVANCE, DENSITY = 4000, 5e-7, 1e6
ABOUT = io.Description("lrp for AD", "lrp", {}, "AD", "seed", density=DENSITY)


def turned(cosines, *angles):
    """Turn directions about z, then about the new x, degrees."""
    about_z, about_x = np.deg2rad(angles)
    z = [[np.cos(about_z), -np.sin(about_z), 0], [np.sin(about_z), np.cos(about_z), 0], [0, 0, 1]]
    x = [[1, 0, 0], [0, np.cos(about_x), -np.sin(about_x)], [0, np.sin(about_x), np.cos(about_x)]]
    return np.asarray(cosines, float) @ (np.array(z) @ np.array(x)).T


AXIAL, CORONAL, SAGITTAL = ([1, 0, 0], [0, 1, 0]), ([1, 0, 0], [0, 0, -1]), ([0, 1, 0], [0, 0, -1])
SERIES = {
    "axial": (AXIAL, 1),
    "coronal": (CORONAL, 1),
    "sagittal": (SAGITTAL, 1),
    "axial, from the top": (AXIAL, -1),
    "sagittal, from the right": (SAGITTAL, -1),
    "oblique": (turned(AXIAL, 21, -14), 1),
    "oblique coronal, from the back": (turned(CORONAL, -17, 9), -1),
}


@pytest.fixture(scope="module", params=sampled(SERIES, 3))
def written(request, tmp_path_factory):
    """A series with one bright voxel left of its middle, that voxel's place, and the objects beside it."""
    tmp_path = tmp_path_factory.mktemp("placed")
    cosines, sign = SERIES[request.param]
    along, down = np.asarray(cosines, float)
    step = sign * GAP * np.cross(along, down)
    moves = np.array([step, SPACING[0] * down, SPACING[1] * along])  # of slice, row, column
    middle = (np.array(SHAPE) - 1) / 2
    corner = np.array([3.0, -7.0, 11.0]) - middle @ moves
    voxels = np.argwhere(np.ones(SHAPE, bool))
    places = corner + voxels @ moves
    which = np.argmin(np.abs(places - [9.0, -15.0, 17.0]).sum(axis=1))  # 6 mm to the left, 8 ahead, 6 up: LPS
    pixels = np.random.default_rng(3).integers(0, 900, SHAPE).astype(np.float32)
    pixels[tuple(voxels[which])] = BLOB
    series = write_planes(tmp_path / "series", pixels, corner, cosines, SPACING, step, FrameOfReferenceUID="1.2.3")
    scan, _ = io.read_series(series)
    origin = io.read_origin(series)
    blob = scan.data == BLOB
    heatmap = Volume(np.where(blob, RELEVANCE, 0).astype(np.float32), origin.space)
    io.write_parametric_map(tmp_path / "map.dcm", heatmap, origin, ABOUT)
    # a segment that is only in two slices far apart, of which one is the blob's
    labels = np.where(blob, 1, 0).astype(np.uint8)
    labels[..., 0 if np.argwhere(blob)[0, 2] > SHAPE[0] / 2 else -1][:2] = 1
    drawn, zoom = overlay(scan, heatmap, RELEVANCE, io.sides(origin), [ABOUT.label, ABOUT.use])
    io.write_captures(tmp_path / "overlay", drawn, origin, ABOUT, zoom)
    segments = [io.Segment(1, "for AD", (255, 160, 0))]
    io.write_segmentation(tmp_path / "seg.dcm", Volume(labels, origin.space), segments, origin, ABOUT)
    assert places[which][0] > 3 + 4
    return tmp_path, places[which], labels.sum(), request.param


def by_hand(path):
    """Places and values of all that is not 0, from the elements of the file alone."""
    read = pydicom.dcmread(path)
    pixels = np.frombuffer(read.FloatPixelData, "<f4") if "FloatPixelData" in read else read.pixel_array
    shared = read.SharedFunctionalGroupsSequence[0]
    along, down = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    rows, columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    for group, frame in zip(
        read.PerFrameFunctionalGroupsSequence, pixels.reshape(-1, read.Rows, read.Columns), strict=True
    ):
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            place = corner + column * columns * along + row * rows * down
            found.append((place, frame[row, column]))
    return found


def by_highdicom(path):
    import highdicom

    if path.name == "map.dcm":
        volume = highdicom.imread(path).get_volume()
    else:
        volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    indices = np.argwhere(volume.array)
    return list(zip(volume.map_indices_to_reference(indices), volume.array[tuple(indices.T)], strict=True))


def by_dcmqi(path):
    itk = pytest.importorskip("itk")
    tool = "paramap2itkimage" if path.name == "map.dcm" else "segimage2itkimage"
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is absent: pip install dcmqi")
    out = path.parent / tool
    out.mkdir()
    words = [tool, "--inputDICOM", str(path), "--outputDirectory", str(out), "--outputType", "nrrd"]
    subprocess.run(words, check=True, capture_output=True)
    (file,) = out.glob("*.nrrd")
    image = itk.imread(str(file), itk.F)
    values = itk.array_from_image(image)
    return [
        (np.array(image.TransformIndexToPhysicalPoint([int(n) for n in index[::-1]])), values[tuple(index)])
        for index in np.argwhere(values)
    ]


def by_dcm2niix(path):
    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is absent: apt-get install dcm2niix")
    alone = path.parent / "alone"
    alone.mkdir()
    shutil.copyfile(path, alone / path.name)
    subprocess.run(["dcm2niix", "-f", "out", "-o", str(alone), str(alone)], check=True, capture_output=True)
    (file,) = alone.glob("*.nii")
    volume = io.read_volume(file)
    indices = np.argwhere(volume.data)
    return [(volume.space.world(index) * [-1, -1, 1], volume.data[tuple(index)]) for index in indices]


@pytest.mark.parametrize("read", [by_hand, by_highdicom, by_dcmqi, by_dcm2niix])
def test_the_map_lies_where_the_scan_has_the_blob(written, read):
    folder, place, *_ = written
    ((found, value),) = read(folder / "map.dcm")
    np.testing.assert_allclose(found, place, atol=2e-3)  # dcm2niix keeps float32
    # .5 % of the score per millilitre
    assert value == pytest.approx(RELEVANCE * DENSITY, rel=1e-6)


@pytest.mark.parametrize("read", [by_hand, by_highdicom, by_dcmqi])
def test_the_segment_lies_where_the_scan_has_the_blob(written, read):
    folder, place, voxels, _ = written
    found = read(folder / "seg.dcm")
    assert len(found) == voxels
    assert min(np.linalg.norm(one - place) for one, _ in found) < 2e-3


def test_relevance_and_its_unit_can_be_read_back(written):
    folder, place, *_ = written
    back = io.read_parametric_map(folder / "map.dcm")
    ((i, j, k),) = np.argwhere(back.data)
    np.testing.assert_allclose(back.space.world(np.array([i, j, k])) * [-1, -1, 1], place, atol=1e-4)
    assert back.data[i, j, k] == pytest.approx(RELEVANCE, rel=1e-6)
    percent, plain = pydicom.dcmread(folder / "map.dcm").SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    units = [one.MeasurementUnitsCodeSequence[0] for one in (percent, plain)]
    assert [(unit.CodingSchemeDesignator, unit.CodeValue) for unit in units] == [("UCUM", "%/mL"), ("UCUM", "1")]
    assert (percent.RealWorldValueSlope, plain.RealWorldValueSlope) == (1, 1 / DENSITY)
    assert percent.LUTExplanation == "relevance x 1e+06 = percent of the score per mL"


EDGES = {"axial": "RLAP", "coronal": "RLHF", "sagittal": "APHF"}


def test_the_pictures_lie_where_the_scan_has_the_blob(written):
    """The blob's pixels are the only ones in colour above the legend; their middle is the voxel's by its tags."""
    folder, place, _, name = written
    files = sorted((folder / "overlay").iterdir())
    pictures = [pydicom.dcmread(file) for file in files]
    assert len(pictures) == SHAPE[0]
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in (folder / "series").iterdir()]
    sources = {header.SOPInstanceUID: (header.StudyInstanceUID, header.StudyDescription) for header in headers}
    found, along_normal = [], []
    for number, read in enumerate(pictures, start=1):
        along, down = np.reshape(read.ImageOrientationPatient, (2, 3)).astype(float)
        rows, columns = map(float, read.PixelSpacing)
        corner = np.array(read.ImagePositionPatient, float)
        zoom = round(SPACING[0] / rows)
        scan = read.pixel_array[: SHAPE[1] * zoom].astype(int)
        for row, column in np.argwhere(scan[..., 0] - scan[..., 2] > 60):
            found.append(corner + column * columns * along + row * rows * down)
        along_normal.append(corner @ np.cross(along, down))
        assert (read.InstanceNumber, read.FrameOfReferenceUID, read.BurnedInAnnotation) == (number, "1.2.3", "YES")
        assert read.SourceImageSequence[0].ReferencedSOPInstanceUID in sources
        assert (read.StudyInstanceUID, read.StudyDescription) == next(iter(sources.values()))
        assert read.ImageComments == "For research use only; not a medical device."
        assert read.pixel_array.shape[0] > SHAPE[1] * zoom
    np.testing.assert_allclose(np.diff(along_normal), GAP, atol=1e-6)
    assert len(found) == zoom**2
    np.testing.assert_allclose(np.mean(found, axis=0), place, atol=1e-6)
    assert len({read.SeriesInstanceUID for read in pictures}) == 1
    assert len({read.SOPInstanceUID for read in pictures}) == SHAPE[0]
    edges = io.sides(io.read_origin(folder / "series"))
    if name.split(",")[0] in EDGES:
        assert "".join(edges) == EDGES[name.split(",")[0]]
    else:
        assert [edge[0] for edge in edges] == list(EDGES["coronal" if "coronal" in name else "axial"])
        assert max(map(len, edges)) > 1


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is absent: apt-get install dicom3tools")
def test_a_validator_of_others_finds_no_error(written):
    folder, *_ = written
    for path in (folder / "map.dcm", folder / "seg.dcm", folder / "overlay" / "0001.dcm"):
        told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        lines = (told.stdout + told.stderr).splitlines()
        assert lines
        assert not [line for line in lines if line.startswith(("Error", "Abort"))], lines
