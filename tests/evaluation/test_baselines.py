"""Support vector machines: no subject on both sides, nothing scaled with what is tested."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from neuroxai.errors import InputError
from neuroxai.evaluation import SvmOptions, lesion_load, svm_baseline, svm_holdout
from neuroxai.evaluation.baselines import GAMMA, C

FEW = SvmOptions(costs=(0.1, 1.0), gammas=(0.1,), inner=3)


def test_the_published_grids():
    assert C == GAMMA == (0.001, 0.1, 1.0, 10.0)


def test_lesion_load_is_in_ml():
    masks = [np.zeros((2, 3, 4)), np.eye(10) * 3]
    assert lesion_load(masks, voxel_volume=1.2 * 1.5 * 2).tolist() == pytest.approx([0, 10 * 3.6 / 1000])


def test_separable_classes_are_separated_in_every_fold(rng):
    y = np.arange(48) % 2 == 1
    load = y * 5.0 + rng.random(48)
    result = svm_baseline(load, y, range(48), FEW, outer=4)
    table = result.predictions
    assert (table["predicted"] == y).all()
    assert sorted(table["fold"].unique()) == [0, 1, 2, 3]
    assert ((table["decision"] > 0) == table["predicted"]).all()
    metrics = result.metrics()
    assert metrics["roc_auc"].value == 1
    assert metrics["sensitivity"].n == 24
    assert 0.8 < metrics["balanced_accuracy"].low < 1


def test_a_ring_needs_the_radial_kernel(rng):
    y = np.arange(80) % 2 == 1
    angle, radius = rng.uniform(0, 2 * np.pi, 80), np.where(y, 3, 1) + rng.normal(0, 0.1, 80)
    x = np.c_[radius * np.cos(angle), radius * np.sin(angle)]
    table = svm_baseline(x, y, range(80), SvmOptions(costs=(1.0,), gammas=(1.0,), inner=3), outer=4).predictions
    assert (table["predicted"] == y).mean() > 0.95
    assert set(table["kernel"]) == {"rbf"}
    assert set(table["gamma"]) == {1.0}
    straight = svm_baseline(x, y, range(80), SvmOptions(("linear",), (1.0,), inner=3), outer=4).predictions
    assert (straight["predicted"] == y).mean() < (table["predicted"] == y).mean() - 0.2


def test_a_subject_never_stands_on_both_sides(rng):
    """Features are a subject's fingerprint and labels are chance: with a subject's other scan they could be learnt."""
    subjects = np.repeat(np.arange(40), 3)
    y = (rng.permutation(40) % 2 == 1)[subjects]
    x = rng.normal(size=(40, 30))[subjects] + rng.normal(0, 0.01, (120, 30))
    table = svm_baseline(x, y, subjects, SvmOptions(("linear",), (1.0,), inner=3), outer=5).predictions
    assert (table.groupby("subject")["fold"].nunique() == 1).all()
    assert abs((table["predicted"] == y).mean() - 0.5) < 0.25
    leaky = svm_baseline(x, y, range(120), SvmOptions(("linear",), (1.0,), inner=3), outer=5).predictions
    assert (leaky["predicted"] == y).mean() > 0.95


def test_scaling_sees_the_training_scans_only(rng):
    """One test scan far away would squeeze all others, if it took part in the scaling."""
    y = np.arange(40) % 2 == 1
    x = (y * 2.0 + rng.normal(0, 0.3, 40))[:, None]
    options = SvmOptions(("linear",), (0.1,), inner=3)
    base = svm_baseline(x, y, range(40), options, outer=4).predictions
    strange = int(np.flatnonzero(y)[0])
    moved = x.copy()
    moved[strange] = 1e4
    found = svm_baseline(moved, y, range(40), options, outer=4).predictions
    assert (found["fold"] == base["fold"]).all()
    same_fold = (base["fold"] == base["fold"][strange]) & (base.index != strange)
    assert same_fold.sum() >= 8
    # its companions in the test part were judged by a machine that never saw it
    np.testing.assert_allclose(found["decision"][same_fold], base["decision"][same_fold], rtol=0, atol=1e-12)
    # the same check with the leak: scaled beforehand, with the strange scan, and not again inside
    leak = replace(options, standardise=False)
    calm = svm_baseline(StandardScaler().fit_transform(x), y, range(40), leak, outer=4).predictions
    squeezed = svm_baseline(StandardScaler().fit_transform(moved), y, range(40), leak, outer=4).predictions
    assert np.abs(squeezed["decision"] - calm["decision"])[same_fold].max() > 0.5


def test_no_signal_is_at_chance_also_when_the_best_of_many_options_is_chosen():
    areas = []
    for seed in range(6):
        x, y = np.random.default_rng(seed).normal(size=(48, 5)), np.arange(48) % 2 == 1
        table = svm_baseline(x, y, range(48), replace(FEW, seed=seed), outer=4).predictions
        areas.append(np.mean([roc_auc_score(f["true"], f["decision"]) for _, f in table.groupby("fold")]))
    assert abs(np.mean(areas) - 0.5) < 0.12


def test_components_are_chosen_and_the_seed_decides():
    x, y = make_classification(60, 40, n_informative=4, n_redundant=0, class_sep=2.0, random_state=0)
    options = SvmOptions(("linear",), (0.1,), components=(None, 5), inner=3, seed=1)
    first = svm_baseline(x, y, range(60), options, outer=3).predictions
    assert {v for v in first["components"] if v is not None and v == v} <= {5}
    assert first.equals(svm_baseline(x, y, range(60), options, outer=3).predictions)
    assert (first["fold"] != svm_baseline(x, y, range(60), replace(options, seed=2), outer=3).predictions["fold"]).any()


def test_what_does_not_fit_is_refused():
    x, y = np.ones((12, 2)), np.arange(12) % 2 == 1
    with pytest.raises(InputError, match=r"features of shape \(12, 2\) do not fit 11 labels"):
        svm_baseline(x, y[:11], range(11))
    with pytest.raises(InputError, match="features of 1 scans are NaN"):
        svm_baseline(np.where(np.arange(12)[:, None] == 3, np.nan, x), y, range(12))
    with pytest.raises(InputError, match="kernels are"):
        svm_baseline(x, y, range(12), SvmOptions(("poly",)))
    with pytest.raises(InputError, match="positive class has 6 subjects; 7 outer and 5 inner folds"):
        svm_baseline(x, y, range(12))
    with pytest.raises(InputError, match="components are 3"):
        svm_baseline(x, y, range(12), SvmOptions(components=(3,), inner=2), outer=2)


def test_a_holdout_equals_a_search_on_the_training_part_alone(rng):
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    x, y = rng.normal(size=(50, 6)), np.arange(50) % 2 == 1
    x[y, 0] += 1.5
    test, chosen = np.arange(50) >= 35, SvmOptions(("linear",), (0.1, 1.0), inner=3, seed=4)
    found = svm_holdout(x, y, range(50), test, chosen).predictions
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=5)
    slow = GridSearchCV(
        make_pipeline(StandardScaler(), SVC(kernel="linear")),
        {"svc__C": [0.1, 1.0]},
        cv=folds,
        scoring="balanced_accuracy",
    ).fit(x[~test], y[~test], groups=np.arange(50)[~test].astype(str))
    assert found["subject"].tolist() == list(range(35, 50))
    assert np.allclose(found["decision"], slow.decision_function(x[test]))
    assert (found["predicted"] == slow.predict(x[test])).all()
    assert (found["true"] == y[test]).all()
    # held-out scans decide nothing
    x[test] += 7.0
    again = svm_holdout(x, y, range(50), test, chosen)
    assert again.predictions["C"].tolist() == found["C"].tolist()


def test_what_cannot_be_held_out_is_refused():
    x, y = np.ones((12, 2)), np.arange(12) % 2 == 1
    test = np.arange(12) >= 8
    with pytest.raises(InputError, match="7 stands in both parts"):
        svm_holdout(x, y, [0, 1, 2, 3, 4, 5, 6, 7, 7, 9, 10, 11], test, SvmOptions(inner=2))
    with pytest.raises(InputError, match="held out are 0 of 12 scans"):
        svm_holdout(x, y, range(12), np.zeros(12, bool), SvmOptions(inner=2))
    with pytest.raises(InputError, match="positive class has 4 subjects to train on; 5 folds"):
        svm_holdout(x, y, range(12), test)
    with pytest.raises(InputError, match="inner folds are 1"):
        svm_holdout(x, y, range(12), test, SvmOptions(inner=1))
