from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroxai.errors import InputError, SpaceError
from neuroxai.statistics import correlation, lesion_coverage, lesion_relevance

SHAPE = (3, 4, 2)
maps = hnp.arrays(np.float32, SHAPE, elements=st.floats(-5, 5, width=32))
masks = hnp.arrays(bool, SHAPE)


@given(maps, masks, masks)
def test_against_the_equation_and_its_complement(heatmap, mask, brain):
    inside = sum(max(float(v), 0.0) for v, m in zip(heatmap.flat, mask.flat, strict=True) if m)
    total = sum(max(float(v), 0.0) for v in heatmap.flat)
    found = lesion_relevance(heatmap, mask)
    if total == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(inside / total, abs=1e-12)
        assert found + lesion_relevance(heatmap, ~mask) == pytest.approx(1.0, abs=1e-12)
        assert lesion_relevance(2 * heatmap, mask) == pytest.approx(found, abs=1e-12)
    if brain.any():
        assert lesion_coverage(mask, brain) == pytest.approx(
            sum(m and b for m, b in zip(mask.flat, brain.flat, strict=True)) / brain.sum()
        )


def test_a_map_that_knows_nothing_gives_lesions_their_coverage():
    brain = np.ones(SHAPE, dtype=bool)
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0, :2] = True
    assert lesion_relevance(np.ones(SHAPE), mask) == lesion_coverage(mask, brain) == 4 / 24


def test_lesion_load_and_relevance_of_planted_lesions(rng):
    loads, sums, unrelated = [], [], []
    for subject in range(25):
        mask = rng.random(SHAPE) < (subject + 1) / 30
        loads.append(mask.sum())
        sums.append((mask + rng.normal(0, 0.3, SHAPE)).sum())
        unrelated.append(rng.normal())
    found = correlation(loads, np.column_stack([sums, unrelated]), permutations=1999)
    assert found.r[0] > 0.8
    assert found.p[0] == 1 / 2000
    assert found.p[1] > 0.05


def test_grids_must_agree():
    with pytest.raises(SpaceError, match=r"\(2,\).*\(3,\)"):
        lesion_relevance(np.ones(3), np.ones(2))
    with pytest.raises(SpaceError, match=r"\(2,\).*\(3,\)"):
        lesion_coverage(np.ones(2), np.ones(3))
    with pytest.raises(InputError, match="no voxel"):
        lesion_coverage(np.ones(3), np.zeros(3))
