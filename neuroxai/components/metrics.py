"""Figures of a validation epoch from logits and labels."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from ignite import metrics
from monai.utils import evenly_divisible_all_gather
from torch.nn import functional

from neuroxai.explain.predict import probabilities


class EpochMetric(metrics.EpochMetric):
    """A figure of all logits and labels of an epoch, gathered from all processes.

    Other than its base class it keeps (batch, 1) logits as they are, and takes processes with unequal numbers of
    scans, so that no scan need be counted twice. Every process has the same value.

    Parameters
    ----------
    compute_fn : callable
        Takes logits (scans, outputs) and labels (scans,), returns a number.
    output_transform : callable
        Takes the engine's output to (logits, labels).
    """

    def update(self, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Keep a batch."""
        # several metrics share the tensors, and the network may overwrite its output
        self._predictions.append(output[0].detach().cpu().float().clone())
        self._targets.append(output[1].detach().cpu().clone())

    def gathered(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and labels of all processes; all must call it."""
        logits, labels = torch.cat(self._predictions), torch.cat(self._targets)
        if idist.get_world_size() > 1:
            logits, labels = (evenly_divisible_all_gather(part, concat=True) for part in (logits, labels))
        return logits, labels

    def compute(self) -> float:
        """Return the figure of the epoch."""
        logits, labels = self.gathered()
        # the first process's figure for all: they must come to the same decisions, to the last bit
        figure = torch.tensor(self.compute_fn(logits, labels), dtype=torch.float64)
        return float(idist.broadcast(figure, src=0))


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
