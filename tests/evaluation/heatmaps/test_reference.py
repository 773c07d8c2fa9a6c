"""Agreement with another map, and relevance outside the brain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import outside_share, reference_agreement

SHAPE = (6, 5, 7)


def test_correlations_and_areas_against_scipy_and_scikit_learn(rng):
    brain = rng.random(SHAPE) < 0.6
    reference = np.where(rng.random(SHAPE) < 0.3, rng.random(SHAPE), 0.0)
    heatmap = reference + rng.normal(size=SHAPE)
    heatmap[~brain] = np.nan  # nothing outside the brain is looked at
    found = reference_agreement(heatmap, reference, brain, threshold=0.4)
    a, b = heatmap[brain], reference[brain]
    assert found["pearson"] == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
    assert found["spearman"] == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(b > 0.4, a), abs=1e-12)
    assert found["share"] == pytest.approx((b > 0.4).mean())
    mirrored = reference_agreement(heatmap[::-1], reference, brain[::-1], threshold=0.4)
    assert mirrored["pearson"] < found["pearson"] - 0.1
    assert set(reference_agreement(heatmap, reference, brain)) == {"pearson", "spearman"}


def test_a_constant_map_has_no_correlation(rng):
    found = reference_agreement(np.ones(SHAPE), rng.random(SHAPE), np.ones(SHAPE, bool))
    assert np.isnan(found["pearson"])
    assert np.isnan(found["spearman"])


def test_outside_share_by_hand():
    scan = np.zeros((4, 3, 2))
    scan[1:3, 1, :] = 5
    heatmap = np.zeros(scan.shape)
    heatmap[1, 1, 0], heatmap[3, 1, 0], heatmap[0, 0, 1], heatmap[1, 1, 1] = 2, -3, 1, -4
    assert outside_share(heatmap, scan != 0) == pytest.approx(4 / 10)
    # (3, 1, 0) is one voxel of 2 mm beyond the brain; (0, 0, 1) one of 2 and one of 1 mm: farther than 2
    assert outside_share(heatmap, scan != 0, spacing=(2, 1, 1), tolerance=2) == pytest.approx(1 / 10)
    assert outside_share(heatmap, scan != 0, spacing=(2, 1, 1), tolerance=2.3) == 0
    assert np.isnan(outside_share(heatmap * 0, scan != 0))


def test_a_map_that_knows_no_brain_has_the_share_of_voxels_outside(rng):
    brain = rng.random(SHAPE) < 0.4
    assert outside_share(np.full(SHAPE, -0.3), brain) == pytest.approx(1 - brain.mean())


def test_what_does_not_fit_is_refused():
    cube = np.ones((2, 2, 2))
    with pytest.raises(InputError, match="the brain has no voxel"):
        outside_share(cube, cube * 0)
    with pytest.raises(SpaceError, match=r"brain of shape \(2, 2\)"):
        outside_share(cube, np.ones((2, 2)))
    with pytest.raises(InputError, match="NaN"):
        outside_share(cube * np.nan, cube)
    with pytest.raises(SpaceError, match="reference"):
        reference_agreement(cube, np.ones((2, 2)), cube)
    with pytest.raises(InputError, match="holds 8 of 8"):
        reference_agreement(cube, cube, cube, threshold=0.0)
