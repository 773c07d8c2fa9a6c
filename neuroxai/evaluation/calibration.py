"""How near probabilities are to perfect calibration: reliability curve, Brier score, Platt scaling on other scans.

scikit-learn's `calibration_curve` has no intervals, splits equal probabilities between bins and gives bins a mean where
no scan lies; its Platt scaling is for a classifier of its own. The fit itself is scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError
from neuroxai.statistics import wilson

FEWEST = 10  # scans of each class from which a curve is fitted
WIDEST = 0.25  # probabilities that one bin may span


@dataclass(frozen=True)
class Bin:
    """Scans of like probability: their mean probability, share of positives with its 95 % Wilson interval, number."""

    predicted: float
    observed: float
    low: float
    high: float
    n: int


def reliability(true: ArrayLike, probability: ArrayLike, bins: int = 5) -> list[Bin]:
    """Group scans by probability into bins of (almost) equal number, and compare with the share of positives.

    Equal probabilities stay together. A bin that would span more than `WIDEST` is parted at its widest gap, so that no
    point stands where no scan is: scans at 0 and at 1 have no common mean that says anything.

    Parameters
    ----------
    true : array_like of bool, shape (scans,)
    probability : array_like, shape (scans,)
        Of the positive class.
    bins : int
        So many at first; fewer scans than ten per bin give fewer.

    Returns
    -------
    list of Bin
        Ascending; empty without scans.
    """
    truth, share = _checked(true, probability)
    count = max(1, min(bins, len(share) // 10))
    order = np.argsort(share, kind="stable")
    found = []
    ends = [len(part) for part in np.array_split(order, count)]
    # a border between equal probabilities moves behind the last of them
    borders = np.unique(np.searchsorted(share[order], share[order][np.cumsum(ends)[:-1] - 1], side="right"))
    for coarse in np.split(order, borders):
        for part in _narrow(coarse, share):
            positive = int(truth[part].sum())
            low, high = wilson(positive, len(part))
            found.append(Bin(float(share[part].mean()), positive / len(part), low, high, len(part)))
    return found


def _narrow(part: NDArray[np.intp], share: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Part scans in ascending order of probability at the widest gap until no part spans more than `WIDEST`."""
    if not len(part):
        return []
    values = share[part]
    if values[-1] - values[0] <= WIDEST:
        return [part]
    cut = int(np.diff(values).argmax()) + 1
    return [*_narrow(part[:cut], share), *_narrow(part[cut:], share)]


