from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from neuroxai.errors import InputError, LeakageError
from neuroxai.statistics import Reference
from neuroxai.statistics import tables as module
from neuroxai.statistics.tables import fingerprints_table, gain_table, groups_table, no_gains, percentiles_table

VOXELS = pd.Series([10.0, 0.0, 4.0], index=["a", "none", "b"])
SIZES = VOXELS.where(VOXELS > 0)


@pytest.fixture
def sums(rng):
    ids = [f"sub-{k}" for k in range(30)]
    return pd.DataFrame(rng.normal(20, 2, size=(30, 3)) * (VOXELS > 0).to_numpy(), index=ids, columns=VOXELS.index)


def test_groups_find_the_planted_region_and_keep_absent_ones(sums):
    patients, controls = sums[:12].add([6.0, 0.0, 0.0]) / SIZES, sums[12:] / SIZES
    table = groups_table(patients, controls, VOXELS, permutations=199, replicates=100).set_index("region")
    assert list(table.index) == ["a", "none", "b"]
    assert table.loc["a", "p_family"] == 1 / 200
    assert table.loc["a", "difference"] == pytest.approx(patients["a"].mean() - controls["a"].mean())
    assert table.loc["a", "difference_low"] < table.loc["a", "difference"] < table.loc["a", "difference_high"]
    assert table.loc["none"].drop("voxels").isna().all()


def test_gain_does_not_depend_on_the_unit_of_relevance(sums):
    one = gain_table(sums[:2], sums[:2] / SIZES, sums[2:] / SIZES)
    two = gain_table(1e-9 * sums[:2], 1e-9 * sums[:2] / SIZES, 1e-9 * sums[2:] / SIZES)
    # on one grid densities and sums have the same gain
    np.testing.assert_allclose(one["gain"][0], sums["a"].iloc[0] / sums["a"][2:].mean())
    np.testing.assert_allclose(two["gain"], one["gain"])
    assert one["gain"].isna().tolist() == [False, True, False] * 2
    assert one.loc[2, "density"] == sums["b"].iloc[0] / 4


def test_gain_of_next_to_nothing_is_left_out(sums):
    patients, controls = sums[:12] / SIZES, sums[12:] / SIZES
    # controls that have a hundred-thousandth of the patients' relevance in every region
    table = groups_table(patients, 1e-5 * controls, VOXELS, permutations=99, replicates=100)
    assert table[["gain", "gain_low", "gain_high"]].isna().all(axis=None)
    assert "gain of every region would be the ratio" in no_gains(patients, 1e-5 * controls, VOXELS)
    assert no_gains(patients, controls, VOXELS) == ""
    # one region alone: noise about zero
    near = controls.assign(a=np.linspace(-1, 1.001, len(controls)))
    table = groups_table(patients, near, VOXELS, permutations=99, replicates=100).set_index("region")
    assert table["gain"].isna().tolist() == [True, True, False]
    gains = gain_table(sums[:12], patients, near).set_index("region")["gain"]
    assert gains["a"].isna().all()
    assert gains["b"].notna().all()


def test_those_who_cannot_be_compared_are_named(sums):
    people = pd.DataFrame({"age": np.linspace(60, 80, 30), "class": "CN"}, index=sums.index)
    densities = sums / SIZES
    reference = Reference.fit(densities[5:], people)
    people.loc["sub-2", "age"] = np.nan
    table, failed = percentiles_table(reference, densities[:5], people)
    assert set(table["participant_id"]) == {"sub-0", "sub-1", "sub-3", "sub-4"}
    assert list(failed) == ["sub-2"]
    assert "has no age" in failed["sub-2"]
    with pytest.raises(InputError, match="sub-2 has no age"):
        percentiles_table(reference, densities[2:3], people)
    with pytest.raises(LeakageError, match="sub-5 is one of the controls"):
        percentiles_table(reference, densities[4:6], people)


def test_pairs_of_the_sure_alone(sums, monkeypatch):
    densities = sums / SIZES
    probability = pd.Series(np.linspace(0.8, 0.99, 30), index=sums.index)
    sure = int((probability > 0.9).sum())
    table = fingerprints_table(densities, probability)
    assert len(table) == sure * (sure - 1) // 2
    assert table["cosine_distance"].is_monotonic_decreasing
    assert {*table["first"], *table["second"]} == set(probability.index[probability > 0.9])
    assert fingerprints_table(densities, probability, above=0.989).empty
    monkeypatch.setattr(module, "PAIRS", 3)
    pd.testing.assert_frame_equal(fingerprints_table(densities, probability), table[:3])
