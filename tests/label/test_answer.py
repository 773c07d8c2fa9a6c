"""What the MONAI Label app sends back, without a server."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neuroxai import io
from neuroxai.derivatives.heatmaps import Run
from neuroxai.derivatives.predictions import Prediction
from neuroxai.derivatives.scales import Scale
from neuroxai.errors import InputError
from neuroxai.explain import Explanation
from neuroxai.label_app.answer import FileForm, answer, labels_of, options_of
from neuroxai.space import Space, Volume

CLASSES = ["CN", "AD"]
AFFINE = np.array([[-1.5, 0.2, 0, 40], [0.1, 2, 0.3, -60], [0, -0.4, 3, -20], [0, 0, 0, 1.0]])


@pytest.fixture
def explained():
    """Strong relevance for AD in one corner, weak against it in the other; on an oblique grid."""
    data = np.zeros((20, 21, 22), np.float32)
    data[2, 3, 4], data[15, 16, 17] = 1.0, -0.3
    native = Volume(data, Space(data.shape, AFFINE))
    regions = pd.DataFrame({"name": ["Left hippocampus", "Absent"], "sum": [1.0, 0.0], "density": [0.5, np.nan]})
    prediction = Prediction("scan.nii", None, None, "AD", {"CN": 0.125, "AD": 0.875}, 1.9)
    scanner = Volume(data[::-1].copy(), Space(data.shape, np.diag([1.0, 1, 1, 1])))
    return Explanation(prediction, "AD", native, native, scanner, regions, Run(method="saliency"))


def test_bands_lie_where_the_relevance_is(explained):
    path, told = answer(explained, CLASSES)
    labels = io.read_labels(path)
    assert nib.load(path).get_data_dtype() == np.uint8
    path.unlink()
    assert labels.space.matches(explained.on_scan.space)
    assert {tuple(map(int, p)) for p in np.argwhere(labels.data)} == {(2, 3, 4), (15, 16, 17)}
    names = {band["label"]: band["name"] for band in told["bands"]}
    assert names[int(labels.data[2, 3, 4])] == "for AD, 75 % and more"
    assert names[int(labels.data[15, 16, 17])] == "against AD, 25 to 50 %"
    # viewers number segments by position: absent bands are named too, in the order of their labels, always alike
    assert told["label_names"] == labels_of()
    assert next(iter(told)) == "result"
    assert told["result"].startswith(
        "result: CN 12.5 %, AD 87.5 %; explained: AD; fit to the training scans: not known"
    )
    assert told["prediction"]["probabilities"] == {"CN": 0.125, "AD": 0.875}
    assert told["regions"][0]["name"] == "Left hippocampus"
    assert told["regions"][1]["density"] is None
    assert "research use" in told["research_use"].lower()
    json.loads(json.dumps(told, allow_nan=False))


def test_bands_are_shares_of_the_scale_that_the_bundle_keeps(explained):
    # 2.0 is twice this map's strongest voxel: 50 % for AD, and .3 is 15 % against it
    path, told = answer(replace(explained, scale=Scale(2.0, "bundle", 30, (5.0,))), CLASSES)
    labels, names = io.read_labels(path), {band["label"]: band["name"] for band in told["bands"]}
    path.unlink()
    assert names[int(labels.data[2, 3, 4])] == "for AD, 50 to 75 %"
    assert names[int(labels.data[15, 16, 17])] == "against AD, 10 to 25 %"
    assert told["scale"] == {"limit": 2.0, "source": "bundle"}
    # a stronger map than any is shown on its own; a sure control's is empty
    path, told = answer(replace(explained, scale=Scale(1e-3, "bundle", 30, (5.0,))), CLASSES)
    path.unlink()
    assert told["scale"] == {"limit": 1.0, "source": "scan"}
    path, told = answer(replace(explained, scale=Scale(1e3, "bundle", 30, (5.0,))), CLASSES, "raw")
    assert (told["label_names"], nib.load(path).header["cal_max"]) == ({}, 1e3)
    path.unlink()


def test_raw_relevance_keeps_its_values(explained):
    path, _ = answer(explained, CLASSES, "raw")
    raw = io.read_volume(path)
    path.unlink()
    np.testing.assert_array_equal(raw.data, explained.on_scan.data)
    assert raw.space.matches(explained.on_scan.space)


def test_the_grid_of_the_scanner_where_the_scan_was_prepared(explained):
    path, _ = answer(explained, CLASSES, "raw", scanner=True)
    raw = io.read_volume(path)
    path.unlink()
    assert raw.space.matches(explained.on_scanner.space)
    np.testing.assert_array_equal(raw.data, explained.on_scanner.data)


def test_labels_of_all_bands_are_known_before():
    names = labels_of()
    assert list(names.values()) == list(range(9))
    assert names["background"] == 0
    assert names["against the class, 75 % and more"] == 1
    assert names["for the class, 75 % and more"] == 8


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_endings_and_types_of_bands_are_those_asked_for(explained, extension, dtype):
    form = FileForm.of({"result_extension": extension, "result_dtype": dtype})
    path, _ = answer(explained, CLASSES, form=form)
    assert path.name.removeprefix(path.name.split(".")[0]) == extension
    assert nib.load(path).get_data_dtype() == np.dtype(dtype)
    path.unlink()


@pytest.mark.parametrize("wrong", [{"result_extension": ".jpg"}, {"result_dtype": "bool"}, {"result_extension": 3}])
def test_other_endings_and_types_are_refused(wrong):
    with pytest.raises(InputError, match=r"unknown result_.*choose one of"):
        FileForm.of(wrong)


def test_a_segmentation_of_raw_relevance_or_without_a_series_is_refused(explained):
    with pytest.raises(InputError, match="raw relevance is no segmentation"):
        answer(explained, CLASSES, "raw", form=FileForm(".seg.nrrd"))
    with pytest.raises(InputError, match="DICOM series of its scan, and this scan is none"):
        answer(explained, CLASSES, form=FileForm(".dcm"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"method_options": ""}, {}),
        ({"method_options": "beta=0.5 start=logit"}, {"beta": 0.5, "start": "logit"}),
        ({"method_options": {"beta": 1}}, {"beta": 1}),
    ],
)
def test_options_are_read(given, expected):
    assert options_of(given) == expected


@pytest.mark.parametrize("wrong", ["beta", "=1", ["beta=1"], 3])
def test_options_that_are_none_are_refused(wrong):
    with pytest.raises(InputError, match="method_options"):
        options_of({"method_options": wrong})


def test_an_unknown_kind_of_heatmap_is_refused(explained):
    with pytest.raises(InputError, match=r"heatmap 'glow'.*bands, raw"):
        answer(explained, CLASSES, "glow")
