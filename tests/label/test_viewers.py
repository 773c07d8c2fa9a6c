"""What 3D Slicer's and OHIF's plugins make of the answers: their public logic, written anew, on a real server.

3D Slicer (MONAILabel.py, vtkSlicerSegmentationsModuleLogic): segments are made from ``/info``'s labels and known by
name; an answer's label n goes to the n-th of its names, the background left out, and names without a segment are passed
over. OHIF (MonaiLabelPanel.tsx): the first of ``/info``'s labels is dropped as the background, segments are named by
the model's labels, and an answer is taken apart as text; since 0.8.5 all labels are segments, in the order of the
alphabet, the answer is the NRRD file alone, and its voxels are put into the series' as they come.
"""

from __future__ import annotations

import io as streams
import json

import numpy as np
import pytest

from helpers.dicom import write_series
from helpers.label_server import MARKS
from neuroxai import io
from neuroxai.attribution import names as methods
from neuroxai.bands import LEVELS
from neuroxai.space import Volume

pytestmark = MARKS
SCAN = "sub-17_desc-brain_T1w"


class Slicer:
    """A scene with one scan: segments by name, each with the points that it holds."""

    def __init__(self, url: str, folder) -> None:
        from monailabel.client import MONAILabelClient

        self.client, self.folder = MONAILabelClient(url, str(folder), "user-xyz"), folder
        self.info = self.client.info()
        self.segments = {label: np.zeros((0, 3)) for label in self.info["labels"]}

    def run(self, model: str, image: str, session=None, **chosen) -> dict:
        config = self.info["models"][model]["config"]
        params = {key: value[0] if isinstance(value, list) else value for key, value in config.items()} | chosen
        params |= {"result_extension": ".nrrd", "result_dtype": "uint8"}
        file, told = self.client.infer(model, image, params, session_id=session)
        labels = told.get("label_names") or self.info["models"][model]["labels"]
        labels = [name for name, _ in sorted(labels.items(), key=lambda item: item[1])]
        self.load(file, [label for label in labels if label != "background"])
        return told

    def load(self, file: str, labels: list[str]) -> None:
        import SimpleITK

        image = SimpleITK.ReadImage(file)
        voxels = SimpleITK.GetArrayFromImage(image)
        for index, label in enumerate(labels):
            if label in self.segments:
                found = np.argwhere(voxels == index + 1)[:, ::-1]
                points = [image.TransformIndexToPhysicalPoint(one.tolist()) for one in found]
                self.segments[label] = np.array(points).reshape(-1, 3) * (-1, -1, 1)  # LPS to RAS


def expected_points(raw: Volume, limit: float) -> list[np.ndarray]:
    """World points of each band, strongest against the class to strongest for it, from the raw relevance."""
    edges, found = [*LEVELS, np.inf], []
    signed = raw.data.astype(np.float64) / limit
    for sign, order in ((-1, range(3, -1, -1)), (1, range(4))):
        for n in order:
            inside = (sign * signed >= edges[n]) & (sign * signed < edges[n + 1])
            found.append(raw.space.world(np.argwhere(inside)))
    return found


def same_points(one: np.ndarray, other: np.ndarray) -> bool:
    def ordered(points):
        points = np.round(points, 2) + 0.0
        return points[np.lexsort(points.T)]

    return one.shape == other.shape and np.allclose(ordered(one), ordered(other), atol=0.02)


@pytest.mark.parametrize("method", methods())
def test_slicer_shows_each_band_under_its_name_at_its_place(server, tmp_path, method):
    scene = Slicer(server.url, tmp_path)
    names = list(scene.segments)
    assert names[0] == "background"
    if method not in scene.info["models"]["alzheimers"]["config"]["method"]:
        assert method == "region_swap"  # this bundle has no reference of controls
        return
    told = scene.run("alzheimers", SCAN, method=method)
    assert list(scene.segments) == names  # no segment more for a run
    raw, _ = server.explained(tmp_path, "alzheimers", SCAN, method=method, heatmap="raw")
    total = 0
    for name, points in zip(names[1:], expected_points(raw, told["scale"]["limit"]), strict=True):
        if method == "smooth_grad":  # draws noise anew in every call
            assert abs(len(scene.segments[name]) - len(points)) < 0.2 * raw.data.size
        else:
            assert same_points(scene.segments[name], points), name
        total += len(scene.segments[name])
    assert total > 0
    assert told["prepare"] == "as it is"


@pytest.mark.parametrize("model", ["alzheimers", "foreign"])
def test_every_method_that_is_offered_runs_by_the_button_alone(server, model):
    """No option given but the method, as by a viewer's button."""
    config = server.info()["models"][model]["config"]
    assert len(config["method"]) > 25
    for method in config["method"]:
        answer = server.ask(
            "POST",
            f"/infer/{model}",
            params={"image": SCAN, "output": "json"},
            data={"params": json.dumps({"method": method})},
        )
        assert answer.status_code == 200, (method, answer.text)
        assert sum(band["voxels"] for band in answer.json()["bands"]) > 0, method


