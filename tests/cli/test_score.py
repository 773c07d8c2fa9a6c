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


def in_mni(path, low, high, size=4.0):
    """Ones in a box of MNI152's world, whose sides are `low` and `high` in mm."""
    space = Space((50, 60, 50), np.array([[size, 0, 0, -98], [0, size, 0, -134], [0, 0, size, -80], [0, 0, 0, 1.0]]))
    places = space.world(np.moveaxis(np.indices(space.shape), 0, -1))
    box = ((places >= low) & (places <= high)).all(axis=-1)
    return io.write_volume(path, Volume(box.astype(np.float32), space))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sub-1_space-T1w_desc-lrpAlphaBeta_heatmap.nii.gz", "the participant's own space (T1w, by its name)"),
        ("sub-1_space-FLAIR_desc-saliency_heatmap.nii.gz", "the participant's own space (FLAIR, by its name)"),
        ("sub-1_ses-2_T1w.nii.gz", "is a scan as the scanner left it"),
        ("patient_T1W.nii.gz", "is a scan as the scanner left it"),
    ],
)
def test_a_map_of_the_participant_s_own_space_is_not_scored_by_an_atlas_of_mni152(tmp_path, atlas, name, words):
    """`explain` writes such maps beside the others: the same sums would stand under other regions."""
    path, good = in_mni(tmp_path / name, -10, 10), in_mni(tmp_path / "sub-1_space-network_heatmap.nii.gz", -10, 10)
    result = run("score", path, "--out", tmp_path / "t.tsv")
    assert (result.code, words in result.err) == (2, True), result.err
    result = run("score", path, good, "--out", tmp_path / "t.tsv")
    assert (result.code, words in result.err) == (1, True), result.err
    assert set(pd.read_csv(tmp_path / "t.tsv", sep="\t")["file"]) == {str(good)}
    # a label image of one's own may lie anywhere
    assert run("score", path, "--atlas", atlas[1], "--out", tmp_path / "t.tsv").code == 0


def test_a_map_beside_the_template_s_brain_is_doubted(tmp_path):
    inside = in_mni(tmp_path / "inside.nii.gz", (-30, -50, 0), (30, 20, 30))  # well within any brain
    beside = in_mni(tmp_path / "beside.nii.gz", (-30, -50, 0), (30, 20, 200))  # cut by the grid's end at 116 mm
    result = run("score", inside, beside, "--out", tmp_path / "t.tsv", "--json")
    (note,) = json.loads(result.out)["notes"]
    assert (result.code, note.startswith(f"{beside}: ")) == (0, True)
    # by hand: of 30 layers from 0 to 116 mm those above the brain (its top is near 80 mm, and 8 mm are allowed)
    share = int(note.split(": ")[1].split("%")[0])
    assert 100 * (116 - 92) / 120 < share < 100 * (116 - 76) / 120 + 8
