"""The table on a tiny network whose best explanation is known: contributions of a linear model to a planted blob."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control, wilcoxon
from scipy.stats import t as student
from torch import nn

from neuroxai.atlas import Atlas
from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import KnownTruth, localisation_metrics, measure_trust
from neuroxai.evaluation.heatmaps.conservation import conservation
from neuroxai.evaluation.heatmaps.region_flags import flag_rates
from neuroxai.evaluation.heatmaps.trust import common_of, log_odds
from neuroxai.evaluation.heatmaps.uninformative import Noise, controls
from neuroxai.space import Space

SHAPE = (9, 8, 7)
SPACE = Space(SHAPE, np.diag([2.0, 3.0, 2.0, 1.0]))


class Contributions:
    """Weight times input: exact for a linear model."""

    def __init__(self, model):
        self.weights = model[1].weight

    def attribute(self, inputs, target=None):
        return (self.weights[target].reshape(1, 1, *SHAPE) * inputs).detach()


class Constant:
    def attribute(self, inputs, target=None):
        return torch.ones_like(inputs)


def network(seed):
    """Reads the blob, and a little noise elsewhere that differs from training to training."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9 * 8 * 7, 2)).eval()
    weights = 0.02 * torch.randn(SHAPE, generator=generator)
    weights[1:4, 4:7, 1:3] += 1
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([torch.zeros(SHAPE).flatten(), weights.flatten()]))
        model[1].bias.zero_()
    return model


@pytest.fixture(scope="module")
def truth():
    generator = torch.Generator().manual_seed(1)
    scans = 0.5 + torch.rand(8, 1, *SHAPE, generator=generator)
    scans[:, :, 0] = scans[:, :, :, 7:] = 0  # no brain there
    masks = np.zeros((8, *SHAPE), dtype=bool)
    masks[:, 1:4, 4:7, 1:3] = True
    labels = np.zeros(SHAPE, dtype=int)
    labels[1:4, 4:7, 1:3], labels[4:6], labels[6:, :4], labels[6:, 4:7], labels[1:4, :4] = 1, 2, 3, 4, 5
    atlas = Atlas(labels, {1: "blob", 2: "b", 3: "c", 4: "d", 5: "e", 6: "absent"}, SPACE)
    return KnownTruth(scans, masks, 1, SPACE.spacing, atlas=atlas, top=1, steps=8, repeats=4)


@pytest.fixture(scope="module")
def found(truth):
    methods = {"contributions": Contributions, "constant": lambda model: Constant()}
    return measure_trust([network(1), network(2)], methods, truth)


def test_rows_and_columns(found):
    table = found.table()
    assert table.index.tolist() == ["contributions", "constant", "noise", "smooth noise", "scan", "chance"]
    assert set(table.columns) == {
        "relevance_mass", "density_ratio", "roc_auc", "pr_auc", "pointing", "top_intersection", "outside_brain",
        "deletion", "insertion", "region_deletion", "between_trainings", "top_overlap", "noise_sensitivity",
        "randomised_top", "randomised_all", "region_first",
    }  # fmt: skip
    assert (found.values.groupby("method").size() == 8).all()


def test_the_exact_explanation_is_told_from_what_knows_nothing(found):
    table, worse = found.table(), found.no_better()
    assert worse["contributions"] == []
    assert worse["constant"] == ["roc_auc", "relevance_mass", "deletion", "insertion", "region_deletion"]
    assert table.loc["contributions", "roc_auc"] > 0.99
    assert table.loc["contributions", "top_overlap"] == 1
    assert table.loc["contributions", "region_first"] == 1
    assert table.loc["constant", "region_first"] == pytest.approx(1 / 5)  # tied: the five regions that have voxels
    assert table.loc["contributions", "between_trainings"] > 0.9
    assert table.loc["contributions", "outside_brain"] == 0
    assert table.loc["contributions", ["deletion", "insertion", "region_deletion"]].min() > 2
    # a linear layer drawn anew forgets all
    assert abs(table.loc["contributions", "randomised_all"]) < 0.3


def test_maps_that_know_nothing_are_at_chance(found):
    table = found.table()
    chance = table.loc["chance"]
    assert chance["relevance_mass"] == pytest.approx(18 / (8 * 7 * 7))
    assert chance["top_overlap"] == chance["region_first"] == pytest.approx(1 / 6)
    assert table.loc["constant", "relevance_mass"] == pytest.approx(chance["relevance_mass"])
    assert table.loc["constant", "outside_brain"] == pytest.approx(chance["outside_brain"])
    for noise in ("noise", "smooth noise"):
        values = found.values[found.values["method"] == noise]
        for metric in ("roc_auc", "between_trainings", "outside_brain", "deletion", "randomised_all"):
            error = values[metric].std() / np.sqrt(len(values))
            assert abs(values[metric].mean() - chance[metric]) < 4 * error + 0.02, (noise, metric)
    # the scan itself holds over trainings and forgets nothing: robustness alone proves nothing
    assert table.loc["scan", "between_trainings"] == pytest.approx(1)
    assert table.loc["scan", "randomised_all"] == pytest.approx(1)