def test_slicer_shows_another_class_and_another_model_in_the_same_segments(server, tmp_path):
    scene = Slicer(server.url, tmp_path)
    names = list(scene.segments)
    for model, target in (("alzheimers", "CN"), ("alzheimers", "predicted"), ("foreign", "ill")):
        told = scene.run(model, SCAN, method="gradient_x_input", target=target)
        raw, _ = server.explained(tmp_path, model, SCAN, method="gradient_x_input", target=target, heatmap="raw")
        assert list(scene.segments) == names
        for name, points in zip(names[1:], expected_points(raw, told["scale"]["limit"]), strict=True):
            assert same_points(scene.segments[name], points), (model, name)


def test_slicer_sends_a_scan_of_its_own_as_a_session(server, scan, tmp_path):
    scene = Slicer(server.url, tmp_path)
    identifier = scene.client.create_session(str(scan))["session_id"]
    assert scene.client.get_session(identifier)
    told = scene.run("alzheimers", "whatever the volume is called", identifier, method="saliency", prepare="as it is")
    raw, _ = server.explained(tmp_path, "alzheimers", file=scan, method="saliency", heatmap="raw")
    for name, points in zip(list(scene.segments)[1:], expected_points(raw, told["scale"]["limit"]), strict=True):
        assert same_points(scene.segments[name], points), name
    scene.client.remove_session(identifier)
    with pytest.raises(Exception, match="no such session"):
        scene.client.get_session(identifier)


def test_slicer_sends_a_scan_as_nrrd(server, scan, tmp_path):
    """Its setting File Extension: a scan in LPS, as Slicer's own writer writes it."""
    import nrrd

    scene = Slicer(server.url, tmp_path)
    sent = tmp_path / "own.nrrd"
    volume = io.read_volume(scan)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.space.affine
    header = {"space": "left-posterior-superior", "space directions": lps[:3, :3].T, "space origin": lps[:3, 3]}
    nrrd.write(str(sent), volume.data, {**header, "encoding": "gzip"})
    assert scene.client.upload_image(str(sent), "sent as nrrd")["image"] == "sent as nrrd"
    told = scene.run("alzheimers", "sent as nrrd", method="saliency", prepare="as it is")
    raw, _ = server.explained(tmp_path, "alzheimers", file=scan, method="saliency", heatmap="raw")
    for name, points in zip(list(scene.segments)[1:], expected_points(raw, told["scale"]["limit"]), strict=True):
        assert same_points(scene.segments[name], points), name


def test_slicer_uploads_draws_a_sample_and_is_told_that_nothing_is_trained_or_kept(server, scan, tmp_path):
    scene = Slicer(server.url, tmp_path)
    assert scene.client.upload_image(str(scan), "own scan")["image"] == "own scan"
    assert scene.client.next_sample("random", {})["id"] in {*scene.client.datastore()["objects"]}
    assert "path" not in scene.client.next_sample("random", {})  # Slicer would open the file itself, and save over it
    with pytest.raises(Exception, match="this server does not train"):
        scene.client.train_start(None, {})
    with pytest.raises(Exception, match="labels are not kept"):
        scene.client.save_label(SCAN, str(scan))


def test_a_segmentation_of_slicer_carries_our_colours_names_and_the_result(server, scan, tmp_path):
    import nrrd

    path, told = server.parts(
        server.infer("alzheimers", file=scan, result_extension=".nrrd", result_dtype="uint16"), tmp_path
    )
    assert path.name.endswith(".seg.nrrd")
    data, header = nrrd.read(str(path), index_order="F")
    assert data.dtype == np.uint16
    for number, band in enumerate(told["bands"]):
        assert header[f"Segment{number}_LabelValue"] == str(band["label"])
        assert header[f"Segment{number}_Name"].startswith(band["name"])
        colour = [round(255 * float(part)) for part in header[f"Segment{number}_Color"].split()]
        assert colour == band["colour"]
        assert (data == band["label"]).sum() == band["voxels"]
    chance = f"{told['prediction']['probabilities']['AD']:.1%}".replace("%", " %")
    assert f"AD {chance}; explained: AD" in header["Segment0_Name"]
    assert "Segment8_ID" not in header
    table = server.ask("GET", "/colours.ctbl").text.splitlines()
    assert table[-1] == "8 for_the_class,_75_%_and_more 255 227 122 255"


