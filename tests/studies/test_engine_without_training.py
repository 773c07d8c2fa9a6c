"""Which runs a study makes and from what, what it keeps, tells and tries again; no run is trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers.studies import cohort_of, declared, tables
from helpers.untrained_runs import Launcher
from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.studies import RunOptions, read_study, run_study, runner
from neuroxai.studies.results import open_results
from neuroxai.studies.runs import status_of

PLAIN = {"plain": {}}


@pytest.fixture
def launcher(monkeypatch):
    one = Launcher()
    monkeypatch.setattr(runner, "start", one)
    return one


@pytest.fixture(scope="module")
def cohort(tiny_cohort, tmp_path_factory):
    return cohort_of(tiny_cohort, tmp_path_factory.mktemp("without") / "cohort")


def run(tmp_path, cohort, out="out", options=None, **changes):
    return run_study(
        read_study(declared(tmp_path / "small.yaml", **changes)), tmp_path / out, {"main": cohort}, options
    )


def test_run_again_nothing_is_done_and_nothing_changes(launcher, cohort, tmp_path):
    summary = run(tmp_path, cohort)
    assert (summary.runs, summary.made, summary.kept, summary.failed) == (2, 2, 0, [])
    before, page = tables(tmp_path / "out"), (tmp_path / "out" / "report.html").read_bytes()
    summary = run(tmp_path, cohort)
    assert (summary.made, summary.kept) == (0, 2)
    assert len(launcher.asked) == 2
    assert tables(tmp_path / "out") == before
    assert (tmp_path / "out" / "report.html").read_bytes() == page


def test_a_run_that_was_broken_off_is_begun_again(launcher, cohort, tmp_path):
    run(tmp_path, cohort)
    before = tables(tmp_path / "out")
    first, second = sorted((tmp_path / "out" / "runs").iterdir())
    (first / "result.json").unlink()
    shutil.rmtree(first / "bundle")
    shutil.rmtree(second / "explained")
    summary = run(tmp_path, cohort)
    assert (summary.made, summary.kept) == (2, 0)
    assert tables(tmp_path / "out") == before


def test_several_at_a_time_give_the_same_tables(launcher, cohort, tmp_path):
    run(tmp_path, cohort, "one", repetitions=3)
    run(tmp_path, cohort, "four", RunOptions(jobs=4), repetitions=3)
    assert tables(tmp_path / "one") == tables(tmp_path / "four")
    assert len(io.read_tsv(tmp_path / "one" / "results.tsv")) == 6


def test_more_repetitions_and_explanations_add_to_what_is_there(launcher, cohort, tmp_path):
    run(tmp_path, cohort, arms=PLAIN)
    kept = io.read_tsv(tmp_path / "out" / "results.tsv")["run"][0]
    where = tmp_path / "out" / "runs" / kept / "explained" / "test" / "lrp" / "scans.tsv"
    before = where.read_bytes(), where.stat().st_mtime_ns
    more = {"lrp": {"method": "lrp_alpha_beta"}, "grad": {"method": "saliency"}}
    summary = run(tmp_path, cohort, arms=PLAIN, explain=more, parts=["test", "validation"], repetitions=2)
    assert summary.runs == 2
    assert kept in set(io.read_tsv(tmp_path / "out" / "results.tsv")["run"])
    assert (where.read_bytes(), where.stat().st_mtime_ns) == before
    for part in ("test", "validation"):
        for name in more:
            assert (where.parents[2] / part / name / "scans.tsv").is_file()
    assert (where.parents[3] / "predictions_validation.tsv").is_file()
    with pytest.raises(InputError, match="holds study 'small', now 'other'"):
        run_study(read_study(declared(tmp_path / "other.yaml")), tmp_path / "out", {"main": cohort})


def test_a_run_that_fails_is_listed_and_the_others_go_on(launcher, cohort, tmp_path):
    launcher.broken["dropout"] = "the grid is too small"
    summary = run(tmp_path, cohort, explain={})
    assert summary.runs == 2
    (failed,) = summary.failed
    assert failed["title"].startswith("dropout")
    assert failed["error"] == "the grid is too small"
    assert Path(failed["log"]).parent.name == failed["run"]
    assert io.read_tsv(tmp_path / "out" / "results.tsv")["arm"].tolist() == ["plain"]
    again = run(tmp_path, cohort, explain={})
    assert "--retry" in again.failed[0]["error"]
    assert len(launcher.asked) == 2
    retried = run(tmp_path, cohort, options=RunOptions(retry=True), explain={})
    assert "--retry" not in retried.failed[0]["error"]
    assert len(launcher.asked) == 3
    assert status_of(tmp_path / "out")["counts"] == {"done": 1, "failed": 1}
    launcher.broken.clear()
    mended = run(tmp_path, cohort, options=RunOptions(retry=True), explain={})
    assert mended.failed == []
    assert io.read_tsv(tmp_path / "out" / "results.tsv")["arm"].tolist() == ["plain", "dropout"]


def test_what_begins_with_the_weights_of_a_failed_run_is_not_begun(launcher, cohort, tmp_path):
    launcher.broken["first"] = "no memory"
    # but for its parent the second is what the third is, which goes on
    arms = {"first": {"settings": {"dropout": 0.1}}, "second": {"pretrained": "first"}, "third": {}}
    summary = run(tmp_path, cohort, bundle="brain_flair_ms_classification", arms=arms, explain={})
    assert {one["title"].split(",")[0]: one["error"] for one in summary.failed} == {
        "first": "no memory",
        "second": "arm first, whose weights it begins with, has no finished run",
    }
    assert not any(facts["title"].startswith("second") for facts in launcher.asked)
    assert io.read_tsv(tmp_path / "out" / "results.tsv")["arm"].tolist() == ["third"]


def test_broken_scans_are_told_and_the_others_go_on(launcher, cohort, tmp_path):
    run(tmp_path, cohort, "first", arms=PLAIN, explain={})
    parts = io.read_json(tmp_path / "first" / "splits" / "main_split-0.json")
    unreadable = [parts[part][0]["participant_id"] for part in ("training", "test")]
    launcher.unreadable = tuple(unreadable)
    summary = run(tmp_path, cohort, arms=PLAIN, explain={})
    assert summary.failed == []
    assert sorted(text.split(":")[0] for text in summary.scans_failed) == sorted(unreadable)
    assert io.read_tsv(tmp_path / "out" / "results.tsv")["scans"].item() == len(parts["test"]) - 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(who in page for who in unreadable)


def test_search_transfer_and_shares(launcher, cohort, tmp_path):
    summary = run(
        tmp_path,
        cohort,
        bundle="brain_flair_ms_classification",
        arms={"untrained": {"train": False}, "first": {}, "second": {"pretrained": "first"}, "few": {"share": 0.5}},
        search={"draws": 3, "space": {"learning_rate": [1e-3, 1e-4]}, "first": [{"learning_rate": 1e-4}]},
        explain={"lrp": {"method": "lrp_epsilon"}},
    )
    assert summary.failed == []
    out = tmp_path / "out"
    runs = io.read_tsv(out / "results.tsv")
    assert runs.groupby("arm")["chosen"].sum().to_dict() == {"untrained": 1, "first": 1, "second": 1, "few": 1}
    assert runs.groupby("arm").size().to_dict() == {"untrained": 1, "first": 3, "second": 3, "few": 3}
    assert runs.loc[runs["arm"] == "untrained", "epochs"].item() == 0
    assert runs.loc[(runs["arm"] == "first") & (runs["draw"] == 0), "drawn_learning_rate"].item() == 1e-4
    for arm in ("first", "second", "few"):
        own = runs[runs["arm"] == arm]
        assert own.loc[own["chosen"], "validation_score"].item() == own["validation_score"].max()
    best = runs.loc[(runs["arm"] == "first") & runs["chosen"], "run"].item()
    results = open_results(out)
    for done in results.done:
        begins_with = io.read_json(done.folder / "run.json")["pretrained"]
        assert (begins_with is not None) == (done.run.arm == "second")
        assert begins_with is None or Path(begins_with) == out / "runs" / best / "bundle" / "models" / "model.pt"
    # only what counts is explained, after the search
    explained = {d.run.identifier for d in results.done if (d.folder / "explained").is_dir()}
    assert explained == {d.run.identifier for d in results.chosen()}
    few, whole = results.datalist(results.chosen("few")[0]), results.datalist(results.chosen("first")[0])
    assert few["test"] == whole["test"]
    assert len(few["training"]) == len(whole["training"]) / 2
    assert {i["participant_id"] for i in few["training"]} < {i["participant_id"] for i in whole["training"]}