def test_values_are_those_of_the_single_measures(found, truth):
    maps = [Contributions(network(seed)).attribute(truth.scans, 1)[3, 0].double().numpy() for seed in (1, 2)]
    own = [localisation_metrics(m, truth.truths[3], truth.brain(3), spacing=truth.spacing) for m in maps]
    row = found.values.query("method == 'contributions' and scan == 3").iloc[0]
    for key in own[0]:
        assert row[key] == pytest.approx(np.mean([o[key] for o in own]))
    assert row["between_trainings"] == pytest.approx(
        np.corrcoef(maps[0][truth.brain(3)], maps[1][truth.brain(3)])[0, 1]
    )


def test_p_values_are_of_paired_signed_ranks_and_the_harder_control_counts(found):
    wide = found.values.pivot(index="scan", columns="method", values="deletion")
    raw = [
        max(wilcoxon(wide[m] - wide[n], alternative="greater").pvalue for n in ("noise", "smooth noise"))
        for m in ("contributions", "constant")
    ]
    lower, upper = sorted(raw)
    adjusted = {lower: min(2 * lower, upper), upper: upper}  # Benjamini-Hochberg for two
    got = found.p_values()["deletion"]
    assert got["contributions"] == pytest.approx(adjusted[raw[0]])
    assert got["constant"] == pytest.approx(adjusted[raw[1]])
    assert found.p_values(["scan"]).loc["contributions", "roc_auc"] < 0.05


def test_the_seed_decides_and_methods_do_not_touch_each_other(found, truth):
    alone = measure_trust([network(1), network(2)], {"contributions": Contributions}, truth)
    for name in ("contributions", "noise", "scan"):
        one, two = (f.values[f.values["method"] == name].reset_index(drop=True) for f in (alone, found))
        assert one.equals(two)


@pytest.fixture(scope="module")
def twins():
    """Twelve slabs as regions; healthy twins have 1 more in slabs 2 and 3 (from 0), which the network reads as less."""
    generator = torch.Generator().manual_seed(2)
    shape = (12, 3, 3)
    healthy = 1 + torch.rand(12, 1, *shape, generator=generator)
    scans = healthy[:4].clone()
    scans[:, :, 2:4] -= 0.9
    masks = np.zeros((4, *shape), dtype=bool)
    masks[:, 2:4] = True
    labels = np.broadcast_to(np.arange(12)[:, None, None] + 1, shape)
    atlas = Atlas(labels, {n + 1: f"slab {n}" for n in range(12)}, Space(shape, np.eye(4)))
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 2)).eval()
    weights = torch.zeros(shape)
    weights[2:4] = -1
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([-weights.flatten(), weights.flatten()]))
        model[1].bias.zero_()
    test = KnownTruth(scans, masks, 1, atlas=atlas, steps=4, repeats=2, twins=healthy[:4], controls=healthy)
    return test, model


class Less:
    """How much less than 2 there is in the slabs that the network reads; it claims to add up to that."""

    def __init__(self, model):
        self.weights = model[1].weight

    def attribute(self, inputs, target=None):
        return self.weights[target].reshape(inputs[:1].shape).detach() * (inputs - 2)

    def explained(self, inputs, target=None):
        return 2 * self.attribute(inputs, target).flatten(1).sum(1)


def test_what_twins_and_healthy_scans_add(twins):
    test, model = twins
    found = measure_trust([model], {"less": Less}, test)
    effects = common_of([model], test).effects
    lost = (test.twins - test.scans)[:, 0].sum((2, 3)).numpy()
    # log odds are the difference of two opposite logits
    np.testing.assert_allclose(effects[0, 0][:, 2:4], 2 * lost[:, 2:4], rtol=1e-5)
    np.testing.assert_allclose(effects[0, 0], -effects[1, 0], atol=1e-5)
    assert np.abs(np.delete(effects[0, 0], [2, 3], axis=1)).max() < 1e-5
    table = found.table()
    assert table.loc["less", ["region_first", "swap_top"]].tolist() == [1, 1]
    assert table.loc["less", "conservation"] == pytest.approx(1 - 1 / 3)  # half of what is claimed
    assert table.loc["chance", ["region_first", "swap_overlap"]].tolist() == pytest.approx([2 / 12, 10 / 12])
    # 96 p-values of controls that are exchangeable: .05 of them by chance, in slabs that are read
    assert table.loc["noise", "sham_alarms"] < 0.2


