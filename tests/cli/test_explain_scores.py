"""Scores without maps, on the scan's grid, and by several processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.command import run
from neuroxai import io
from neuroxai.space import Space


@pytest.fixture(scope="module")
def scored(trained_bundle, tiny_cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("scored")
    result = run("explain", trained_bundle, tiny_cohort, "--part", "test", "--out", out, "--scores-only")
    assert result.code == 0, result.err
    return out


def table(folder, name="regions.tsv"):
    return pd.read_csv(folder / name, sep="\t", keep_default_na=False, na_values=[""])


def test_scores_alone_are_those_of_the_maps_and_no_map_is_written(scored, trained_bundle, tiny_cohort, tmp_path):
    result = run("explain", trained_bundle, tiny_cohort, "--part", "test", "--out", tmp_path)
    assert result.code == 0, result.err
    assert not list(scored.rglob("*.nii.gz"))
    assert len(list(tmp_path.rglob("*.nii.gz"))) == 8
    for name in ("regions.tsv", "predictions.tsv"):
        assert (scored / name).read_bytes() == (tmp_path / name).read_bytes()
    regions = table(scored)
    assert list(regions.columns[:4]) == ["participant_id", "session_id", "index", "name"]
    assert list(regions["participant_id"].unique()) == ["sub-16", "sub-17", "sub-18", "sub-19"]
    one = pd.read_csv(next((scored / "sub-17").rglob("*_regions.tsv")), sep="\t", keep_default_na=False, na_values=[""])
    own = regions[regions["participant_id"] == "sub-17"].drop(columns=["participant_id", "session_id"])
    pd.testing.assert_frame_equal(own.reset_index(drop=True), one)


def test_finished_scores_are_not_made_again_but_maps_are(scored, trained_bundle, tiny_cohort, tmp_path):
    shutil.copytree(scored, tmp_path / "out")
    command = ("explain", trained_bundle, tiny_cohort, "--part", "test", "--out", tmp_path / "out")
    again = run(*command, "--scores-only")
    assert again.code == 0
    assert "4 of 4 scans were finished before" in again.err
    assert (tmp_path / "out" / "regions.tsv").read_bytes() == (scored / "regions.tsv").read_bytes()
    with_maps = run(*command)
    assert "finished before" not in with_maps.err
    assert len(list((tmp_path / "out").rglob("*_heatmap.nii.gz"))) == 8


def test_scores_on_the_scan_s_grid_are_those_of_its_own_heatmap(trained_bundle, tiny_cohort, tmp_path):
    """An oblique scan, stored with flipped axes and other voxels."""
    from neuroxai.atlas import RegionScorer, builtin

    source = io.read_volume(tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz")
    turn = np.array([[0.0, np.cos(0.2), np.sin(0.2)], [0.0, -np.sin(0.2), np.cos(0.2)], [-1.0, 0.0, 0.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([4.0, 3.5, 4.0])
    affine[:3, 3] = np.array([0, -18, 10]) - affine[:3, :3] @ np.array([32, 32, 30])
    io.write_volume(tmp_path / "sub-17_T1w.nii.gz", source.resampled_to(Space((64, 64, 60), affine)))
    result = run(
        "explain", trained_bundle, tmp_path / "sub-17_T1w.nii.gz", "--out", tmp_path / "out", "--score-space", "scan"
    )
    assert result.code == 0, result.err
    native = io.read_volume(next((tmp_path / "out").rglob("*_space-orig_*_heatmap.nii.gz")))
    atlas = builtin().resampled_to(native.space)
    wanted = RegionScorer(atlas)(torch.from_numpy(native.data)[None, None]).to_frame()
    found = table(tmp_path / "out")
    np.testing.assert_array_equal(found["voxels"], wanted["voxels"])
    np.testing.assert_allclose(found["sum"], wanted["sum"], rtol=1e-3, atol=1e-5 * np.abs(wanted["sum"]).max())


def several(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "neuroxai"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.full(0)
@pytest.mark.xdist_group("processes")
def test_two_processes_share_a_cohort_and_a_broken_scan_is_reported(scored, trained_bundle, tiny_cohort, tmp_path):
    cohort = tmp_path / "cohort"
    shutil.copytree(tiny_cohort, cohort)
    arguments = (
        "explain",
        trained_bundle,
        cohort,
        "--part",
        "test",
        "--out",
        tmp_path / "out",
        "--scores-only",
        "--json",
    )
    broken = cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1000])
    first = several(*arguments)
    assert first.returncode != 0
    summary = json.loads(next(line for line in first.stdout.splitlines() if line.startswith("{")))
    assert (summary["scans"], summary["done"]) == (4, 3)
    assert [one["participant_id"] for one in summary["failed"]] == ["sub-17"]
    assert set(table(tmp_path / "out")["participant_id"]) == {"sub-16", "sub-18", "sub-19"}
    # mended, and run again: what is finished stays
    broken.write_bytes(whole)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*_heatmap.json")}
    second = several(*arguments)
    assert second.returncode == 0, second.stderr
    assert all(path.stat().st_mtime_ns == moment for path, moment in before.items())
    for name in ("regions.tsv", "predictions.tsv"):
        assert (tmp_path / "out" / name).read_bytes() == (scored / name).read_bytes()
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [".bidsignore"]


def test_what_cannot_be_is_refused(trained_bundle, tiny_cohort, tmp_path):
    command = ("explain", trained_bundle, tiny_cohort, "--part", "test", "--out", tmp_path / "out")
    for options, message in (
        (("--score-space", "atlas"), "unknown space of the scores 'atlas'; choose one of: network, scan"),
        (("--layer", "features.conv4", "--neuron", "all", "--scores-only"), "leave out --scores-only"),
    ):
        result = run(*command, *options)
        assert result.code == 2
        assert message in result.err
        assert len(result.err.strip().splitlines()) == 1
