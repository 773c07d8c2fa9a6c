"""Explain with workers elsewhere: the folder is that of one process, whatever becomes of a worker."""

from __future__ import annotations

import contextlib
import shutil

import pytest

from helpers.command import run
from neuroxai.cli import _cluster

TABLES = ("predictions.tsv", "regions.tsv", "explain.json")


@pytest.fixture
def cohort(tiny_cohort, tmp_path):
    """Four scans, one of them cut off."""
    for subject in ("sub-16", "sub-17", "sub-18", "sub-19"):
        shutil.copytree(tiny_cohort / subject, tmp_path / "cohort" / subject)
    broken = tmp_path / "cohort" / "sub-18" / "anat" / "sub-18_desc-brain_T1w.nii.gz"
    broken.write_bytes(broken.read_bytes()[:1000])
    return tmp_path / "cohort"


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_folder_is_that_of_one_process_though_a_worker_dies(cohort, trained_bundle, tmp_path, monkeypatch):
    asked = []

    def worker(client, task, lots):
        """Die with the first lot."""
        for lot in lots:
            asked.append([item["participant_id"] for item in lot])
            if len(asked) == 1:
                yield lot, None, "ended on the cluster (KilledWorker)"
            else:
                yield lot, task(lot), ""

    monkeypatch.setattr(_cluster, "cluster", lambda scheduler: contextlib.nullcontext(scheduler))
    monkeypatch.setattr(_cluster, "submitted", worker)
    monkeypatch.setattr(_cluster, "_LOTS", 2)
    arguments = ("explain", trained_bundle, cohort, "--desc", "brain", "--option", "beta=0", "--device", "cpu")
    found = run(*arguments, "--out", tmp_path / "far", "--scheduler", "tcp://x")
    assert asked == [["sub-16", "sub-17"], ["sub-18", "sub-19"], ["sub-16"], ["sub-17"]]
    assert found.code == 1
    assert "failed: sub-18" in found.err
    assert "truncated or damaged" in found.err
    assert run(*arguments, "--out", tmp_path / "here").code == 1
    here = files(tmp_path / "here")
    assert files(tmp_path / "far") == here
    assert {str(path) for path in here} >= set(TABLES)
    # finished scans are not asked for again
    asked.clear()
    again = run(*arguments, "--out", tmp_path / "far", "--scheduler", "tcp://x")
    assert "3 of 4 scans were finished before" in again.err
    assert asked == [["sub-18"]]
    assert "ended on the cluster (KilledWorker), most likely for want of memory" in again.err


def test_what_cannot_be_shared_out_is_refused(cohort, trained_bundle, tmp_path):
    options = ("--out", tmp_path / "out", "--scheduler", "tcp://x", "--layer", "features.conv4", "--neuron", "all")
    found = run("explain", trained_bundle, cohort, *options)
    assert (found.code, "without torchrun or a cluster" in found.err) == (2, True)


@pytest.mark.full(0)
def test_workers_of_dask_write_the_same(cohort, trained_bundle, tmp_path):
    distributed = pytest.importorskip("distributed")
    arguments = ("explain", trained_bundle, cohort, "--desc", "brain", "--device", "cpu")
    places = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**places) as cluster:
        found = run(*arguments, "--out", tmp_path / "far", "--scheduler", cluster.scheduler_address)
    assert found.code == 1, found.err
    assert run(*arguments, "--out", tmp_path / "here").code == 1
    assert files(tmp_path / "far") == files(tmp_path / "here")
