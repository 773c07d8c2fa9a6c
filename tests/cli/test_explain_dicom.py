"""`neuroxai explain` from a DICOM series to DICOM objects."""

from __future__ import annotations

import errno
import json
import os
import shutil

import numpy as np
import pydicom
import pytest

from helpers.command import run
from helpers.dicom import write_enhanced, write_series
from helpers.thirds import sampled
from neuroxai import io
from neuroxai.cli._series import _as_it_lies
from neuroxai.derivatives.scales import Scale
from neuroxai.errors import InputError
from neuroxai.explain.dicom import write_dicom
from neuroxai.space import Space, Volume


def whole_numbers(volume: Volume) -> Volume:
    """As a scanner stores them: 12 bits."""
    top = float(volume.data.max())
    return Volume(np.rint(np.clip(volume.data / top, 0, 1) * 4000).astype(np.float32), volume.space)


@pytest.fixture(scope="module")
def patient(tiny_cohort):
    scan = io.read_volume(tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz")
    return whole_numbers(scan)


def explain(bundle, source, folder, *words):
    here = os.path.relpath(folder)  # as users name folders
    return run(
        "explain", bundle, source, "--out", f"{here}/out", "--arm", "as-is", "--dicom-out", f"{here}/dicom", *words
    )


@pytest.mark.parametrize("plane", sampled(["axial", "coronal", "enhanced", "sagittal"], 2))
def test_a_series_gets_the_heatmap_of_the_same_scan_as_nifti(tmp_path, trained_bundle, patient, plane):
    if plane == "enhanced":
        # frames of this helper scale by themselves, so the scan is what the reader makes of it: its background is not 0
        source = write_enhanced(tmp_path / "e.dcm", patient)
        scan, _ = io.read_series(source)
    else:
        source, scan = tmp_path / "series", patient
        write_series(source, patient, plane)
    nifti = io.write_volume(tmp_path / "sub-1_T1w.nii.gz", scan)
    words = ["--accept-unfit"] if plane == "enhanced" else []
    result = run("explain", trained_bundle, nifti, "--out", tmp_path / "plain", *words)
    assert result.code == 0, result.err
    result = explain(trained_bundle, source, tmp_path, *words)
    assert result.code == 0, result.err
    assert "3 DICOM objects" in result.out
    assert (tmp_path / "out" / "series" / "sub-series_T1w.nii.gz").is_file()
    expected = io.read_volume(next((tmp_path / "plain").glob("sub-1/anat/*space-orig*_heatmap.nii.gz")))
    found = io.read_parametric_map(tmp_path / "dicom" / "relevance_parametric-map.dcm")
    scale = float(np.abs(expected.data).max())
    np.testing.assert_allclose(found.reoriented("RAS").data, expected.reoriented("RAS").data, atol=1e-5 * scale)
    np.testing.assert_allclose(found.reoriented("RAS").space.affine, expected.reoriented("RAS").space.affine, atol=1e-3)


@pytest.mark.full(0)
@pytest.mark.real
def test_a_real_scan_in_three_orientations_has_one_heatmap(tmp_path, trained_bundle, real_data):
    scan = whole_numbers(io.read_volume(real_data / "t1w" / "ixi" / "IXI012-HH-1211-T1_ds.nii.gz"))
    # a bright blob in the left hippocampus, so that a flip would show
    place = scan.space.voxels(np.array([-28.0, -20.0, -14.0])).round().astype(int)
    data = scan.data.copy()
    data[tuple(slice(n - 3, n + 4) for n in place)] = 4000
    scan = Volume(data, scan.space)
    maps = []
    for plane in ("axial", "coronal", "sagittal"):
        write_series(tmp_path / plane / "series", scan, plane)
        words = ["--method", "gradient_x_input", *(["--dicom-regions"] if plane == "sagittal" else [])]
        if plane == "axial":  # a head with its skull, where the network knows ellipsoids
            refused = explain(trained_bundle, tmp_path / plane / "series", tmp_path / plane, *words)
            assert (refused.code, "does not fit the network" in refused.err) == (2, True), refused.err
        words.append("--accept-unfit")
        result = explain(trained_bundle, tmp_path / plane / "series", tmp_path / plane, *words)
        assert result.code == 0, result.err
        found = io.read_parametric_map(tmp_path / plane / "dicom" / "relevance_parametric-map.dcm")
        maps.append(found.reoriented("RAS"))
    regions, names = io.read_segmentation(tmp_path / "sagittal" / "dicom" / "atlas_regions_seg.dcm")
    left = next(number for number, name in names.items() if name == "Left hippocampus")
    centre = regions.space.world(np.argwhere(regions.data == left)).mean(axis=0)
    assert np.linalg.norm(centre - [-28, -22, -14]) < 8, centre
    for other in maps[1:]:
        np.testing.assert_allclose(other.space.affine, maps[0].space.affine, atol=1e-3)
        scale = float(np.abs(maps[0].data).max())
        np.testing.assert_allclose(other.data, maps[0].data, atol=2e-4 * scale)


def test_the_summary_says_what_was_found(tmp_path, trained_bundle, patient):
    write_series(tmp_path / "series", patient)
    assert explain(trained_bundle, tmp_path / "series", tmp_path).code == 0
    report = pydicom.dcmread(tmp_path / "dicom" / "summary_sr.dcm")
    lines = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.get("TextValue")
        or float(item.MeasuredValueSequence[0].NumericValue)
        for item in report.ContentSequence
    }
    row = io.read_tsv(tmp_path / "out" / "predictions.tsv").iloc[0]
    assert lines["Probability of AD"] == pytest.approx(100 * row["probability_AD"], rel=1e-5)
    assert lines["Predicted class"] == row["predicted"]
    assert "research use" in lines["Use"].lower()
    assert lines["Checkpoint (SHA-256)"] == io.sha256(trained_bundle / "models" / "model.pt")
    table = io.read_tsv(next((tmp_path / "out").glob("sub-series/anat/*_regions.tsv")))
    assert table.sort_values("sum")["name"].iloc[-1] in lines["Regions with most relevance for the class (sums)"]
    # a region's share is percent of what is explained, and the factors stand in the record of the call
    noted = json.loads((tmp_path / "out" / "explain.json").read_text())["percent_of_score"]
    score, top = row["probability_AD"], table.sort_values("sum").iloc[-1]
    share = f"{top['name']} {100 * top['sum'] / score:.3g} % of the score"
    assert lines["Regions with most relevance for the class (sums)"].startswith(share)
    assert noted["score"] == pytest.approx(score, rel=1e-6)
    assert noted["per_sum"] == pytest.approx(100 / score, rel=1e-6)
    grid = json.loads((tmp_path / "out" / "explain.json").read_text())["network_space"]["affine"]
    millilitres = abs(np.linalg.det(np.array(grid)[:3, :3])) / 1000
    assert noted["per_voxel_and_ml"] == pytest.approx(100 / score / millilitres, rel=1e-6)
    map_ = pydicom.dcmread(tmp_path / "dicom" / "relevance_parametric-map.dcm")
    shared = map_.SharedFunctionalGroupsSequence[0]
    assert 1 / shared.RealWorldValueMappingSequence[1].RealWorldValueSlope == pytest.approx(noted["per_voxel_and_ml"])
    segment = pydicom.dcmread(tmp_path / "dicom" / "relevance_bands_seg.dcm").SegmentSequence[0]
    assert "% of the score per mL. For research use only; not a medical device." in segment.SegmentDescription
    assert report.VerificationFlag == "UNVERIFIED"