def test_of_ten_regions_or_fewer_there_is_no_overlap_of_ten(twins):
    test, model = twins
    six = Atlas((test.atlas.positions() + 1) // 2, {n + 1: f"slab {n}" for n in range(6)}, test.atlas.space)
    found = measure_trust([model, model], {"less": Less}, replace(test, atlas=six)).table()
    assert not [name for name in found if "swap" in name or "overlap" in name]
    assert found.loc["less", "region_first"] == 1


def test_conservation_is_bounded_where_logits_are_near_zero():
    assert conservation([2.0, -3.0, 1.0], [2.0, -3.0, 1.0]) == 1
    sums, claims = [0.5, 2.0, -6.0], [1e-6, 4.0, -4.0]
    slow = 1 - sum(abs(s - c) for s, c in zip(sums, claims, strict=True)) / sum(map(abs, sums + claims))
    assert conservation(sums, claims) == pytest.approx(slow)
    assert conservation([0.7, -0.7], [1e-6, -1e-6]) == pytest.approx(0, abs=1e-5)  # by biases alone
    assert conservation([-1.0, -1.0], [1.0, 1.0]) == 0  # a map that is turned
    assert conservation([0.0, 2.0], [1.0, 1.0]) == pytest.approx(0.5)  # too much does not make up for too little
    assert conservation([0.7, -1.4], [1.0, -2.0]) == pytest.approx(1 - 0.3 / 1.7)
    assert np.isnan(conservation([0.0], [0.0]))


def test_flags_are_those_of_a_reference_of_the_other_controls():
    rng = np.random.default_rng(3)
    controls, patients = rng.normal(size=(14, 5)), rng.normal(size=(2, 5))
    patients[0, 1] += 9
    planted = np.zeros((2, 5), bool)
    planted[:, 1] = True
    found = flag_rates(patients, controls, planted)
    assert found["planted_flagged"].tolist() == [1, 0]
    others = np.delete(controls, 1, axis=0)
    # Crawford and Howell 1998
    t = (controls[1] - others.mean(0)) / (others.std(0, ddof=1) * np.sqrt(1 + 1 / 13))
    p = 2 * student.sf(np.abs(t), 12)
    assert found["sham_alarms"][1] == pytest.approx(np.mean(p <= 0.05))
    assert found["sham_flagged"][1] == (false_discovery_control(p) <= 0.05).any()
    assert all(np.isnan(values).all() for values in flag_rates(patients, controls[:10], planted).values())


def test_log_odds_of_one_logit_two_and_more():
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    assert log_odds(logits[:, :1], 0).item() == 1
    assert log_odds(logits[:, :2], 1).item() == pytest.approx(2)
    shares = torch.softmax(logits, 1)[0, 1]
    assert log_odds(logits, 1).item() == pytest.approx(float(torch.log(shares / (1 - shares))), abs=1e-6)


def test_controls_are_drawn_anew_for_each_call_and_model():
    x = torch.zeros(1, 1, 30, 30, 30)
    noise = Noise(3.0, seed=1)
    first, second = noise.attribute(x), noise.attribute(x)
    assert (first != second).all()
    assert torch.equal(first, Noise(3.0, seed=1).attribute(x))
    neighbours = np.corrcoef(first[0, 0, 1:].flatten(), first[0, 0, :-1].flatten())[0, 1]
    assert neighbours == pytest.approx(np.exp(-1 / (4 * 9)), abs=0.02)  # of white noise under a Gaussian of 3 voxels
    makers = controls(0)["noise"]
    assert (makers(nn.Identity()).attribute(x) != makers(nn.Identity()).attribute(x)).all()


def test_what_does_not_fit_is_refused(truth):
    with pytest.raises(InputError, match="no model is given"):
        measure_trust([], {}, truth)
    with pytest.raises(InputError, match="a method is called 'scan'"):
        measure_trust([network(1)], {"scan": Contributions}, truth)
    with pytest.raises(SpaceError, match="do not fit truths"):
        KnownTruth(truth.scans, truth.truths[:3])
    with pytest.raises(SpaceError, match="resampled_to"):
        KnownTruth(
            truth.scans, truth.truths, atlas=Atlas(np.zeros((1, 1, 1), int), {1: "a"}, Space((1, 1, 1), np.eye(4)))
        )
