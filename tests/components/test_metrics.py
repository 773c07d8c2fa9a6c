from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss, recall_score, roc_auc_score

from neuroxai.components import balanced_accuracy, cross_entropy, roc_auc, sensitivity, specificity
from neuroxai.explain.predict import probabilities


@given(st.integers(0, 2**31), st.integers(4, 30), st.sampled_from([1, 2]))
def test_figures_equal_those_of_scikit_learn(seed, count, outputs):
    generator = np.random.default_rng(seed)
    truth = np.r_[0, 1, generator.integers(0, 2, count - 2)]
    logits = torch.from_numpy(generator.normal(size=(count, outputs)))
    labels = torch.from_numpy(truth)
    share = probabilities(logits)[:, 1].numpy()
    predicted = (share > 0.5).astype(int)
    assert balanced_accuracy(logits, labels) == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert sensitivity(logits, labels) == pytest.approx(recall_score(truth, predicted))
    assert specificity(logits, labels) == pytest.approx(recall_score(truth, predicted, pos_label=0))
    assert roc_auc(logits, labels) == pytest.approx(roc_auc_score(truth, share))
    assert cross_entropy(logits, labels) == pytest.approx(log_loss(truth, share))


def test_one_class_alone_gives_nan_where_undefined():
    logits, labels = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1])
    assert math.isnan(roc_auc(logits, labels))
    assert math.isnan(specificity(logits, labels))
    assert balanced_accuracy(logits, labels) == 0.5


def test_probabilities_sum_to_one():
    for outputs in (1, 2, 3):
        shares = probabilities(torch.randn(5, outputs))
        assert shares.shape == (5, max(outputs, 2))
        assert torch.allclose(shares.sum(1), torch.ones(5))