def test_bands_are_shares_of_the_scale_of_the_run(tmp_path, trained_bundle, patient):
    """On a scale a thousand times the scan's own nothing reaches the lowest band, and the summary says so."""
    write_series(tmp_path / "series", patient)
    # other tests explain whole cohorts with this bundle, of which it keeps the scale
    bundle = shutil.copytree(trained_bundle, tmp_path / "bundle")
    (bundle / "models" / "heatmap_scales.json").unlink(missing_ok=True)
    assert explain(bundle, tmp_path / "series", tmp_path).code == 0
    sidecar = json.loads(next((tmp_path / "out").glob("sub-series/anat/*space-network*_heatmap.json")).read_text())
    own = sidecar["relevance_limit"]
    assert said(tmp_path, "Bands") == f"shares of relevance {own:.4g} (common to 1 scans)"
    record = json.loads((tmp_path / "out" / "explain.json").read_text())
    table = next((tmp_path / "out").glob("sub-series/anat/*space-network*_regions.tsv"))
    heatmap = next((tmp_path / "out").glob("sub-series/anat/*space-orig*_heatmap.nii.gz"))
    wide = Scale(1000 * own, "bundle", 30, (1.0,))
    written = write_dicom(heatmap, table, tmp_path / "series", tmp_path / "wide", scale=wide)
    assert record["scale"]["limit"] == own
    assert "relevance_bands_seg.dcm" not in [path.name for path in written]
    text = f"shares of relevance {1000 * own:.4g} (common to 30 scans); too weak for any"
    assert said(tmp_path, "Bands", "wide") == text


