"""LIME over atlas regions: a linear model of the score by which regions are kept."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from neuroxai.attribution.base import MOST, check_option
from neuroxai.attribution.baselines import Baseline
from neuroxai.attribution.occlusion.occlusion import Labels
from neuroxai.attribution.shapley.coalitions import Game, RegionCoalitions
from neuroxai.checks import number, whole


class RegionLime(RegionCoalitions):
    """LIME (Ribeiro 2016) with the regions of an atlas as the parts that are there or not.

    Coalitions keep each region with probability one half. The score is fitted by ridge regression, coalitions weighted
    by exp(-d^2 / kernel_width^2), where d is the cosine distance from the whole scan: 1 - sqrt(part of regions kept).

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    labels, baselines, score, perturbations_per_eval
        As `RegionOcclusion` takes them; absent regions are replaced.
    n_samples : int
        Coalitions, one run of the network each; the whole scan is one of them.
    kernel_width : float
        Width of the weights.
    alpha : float
        Strength of the ridge; what few coalitions do not tell is shrunk to 0.
    seed : int
        Of the coalitions; the same for all scans.

    Raises
    ------
    InputError
        If an option does not fit.
    """

    def __init__(
        self, model: nn.Module, *, labels: Labels | None = None, baselines: Baseline = 0.0, n_samples: int = 500,
        kernel_width: float = 0.25, alpha: float = 1.0, seed: int = 0,
        score: Literal["logit", "probability"] = "logit", perturbations_per_eval: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model, labels, baselines, seed, score, perturbations_per_eval)
        check_option("n_samples", n_samples, whole(2, MOST))
        check_option("kernel_width", kernel_width, number(1e-6))
        check_option("alpha", alpha, number(0))
        self._count, self._width, self._alpha = n_samples, kernel_width, alpha

    def _played(self, game: Game) -> Tensor:
        rng = np.random.default_rng(self._seed)
        kept = torch.from_numpy(rng.random((self._count, len(game.players))) < 0.5)
        kept[0] = True
        return fitted(kept, game.worth(kept).cpu().double(), self._width, self._alpha)


def fitted(kept: Tensor, scores: Tensor, width: float, alpha: float) -> Tensor:
    """Return the ridge's coefficients, plus what each coalition moves them by, (coalitions, players)."""
    away = 1 - kept.double().mean(1).sqrt()
    weights = (-((away / width) ** 2)).exp()[:, None]
    design, gains = (v - (weights * v).sum(0) / weights.sum() for v in (kept.double(), scores[:, None]))
    inverse = torch.linalg.pinv(design.T @ (weights * design) + alpha * torch.eye(len(design.T)), hermitian=True)
    values: Tensor = inverse @ (design.T @ (weights * gains))
    pull: Tensor = len(design) * (weights * design * (gains - design @ values)) @ inverse
    return values.T + pull - pull.mean(0)
