"""3D Slicer's own library (slicer-core of PyPI) reads what the server answers: bands, names, colours and places."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from helpers.label_server import MARKS
from neuroxai.label_app.answer import all_bands

pytestmark = MARKS
SCAN = "sub-17_desc-brain_T1w"
# in a process of its own: it brings VTK with its own settings and messages
LIBRARY = """
import json, sys
import numpy as np
import slicer
from vtk import vtkMatrix4x4
from vtk.util.numpy_support import vtk_to_numpy

def placed(image, matrix):
    rows = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    first = np.array(image.GetExtent())[::2]
    return values, lambda voxels: (voxels[:, ::-1] + first) @ rows[:3, :3].T + rows[:3, 3]

def read(kind, storage, path):
    node = scene.AddNewNodeByClass(kind)
    way = scene.AddNewNodeByClass(storage)
    way.SetFileName(path)
    assert way.ReadData(node) == 1, path
    return node

def shown(node):
    segments = []
    for number in range(node.GetSegmentation().GetNumberOfSegments()):
        one, image = node.GetSegmentation().GetNthSegment(number), slicer.vtkOrientedImageData()
        identifier = node.GetSegmentation().GetNthSegmentID(number)
        node.GetBinaryLabelmapRepresentation(identifier, image)
        points = []
        if image.GetPointData().GetScalars() is not None:
            image.GetImageToWorldMatrix(matrix)
            values, at = placed(image, matrix)
            points = at(np.argwhere(values > 0)).tolist()
        segments.append([identifier, one.GetName(), [round(255 * part) for part in one.GetColor()], points])
    return segments

scene, matrix = slicer.vtkMRMLScene(), vtkMatrix4x4()
for name in ("Segmentation", "SegmentationStorage", "ScalarVolume", "LabelMapVolume", "VolumeArchetypeStorage"):
    scene.RegisterNodeClass(getattr(slicer, f"vtkMRML{name}Node")())
"""
READ = """
bands, raw = sys.argv[1:]
segments = shown(read("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", bands))
volume = read("vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode", raw)
volume.GetIJKToRASMatrix(matrix)
values, at = placed(volume.GetImageData(), matrix)
peak = np.array(np.unravel_index(values.argmax(), values.shape))[None]
print(json.dumps([segments, at(peak)[0].tolist()]))
"""
# what the module MONAILabel does: segments by the names of /info, then import by the model's, or a copy of a .seg.nrrd
IMPORT = """
from vtk import vtkStringArray

names, way, *answers = json.loads(sys.argv[1]), sys.argv[2], *sys.argv[3:]
rule = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule()
slicer.vtkSegmentationConverterFactory.GetInstance().RegisterConverterRule(rule)  # as the program does at its start
node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
for name in names:
    node.GetSegmentation().AddEmptySegment(name, name)
logic = slicer.vtkSlicerSegmentationsModuleLogic()
logic.SetMRMLScene(scene)
ids = vtkStringArray()
for name in names[1:]:
    ids.InsertNextValue(name)
found = []
for answer in answers:
    if way == ".seg.nrrd":
        source = read("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", answer)
        node.GetSegmentation().DeepCopy(source.GetSegmentation())
        scene.RemoveNode(source)
    else:
        labels = read("vtkMRMLLabelMapVolumeNode", "vtkMRMLVolumeArchetypeStorageNode", answer)
        assert logic.ImportLabelmapToSegmentationNode(labels, node, ids)
    found.append(shown(node))
print(json.dumps(found))
"""


def in_slicer(script: str, *words) -> list:
    done = subprocess.run([sys.executable, "-c", LIBRARY + script, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_library_of_slicer_shows_bands_and_relevance_at_their_places(server, scan, tmp_path):
    asked = {"file": scan, "method": "gradient_x_input"}
    labels, told = server.explained(tmp_path, "alzheimers", **asked)
    raw, _ = server.explained(tmp_path, "alzheimers", **asked, heatmap="raw")
    files = [
        server.parts(server.infer("alzheimers", **asked, **more), tmp_path)[0]
        for more in ({"result_extension": ".seg.nrrd"}, {"result_extension": ".nrrd", "heatmap": "raw"})
    ]
    segments, peak = in_slicer(READ, *files)
    assert [(one[0], tuple(one[2])) for one in segments] == [(one.name, one.colour) for one in all_bands()]
    for band, (_, name, _, points) in zip(told["bands"], segments, strict=True):
        assert name.startswith(band["name"])
        expected = labels.space.world(np.argwhere(labels.data == band["label"]))
        assert len(points) == len(expected)
        np.testing.assert_allclose(sorted(points), sorted(expected.tolist()), atol=0.02)
    largest = np.array(np.unravel_index(raw.data.argmax(), raw.data.shape))
    np.testing.assert_allclose(peak, raw.space.world(largest), atol=0.02)
    assert peak[0] < 0  # the patients' blob is on their left


@pytest.mark.parametrize("extension", [".nrrd", ".seg.nrrd"])
def test_the_import_of_slicers_module_fills_the_same_segments_again(server, scan, tmp_path, extension):
    """Its own compiled code, by the module's setting File Extension; two classes one after the other, in one scene."""
    names, answers, expected = server.info()["labels"], [], []
    for target in ("AD", "CN"):
        asked = {"file": scan, "method": "gradient_x_input", "target": target}
        labels, told = server.explained(tmp_path, "alzheimers", **asked)
        expected.append(
            [(one["name"], labels.space.world(np.argwhere(labels.data == one["label"]))) for one in told["bands"]]
        )
        sent = server.infer("alzheimers", **asked, result_extension=".nrrd", result_dtype="uint8")  # as it always asks
        answers.append(server.parts(sent, tmp_path)[0])
    assert any(len(one[1]) != len(other[1]) for one, other in zip(*expected, strict=True))
    found = in_slicer(IMPORT, json.dumps(names), extension, *answers)
    for segments, bands in zip(found, expected, strict=True):
        if extension == ".seg.nrrd":  # the answer as it is, with our colours
            assert [tuple(one[2]) for one in segments] == [one.colour for one in all_bands()]
            assert all(one[1].startswith(name) for one, (name, _) in zip(segments, bands, strict=True))
        else:
            assert [one[1] for one in segments] == names
            assert segments.pop(0)[3] == []  # the background
        for one, (name, points) in zip(segments, bands, strict=True):
            assert len(one[3]) == len(points), name
            np.testing.assert_allclose(sorted(one[3]), sorted(points.tolist()), atol=0.02, err_msg=name)
