from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from neuroxai.errors import InputError
from neuroxai.evaluation import classification_metrics, confusion, delong, roc_points, wilson

TRUE = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
PROBABILITY = np.array([0.9, 0.8, 0.6, 0.3, 0.7, 0.4, 0.3, 0.2, 0.1])


def test_values_of_a_small_case_by_hand():
    found = classification_metrics(TRUE, PROBABILITY)
    assert found["sensitivity"].value == 3 / 4
    assert found["specificity"].value == 4 / 5
    assert found["accuracy"].value == pytest.approx(7 / 9)
    assert found["balanced_accuracy"].value == pytest.approx((3 / 4 + 4 / 5) / 2)
    # pairs won by patients: .9 and .8 all five, .6 four, .3 two and a tie
    assert found["roc_auc"].value == pytest.approx((5 + 5 + 4 + 2.5) / 20)
    assert [found[k].n for k in ("sensitivity", "specificity", "accuracy")] == [4, 5, 9]
    assert (found["sensitivity"].low, found["sensitivity"].high) == wilson(3, 4)
    assert (found["specificity"].low, found["specificity"].high) == wilson(4, 5)
    assert "DeLong" in found["roc_auc"].method


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=40))
def test_points_and_order_of_limits(pairs):
    true = np.array([a for a, _ in pairs])
    probability = np.array([b / 20 for _, b in pairs])
    found = classification_metrics(true, probability)
    both = true.any() and not true.all()
    assert found["accuracy"].value == pytest.approx(np.mean((probability > 0.5) == true))
    assert (found["roc_auc"].value is not None) == both
    if both:
        assert found["roc_auc"].value == pytest.approx(oracle.roc_auc_score(true, probability))
        assert found["roc_auc"].value == pytest.approx(delong(probability[true], probability[~true])[0])
    for estimate in found.values():
        if estimate.value is None:
            assert estimate.reason
            assert estimate.low is None
        else:
            assert 0 <= estimate.low <= estimate.value + 1e-12
            assert estimate.value - 1e-12 <= estimate.high <= 1


@pytest.mark.parametrize(("label", "absent", "kind"), [(1, "specificity", "positive"), (0, "sensitivity", "negative")])
def test_one_class_only_is_no_crash(label, absent, kind):
    found = classification_metrics([label] * 4, [0.9, 0.2, 0.8, 0.7])
    for name in (absent, "balanced_accuracy", "roc_auc"):
        assert found[name].value is None
        assert f"all 4 scans belong to the {kind} class" in found[name].reason
    assert found["accuracy"].value == (0.75 if label else 0.25)
    assert roc_points([label] * 4, [0.9, 0.2, 0.8, 0.7]) is None


def test_all_right_still_has_a_width():
    found = classification_metrics([1] * 10 + [0] * 10, [0.9] * 10 + [0.1] * 10)
    for estimate in found.values():
        assert estimate.value == 1
        assert estimate.low < 0.95
        assert estimate.high == 1


def test_several_scans_a_subject_widen_the_interval(rng):
    subjects = 30
    true = np.repeat(np.arange(subjects) % 2 == 0, 6)
    # the whole subject is right or wrong: six scans say no more than one
    right = np.repeat(rng.random(subjects) < 0.75, 6)
    predicted = np.where(right, true, ~true)
    probability = np.where(predicted, 0.8, 0.2)
    clusters = np.repeat([f"sub-{i}" for i in range(subjects)], 6)
    naive = classification_metrics(true, probability, predicted)
    clustered = classification_metrics(true, probability, predicted, list(clusters))
    for name in naive:
        assert clustered[name].value == naive[name].value
        assert "bootstrap over subjects" in clustered[name].method
        width = (clustered[name].high - clustered[name].low) / (naive[name].high - naive[name].low)
        # root of six, were the bootstrap exact
        assert 1.7 < width < 3.2, name


def test_clusters_all_right_count_subjects_not_scans():
    clusters = ["a", "a", "a", "b", "b", "c", "c", "d"]
    found = classification_metrics([1, 1, 1, 1, 1, 0, 0, 0], [0.9] * 5 + [0.1] * 3, clusters=clusters)
    assert (found["sensitivity"].low, found["sensitivity"].high) == wilson(2, 2)
    assert found["roc_auc"].low < 0.6


def test_bootstrap_is_seeded_and_agrees_with_theory(rng):
    true = np.arange(200) < 100
    probability = np.clip(np.where(true, 0.6, 0.4) + rng.normal(0, 0.2, 200), 0, 1)
    first = classification_metrics(true, probability, method="bootstrap")
    assert first == classification_metrics(true, probability, method="bootstrap")
    assert first != classification_metrics(true, probability, method="bootstrap", seed=1)
    exact = classification_metrics(true, probability)
    for name in first:
        assert first[name].low == pytest.approx(exact[name].low, abs=0.02)
        assert first[name].high == pytest.approx(exact[name].high, abs=0.02)


def test_confusion_keeps_identifiers():
    ids = list("abcdefghi")
    cells = confusion(TRUE, PROBABILITY > 0.5, ids)
    assert cells == {"TP": ["a", "b", "c"], "FN": ["d"], "FP": ["e"], "TN": ["f", "g", "h", "i"]}


def test_roc_points_span_the_square_and_hold_the_area():
    curve = roc_points(TRUE, PROBABILITY)
    assert (curve.false_positive_rate[0], curve.true_positive_rate[0]) == (0, 0)
    assert (curve.false_positive_rate[-1], curve.true_positive_rate[-1]) == (1, 1)
    x, y = np.array(curve.false_positive_rate), np.array(curve.true_positive_rate)
    area = (np.diff(x) * (y[1:] + y[:-1]) / 2).sum()
    assert area == pytest.approx(oracle.roc_auc_score(TRUE, PROBABILITY))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "no scans"),
        (([1, 0], [0.5]), "lengths differ"),
        (([1, 0], [0.5, 1.5]), "1.5 is not between 0 and 1"),
        (([1, 0], [0.5, float("nan")]), "nan is not between"),
        (([1, 0], [0.5, 0.5], [1]), "lengths differ"),
        (([1, 0], [0.5, 0.5], [1, 0], ["a"]), "1 clusters for 2 scans"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        classification_metrics(*arguments)
    if message == "lengths differ":
        with pytest.raises(InputError, match=message):
            confusion([1, 0], [1], ["a", "b"])
