"""From one scan's file and its logits to a row of ``predictions.tsv``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from neuroxai.derivatives.predictions import FIT_COLUMNS, Prediction
from neuroxai.io import named_path
from neuroxai.io.names import identity_of


def prediction_rows(
    batch: dict[str, Any], logits: torch.Tensor, classes: Sequence[str], target: int | torch.Tensor = 1
) -> list[Prediction]:
    """One row per scan of a batch: identifiers, true and predicted class, probabilities, logit, fit."""
    rows, labels = [], batch.get("label")
    for n, share in enumerate(probabilities(logits.detach().double()).cpu().numpy()):
        chosen = int(target[n]) if isinstance(target, torch.Tensor) else int(target)
        rows.append(
            Prediction(
                participant_id=str(batch["participant_id"][n]),
                session_id=str(batch["session_id"][n]) or None,
                true=class_of(labels[n] if labels is not None else None, classes),
                predicted=classes[int(share.argmax())],
                probabilities={name: float(p) for name, p in zip(classes, share, strict=True)},
                score=float(logits[n, chosen if logits.shape[1] > 1 else 0]),
                **fit_columns(batch, n),
            )
        )
    return rows


def class_of(label: Any, classes: Sequence[str]) -> str | None:
    """Return the class of a label; None where it is absent or negative (`neuroxai.cohort.UNKNOWN`)."""
    return None if label is None or int(label) < 0 else classes[int(label)]


def fit_columns(batch: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the columns of a table for one scan of a batch; None where the fit is not known."""
    values = {name: batch[name][number] if name in batch else "" for name in FIT_COLUMNS}
    return {
        name: (float(value) if name == "fit_distance" else value) if value else None for name, value in values.items()
    }


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Class probabilities, shape (batch, classes), from logits (batch, classes), or (batch, 1) for two classes."""
    if logits.shape[1] == 1:
        positive = torch.sigmoid(logits)
        return torch.cat([1 - positive, positive], dim=1)
    return torch.softmax(logits, dim=1)


def single_item(path: Path) -> dict[str, Any]:
    """Return one scan's file as an item of a datalist, whatever it is called."""
    name = re.sub(r"\.(nii|img|hdr|mgh|mgz)$", "", path.name.removesuffix(".gz"), flags=re.IGNORECASE)
    participant, session = identity_of(name)
    return {"image": str(named_path(path)), "participant_id": participant, "session_id": session}
