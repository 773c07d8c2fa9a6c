"""Studies from declaration to tables: what is done is kept, killed or shared out, and the tables stay the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.command import run
from helpers.studies import SMALL, cohort_of, declared, sooner, tables
from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.studies import RunOptions, estimate, read_study, run_study
from neuroxai.studies.page import write_report
from neuroxai.studies.results import open_results
from neuroxai.studies.runs import status_of

pytestmark = pytest.mark.xdist_group("studies")


@pytest.fixture(scope="module", autouse=True)
def quick(terminal):
    """What this process starts; studies that are commands of their own here start ordinary runs."""
    with sooner(terminal):
        yield


@pytest.fixture(scope="module")
def cohort(tiny_cohort, tmp_path_factory):
    return cohort_of(tiny_cohort, tmp_path_factory.mktemp("studies") / "cohort")


@pytest.fixture(scope="module")
def declaration(tmp_path_factory):
    return declared(tmp_path_factory.mktemp("declared") / "small.yaml")


@pytest.fixture(scope="module")
def finished(cohort, declaration, tmp_path_factory):
    """A study run through without interruption; its folder is not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "out"
    summary = run_study(read_study(declaration), out, {"main": cohort})
    assert summary.failed == []
    assert (summary.runs, summary.made, summary.kept) == (2, 2, 0)
    return out


@pytest.mark.integration
def test_the_tables_say_what_the_runs_predicted(finished):
    runs = io.read_tsv(finished / "results.tsv")
    assert runs["arm"].tolist() == ["plain", "dropout"]
    assert runs["epochs"].tolist() == [2, 2]
    assert runs["steps"].tolist() == [6, 6]
    for row in runs.to_dict("records"):
        table = io.read_tsv(finished / "runs" / row["run"] / "predictions_test.tsv")
        right = table["true"] == table["predicted"]
        assert row["sensitivity"] == pytest.approx(right[table["true"] == "AD"].mean())
        assert row["balanced_accuracy"] == pytest.approx(right.groupby(table["true"]).mean().mean())
        assert row["scans"] == len(table)
    statistics = io.read_tsv(finished / "statistics.tsv")
    means = statistics[statistics["quantity"] == "balanced accuracy"].set_index("group")["value"]
    assert means["plain"] == pytest.approx(100 * runs["balanced_accuracy"][0])
    assert (io.read_tsv(finished / "timings.tsv")["seconds"] > 0).all()
    page = (finished / "report.html").read_text()
    assert "A small study" in page
    assert str(finished) not in page


@pytest.mark.integration
def test_all_arms_see_the_same_subjects_in_the_same_parts(finished):
    results = open_results(finished)
    parts = [
        {p: [i["participant_id"] for i in results.datalist(d)[p]] for p in ("training", "test")} for d in results.done
    ]
    assert parts[0] == parts[1]
    assert not set(parts[0]["training"]) & set(parts[0]["test"])


@pytest.mark.integration
def test_region_sums_and_mean_maps_agree_with_each_other(finished):
    results = open_results(finished)
    done = results.done[0]
    regions, scans = results.regions(done, "lrp"), results.scans(done, "lrp")
    assert set(regions["participant_id"]) == set(scans["participant_id"])
    mean = results.mean_map(done, "lrp", "all")
    assert float(mean.data.sum(dtype=np.float64)) == pytest.approx(scans["sum"].mean(), rel=1e-4)
    groups = results.groups(done, "lrp")
    cells = [c for c in ("TP", "FP", "TN", "FN") if c in groups]
    assert sorted(scans["cell"].unique()) == sorted(cells)
    total = sum(results.mean_map(done, "lrp", c).data * (scans["cell"] == c).sum() for c in cells)
    assert np.allclose(total / len(scans), mean.data, atol=1e-6 * np.abs(mean.data).max())


@pytest.mark.integration
def test_run_again_nothing_is_done_and_nothing_changes(finished, declaration, cohort):
    before = tables(finished)
    page = (finished / "report.html").read_bytes()
    summary = run_study(read_study(declaration), finished, {"main": cohort})
    assert (summary.made, summary.kept) == (0, 2)
    assert tables(finished) == before
    assert (finished / "report.html").read_bytes() == page
    assert write_report(finished).read_bytes() == page


