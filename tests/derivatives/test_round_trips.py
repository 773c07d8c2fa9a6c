"""Each format is read as it was written: write, read, equal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.prepared import prepared_record
from neuroxai.derivatives import prepared, study_runs
from neuroxai.derivatives.compared import COMPARED, ComparisonRecord, is_comparison, write_comparison
from neuroxai.derivatives.explain_folder import read_folder
from neuroxai.derivatives.explained import (
    ExplainRecord,
    GroupRecord,
    read_group,
    read_record,
    write_record,
    write_regions,
)
from neuroxai.derivatives.heatmaps import (
    Run,
    ScanFiles,
    Sidecar,
    names_digest,
    read_regions,
    read_sidecar,
    write_sidecar,
)
from neuroxai.derivatives.predictions import Prediction, read_predictions, write_predictions
from neuroxai.derivatives.scales import Scale
from neuroxai.errors import InputError
from neuroxai.io import read_json, write_json, write_tsv, write_volume
from neuroxai.io.names import sidecar_of
from neuroxai.space import Volume, mni152

RUN = {
    "method": "lrp_zero",
    "options": {"beta": 0.5, "layers": ["a"]},
    "checkpoint_sha256": "ab",
    "bundle": "b",
    "atlas": {"file": "a.nii", "sha256": "cd"},
    "network_space": mni152(16).to_dict(),
    "versions": {"neuroxai": "0.1.0"},
    "start": "logit",
    "explained": "predicted",
    "conditions": {"conv4": [1, 2]},
    "native": True,
    "maps": False,
    "score_space": "scan",
}
ROW = Prediction("sub-1", "ses-1_run-2", "AD", "CN", {"CN": 0.75, "AD": 0.25}, -1.5, "nearly", 3.5, "dark")
_TEXT = st.none() | st.text("abcXYZ -", min_size=1, max_size=6).map(str.strip).filter(bool)
_NUMBER = st.none() | st.floats(-1e6, 1e6).map(lambda value: float(f"{value:.6g}"))


@given(
    st.lists(
        st.builds(
            Prediction,
            st.from_regex(r"sub-[a-z]{1,5}", fullmatch=True),
            st.none() | st.from_regex(r"ses-[a-z0-9]{1,3}(_run-[1-9])?", fullmatch=True),
            st.sampled_from((None, "CN", "AD")),
            st.sampled_from(("CN", "AD")),
            st.sampled_from((0.0, 0.25, 1.0)).map(lambda share: {"CN": share, "AD": 1 - share}),
            _NUMBER,
            st.sampled_from((None, "fits", "far")),
            _NUMBER,
            _TEXT.filter(lambda text: text not in ("n/a", "nan", "NA", "None")),
            st.just("held out"),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda row: row.who,
    )
)
def test_predictions(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "predictions.tsv"
    write_predictions(path, rows, ["CN", "AD"])
    ordered = sorted(rows, key=lambda row: (row.participant_id, row.session_id or "~"))
    assert read_predictions(path, ["CN", "AD"]) == ordered
    assert set(read_json(path.with_suffix(".json"))) == set(path.read_text().splitlines()[0].split("\t"))


@pytest.mark.parametrize(
    "record",
    [
        ExplainRecord(),
        ExplainRecord(
            **RUN,
            classes=["CN", "AD"],
            dataset_dir="/data",
            datalist="datalist.json",
            part="test",
            scans=2,
            held_out={"auc": 0.5},
            scale=Scale(2.0, "cohort", 3, (1.0, 2.0)),
            failed=[{"participant_id": "sub-2", "session_id": "", "error": "no"}],
            trust="Of 24 planted effects",
        ),
    ],
)
def test_the_record_of_a_call(tmp_path, record):
    write_record(tmp_path / "explain.json", record)
    found = read_record(tmp_path / "explain.json")
    assert (found, type(found.scale)) == (
        record if record.classes else ExplainRecord(classes=[], failed=[]),
        type(record.scale),
    )


def test_the_record_of_a_group(tmp_path):
    record = GroupRecord(method="lrp_zero", options={}, layer="conv4", neurons=[1, [2, 3, 4, 5]], scans=[{"a": 1}])
    write_record(tmp_path / "group.json", record)
    assert read_group(tmp_path / "group.json") == GroupRecord(**{**vars(record), "failed": []})


def test_a_sidecar_and_what_it_has_in_common_with_others(tmp_path):
    sidecar = Sidecar(
        **RUN,
        target="AD",
        score=-1.5,
        prediction=ROW,
        predicted="CN",
        true="AD",
        source="sub-1/x.nii.gz",
        prepared={"Flags": []},
        relevance_limit=0.5,
        files={"x.tsv": "ef"},
        space=mni152(16).to_dict(),
    )
    path = write_sidecar(tmp_path / "h.json", sidecar)
    assert read_sidecar(path) == sidecar
    assert read_sidecar(path).run == Run(**RUN)
    assert list(read_json(path))[:2] == ["method", "options"]
    assert "files" not in read_json(write_sidecar(path, Sidecar(**RUN)))
    path.write_text('{"prediction": {}}')
    with pytest.raises(InputError, match=r"h\.json"):
        read_sidecar(path)


@pytest.mark.parametrize("acquisition", [{}, {"MagneticFieldStrength": 3.0, "SequenceName": "mprage"}])
def test_the_record_of_a_prepared_scan(tmp_path, acquisition):
    scan = tmp_path / "sub-1/anat/sub-1_space-MNI152_res-16_desc-brain_T1w.nii.gz"
    record = prepared_record(acquisition=acquisition, flags=["dice .5, expected .8"], sizes={"x": 3})
    prepared.write_record(sidecar_of(scan), record)
    assert prepared.record_of(scan) == prepared.native_record(scan) == record
    assert record.how == "registration linear, by itk, spacing in mm 16.0, brain from template"
    assert list(prepared.records_in(tmp_path)) == [record]
    # what a DICOM series told stands under names of its own
    assert set(acquisition) <= set(read_json(sidecar_of(scan)))
    files = {"record": sidecar_of(scan), "x": scan.with_name("x")}
    assert prepared.finished(files, {"scan": "ab"}, drop_flagged=False) is None
    files["x"].write_text("abc")
    assert prepared.finished(files, {"scan": "ab"}, drop_flagged=False) == record
    assert prepared.finished(files, {"scan": "ab"}, drop_flagged=True) is None
    write_json(sidecar_of(scan), {"NativeSpace": {}, "Flags": []})
    assert prepared.record_of(scan) is None
    with pytest.raises(InputError, match="SkullStripped"):
        prepared.native_record(scan)
    write_json(sidecar_of(scan), {"Flags": []})
    assert prepared.native_record(scan) is None


def test_what_a_run_of_a_study_is_asked_for(tmp_path):
    spec = {"method": "lrp_zero", "options": {}, "start": None, "target": None, "layer": "conv", "neurons": [1, 2]}
    asked = study_runs.RunRecord(
        "study", "arm, split 0", "ab", "bundle", "cohort", "list.json", {"seed": 1}, "w.pt", False, 2, 3, ["test"],
        {"one": spec}, ["builtin"], "{participant}.nii", "0.1.0",
    )  # fmt: skip
    path = study_runs.write_run(tmp_path, asked)
    assert study_runs.read_run(tmp_path) == asked
    assert [*read_json(path)][::15] == ["study", "version"]
    assert study_runs.read_explanation_digest(tmp_path) is None
    made = study_runs.write_explanation(tmp_path, spec, asked.atlases, "cd")
    assert read_json(made) == {**spec, "atlases": ["builtin"], "digest": "cd"}
    assert study_runs.read_explanation_digest(tmp_path) == "cd"
    path.write_text('{"threads": "two"}')
    with pytest.raises(InputError, match=r"run\.json.*'threads'"):
        study_runs.read_run(tmp_path)


def test_the_figures_of_a_run_stand_by_part(tmp_path):
    result = study_runs.RunResult(3, 12, 2, 0.75, {"test": {"scans": 4}, "validation": {"scans": 2}}, [{"error": "no"}])
    path = study_runs.write_result(tmp_path, result)
    assert list(read_json(path).items()) == [
        ("epochs", 3), ("steps", 12), ("best_epoch", 2), ("validation_score", 0.75), ("test", {"scans": 4}),
        ("validation", {"scans": 2}), ("failed", [{"error": "no"}]),
    ]  # fmt: skip
    assert study_runs.read_result(tmp_path) == result
    assert study_runs.read_error(tmp_path) is None
    study_runs.write_error(tmp_path, "why")
    assert study_runs.read_error(tmp_path) == "why"


def test_the_record_of_a_comparison_is_known_again(tmp_path):
    record = ComparisonRecord(
        2, 3, "CN", "AD", 1, 1, 5, {"seed": 0}, {"method": "lrp_zero"}, {}, None, [COMPARED], [], ["a"], {}, "no"
    )
    path = write_comparison(tmp_path, record)
    assert is_comparison(path)
    assert (list(read_json(path))[:3], read_json(path)["facts"]) == (
        ["participants", "scans", "control"],
        {"method": "lrp_zero"},
    )
    path.write_text("{}")
    assert not is_comparison(path)


def test_tables_of_prepared_scans(tmp_path):
    records = {("sub-2", ""): prepared_record(participant="sub-2", flags=["a", "b"])}
    prepared.write_tables(tmp_path, records, [{"participant_id": "sub-3", "session_id": "", "error": "no"}], None)
    assert (tmp_path / "quality.tsv").read_text().splitlines() == [
        "participant_id\tsession_id\tflags\tdropped\tbrain_from\tdice\torientation",
        "sub-2\tn/a\ta; b\tFalse\ttemplate\t0.9\tsame",
    ]
    assert "sub-3" in (tmp_path / "failed.tsv").read_text()
    prepared.write_tables(tmp_path, records, [], None)
    assert not (tmp_path / "failed.tsv").exists()


def test_calls_that_end_at_the_same_time_list_all_prepared_scans(tmp_path, monkeypatch):
    found = []

    def records_in(folder):
        found.append((folder / ".lock").exists())
        return iter(())

    monkeypatch.setattr(prepared, "records_in", records_in)
    prepared.write_tables(tmp_path, {("sub-2", ""): prepared_record(participant="sub-2")}, [], None)
    assert found == [True]
    assert not (tmp_path / ".lock").exists()


def test_a_finished_scan_stands_until_one_of_its_files_changes(tmp_path):
    files = ScanFiles(tmp_path, "sub-1", "", "lrpZero")
    table = write_tsv(files.regions, pd.DataFrame({"index": [1, 2], "name": ["a", "b"], "sum": [1.0, -2.0]}))
    names = {1: "a", 2: "b"}
    done = files.finish(Sidecar(**RUN, prediction=ROW, names_sha256=names_digest(names)), [table])
    assert files.standing() == done
    renamed = files.renamed(done, {1: "c", 2: "b"})
    assert renamed == files.standing()
    assert read_regions(files.regions, ("sum",))["name"].tolist() == ["c", "b"]
    assert read_regions(files.regions, ("sum",))["sum"].tolist() == [1.0, -2.0]
    assert files.renamed(done, {1: "c"}) is None
    table.write_text(table.read_text() + "3\td\t0\n")
    assert files.standing() is None
    assert files.standing(content=False) == renamed


def test_a_folder_is_read_as_it_was_written(tmp_path):
    rows = [ROW, Prediction("sub-2", None, None, "AD", {"CN": 0.0, "AD": 1.0}, 2.0)]
    write_predictions(tmp_path / "predictions.tsv", rows, ["CN", "AD"])
    write_record(tmp_path / "explain.json", ExplainRecord(**{**RUN, "explained": 1}, classes=["CN", "AD"]))
    scans = [ScanFiles(tmp_path, *row.who, "lrpZero") for row in rows]
    for files, row in zip(scans, rows, strict=True):
        write_volume(files.heatmap(), Volume(np.zeros(mni152(16).shape, np.float32), mni152(16)))
        write_tsv(files.regions, pd.DataFrame({"index": [1], "name": ["a"], "sum": [1.0]}))
        files.finish(Sidecar(target="AD", prediction=row), [files.heatmap()])
    write_regions(tmp_path / "regions.tsv", reversed(scans))
    found = read_folder(tmp_path)
    assert [item.files for item in found.items] == scans
    assert [(item.true, item.predicted, item.probabilities, item.fit) for item in found.items] == [
        ("AD", "CN", {"CN": 0.75, "AD": 0.25}, "nearly"),
        ("", "AD", {"CN": 0.0, "AD": 1.0}, ""),
    ]
    assert (found.positive, found.mixed, found.groups) == ("AD", False, ("CN", "AD"))
    assert (tmp_path / "regions.tsv").read_text().splitlines() == [
        "participant_id\tsession_id\tindex\tname\tsum",
        "sub-1\tses-1_run-2\t1\ta\t1",
        "sub-2\tn/a\t1\ta\t1",
    ]
