"""A prepared scan's heatmap comes back to the scan as the scanner gave it."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.command import run
from neuroxai import io
from neuroxai.space import Space, Volume


@pytest.fixture(scope="module")
def explained(trained_bundle, tiny_cohort, tmp_path_factory):
    """A patient's phantom as a scanner might give it (LPS, in a world of its own), prepared and explained."""
    folder = tmp_path_factory.mktemp("prepared")
    phantom = io.read_volume(tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz")
    c, s = np.cos(0.2), np.sin(0.2)
    pose = np.array([[c, -s, 0, 12.0], [s, c, 0, -30.0], [0, 0, 1, 55.0], [0, 0, 0, 1]])
    elsewhere = Volume(phantom.data, Space(phantom.space.shape, pose @ phantom.space.affine)).reoriented("LPS")
    io.write_volume(folder / "sub-17_T1w.nii.gz", elsewhere)
    options = ["--arm", "none", "--centre", "image", "--spacing", "5", "--no-bias-correction", "--no-figures"]
    result = run("prepare", folder / "sub-17_T1w.nii.gz", folder / "out", *options)
    assert result.code == 0, result.err
    (scan,) = (folder / "out").rglob("*_desc-brain_T1w.nii.gz")
    result = run("explain", trained_bundle, scan, "--out", folder / "explained", "--option", "beta=0")
    assert result.code == 0, result.err
    return folder / "explained", elsewhere.space


def test_the_heatmap_lies_on_the_scanners_grid(explained):
    folder, scanner = explained
    stem = "sub-17/anat/sub-17_space-{}_desc-lrpAlphaBeta_heatmap"
    network = io.read_volume(folder / f"{stem.format('network')}.nii.gz")
    native = io.read_volume(folder / f"{stem.format('T1w')}.nii.gz")
    assert native.space.matches(scanner)
    # same voxels, other order: to and fro nothing was interpolated
    np.testing.assert_allclose(native.reoriented("RAS").data, network.data, atol=1e-6 * np.abs(network.data).max())
    sidecar = io.read_json(folder / f"{stem.format('T1w')}.json")
    assert Space.from_dict(sidecar["space"]).matches(scanner)
    assert sidecar["method"] == "lrp_alpha_beta"
    # and how it was made fit for the network
    prepared = sidecar["prepared"]
    assert prepared["Parameters"]["arm"] == "none"
    assert prepared["Parameters"]["spacing"] == 5
    assert prepared["Sources"] == {"scan": "sub-17_T1w.nii.gz"}
    assert prepared["Inputs"] == {"scan": io.sha256(folder.parent / "sub-17_T1w.nii.gz")}
    assert prepared["BrainFrom"]


def test_relevance_is_on_the_side_of_the_blob_in_the_scan(explained):
    """The patients' blob is on their left: in an LPS scan at high first indices."""
    folder, _ = explained
    native = io.read_volume(folder / "sub-17/anat/sub-17_space-T1w_desc-lrpAlphaBeta_heatmap.nii.gz")
    assert native.space.orientation == "LPS"
    half = native.space.shape[0] // 2
    positive = np.maximum(native.data, 0)
    assert positive[half:].sum() > 2 * positive[:half].sum()


def test_without_native_maps_none_is_written(explained, trained_bundle, tmp_path):
    (scan,) = (explained[0].parent / "out").rglob("*_desc-brain_T1w.nii.gz")
    result = run("explain", trained_bundle, scan, "--out", tmp_path, "--no-native", "--option", "beta=0")
    assert result.code == 0, result.err
    assert not list(tmp_path.rglob("*_space-T1w_*"))
