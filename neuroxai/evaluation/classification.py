"""Metrics of a two-class decision with confidence intervals, confusion with identifiers, ROC curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError
from neuroxai.statistics.intervals import Estimate, Interval, mean_of_proportions, subject_weights, wilson
from neuroxai.statistics.roc import newcombe_area, roc_area_interval, weighted_areas

METRICS = ("balanced_accuracy", "sensitivity", "specificity", "accuracy", "roc_auc")


@dataclass(frozen=True)
class RocCurve:
    """Points of the ROC curve, from (0, 0) to (1, 1)."""

    false_positive_rate: list[float]
    true_positive_rate: list[float]


def classification_metrics(
    true: ArrayLike,
    probability: ArrayLike,
    predicted: ArrayLike | None = None,
    clusters: Sequence[Any] | None = None,
    *,
    method: Literal["auto", "bootstrap"] = "auto",
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Balanced accuracy, sensitivity, specificity, accuracy and ROC area, each with an interval.

    Parameters
    ----------
    true : array_like of bool, shape (scans,)
        Whether a scan belongs to the positive class.
    probability : array_like, shape (scans,)
        Probability of the positive class, 0 to 1.
    predicted : array_like of bool, optional
        The decision; by default ``probability > 0.5``.
    clusters : sequence, optional
        Subject of each scan. Where a subject has several scans, these are not independent, and every interval is a
        percentile bootstrap over subjects.
    method : {"auto", "bootstrap"}
        ``"auto"``: for one scan a subject Wilson (proportions), square-and-add of the two Wilson intervals (balanced
        accuracy) and DeLong on the logit scale (ROC area). ``"bootstrap"``: stratified percentile bootstrap for all.
        A bootstrap interval of width zero (nothing or everything right) is replaced by the analytic one with
        subjects as the number of cases.
    level : float
        Coverage of the intervals.
    replicates, seed : int
        Of the bootstrap.

    Returns
    -------
    dict of str to Estimate
        ``balanced_accuracy``, ``sensitivity``, ``specificity``, ``accuracy``, ``roc_auc``. A value that is undefined
        because a class is absent is None, with the reason.

    Raises
    ------
    InputError
        If there are no scans, lengths differ, or a probability is not between 0 and 1.
    """
    from sklearn import metrics

    y, score, decision = _checked(true, probability, predicted)
    ids = np.arange(len(y)) if clusters is None else np.asarray([str(c) for c in clusters])
    if len(ids) != len(y):
        raise InputError(f"{len(ids)} clusters for {len(y)} scans; give one subject per scan")
    two_classes = bool(y.any() and not y.all())
    absent = f"all {len(y)} scans belong to the {'positive' if y.any() else 'negative'} class"
    values: dict[str, float | None] = dict.fromkeys(METRICS)
    values["accuracy"] = float(metrics.accuracy_score(y, decision))
    if y.any():
        values["sensitivity"] = float(metrics.recall_score(y, decision))
    if not y.all():
        values["specificity"] = float(metrics.recall_score(~y, ~decision))
    if two_classes:
        values["balanced_accuracy"] = float(metrics.balanced_accuracy_score(y, decision))
        values["roc_auc"] = float(metrics.roc_auc_score(y, score))
    repeated = len(np.unique(ids)) < len(ids)
    drawn = _bootstrap(y, score, decision, ids, replicates, seed) if repeated or method == "bootstrap" else {}
    # scans that each figure rests on
    cases = {"sensitivity": y, "specificity": ~y}
    result = {}
    for name, value in values.items():
        part = cases.get(name, np.ones_like(y))
        if value is None:
            result[name] = Estimate(None, None, None, "", int(part.sum()), level, absent)
            continue
        interval, how = _interval(name, y, score, decision, ids, drawn.get(name), level)
        result[name] = Estimate(value, *interval, how, int(part.sum()), level)
    return result


