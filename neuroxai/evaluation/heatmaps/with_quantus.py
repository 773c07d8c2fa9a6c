"""Metrics of the package Quantus (Hedstrom 2023) on our 5-D input, where it is installed and does them well.

It is no dependency: ``pip install quantus``. Version 0.6.0 was seen to take (batch, channels, x, y, z) in the metrics
below, given ``channel_first=True``, and to give the same figures as ours where we have the same metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError, one_of

if TYPE_CHECKING:
    from torch import Tensor, nn

METRICS = {
    "auc": "AUC",
    "mass": "RelevanceMassAccuracy",
    "rank": "RelevanceRankAccuracy",
    "pointing": "PointingGame",
    "sparseness": "Sparseness",
    "complexity": "Complexity",
}
"""Our names and Quantus' classes. The first four want truths; `sparseness` is Gini's index (Chalasani 2020) and
`complexity` the entropy (Bhatt 2020) of the relevance's magnitude."""

_OF_THE_MAP_ALONE = ("sparseness", "complexity")


def quantus_metric(
    name: str,
    model: nn.Module,
    scans: Tensor,
    heatmaps: Tensor,
    target: int,
    truths: NDArray[np.bool_] | None = None,
    **options: Any,
) -> NDArray[np.float64]:
    """Let Quantus measure heatmaps.

    Parameters
    ----------
    name : str
        One of `METRICS`.
    model : torch.nn.Module
        Asked for by Quantus, though none of these metrics runs it.
    scans, heatmaps : torch.Tensor
        (batch, 1, *grid). For "mass" the positive part of the heatmaps counts, as in `relevance_mass`.
    target : int
        The class explained.
    truths : ndarray of bool, shape (batch, *grid), optional
        The true masks.
    **options
        Of the Quantus class.

    Returns
    -------
    ndarray, shape (batch,)
        Of each heatmap.

    Raises
    ------
    InputError
        If Quantus is not installed, the name is unknown, or truths are missing.
    SpaceError
        If shapes differ.
    """
    if name not in METRICS:
        raise one_of("Quantus metric", name, METRICS)
    try:
        import quantus
    # a torchvision that does not fit torch, which Quantus draws in, fails with a RuntimeError
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"Quantus cannot be imported ({error}); pip install quantus, with a torchvision that fits, or use "
            "neuroxai.evaluation's own"
        ) from error
    if scans.shape != heatmaps.shape:
        raise SpaceError(f"heatmaps of shape {tuple(heatmaps.shape)} do not fit scans of {tuple(scans.shape)}")
    if truths is None and name not in _OF_THE_MAP_ALONE:
        raise InputError(f"Quantus' {METRICS[name]} needs the true masks; give truths=")
    values = np.asarray(heatmaps.detach().cpu().numpy())
    metric = getattr(quantus, METRICS[name])(
        **{
            "abs": name in _OF_THE_MAP_ALONE,
            "normalise": False,
            "return_aggregate": False,
            "disable_warnings": True,
            "display_progressbar": False,
            **options,
        }
    )
    found = metric(
        model=model,
        x_batch=np.asarray(scans.detach().cpu().numpy()),
        y_batch=np.full(len(scans), target),
        a_batch=np.maximum(values, 0) if name == "mass" else values,
        s_batch=None if truths is None else np.asarray(truths, dtype=bool)[:, None],
        channel_first=True,
        device=str(scans.device),
    )
    return np.asarray(found, dtype=np.float64)