@pytest.mark.full(1)
def test_killed_at_any_moment_it_goes_on_to_the_same_tables(finished, declaration, cohort, tmp_path):
    out, moments = tmp_path / "out", random.Random(os.environ.get("NEUROXAI_SEED", "20"))
    command = [
        sys.executable,
        "-m",
        "neuroxai",
        "study",
        "run",
        declaration,
        "--cohort",
        str(cohort),
        "--out",
        str(out),
    ]
    for _ in range(int(os.environ.get("NEUROXAI_KILLS", "2"))):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(moments.uniform(4, 22))
        process.send_signal(signal.SIGKILL)
        process.wait()
        _wait_for_the_children(out)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert tables(out) == tables(finished)
    assert not list(out.rglob("*.tmp.*"))


def _wait_for_the_children(out):
    """What a killed study started must end by itself."""
    deadline = time.monotonic() + 10
    while out.is_dir() and (out / "study.json").is_file() and "at work" in status_of(out)["counts"]:
        assert time.monotonic() < deadline, "a run goes on after its study was killed"
        time.sleep(0.1)


@pytest.mark.full(1)
def test_on_a_cluster_of_two_workers_one_of_which_is_killed(finished, declaration, cohort, tmp_path):
    from distributed import Client, LocalCluster

    out = tmp_path / "out"
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        command = [sys.executable, "-m", "neuroxai", "study", "run", declaration, "--cohort", str(cohort)]
        options = ["--out", str(out), "--scheduler", cluster.scheduler_address]
        process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while not list(out.glob("runs/*/bundle/models/history.tsv")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        workers = client.run(os.getpid)
        os.kill(next(iter(workers.values())), signal.SIGKILL)
        _, error = process.communicate(timeout=240)
    assert process.returncode == 0, error
    assert tables(out) == tables(finished)


@pytest.mark.full(1)
def test_more_repetitions_and_explanations_add_to_what_is_there(finished, cohort, tmp_path, declaration):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(finished, out)
    more = declared(
        tmp_path / "small.yaml",
        arms={"plain": {}},
        explain={"lrp": {"method": "lrp_alpha_beta"}, "grad": {"method": "saliency"}},
        parts=["test", "validation"],
    )
    summary = run_study(read_study(more), out, {"main": cohort})
    assert summary.runs == 1
    kept = io.read_tsv(out / "results.tsv")["run"][0]
    assert kept == io.read_tsv(finished / "results.tsv")["run"][0]
    where = f"runs/{kept}/explained/test/lrp/scans.tsv"
    assert (out / where).read_bytes() == (finished / where).read_bytes()
    assert (out / f"runs/{kept}/explained/test/grad/scans.tsv").is_file()
    assert (out / f"runs/{kept}/explained/validation/lrp/scans.tsv").is_file()
    assert (out / f"runs/{kept}/predictions_validation.tsv").is_file()
    other = read_study(declared(tmp_path / "other.yaml"))
    with pytest.raises(InputError, match="holds study 'small', now 'other'"):
        run_study(other, out, {"main": cohort})


@pytest.mark.full(1)
def test_a_run_that_fails_is_listed_and_the_others_go_on(cohort, tmp_path):
    # a network that does not fit into the grid: nothing before the run itself can know
    arms = {"plain": {}, "coarse": {"settings": {"spacing": 8}}}
    study = read_study(declared(tmp_path / "small.yaml", arms=arms, explain={}))
    summary = run_study(study, tmp_path / "out", {"main": cohort})
    assert summary.runs == 2
    (failed,) = summary.failed
    assert failed["title"].startswith("coarse")
    assert "too small" in failed["error"]
    assert "too small" in Path(failed["log"]).read_text()
    assert io.read_tsv(tmp_path / "out" / "results.tsv")["arm"].tolist() == ["plain"]
    again = run_study(study, tmp_path / "out", {"main": cohort})
    assert "--retry" in again.failed[0]["error"]
    retried = run_study(study, tmp_path / "out", {"main": cohort}, RunOptions(retry=True))
    assert "--retry" not in retried.failed[0]["error"]
    assert status_of(tmp_path / "out")["counts"] == {"done": 1, "failed": 1}


@pytest.mark.full(1)
def test_broken_scans_are_told_and_the_others_go_on(cohort, tmp_path):
    import shutil

    folder = tmp_path / "cohort"
    shutil.copytree(cohort, folder)
    study = read_study(declared(tmp_path / "small.yaml", arms={"plain": {}}, explain={}))
    first = run_study(study, tmp_path / "first", {"main": folder})
    assert first.scans_failed == []
    parts = io.read_json(tmp_path / "first" / "splits" / "main_split-0.json")
    for part in ("training", "test"):
        image = folder / parts[part][0]["image"]
        image.write_bytes(image.read_bytes()[:200])
    summary = run_study(study, tmp_path / "out", {"main": folder})
    assert summary.failed == []
    assert sorted(text.split(":")[0] for text in summary.scans_failed) == sorted(
        parts[part][0]["participant_id"] for part in ("training", "test")
    )
    runs = io.read_tsv(tmp_path / "out" / "results.tsv")
    assert runs["scans"].item() == len(parts["test"]) - 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert parts["test"][0]["participant_id"] in page
    command = [sys.executable, "-m", "neuroxai", "study", "run", str(tmp_path / "small.yaml"), "--cohort", str(folder)]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("failed: ") == 2


@pytest.mark.full(1)
def test_search_transfer_and_shares(cohort, tmp_path):
    study = read_study(
        declared(
            tmp_path / "small.yaml",
            bundle="brain_flair_ms_classification",
            arms={
                "untrained": {"train": False},
                "first": {},
                "second": {"pretrained": "first"},
                "few": {"share": 0.5},
            },
            search={"draws": 2, "space": {"learning_rate": [1e-3, 1e-4]}, "first": [{"learning_rate": 1e-4}]},
            settings={"spacing": 7, "max_epochs": 1, "batch_size": 4, "normalisation": "zscore"},
            explain={"lrp": {"method": "lrp_epsilon"}},
        )
    )
    out = tmp_path / "out"
    summary = run_study(study, out, {"main": cohort}, RunOptions(jobs=2))
    assert summary.failed == []
    runs = io.read_tsv(out / "results.tsv")
    assert runs.groupby("arm")["chosen"].sum().to_dict() == {"untrained": 1, "first": 1, "second": 1, "few": 1}
    assert runs.groupby("arm").size().to_dict() == {"untrained": 1, "first": 2, "second": 2, "few": 2}
    assert runs.loc[runs["arm"] == "untrained", "epochs"].item() == 0
    assert runs.loc[(runs["arm"] == "first") & (runs["draw"] == 0), "drawn_learning_rate"].item() == 1e-4
    best = runs[(runs["arm"] == "first") & runs["chosen"]]
    assert best["validation_score"].item() == runs.loc[runs["arm"] == "first", "validation_score"].max()
    results = open_results(out)
    for done in results.chosen("second"):
        facts = io.read_json(done.folder / "run.json")
        assert best["run"].item() in facts["pretrained"]
        record = io.read_json(done.folder / "bundle" / "models" / "model.json")
        assert record["settings"]["pretrained_sha256"] == io.sha256(facts["pretrained"])
    explained = {d.run.identifier for d in results.done if (d.folder / "explained").is_dir()}
    assert explained == {d.run.identifier for d in results.chosen()}
    few, whole = results.datalist(results.chosen("few")[0]), results.datalist(results.chosen("first")[0])
    assert few["test"] == whole["test"]
    assert len(few["training"]) == len(whole["training"]) / 2
    assert {i["participant_id"] for i in few["training"]} < {i["participant_id"] for i in whole["training"]}


@pytest.mark.full(1)
def test_a_run_may_itself_be_several_processes(cohort, tmp_path):
    study = read_study(declared(tmp_path / "small.yaml", arms={"plain": {}}, processes=2, explain={}))
    summary = run_study(study, tmp_path / "out", {"main": cohort})
    assert summary.failed == []
    runs = io.read_tsv(tmp_path / "out" / "results.tsv")
    (run,) = runs["run"]
    record = io.read_json(tmp_path / "out" / "runs" / run / "bundle" / "models" / "model.json")
    assert record["settings"]["total_batch_size"] == 8
    assert runs["epochs"].item() == 2


@pytest.mark.integration
def test_an_estimate_by_the_command_leaves_nothing_behind(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "PROBE", 6)
    declaration = declared(tmp_path / "one.yaml", arms={"plain": SMALL["arms"]["plain"]})
    dry = ("study", "run", declaration, "--cohort", cohort, "--out", tmp_path / "out", "--dry-run", "--json")
    result = run(*dry)
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["runs"] == 1
    assert found["hours"] > 0
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_study_is_refused(tmp_path):
    result = run("study", "status", tmp_path)
    assert result.code == 2
    assert result.err.startswith("error: ")


@pytest.mark.integration
def test_frames_have_no_seconds(finished):
    for name in ("results.tsv", "statistics.tsv"):
        frame: pd.DataFrame = io.read_tsv(finished / name)
        assert not [c for c in frame.columns if "second" in c]
