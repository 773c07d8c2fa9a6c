"""Mean ROC curves of arms, with the standard error over runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroxai.cohort import class_groups
from neuroxai.evaluation import roc_points
from neuroxai.studies.results import Results

GRID = np.linspace(0.0, 1.0, 101)
"""False positive rates at which curves are averaged."""

Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]


def mean_roc(results: Results) -> dict[str, Curve]:
    """Return each arm's false and mean true positive rates and the standard error of the latter; None for one run.

    Curves are averaged vertically (Fawcett 2006); the step of each run's curve is taken at its upper end.
    """
    found: dict[str, Curve] = {}
    for arm in results.study.arms:
        curves = []
        for done in results.chosen(arm):
            table = results.predictions(done)
            positive = class_groups(results.study.cohorts[results.study.arms[arm].cohort].classes)[1]
            points = roc_points(table["true"] == positive, table[f"probability_{positive}"])
            if points is not None:
                curves.append(at_grid(np.array(points.false_positive_rate), np.array(points.true_positive_rate)))
        if curves:
            stacked = np.stack(curves)
            error = stacked.std(axis=0, ddof=1) / np.sqrt(len(stacked)) if len(stacked) > 1 else None
            found[arm] = (GRID, stacked.mean(axis=0), error)
    return found


def at_grid(false_rate: NDArray[np.float64], true_rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the greatest true positive rate reached at each false positive rate of the grid, straight in between."""
    # of several points at one false positive rate the last, which is the highest, counts
    return np.asarray(np.interp(GRID, false_rate, true_rate))
