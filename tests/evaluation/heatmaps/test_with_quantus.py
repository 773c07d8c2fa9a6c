"""Quantus gives the same figures as ours; runs where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

from helpers.importable import importable
from neuroxai.errors import InputError
from neuroxai.evaluation import pointing_game, relevance_mass, top_intersection, voxel_areas
from neuroxai.evaluation.heatmaps.with_quantus import quantus_metric

SHAPE = (8, 7, 9)
installed = importable("quantus")


@pytest.fixture
def case(rng):
    truths = np.zeros((3, *SHAPE), dtype=bool)
    truths[:, 1:4, 2:4, 5:9] = True
    truths[2, 6, 1, 0] = True
    heatmaps = rng.normal(size=(3, *SHAPE)) + 2 * truths
    scans = torch.from_numpy(rng.random((3, 1, *SHAPE))).float()
    model = nn.Sequential(nn.Flatten(), nn.Linear(8 * 7 * 9, 2)).eval()
    return model, scans, torch.from_numpy(heatmaps)[:, None], truths


@pytest.mark.label
@pytest.mark.skipif(not installed, reason="quantus cannot be imported")
def test_the_same_figures(case):
    model, scans, heatmaps, truths = case
    ours = {
        "auc": lambda h, t: voxel_areas(h, t)[0],
        "mass": relevance_mass,
        "rank": lambda h, t: top_intersection(h, t, int(t.sum())),
        "pointing": pointing_game,
    }
    for name, own in ours.items():
        found = quantus_metric(name, model, scans, heatmaps, 1, truths)
        wanted = [own(h[0].numpy(), t) for h, t in zip(heatmaps, truths, strict=True)]
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=0, err_msg=name)


@pytest.mark.label
@pytest.mark.skipif(not installed, reason="quantus cannot be imported")
def test_what_it_adds_against_closed_forms(case):
    model, scans, heatmaps, _ = case
    sizes = np.sort(heatmaps.abs().flatten(1).numpy(), axis=1)
    n = sizes.shape[1]
    gini = ((2 * np.arange(1, n + 1) - n - 1) * sizes).sum(1) / (n * sizes.sum(1))
    np.testing.assert_allclose(quantus_metric("sparseness", model, scans, heatmaps, 1), gini, rtol=1e-5)
    np.testing.assert_allclose(
        quantus_metric("complexity", model, scans, heatmaps, 1), entropy(sizes, axis=1), rtol=1e-9
    )


def test_refusals(case):
    model, scans, heatmaps, _ = case
    with pytest.raises(InputError, match="unknown Quantus metric 'roc'"):
        quantus_metric("roc", model, scans, heatmaps, 1)
    if installed:
        with pytest.raises(InputError, match="AUC needs the true masks"):
            quantus_metric("auc", model, scans, heatmaps, 1)
    else:
        with pytest.raises(InputError, match="pip install quantus"):
            quantus_metric("auc", model, scans, heatmaps, 1)
