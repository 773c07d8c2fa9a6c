"""What several analyses share."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from neuroxai.errors import one_of
from neuroxai.statistics import mean_interval
from neuroxai.studies.declaration import Study
from neuroxai.studies.findings import Finding
from neuroxai.studies.results import METRICS, Results

WORDS = {
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
    "roc_auc": "ROC area",
}


def known_options(study: Study, names: Collection[str]) -> None:
    """Refuse an option that an analysis does not have.

    Raises
    ------
    InputError
        Naming it and the choices.
    """
    for key in study.options:
        if key not in names:
            raise one_of("key in options", key, names or ("none, this analysis has no options",))


def metric_findings(results: Results, metrics: tuple[str, ...] = METRICS) -> list[Finding]:
    """Mean of each arm's test metrics in percent, over the runs that count, with bootstrap intervals and spread.

    Runs of one split are not independent: splits are drawn, with all their repetitions.
    """
    table = results.runs[results.runs["chosen"]]
    found = []
    for metric in metrics:
        for arm in results.study.arms:
            own = table[table["arm"] == arm].dropna(subset=[metric])
            if len(own):
                found.append(mean_finding(results, WORDS[metric], arm, own, metric, "%", 100.0))
    return found


def mean_finding(
    results: Results, quantity: str, group: str, rows: pd.DataFrame, column: str, unit: str = "", scale: float = 1.0
) -> Finding:
    """Mean of a column of `Results.runs` with the interval that its runs allow; of several splits, splits are drawn."""
    values = rows[column].to_numpy(dtype=np.float64) * scale
    options = results.study.statistics
    error = f"standard error {values.std(ddof=1) / np.sqrt(len(values)):.4g}" if len(values) > 1 else ""
    # by split, so that repetitions of one split do not pass for independent
    means = rows.assign(_value=values).groupby("split")["_value"].mean().to_numpy()
    low = high = None
    method = "no interval: one run"
    drawn = means if len(means) > 1 else values
    if len(drawn) > 1:
        interval = mean_interval(drawn, **options.bootstrap())
        low, high = number(interval.low), number(interval.high)
        what = "splits" if len(means) > 1 else "repetitions of one split"
        method = f"BCa bootstrap over {len(drawn)} {what}"
    return Finding(quantity, group, float(values.mean()), low, high, len(values), unit, method, note=error)


def counted(count: int, noun: str) -> str:
    """Return "1 run", "2 runs"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def number(value: object) -> float | None:
    """Return a finite float, or None."""
    plain = float(value)  # type: ignore[arg-type]
    return plain if np.isfinite(plain) else None


def runs_doubt(results: Results) -> str:
    """Say how many runs there are, and that they share test subjects."""
    table = results.runs[results.runs["chosen"]]
    splits, scans = table["split"].nunique(), int(table["scans"].median())
    counts = (counted(len(table), "run"), counted(table["arm"].nunique(), "arm"), counted(splits, "split"))
    few = " From so few splits intervals are rough." if 1 < splits < 6 else ""
    return (
        f"{counts[0]} in {counts[1]}, {counts[2]}, about {scans} test scans each. Intervals are over runs of one "
        "cohort: another cohort may differ by more."
        f"{few}"
    )
