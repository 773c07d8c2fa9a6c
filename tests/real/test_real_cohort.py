"""The same commands on real scans: 49 adults at 2 mm, by sex."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from helpers.bundles import AD, copy_of, train
from helpers.command import run
from neuroxai import io

pytestmark = [pytest.mark.real, pytest.mark.full(1)]


@pytest.fixture(scope="module")
def trained(real_data, tmp_path_factory):
    """A bundle trained for a moment, and the datalist beside it."""
    folder = tmp_path_factory.mktemp("real")
    cohort = real_data / "cohorts" / "ds002748"
    result = run("split", cohort, folder / "datalist.json", "--target", "sex", "--classes", "F,M", "--seed", 1)
    assert result.code == 0, result.err
    bundle = copy_of(AD, folder / "bundle")
    train(bundle, cohort, datalist=str(folder / "datalist.json"), max_epochs=2, batch_size=4, normalisation="zscore")
    return bundle, cohort, folder / "datalist.json"


def test_split_train_predict_explain_report(trained, tmp_path):
    bundle, cohort, datalist = trained
    held_out = ("--datalist", datalist, "--part", "test")
    assert run("predict", bundle, cohort, *held_out, "--out", tmp_path / "predicted").code == 0
    explained = run("explain", bundle, cohort, *held_out, "--target", "M", "--out", tmp_path / "explained")
    assert explained.code == 0, explained.err
    assert run("report", tmp_path / "explained", "--dataset-dir", cohort).code == 0
    table = pd.read_csv(tmp_path / "explained" / "predictions.tsv", sep="\t")
    people = pd.read_csv(cohort / "participants.tsv", sep="\t").set_index("participant_id")["sex"]
    assert list(table["true"]) == [people[s] for s in table["participant_id"]]
    metrics = json.loads((tmp_path / "explained" / "report" / "metrics.json").read_text())
    assert metrics
    pages = sorted(p.stem for p in (tmp_path / "explained" / "report").glob("sub-*.html"))
    assert pages == sorted(table["participant_id"])
    # prediction and explanation agree
    other = pd.read_csv(tmp_path / "predicted" / "predictions.tsv", sep="\t")
    np.testing.assert_allclose(table["probability_M"], other["probability_M"], atol=1e-5)


def test_a_native_scan_gets_its_heatmap_on_its_own_grid(trained, real_data, tmp_path):
    bundle, _, _ = trained
    scan = real_data / "t1w" / "ds002748" / "sub-01_T1w.nii.gz"
    atlas = real_data / "atlases" / "HarvardOxford-sub-maxprob-thr25-2mm.nii.gz"
    names = real_data / "atlases" / "HarvardOxford-Subcortical.xml"
    result = run("explain", bundle, scan, "--out", tmp_path, "--atlas", atlas, "--labels", names, "--accept-unfit")
    assert result.code == 0, result.err
    native = io.read_volume(tmp_path / "sub-01" / "anat" / "sub-01_space-orig_desc-lrpAlphaBeta_heatmap.nii.gz")
    assert native.space.matches(io.read_space(scan))
    assert native.space.orientation == "LAS"
    regions = pd.read_csv(next(tmp_path.rglob("*_regions.tsv")), sep="\t")
    assert "Left Hippocampus" in set(regions["name"])