def said(folder, name, place="dicom"):
    items = pydicom.dcmread(folder / place / "summary_sr.dcm").ContentSequence
    return next(item.TextValue for item in items if item.ConceptNameCodeSequence[0].CodeMeaning == name)


def test_pictures_of_the_overlay_are_a_series_of_their_own(tmp_path, trained_bundle, patient):
    files = write_series(tmp_path / "series", patient)
    result = explain(trained_bundle, tmp_path / "series", tmp_path, "--dicom-pictures")
    assert f"3 DICOM objects and {len(files)} pictures" in result.out, result.err
    pictures = [pydicom.dcmread(path) for path in sorted((tmp_path / "dicom" / "overlay").iterdir())]
    assert [float(one.ImagePositionPatient[2]) for one in pictures] == [
        float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in files
    ]
    map_ = pydicom.dcmread(tmp_path / "dicom" / "relevance_parametric-map.dcm")
    assert {one.StudyInstanceUID for one in pictures} == {map_.StudyInstanceUID}
    # weak relevance is grey, strong for the class orange: red above blue
    colours = np.stack([one.pixel_array for one in pictures]).astype(int)
    assert (colours[..., 0] - colours[..., 2]).max() > 100
    assert explain(trained_bundle, tmp_path / "series", tmp_path).code == 0
    assert not (tmp_path / "dicom" / "overlay").exists()


def test_run_again_it_writes_the_same_bytes(tmp_path, trained_bundle, patient):
    write_series(tmp_path / "series", patient)
    explain(trained_bundle, tmp_path / "series", tmp_path)
    first = {path.name: path.read_bytes() for path in (tmp_path / "dicom").iterdir()}
    result = explain(trained_bundle, tmp_path / "series", tmp_path)
    assert result.code == 0
    assert "finished before" in result.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "dicom").iterdir()} == first


def test_another_series_does_not_take_the_place_of_the_first(tmp_path):
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    path, first = tmp_path / "series" / "sub-series_T1w.nii.gz", Volume(data, Space(data.shape, np.eye(4)))
    assert _as_it_lies(path, first, tmp_path / "a") == path
    before = path.read_bytes()
    assert _as_it_lies(path, first, tmp_path / "a") == path
    for other in (Volume(data + 1, first.space), Volume(data, Space(data.shape, np.diag([1.0, 1, 2, 1])))):
        with pytest.raises(
            InputError, match=r"b: .*is another series, whose results would be lost; name another --out"
        ):
            _as_it_lies(path, other, tmp_path / "b")
    assert path.read_bytes() == before