@pytest.mark.parametrize("heatmap", ["bands", "raw"])
@pytest.mark.parametrize("compress", [True, False])
def test_nrrd_and_nifti_place_voxels_alike(server, scan, tmp_path, heatmap, compress):
    """On a sheared, rotated grid: nibabel reads the one, pynrrd the other, both to the world in RAS+."""
    import nibabel as nib
    import nrrd

    asked = {"method": "gradient_x_input", "heatmap": heatmap}
    nifti, _ = server.parts(server.infer("alzheimers", file=scan, **asked), tmp_path)
    other, _ = server.parts(
        server.infer("alzheimers", file=scan, **asked, result_extension=".nrrd", result_compress=compress), tmp_path
    )
    image = nib.load(nifti)
    data, header = nrrd.read(str(other), index_order="F")
    assert header["encoding"] == ("gzip" if compress else "raw")
    voxels = np.asanyarray(image.dataobj)
    largest = np.abs(voxels).max()
    np.testing.assert_allclose(data, voxels, rtol=0, atol=1e-5 * largest if heatmap == "raw" else 0)
    assert len(np.unique(data)) > 2
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = header["space directions"].T, header["space origin"]
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ affine, image.affine, atol=1e-4)
    strong = np.argwhere(data > 0.8 * data.max())
    assert (affine[:3, :3] @ strong.mean(axis=0) + affine[:3, 3])[0] > 0  # LPS: the patients' blob is on their left


def test_ohif_takes_the_answer_apart_as_text(server, tmp_path):
    info = server.info()
    assert info["labels"][1:] == [name for name, value in info["models"]["alzheimers"]["labels"].items() if value]
    params = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False}
    answer = server.infer("alzheimers", SCAN, **params, restore_label_idx=False)
    boundary = answer.headers["content-type"].split("boundary=")[1]
    text = answer.content.decode("utf-8")  # as TextDecoder, which would spoil compressed bytes
    parts = [part for part in text.split(f"--{boundary}") if part.strip()]
    told = next(part for part in parts if "Content-Type: application/json" in part)
    values = json.loads(told[told.index("{") : told.rindex("}") + 1])
    assert list(values["centroids"]) == []
    body = next(part for part in parts if "Content-Type: application/octet-stream" in part).split("\r\n\r\n")[1]
    body = body[: body.rindex("\r\n")]
    assert body.startswith("NRRD000")
    header, _, data = body.partition("\n\n")
    assert "encoding: raw" in header
    voxels = np.frombuffer(data.encode("latin-1"), np.uint16)
    counts = np.bincount(voxels, minlength=9)
    assert counts[1:].tolist() == [band["voxels"] for band in values["bands"]]
    assert voxels.size == np.prod([int(n) for n in header.split("sizes: ")[1].split("\n")[0].split()])


def test_ohif_of_monailabel_085_numbers_segments_by_their_names(server):
    """`updateView` of its panel; scripts/ohif.py --plugin runs the real one."""
    import nrrd

    info = server.info()
    model = info["models"]["alzheimers"]
    names = sorted({*info["labels"], *model["labels"]})
    segments = {name: number for number, name in enumerate(names, start=1)}
    remap = {0: 0}
    for passed, name in enumerate(sorted(model["labels"]), start=1):
        remap[model["labels"][name] or passed] = segments[name]
    params = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False, "method": "saliency"}
    answer = server.infer("alzheimers", SCAN, output="image", **params, restore_label_idx=False)
    header = nrrd.read_header(stream := streams.BytesIO(answer.content))
    assert header["encoding"] == "raw"  # nrrd-js reads no other
    voxels = np.frombuffer(stream.read(), np.uint8)
    shown = np.array([remap.get(n, 0) for n in range(9)], np.uint8)[voxels]
    told = server.infer("alzheimers", SCAN, output="json", method="saliency").json()
    assert shown.any()
    for band, name in zip(told["bands"], list(model["labels"])[1:], strict=True):
        assert (shown == segments[name]).sum() == band["voxels"], name
    assert not (shown == segments["background"]).any()
    running = server.ask("GET", "/train/?check_if_running=true")  # asked by the panel; it goes on without an answer
    assert running.status_code == 404


@pytest.mark.parametrize(("output", "kind"), [("image", "octet-stream"), ("json", "json"), ("all", "multipart")])
def test_outputs_are_those_asked_for(server, output, kind):
    answer = server.infer("alzheimers", SCAN, output=output, method="saliency", result_extension=".nii")
    assert kind in answer.headers["content-type"]
    if output == "image":
        assert answer.content[344:348] == b"n+1\0"
    refused = server.infer("alzheimers", SCAN, output="dicom_seg", method="saliency")
    assert refused.status_code == 422
    assert "this scan is none" in refused.json()["detail"]


