"""Runs are the same where everything that decides their result is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from neuroxai import io
from neuroxai.studies import runs
from neuroxai.studies.runs import Run, identify


@pytest.fixture
def run(tmp_path):
    io.write_json(tmp_path / "bundle" / "configs" / "train.json", {"a": 1})
    (tmp_path / "scan.nii").write_bytes(b"one scan")
    (tmp_path / "weights.pt").write_bytes(b"weights")
    datalist = {"training": [{"image": "scan.nii", "label": 0}], "versions": {"neuroxai": "0"}}
    path = io.write_json(tmp_path / "datalist.json", datalist)
    settings = {"seed": 1, "pretrained": str(tmp_path / "weights.pt")}
    return Run("arm", 0, 0, None, {}, tmp_path / "bundle", tmp_path, path, settings)


def rewritten(path: Path, content: bytes) -> None:
    """Another content of the same size and time."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_scan_of_the_same_size_and_time_but_another_content_is_another_run(run):
    first = identify(run)
    assert identify(run) == first
    os.utime(run.folder / "scan.nii", ns=(1, 1))
    assert identify(run) == first
    rewritten(run.folder / "scan.nii", b"two scan")
    assert identify(run) != first


def test_other_weights_to_begin_with_are_another_run(run):
    first = identify(run)
    rewritten(run.folder / "weights.pt", b"WEIGHTS")
    assert identify(run) != first


def test_another_version_or_another_setting_is_another_run(run, monkeypatch):
    first = identify(run)
    assert identify(replace(run, settings={**run.settings, "seed": 2})) != first
    monkeypatch.setattr(runs, "__version__", "0.0.0")
    assert identify(run) != first


def test_the_version_that_made_a_datalist_is_no_matter(run):
    first = identify(run)
    io.write_json(run.datalist, {**io.read_json(run.datalist), "versions": {"neuroxai": "1"}})
    assert identify(run) == first