def test_which_of_several_series_is_told(tmp_path, trained_bundle, patient):
    write_series(tmp_path / "all" / "a", patient, uid="1.2.3.4", SeriesNumber=4)
    dim = Volume(np.rint(patient.data / 2), patient.space)
    write_series(tmp_path / "all" / "b", dim, uid="1.2.3.5", SeriesNumber=5)
    result = explain(trained_bundle, tmp_path / "all", tmp_path)
    assert result.code == 2
    assert "2 series, expected one" in result.err
    assert not (tmp_path / "dicom").exists()
    result = explain(trained_bundle, tmp_path / "all", tmp_path, "--series", "5", "--json")
    assert result.code == 0, result.err
    json.loads(result.out)
    made = pydicom.dcmread(tmp_path / "dicom" / "relevance_parametric-map.dcm")
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.5"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--dicom-out", "d"], "is no DICOM series"),
        (["--arm", "linear"], "is no DICOM series"),
        (["--series", "3"], "is no DICOM series"),
    ],
)
def test_options_of_a_series_go_with_a_series(tmp_path, trained_bundle, tiny_cohort, words, reason):
    for source in (tiny_cohort, tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz"):
        result = run("explain", trained_bundle, source, "--out", tmp_path / "out", *words)
        assert result.code == 2
        assert reason in result.err
        assert "Traceback" not in result.err
        assert not (tmp_path / "out").exists()


def test_broken_series_are_refused_by_name(tmp_path, trained_bundle, patient):
    files = write_series(tmp_path / "gap", patient)
    files[9].unlink()
    result = explain(trained_bundle, tmp_path / "gap", tmp_path)
    assert result.code == 2
    assert "slices are missing" in result.err
    write_series(tmp_path / "mixed", patient, uid="1.2.3.6", EchoTime=3)
    write_series(tmp_path / "mixed" / "more", patient, uid="1.2.3.6", EchoTime=9, seed=1)
    result = explain(trained_bundle, tmp_path / "mixed", tmp_path)
    assert result.code == 2
    assert "EchoTime 3.0 and 9.0" in result.err
    result = run("explain", trained_bundle, tmp_path / "mixed", "--out", tmp_path / "out", "--arm", "sideways")
    assert result.code == 2
    assert "unknown arm 'sideways'; choose one of: as-is, linear, none, nonlinear" in result.err
    assert not (tmp_path / "dicom").exists()


def test_a_hidden_layer_has_no_dicom(tmp_path, trained_bundle, patient):
    write_series(tmp_path / "series", patient)
    result = explain(trained_bundle, tmp_path / "series", tmp_path, "--layer", "features.conv2", "--neuron", "1")
    assert result.code == 2
    assert "leave out --layer" in result.err


def test_what_objects_cannot_bear_is_found_before_anything_is_computed(tmp_path, trained_bundle, patient):
    write_series(tmp_path / "series", patient, SOPClassUID="1.3.46.670589.11.0.0.12.1")
    result = explain(trained_bundle, tmp_path / "series", tmp_path)
    assert result.code == 2
    assert "leave out --dicom-out" in result.err
    (tmp_path / "dicom").write_text("a file")
    write_series(tmp_path / "sound", patient)
    result = explain(trained_bundle, tmp_path / "sound", tmp_path)
    assert result.code == 2
    assert "dicom: is a file, expected a folder" in result.err
    assert not (tmp_path / "out").exists()


def test_if_objects_fail_it_is_said_what_stands(tmp_path, trained_bundle, patient, monkeypatch):
    write_series(tmp_path / "series", patient, PatientSex="weiblich")
    (tmp_path / "series" / "AUTORUN.INF").write_text("not the first file that tells what the folder is")
    assert explain(trained_bundle, tmp_path / "series", tmp_path).code == 0
    assert list((tmp_path / "dicom").iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "dicom")

    monkeypatch.setattr("neuroxai.explain.dicom.summary", full)
    result = explain(trained_bundle, tmp_path / "series", tmp_path)
    assert result.code == 1
    assert "left out: 1 of 40 files, which hold no DICOM image: AUTORUN.INF" in result.err
    assert "note: PatientSex of the series is not valid DICOM" in result.err
    assert "the scan is explained" in result.err
    assert "no DICOM object was written" in result.err
    assert "make room" in result.err
    # those of the earlier call would be taken for this scan's
    assert not list((tmp_path / "dicom").iterdir())
