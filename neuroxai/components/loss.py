"""The classification loss, and class weights from the training scans."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from neuroxai.components.data import ScanDataset
from neuroxai.errors import InputError, one_of

BALANCES = ("none", "loss", "sampling")


class ClassificationLoss(nn.Module):
    """Cross-entropy from one logit (two classes) or one logit a class, mean over the batch.

    Parameters
    ----------
    weights : sequence of float, optional
        One weight a class; the mean is then weighted, as in ``torch.nn.CrossEntropyLoss``.
    """

    weights: Tensor | None

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        # no part of the state: checkpoints hold the network alone
        self.register_buffer("weights", None if weights is None else torch.tensor(weights), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits (batch, outputs) against labels (batch,)."""
        labels = labels.long()
        weights = None if self.weights is None else self.weights.to(logits)
        if logits.shape[1] > 1:
            return functional.cross_entropy(logits, labels, weights)
        each = functional.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), reduction="none")
        if weights is None:
            return each.mean()
        share = weights[labels]
        return (each * share).sum() / share.sum()


def class_weights(dataset: ScanDataset, classes: Sequence[str], balance: str) -> list[float] | None:
    """Return weights that give every class the same share of the loss, from the training scans alone.

    Parameters
    ----------
    dataset : ScanDataset
        The training scans that could be read.
    classes : sequence of str
        Class names in the order of labels.
    balance : {"none", "loss", "sampling"}
        How classes are balanced; weights come with "loss" alone.

    Returns
    -------
    list of float or None
        ``scans / (classes * scans of the class)``.

    Raises
    ------
    InputError
        For an unknown balance, or a class without scans.
    """
    if balance not in BALANCES:
        raise one_of("class_balance", balance, BALANCES)
    counts = [sum(int(item["label"]) == label for item in dataset.data) for label in range(len(classes))]
    if balance != "none" and 0 in counts:
        absent = classes[counts.index(0)]
        raise InputError(f"class_balance is {balance!r}, but no training scan is of class {absent!r}; split again")
    return [len(dataset) / (len(classes) * count) for count in counts] if balance == "loss" else None
