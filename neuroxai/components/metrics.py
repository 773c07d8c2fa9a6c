"""Figures of a validation epoch from logits and labels, for ``ignite.metrics.EpochMetric``."""

from __future__ import annotations

import torch
from torch.nn import functional


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Class probabilities, shape (batch, classes), from logits (batch, classes), or (batch, 1) for two classes."""
    if logits.shape[1] == 1:
        positive = torch.sigmoid(logits)
        return torch.cat([1 - positive, positive], dim=1)
    return torch.softmax(logits, dim=1)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean cross-entropy; from one logit or one per class."""
    if logits.shape[1] == 1:
        return float(functional.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype)))
    return float(functional.cross_entropy(logits, labels.long()))


def roc_auc(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Area under the ROC curve of class 1 (NaN where one class is absent)."""
    from sklearn.metrics import roc_auc_score

    truth = labels.cpu().numpy()
    if len(set(truth.tolist())) < 2:
        return float("nan")
    return float(roc_auc_score(truth, probabilities(logits)[:, 1].cpu().numpy()))


def sensitivity(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of class 1 that is recognised (NaN where there is none)."""
    return _recall(logits, labels, 1)


def specificity(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of class 0 that is recognised (NaN where there is none)."""
    return _recall(logits, labels, 0)


def balanced_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean recall of the classes present."""
    recalls = torch.tensor([_recall(logits, labels, which) for which in sorted({int(c) for c in labels})])
    return float(recalls.mean())


def _recall(logits: torch.Tensor, labels: torch.Tensor, which: int) -> float:
    chosen = labels == which
    if not chosen.any():
        return float("nan")
    return float((probabilities(logits)[chosen].argmax(dim=1) == which).double().mean())
