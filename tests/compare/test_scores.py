from __future__ import annotations

import numpy as np
import pytest

from helpers.explained import REGIONS, VOXELS, regions_path, write_tables
from neuroxai.compare.scores import read_scores
from neuroxai.derivatives.explain_folder import read_folder
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_tsv


def test_one_row_a_participant_in_the_atlas_order(tmp_path):
    explained = write_tables(tmp_path, controls=2, patients=1, sessions=2)
    seen = []
    scores = read_scores(
        read_folder(explained, "regions"),
        tmp_path / "cohort" / "participants.tsv",
        on_scan=lambda done, total: seen.append((done, total)),
    )
    assert list(scores.sums.index) == list(scores.people.index) == ["sub-000", "sub-001", "sub-002"]
    assert tuple(scores.sums.columns) == REGIONS
    assert scores.people["class"].tolist() == ["CN", "CN", "AD"]
    assert scores.people["scans"].tolist() == [2, 2, 2]
    both = [read_tsv(regions_path(explained, "sub-002", f"ses-{k}")) for k in (1, 2)]
    expected = np.mean([t["sum"] for t in both], axis=0)
    np.testing.assert_allclose(scores.sums.loc["sub-002"], expected)
    np.testing.assert_allclose(scores.densities.loc["sub-002"][:5], expected[:5] / VOXELS[:5])
    assert np.isnan(scores.densities.loc["sub-002", REGIONS[5]])
    predictions = read_tsv(explained / "predictions.tsv").groupby("participant_id")["probability_AD"].mean()
    np.testing.assert_allclose(scores.people["probability"], predictions)
    assert seen[-1] == (6, 6)
    assert scores.failures == []


@pytest.mark.parametrize("measure", ["absolute", "positive", "negative", "share"])
def test_measures(tmp_path, measure):
    explained = write_tables(tmp_path, controls=1, patients=1)
    scores = read_scores(read_folder(explained, "regions"), tmp_path / "cohort" / "participants.tsv", measure=measure)
    table = read_tsv(regions_path(explained, "sub-001"))
    expected = table["sum"] / table["absolute"].sum() if measure == "share" else table[measure]
    np.testing.assert_allclose(scores.sums.loc["sub-001"], expected)


def test_a_folder_without_region_tables_is_refused(tmp_path):
    explained = write_tables(tmp_path, controls=1, patients=1)
    for name in ("sub-000", "sub-001"):
        regions_path(explained, name).unlink()
    with pytest.raises(InputError, match="lrp_alpha_beta"):
        read_folder(explained, "regions")


def test_two_regions_of_one_name_are_refused(tmp_path):
    explained = write_tables(tmp_path, controls=1, patients=1)
    for name in ("sub-000", "sub-001"):
        path = regions_path(explained, name)
        path.write_text(path.read_text().replace("Right Hippocampus", "Left Hippocampus"))
    with pytest.raises(InputError, match="Left Hippocampus"):
        read_scores(read_folder(explained, "regions"), tmp_path / "cohort" / "participants.tsv")


def test_scans_scored_on_their_own_grids_are_compared_by_density(tmp_path):
    explained = write_tables(tmp_path, controls=2, patients=1, score_space="scan")
    path = regions_path(explained, "sub-001")
    table = read_tsv(path)
    # a finer grid has more voxels, and one region was lost on it
    table["voxels"], table["sum"] = 8 * table["voxels"], 8 * table["sum"]
    table.loc[2, ["voxels", "sum"]] = 0
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    scores = read_scores(read_folder(explained, "regions"), tmp_path / "cohort" / "participants.tsv")
    np.testing.assert_allclose(scores.densities.loc["sub-001"].iloc[:2], table["density"][:2])
    assert scores.densities[REGIONS[2]].isna().all()
    assert scores.voxels[REGIONS[0]] == (40 + 320 + 40) / 3
    record = (explained / "explain.json").read_text()
    (explained / "explain.json").write_text(record.replace('"scan"', '"network"'))
    with pytest.raises(SpaceError, match="sub-001"):
        read_scores(read_folder(explained, "regions"), tmp_path / "cohort" / "participants.tsv")
