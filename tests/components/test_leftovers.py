"""Nothing of an earlier call stays where it would be taken for this one's."""

from __future__ import annotations

import pandas as pd
import pytest

from helpers.prepared import prepared_record
from neuroxai import io
from neuroxai.cli.score import named
from neuroxai.derivatives import prepared
from neuroxai.derivatives.explained import write_regions
from neuroxai.derivatives.heatmaps import ScanFiles, Sidecar
from neuroxai.derivatives.predictions import Prediction, write_predictions
from neuroxai.explain.dicom import remove_objects


def test_tables_without_rows_do_not_stay(tmp_path):
    row = Prediction("sub-1", None, None, "CN", {"CN": 0.5, "AD": 0.5}, 1.0)
    path = tmp_path / "predictions.tsv"
    write_predictions(path, [row], ["CN", "AD"])
    assert {p.name for p in tmp_path.iterdir()} == {"predictions.tsv", "predictions.json"}
    write_predictions(path, [], ["CN", "AD"])
    assert list(tmp_path.iterdir()) == []
    write_predictions(path, [], ["CN", "AD"])
    scan = ScanFiles(tmp_path, "sub-1", "", "saliency")
    io.write_tsv(scan.regions, pd.DataFrame({"index": [1], "name": ["a"], "sum": [2.0]}))
    write_regions(tmp_path / "regions.tsv", [scan])
    assert (tmp_path / "regions.tsv").is_file()
    write_regions(tmp_path / "regions.tsv", [])
    assert not (tmp_path / "regions.tsv").exists()


@pytest.mark.parametrize("changed", [False, True])
def test_results_of_a_content_that_is_no_more_go_when_the_scan_fails(tmp_path, changed):
    scan, files = tmp_path / "scan.nii", ScanFiles(tmp_path, "sub-1", "", "saliency")
    scan.write_bytes(b"one")
    io.write_text(files.heatmap(), "map")
    prediction = Prediction("sub-1", None, None, "CN", {"CN": 1.0})
    files.finish(Sidecar(prediction=prediction, source_sha256=io.sha256(scan)), [files.heatmap()])
    if changed:
        scan.write_bytes(b"two")
    files.drop_changed(scan)
    assert (files.heatmap().exists(), files.sidecar().exists()) == (not changed, not changed)
    files.drop_changed(scan)


@pytest.mark.parametrize("changed", [False, True])
def test_prepared_results_of_other_inputs_go_before_anything_is_computed(tmp_path, changed):
    files = {name: tmp_path / name for name in ("record", "scan", "mask")}
    files["scan"].write_bytes(b"old")
    prepared.drop_changed(files, {"scan": "1"})  # without a record nobody knows
    assert files["scan"].exists()
    prepared.write_record(files["record"], prepared_record(inputs={"scan": "1"}))
    prepared.drop_changed(files, {"scan": "2" if changed else "1"})
    assert files["scan"].exists() != changed


def test_objects_of_an_earlier_call_are_removed_and_nobody_elses(tmp_path):
    for name in ("relevance_parametric-map.dcm", "summary_sr.dcm", "mine.dcm"):
        (tmp_path / name).touch()
    remove_objects(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"mine.dcm"}
    remove_objects(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("sub-01_space-network_desc-x_heatmap.nii.gz", ("sub-01", None)),
        ("sub-01_ses-1_run-2_space-network_desc-x_heatmap.nii.gz", ("sub-01", "ses-1_run-2")),
        ("sub-01_run-2_space-network_desc-x_heatmap.nii.gz", ("sub-01", "run-2")),
        ("map.nii.gz", (None, None)),
    ],
)
def test_scores_of_runs_bear_their_names(tmp_path, name, who):
    frame = pd.DataFrame({"index": [1]})
    named(frame, tmp_path / name)
    assert (frame["participant_id"][0], frame["session_id"][0]) == who
