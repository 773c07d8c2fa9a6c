from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from helpers.command import run
from neuroxai import io
from neuroxai.space import Space, Volume


@pytest.fixture
def atlas(tmp_path):
    """Left and right block of an asymmetric grid, with a name each."""
    labels = np.zeros((12, 10, 8), np.int16)
    labels[1:5, 2:9, 3:6], labels[7:11, 2:6, 3:6] = 3, 300
    space = Space(labels.shape, np.array([[4, 0, 0, -24], [0, 4, 0, -40], [0, 0, 4, -10], [0, 0, 0, 1.0]]))
    path = tmp_path / "atlas.nii.gz"
    io.write_volume(path, Volume(labels, space), dtype=np.int16)
    path.with_name("atlas.tsv").write_text("index\tname\n3\tLeft block\n300\tRight block\n")
    return Volume(labels, space), path


def heatmap(path, space, seed=0):
    data = np.random.default_rng(seed).normal(size=space.shape).astype(np.float32)
    io.write_volume(path, Volume(data, space))
    return data.astype(np.float64)


def test_maps_on_any_grid_are_scored_where_they_lie(atlas, tmp_path):
    labels, path = atlas
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = 11
    flipped = Space((12, 10, 8), labels.space.affine @ turn)
    first = heatmap(tmp_path / "sub-01_ses-2_map.nii.gz", labels.space)
    second = heatmap(tmp_path / "other.nii.gz", flipped, seed=1)
    out = tmp_path / "scores.tsv"
    result = run(
        "score", tmp_path / "sub-01_ses-2_map.nii.gz", tmp_path / "other.nii.gz", "--atlas", path, "--out", out
    )
    assert result.code == 0, result.err
    table = pd.read_csv(out, sep="\t")
    assert list(table["name"]) == ["Left block", "Right block"] * 2
    assert table["participant_id"].tolist()[:2] == ["sub-01"] * 2
    assert table["session_id"].tolist()[:2] == ["ses-2"] * 2
    for rows, data in ((table[:2], first), (table[2:], second[::-1])):
        for label, row in zip((3, 300), rows.to_dict("records"), strict=True):
            inside = data[labels.data == label]
            np.testing.assert_allclose(row["sum"], inside.sum(), rtol=1e-6)
            np.testing.assert_allclose(row["density"], inside.mean(), rtol=1e-6)
            assert row["voxels"] == inside.size
    merged = run("score", tmp_path / "other.nii.gz", "--atlas", path, "--merge-hemispheres", "--out", out)
    assert merged.code == 0, merged.err
    (row,) = pd.read_csv(out, sep="\t").to_dict("records")
    np.testing.assert_allclose(row["sum"], table["sum"][2:].sum(), rtol=1e-6)


def test_maps_and_other_tables_are_not_overwritten(atlas, tmp_path):
    labels, path = atlas
    scan = tmp_path / "map.nii.gz"
    heatmap(scan, labels.space)
    notes = tmp_path / "notes.tsv"
    notes.write_text("participant_id\tregion\n")
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    for out, words in ((scan, "is an input"), (path, "is an input"), (notes, "exists and is no table of scores")):
        result = run("score", scan, "--atlas", path, "--out", out)
        assert (result.code, words in result.err) == (2, True), result.err
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_what_a_killed_run_left_is_no_map(atlas, tmp_path):
    labels, path = atlas
    anat = tmp_path / "out" / "sub-1" / "anat"
    heatmap(anat / "sub-1_space-network_desc-x_heatmap.nii.gz", labels.space)
    heatmap(anat / ".0123abcd.tmp.sub-1_space-network_desc-y_heatmap.nii.gz", labels.space)
    result = run("score", tmp_path / "out", "--atlas", path, "--out", tmp_path / "scores.tsv", "--json")
    assert (result.code, '"maps": 1' in result.out) == (0, True), result.err


def test_a_folder_s_heatmaps_are_found_and_a_bad_one_is_named(atlas, tmp_path):
    labels, path = atlas
    for subject in ("sub-01", "sub-02"):
        heatmap(tmp_path / "out" / subject / f"{subject}_space-network_desc-x_heatmap.nii.gz", labels.space)
    bad = tmp_path / "out" / "sub-02" / "sub-02_space-network_desc-x_heatmap.nii.gz"
    bad.write_bytes(bad.read_bytes()[:100])
    result = run("score", tmp_path / "out", "--atlas", path, "--out", tmp_path / "scores.tsv", "--json")
    assert result.code == 1
    summary = json.loads(result.out)
    assert (summary["maps"], summary["done"]) == (2, 1)
    assert "sub-02" in summary["failed"][0]["error"]
    assert set(pd.read_csv(tmp_path / "scores.tsv", sep="\t")["participant_id"]) == {"sub-01"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.nii.gz",), "no such map or folder"),
        ((".",), "holds no heatmap in space 'network'"),
        ((".", "--space", "mni"), "unknown space 'mni'; choose one of: network, orig"),
        (("atlas.nii.gz", "--labels", "atlas.tsv"), "give the label image with --atlas"),
        (("atlas.nii.gz", "--atlas", "absent.nii.gz"), "absent.nii.gz"),
    ],
)
def test_what_cannot_be_scored_is_refused(atlas, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run("score", *arguments, "--out", "scores.tsv")
    assert result.code == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "scores.tsv").exists()
