"""How well a network does on unseen scans: measured, kept beside the weights, said in words."""

from __future__ import annotations

import pytest

from neuroxai.evaluation.held_out import HeldOut, keep_held_out, measure_held_out, read_held_out, sentence


def test_the_area_is_that_of_pairs_and_the_words_follow_the_interval():
    patients = [(True, 0.9 + n / 100, f"p{n}") for n in range(8)]
    controls = [(False, 0.1 + n / 100, f"c{n}") for n in range(8)]
    sure = measure_held_out([*patients, *controls])
    assert (sure.roc_auc, sure.scans, sure.chance) == (1.0, 16, False)
    assert "ROC-AUC is 1.00" in sentence(sure)
    assert "better than chance" in sentence(sure)
    # of 4 x 4 pairs, 8 have the patient higher
    guess = [(True, p, f"p{p}") for p in (0.1, 0.4, 0.6, 0.9)] + [(False, p, f"c{p}") for p in (0.2, 0.3, 0.7, 0.8)]
    found = measure_held_out(guess)
    assert found.roc_auc == 0.5
    assert "does not differ from chance" in sentence(found)
    assert measure_held_out(patients) is None
    assert "not known" in sentence(None)


def test_bundles_keep_the_figure_of_most_scans(tmp_path):
    few, many = HeldOut(0.5, 0.2, 0.8, 10), HeldOut(0.9, 0.8, 0.95, 40)
    assert keep_held_out(tmp_path, "ab", None) is None
    assert keep_held_out(tmp_path, "ab", few) == few
    assert keep_held_out(tmp_path, "ab", many) == many
    assert keep_held_out(tmp_path, "ab", few) == many
    assert keep_held_out(tmp_path, "cd", None) is None  # of other weights
    assert read_held_out(many.to_dict()) == many


@pytest.mark.parametrize("record", [None, [], {}, {"roc_auc": "x"}, {"roc_auc": 2.0, "low": 0, "high": 1, "scans": 3}])
def test_what_cannot_be_used_is_not_known(record):
    assert read_held_out(record) is None