def test_a_series_sent_as_dicom_files_comes_back_as_a_segmentation_beside_it(server, tiny_cohort, tmp_path):
    """The bands of the DICOM object lie where those of the NIfTI answer lie."""
    import pydicom

    volume = io.read_volume(tiny_cohort / "sub-17" / "anat" / f"{SCAN}.nii.gz")
    stored = np.rint(volume.data / volume.data.max() * 1000).astype(np.int16)
    write_series(tmp_path / "series", Volume(stored, volume.space), plane="sagittal", FrameOfReferenceUID="1.2.3.4")
    files = [("files", (path.name, path.read_bytes())) for path in sorted((tmp_path / "series").iterdir())]
    made = server.ask("PUT", "/session/", files=files)
    assert made.status_code == 200, made.text
    identifier = made.json()["session_id"]
    bands, told = server.explained(tmp_path, "alzheimers", session=identifier, method="saliency")
    answer = server.infer("alzheimers", session=identifier, method="saliency", output="dicom_seg")
    assert answer.status_code == 200, answer.text
    (tmp_path / "seg.dcm").write_bytes(answer.content)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    source = pydicom.dcmread(next((tmp_path / "series").iterdir()))
    assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == (source.StudyInstanceUID, source.FrameOfReferenceUID)
    assert [int(one.SegmentNumber) for one in seg.SegmentSequence] == list(range(1, len(seg.SegmentSequence) + 1))
    present = [band for band in told["bands"] if band["voxels"]]
    assert [one.SegmentLabel for one in seg.SegmentSequence] == [band["name"] for band in present]
    assert "research use" in seg.ContentDescription
    counts, points = [0] * len(present), [[] for _ in present]
    shared = seg.SharedFunctionalGroupsSequence[0]
    row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    down, along = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    for frame, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber) - 1
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        counts[number] += int(frame.sum())
        where = np.argwhere(frame)
        points[number].append((corner + where[:, 1:] * along * row + where[:, :1] * down * column) * (-1, -1, 1))
    assert counts == [band["voxels"] for band in present]
    for band, found in zip(present, points, strict=True):
        assert same_points(np.concatenate(found), bands.space.world(np.argwhere(bands.data == band["label"])))


def test_a_scan_off_the_grid_is_prepared_and_the_answer_says_so(server, scan, tmp_path):
    bands, told = server.explained(tmp_path, "alzheimers", file=scan, prepare="automatic", unfit="accept")
    assert (told["prepare"], told["prepare_reason"]) == ("linear", "it does not lie on a grid of the template")
    assert "Scan: linear" in told["result"]
    assert isinstance(told["quality_flags"], list)
    assert bands.space.matches(io.read_space(scan))
    _, told = server.explained(tmp_path, "alzheimers", SCAN, prepare="automatic")
    assert (told["prepare"], told["quality_flags"]) == ("as it is", None)
    assert told["stability"] is None  # this bundle has no trust card
    assert told["fit"]["fit"] == "fits"


@pytest.mark.parametrize(
    ("request_of", "status", "reason"),
    [
        ({"data": {"params": "{"}}, 422, "params is no JSON object"),
        ({"data": {"params": "[1]"}}, 422, "params is no JSON object"),
        ({"data": {"params": '{"a": ' * 5000}}, 422, "params is no JSON object"),
        ({"data": {"params": '{"method": "\\ud800"}'}}, 422, "unknown method"),
        ({"data": {"params": '{"method": {"a": 1}}'}}, 422, "unknown method"),
        ({"data": {"params": '{"result_extension": ".png"}'}}, 422, "unknown result_extension"),
        ({"params": {"image": "absent"}}, 404, "no such image"),
        ({"params": {"image": "", "session_id": ""}}, 422, "no scan was named"),
        ({"params": {"session_id": "../.."}}, 404, "no such session"),
        ({"params": {"image": "", "output": "film"}}, 422, "output"),
        ({"json": {"method": "saliency"}}, 422, "expected a form with the field params"),
        ({"files": {"file": ("a.mgz", b"x" * 400)}}, 400, "neither a file named .nii, .nii.gz or .nrrd nor DICOM"),
        ({"files": {"file": ("a.nii.gz", b"")}}, 400, "is empty"),
        ({"files": {"file": ("a.nii", b"\0")}}, 400, "the scan"),
    ],
)
def test_requests_that_make_no_sense_get_one_clear_sentence(server, request_of, status, reason):
    more = {"params": {"image": SCAN}, **request_of}
    if "files" in more:
        more["params"] = {}
    answer = server.ask("POST", "/infer/alzheimers", **more)
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert reason in detail
    assert str(server.work.parent) not in detail
    assert "Traceback" not in detail
    absent = server.ask("POST", "/infer/segmentation_spleen", params={"image": SCAN})
    assert absent.status_code == 404
    assert "those of this server: alzheimers, foreign" in absent.json()["detail"]