def brier(true: ArrayLike, probability: ArrayLike) -> float:
    """Mean squared distance of probability and truth (Brier 1950): 0 is perfect, .25 is saying one half always."""
    from sklearn.metrics import brier_score_loss

    truth, share = _checked(true, probability)
    if not len(share):
        raise InputError("no scan with a true label; a Brier score needs some")
    return float(brier_score_loss(truth, share, pos_label=True))


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: probability = 1 / (1 + exp(-(slope * logit + intercept))), with what chance of the fit allows.

    Parameters
    ----------
    slope, intercept : float
        Of the fit; 1 and 0 for probabilities that are right as they are.
    replicates : ndarray, shape (replicates, 2)
        Slopes and intercepts of fits to resampled scans.
    scans : int
        Fitted to.
    """

    slope: float
    intercept: float
    replicates: NDArray[np.float64]
    scans: int

    @classmethod
    def fit(
        cls, true: ArrayLike, probability: ArrayLike, people: Sequence[str], replicates: int = 500, seed: int = 0
    ) -> Calibration:
        """Fit to scans that the network was not trained on (Platt 1999, with his targets: no probability of 0 or 1).

        Parameters
        ----------
        true : array_like of bool, shape (scans,)
        probability : array_like, shape (scans,)
            Of the positive class, uncalibrated.
        people : sequence of str
            Participants, resampled whole.
        replicates, seed : int
            Of the bootstrap.

        Raises
        ------
        InputError
            If a class has fewer than `FEWEST` scans.
        """
        truth, share = _checked(true, probability)
        positives, negatives = int(truth.sum()), int((~truth).sum())
        if min(positives, negatives) < FEWEST:
            raise InputError(
                f"{positives} positive and {negatives} other scans, expected {FEWEST} of each or more to calibrate; "
                "give a larger validation part, or leave it out"
            )
        logits = logit(share)
        slope, intercept = _platt(logits, truth)
        names, places = np.unique(np.asarray(people), return_inverse=True)
        rng, fits = np.random.default_rng(seed), list[tuple[float, float]]()
        while len(fits) < replicates:
            drawn = rng.integers(0, len(names), len(names))
            weights = np.bincount(drawn, minlength=len(names))[places].astype(float)
            if weights[truth].sum() and weights[~truth].sum():
                fits.append(_platt(logits, truth, weights))
        return cls(slope, intercept, np.array(fits), len(truth))

    def probability(self, uncalibrated: float) -> tuple[float, float, float]:
        """Return the calibrated probability of one scan and its 95 % interval (percentiles over the replicates)."""
        value = float(logit(np.array([uncalibrated]))[0])
        all_ = _sigmoid(self.replicates @ np.array([value, 1.0]))
        low, high = np.percentile(all_, [2.5, 97.5])
        return float(_sigmoid(np.array(self.slope * value + self.intercept))), float(low), float(high)


def operating_point(true: ArrayLike, logits: ArrayLike) -> tuple[float, float]:
    """Choose slope and intercept after which equally frequent classes are best told apart at a probability of one half.

    Platt scaling with both classes weighted alike, so that the intercept is the operating point of balanced accuracy
    whatever the frequencies are. Smoother than the best threshold of the curve, which a few scans move.

    Parameters
    ----------
    true : array_like of bool, shape (scans,)
        Of scans that the network was not trained on.
    logits : array_like, shape (scans,)
        Log odds of the positive class.

    Returns
    -------
    slope, intercept : float
        Of the calibrated log odds, ``slope * logit + intercept``.

    Raises
    ------
    InputError
        If a class has fewer than `FEWEST` scans, or positive scans do not score higher.
    """
    truth, values = np.asarray(true, dtype=bool), np.asarray(logits, dtype=np.float64)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if min(positives, negatives) < FEWEST:
        raise InputError(f"{positives} and {negatives} scans of the two classes, expected {FEWEST} of each or more")
    if not np.isfinite(values).all():
        raise InputError("scores are not all finite, expected finite ones")
    slope, intercept = _platt(values, truth, np.where(truth, 0.5 / positives, 0.5 / negatives) * len(truth))
    if slope <= 0:
        raise InputError(
            f"scans of the second class do not score higher (slope {slope:.2g}), expected a positive slope"
        )
    return slope, intercept


def logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log odds; probabilities of 0 and 1 count as 1e-7 from them."""
    share = np.clip(probability, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(share / (1 - share)))


def _platt(
    logits: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """Fit slope and intercept; the targets of Platt (1999) keep them finite where classes are told apart fully."""
    from sklearn.linear_model import LogisticRegression

    w = np.ones(len(logits)) if weights is None else weights
    positives, negatives = w[truth].sum(), w[~truth].sum()
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # a target between 0 and 1 is a share of each class
    model = LogisticRegression(C=1e4, solver="lbfgs", tol=1e-8, max_iter=1000)
    both = np.tile(logits, 2)[:, None]
    model.fit(both, np.repeat([1, 0], len(logits)), sample_weight=np.concatenate([w * target, w * (1 - target)]))
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -500, 500))))


def _checked(true: ArrayLike, probability: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth, share = np.asarray(true, dtype=bool), np.asarray(probability, dtype=np.float64)
    if truth.shape != share.shape or truth.ndim != 1:
        raise InputError(f"{truth.shape} true labels and {share.shape} probabilities, expected one of each per scan")
    if not ((share >= 0) & (share <= 1)).all():
        raise InputError("a probability is not between 0 and 1; predict again")
    return truth, share
