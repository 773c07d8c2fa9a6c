"""Mean heatmaps and stability maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import Ensemble

stacks = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(4)), elements=st.floats(-3, 3, width=16))


def ensemble_of(maps, **options):
    ensemble = Ensemble(maps[0].shape, **options)
    for one in maps:
        ensemble.add(one)
    return ensemble


@given(stacks, st.floats(0, 0.9))
def test_mean_and_agreement_against_a_loop(maps, neutral):
    ensemble = ensemble_of(maps, neutral=neutral)
    np.testing.assert_allclose(ensemble.mean(), maps.mean(axis=0), rtol=0, atol=1e-12)
    for voxel in range(4):
        votes = 0
        for one in maps:
            value = one[voxel]
            if abs(value) >= neutral * np.abs(one).max():
                votes += int(value > 0) - int(value < 0)
        assert ensemble.stability()[voxel] == abs(votes) / len(maps)


@given(stacks, st.sampled_from([0.25, 3.0, 100.0]))
def test_stability_knows_neither_size_nor_overall_sign(maps, factor):
    stability = ensemble_of(maps).stability()
    assert ((stability >= 0) & (stability <= 1)).all()
    np.testing.assert_array_equal(ensemble_of(-maps).stability(), stability)
    loud = maps * np.where(np.arange(len(maps)) % 2, factor, 1.0)[:, None]
    np.testing.assert_allclose(ensemble_of(loud, neutral=0.0).stability(), ensemble_of(maps, neutral=0.0).stability())


def test_scaled_maps_weigh_the_same():
    maps = [np.array([1.0, -4.0, 0.0]), np.array([100.0, 50.0, 0.0]), np.zeros(3)]
    np.testing.assert_allclose(ensemble_of(maps, scaled=True).mean(), [(0.25 + 1) / 3, (-1 + 0.5) / 3, 0])


def test_coin_tossing_models_agree_as_the_docstring_says(rng):
    found = ensemble_of(rng.normal(size=(51, 20000)), neutral=0.0).stability().mean()
    assert found == pytest.approx(np.sqrt(2 / (np.pi * 51)), rel=0.03)
    assert ensemble_of(rng.normal(size=(5, 20000)), neutral=0.0).stability().mean() == pytest.approx(0.375, abs=0.01)


def test_what_does_not_fit_is_refused():
    ensemble = Ensemble((2, 2))
    with pytest.raises(InputError, match="ensemble is empty"):
        ensemble.mean()
    with pytest.raises(InputError, match="ensemble is empty"):
        ensemble.stability()
    with pytest.raises(SpaceError, match=r"shape \(2,\)"):
        ensemble.add(np.ones(2))
    with pytest.raises(InputError, match="NaN"):
        ensemble.add(np.full((2, 2), np.nan))
    with pytest.raises(InputError, match="neutral is 1"):
        Ensemble((2,), neutral=1)