def _interval(
    name: str,
    y: NDArray[np.bool_],
    score: NDArray[np.float64],
    decision: NDArray[np.bool_],
    ids: NDArray[Any],
    drawn: NDArray[np.float64] | None,
    level: float,
) -> tuple[Interval, str]:
    if drawn is not None:
        low, high = (float(v) for v in np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2]))
        if high - low > 1e-12:
            return (low, high), f"bootstrap over subjects, {len(drawn)} replicates"
    # of subjects with several scans each counts as one case: scans that agree add no evidence
    patients, controls = _cases(y, decision, ids), _cases(~y, ~decision, ids)
    how = "Wilson" if len(np.unique(ids)) == len(ids) else "Wilson, subjects as cases"
    if name == "sensitivity":
        return wilson(*patients, level), how
    if name == "specificity":
        return wilson(*controls, level), how
    if name == "balanced_accuracy":
        return mean_of_proportions(patients, controls, level), f"square-and-add of {how}"
    if name == "accuracy":
        return wilson(*_cases(np.ones_like(y), decision == y, ids), level), how
    if drawn is None:
        return roc_area_interval(score[y], score[~y], level)
    area = float(weighted_areas(y, score, np.ones((1, len(y))))[0])
    return newcombe_area(area, patients[1], controls[1], level), "Newcombe 2006"


def _cases(part: NDArray[np.bool_], right: NDArray[np.bool_], ids: NDArray[Any]) -> tuple[int, int]:
    """Successes and trials among the scans of a part, subjects counted once."""
    subjects = len(np.unique(ids[part]))
    return (round(float(right[part].mean()) * subjects) if subjects else 0), subjects


def _bootstrap(
    y: NDArray[np.bool_],
    score: NDArray[np.float64],
    decision: NDArray[np.bool_],
    ids: NDArray[Any],
    replicates: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    weights = subject_weights(ids, y, replicates, seed)
    result = {"accuracy": weights @ (decision == y) / weights.sum(axis=1)}
    if y.any():
        result["sensitivity"] = weights @ (decision & y) / (weights @ y)
    if not y.all():
        result["specificity"] = weights @ (~decision & ~y) / (weights @ ~y)
    if y.any() and not y.all():
        result["balanced_accuracy"] = (result["sensitivity"] + result["specificity"]) / 2
        result["roc_auc"] = weighted_areas(y, score, weights)
    return result


def confusion(true: ArrayLike, predicted: ArrayLike, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the identifiers of true positives, false positives, true negatives and false negatives.

    Returns
    -------
    dict of str to list of str
        Keys ``"TP"``, ``"FP"``, ``"TN"``, ``"FN"``; the order of `ids` is kept.
    """
    y, decision = np.asarray(true, dtype=bool), np.asarray(predicted, dtype=bool)
    if not len(y) == len(decision) == len(ids):
        raise InputError(f"lengths differ: {len(y)} labels, {len(decision)} decisions, {len(ids)} identifiers")
    cells: dict[str, list[str]] = {"TP": [], "FP": [], "TN": [], "FN": []}
    for actual, said, name in zip(y, decision, ids, strict=True):
        cells[("T" if actual == said else "F") + ("P" if said else "N")].append(name)
    return cells


def roc_points(true: ArrayLike, probability: ArrayLike) -> RocCurve | None:
    """Points of the ROC curve; None where only one class is there."""
    from sklearn import metrics

    y, score, _ = _checked(true, probability, None)
    if y.all() or not y.any():
        return None
    false_rate, true_rate, _ = metrics.roc_curve(y, score)
    return RocCurve([float(v) for v in false_rate], [float(v) for v in true_rate])


def _checked(
    true: ArrayLike, probability: ArrayLike, predicted: ArrayLike | None
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
    y, score = np.asarray(true, dtype=bool), np.asarray(probability, dtype=np.float64)
    decision = score > 0.5 if predicted is None else np.asarray(predicted, dtype=bool)
    if not len(y):
        raise InputError("no scans to evaluate; give at least one label and probability")
    if not y.shape == score.shape == decision.shape:
        raise InputError(f"lengths differ: {y.shape} labels, {score.shape} probabilities, {decision.shape} decisions")
    wrong = score[~((score >= 0) & (score <= 1))]
    if wrong.size:
        raise InputError(f"probability {wrong[0]} is not between 0 and 1; give probabilities, not logits")
    return y, score, decision
