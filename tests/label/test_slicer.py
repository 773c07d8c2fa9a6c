"""3D Slicer's own library (slicer-core of PyPI) reads what the server answers: bands, names, colours and places."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from helpers.label_server import MARKS
from neuroxai.label_app.answer import all_bands

pytestmark = MARKS
SCAN = "sub-17_desc-brain_T1w"
# in a process of its own: it brings VTK with its own settings and messages
READ = """
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

scene, matrix = slicer.vtkMRMLScene(), vtkMatrix4x4()
for name in ("Segmentation", "SegmentationStorage", "ScalarVolume", "VolumeArchetypeStorage"):
    scene.RegisterNodeClass(getattr(slicer, f"vtkMRML{name}Node")())
bands, raw = sys.argv[1:]
node, segments = read("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", bands), []
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
volume = read("vtkMRMLScalarVolumeNode", "vtkMRMLVolumeArchetypeStorageNode", raw)
volume.GetIJKToRASMatrix(matrix)
values, at = placed(volume.GetImageData(), matrix)
peak = np.array(np.unravel_index(values.argmax(), values.shape))[None]
print(json.dumps([segments, at(peak)[0].tolist()]))
"""


def test_the_library_of_slicer_shows_bands_and_relevance_at_their_places(server, scan, tmp_path):
    asked = {"file": scan, "method": "gradient_x_input"}
    labels, told = server.explained(tmp_path, "alzheimers", **asked)
    raw, _ = server.explained(tmp_path, "alzheimers", **asked, heatmap="raw")
    files = [
        server.parts(server.infer("alzheimers", **asked, **more), tmp_path)[0]
        for more in ({"result_extension": ".seg.nrrd"}, {"result_extension": ".nrrd", "heatmap": "raw"})
    ]
    done = subprocess.run([sys.executable, "-c", READ, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    segments, peak = json.loads(done.stdout.splitlines()[-1])
    assert [(one[0], tuple(one[2])) for one in segments] == [(one.name, one.colour) for one in all_bands()]
    for band, (_, name, _, points) in zip(told["bands"], segments, strict=True):
        assert name.startswith(band["name"])
        expected = labels.space.world(np.argwhere(labels.data == band["label"]))
        assert len(points) == len(expected)
        np.testing.assert_allclose(sorted(points), sorted(expected.tolist()), atol=0.02)
    largest = np.array(np.unravel_index(raw.data.argmax(), raw.data.shape))
    np.testing.assert_allclose(peak, raw.space.world(largest), atol=0.02)
    assert peak[0] < 0  # the patients' blob is on their left
