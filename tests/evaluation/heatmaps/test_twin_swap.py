from __future__ import annotations

import numpy as np
import pytest
import torch

from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import swap_agreement, swap_effects
from neuroxai.evaluation.heatmaps.twin_swap import groups, single_scans

GRID = (4, 3, 5)
LABELS = (np.arange(60) % 13).reshape(GRID)  # twelve regions and a background


def test_effects_of_a_network_with_a_known_formula():
    rng = np.random.default_rng(0)
    scan, twin, weight = (torch.from_numpy(rng.normal(size=(1, *GRID))) for _ in range(3))
    effects = swap_effects(lambda x: (x * weight).flatten(1).sum(1) ** 2, scan, twin, LABELS, batch=5)
    own = float((scan * weight).sum())
    for region in range(1, 13):  # voxel by voxel, without torch
        sums = own
        for place in zip(*np.nonzero(region == LABELS), strict=True):
            sums += float(weight[(0, *place)]) * (float(twin[(0, *place)]) - float(scan[(0, *place)]))
        assert effects[region - 1] == pytest.approx(own**2 - sums**2, abs=1e-9)
    with pytest.raises(SpaceError, match="one grid is expected"):
        swap_effects(lambda x: x.flatten(1).sum(1), scan, twin, LABELS[:2])


def test_agreement_by_hand():
    effects = np.arange(12.0)
    scores = effects.copy()
    scores[[0, 11]] = scores[[11, 0]]  # the region that matters most comes last
    # Spearman: 1 - 6 * (11^2 + 11^2) / (12 * (144 - 1))
    expected = {"rho": 1 - 6 * 242 / 1716, "top": 0, "overlap": 0.75}
    assert swap_agreement(scores, effects, most=4) == pytest.approx(expected)
    assert swap_agreement(effects, effects, most=4) == pytest.approx({"rho": 1, "top": 1, "overlap": 1})
    assert swap_agreement(np.zeros(12), effects, most=4) == {"rho": 0, "top": 0, "overlap": 0}
    with pytest.raises(InputError, match=r"\(3,\).*10 or more"):
        swap_agreement(np.zeros(3), np.zeros(3))


def test_tables_of_scans_and_of_groups_whose_noise_cancels():
    rng = np.random.default_rng(1)
    subjects, regions = 20, 40
    own = np.zeros(regions)
    own[:10] = np.linspace(2, 1, 10)
    effects = own + rng.normal(scale=0.01, size=(subjects, regions))
    person = rng.normal(scale=1.0, size=(subjects, regions))  # what a twin shares
    patients, shams = {"method": effects + person}, {"method": person}
    single = single_scans(patients, effects).loc["method"]
    grouped = groups(patients, shams, effects, [0] * 10 + [1] * 10, replicates=50).loc["method"]
    assert single["overlap_low"] < single["overlap"] < single["overlap_high"] < 0.9
    assert (grouped["overlap"], grouped["rho"]) == pytest.approx((1, 1))
    assert grouped["overlap_low"] == grouped["overlap_high"] == 1


def test_a_group_of_one_has_no_interval():
    rng = np.random.default_rng(2)
    effects, shams = rng.normal(size=(2, 2, 40))
    one = {"method": effects}, {"method": shams}
    alone = groups(*one, effects, [0, 1], replicates=20).loc["method"]
    together = groups(*one, effects, [0, 0], replicates=20).loc["method"]
    assert np.isfinite(alone["overlap"])
    assert np.isnan([alone["overlap_low"], alone["rho_high"]]).all()
    assert together["rho_low"] < together["rho_high"]
