"""What several analyses share: metrics of arms, paired comparisons, mean ROC curves, region scores as tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from neuroxai.atlas.sides import hemispheres
from neuroxai.cohort import class_groups
from neuroxai.derivatives.trust import counted
from neuroxai.errors import one_of
from neuroxai.evaluation import roc_points
from neuroxai.evaluation.classification import METRICS
from neuroxai.statistics import bootstrap, mean_interval, paired_difference
from neuroxai.studies.findings import Finding
from neuroxai.studies.results import FinishedRun, Results
from neuroxai.studies.spec import Statistics, Study

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
    method = "no interval: one run"
    drawn = means if len(means) > 1 else values
    low, high = limits(drawn, options)
    if len(drawn) > 1:
        what = "splits" if len(means) > 1 else "repetitions of one split"
        method = f"BCa bootstrap over {len(drawn)} {what}"
    return Finding(quantity, group, float(values.mean()), low, high, len(values), unit, method, note=error)


def limits(values: ArrayLike, options: Statistics) -> tuple[float | None, float | None]:
    """Interval of the mean by BCa bootstrap; None for a single value, and where nothing varies."""
    if len(np.asarray(values)) < 2:
        return None, None
    found = mean_interval(values, **options.bootstrap())
    return number(found.low), number(found.high)


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


def pairs(table: pd.DataFrame, first: str, second: str, column: str) -> pd.DataFrame:
    """Return the values of two arms where both have a run of the same split and repetition.

    Parameters
    ----------
    table : pandas.DataFrame
        `Results.runs`, the runs that count.
    first, second : str
        Arms.
    column : str
        What is compared.

    Returns
    -------
    pandas.DataFrame
        Columns split, repetition, first, second, difference (second minus first).
    """
    keys = ["split", "repetition"]
    one, two = (
        table[table["arm"] == arm][[*keys, column]].rename(columns={column: name})
        for arm, name in ((first, "first"), (second, "second"))
    )
    both = one.merge(two, on=keys).dropna().sort_values(keys).reset_index(drop=True)
    return both.assign(difference=both["second"] - both["first"])


def compare(
    results: Results, first: str, second: str, column: str, scale: float = 100.0, unit: str = "%"
) -> list[Finding]:
    """Compare two arms, over runs and over split means.

    Returns
    -------
    list of Finding
        The paired difference with its interval, Wilcoxon's signed-rank test over all pairs (as in Klingenberg 2021),
        and the same over split means, which are the independent units; empty without pairs.
    """
    options = results.study.statistics
    how = options.bootstrap()
    both = pairs(results.runs[results.runs["chosen"]], first, second, column)
    if both.empty:
        return []
    means = both.groupby("split")[["first", "second"]].mean()
    rows = [("runs", both)]
    if both["repetition"].nunique() > 1 and len(means) > 1:
        rows.append(("split means", means))
    found = []
    for what, table in rows:
        seen = paired_difference(table["second"] * scale, table["first"] * scale, **how)
        low, high = seen.low, seen.high
        if what == "runs" and len(means) > 1:
            # repetitions of a split are not independent: splits are drawn
            interval = bootstrap(np.mean, both["difference"] * scale, clusters=[both["split"].tolist()],
                                 method="percentile", **how)  # fmt: skip
            low, high = number(interval.low), number(interval.high)
        note = seen.caveat("pairs")
        if what == "runs" and len(rows) > 1:
            note = "repetitions of a split are not independent: see split means"
        over = "splits" if len(means) > 1 else "repetitions"
        found.append(
            Finding(
                f"difference of {WORDS.get(column, column)} over {what}",
                f"{second} - {first}",
                seen.difference,
                low,
                high,
                seen.n,
                unit,
                f"Wilcoxon signed-rank; interval by bootstrap over {over}",
                seen.p,
                seen.effect,
                "rank-biserial r",
                note,
            )
        )
    return found


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


SCAN = ["participant_id", "session_id"]
SUMS = ["sum", "absolute", "positive", "negative", "voxels"]


def merged(table: pd.DataFrame) -> pd.DataFrame:
    """Join the left and right part of each region: sums add up, density is the sum over both parts' voxels.

    Parameters
    ----------
    table : pandas.DataFrame
        `Results.regions`.

    Returns
    -------
    pandas.DataFrame
        Columns participant_id, session_id (empty text where there is none), region, sum, absolute, positive, negative,
        voxels, density (NaN for a region of no voxel); in the order of scans and regions.
    """
    sideless = {name: rest for name, (_, rest) in hemispheres(map(str, table["name"].unique())).items()}
    whole = table.assign(
        region=table["name"].astype(str).map(sideless), session_id=table["session_id"].fillna("").astype(str)
    )
    summed = whole.groupby([*SCAN, "region"], sort=False)[SUMS].sum().reset_index()
    return summed.assign(density=summed["sum"] / summed["voxels"].where(summed["voxels"] > 0))


class RegionTables:
    """Region scores of one run and explanation.

    Parameters
    ----------
    results : Results
        The study's.
    done : FinishedRun
        The run.
    explanation : str
        Its name.
    atlas : str, optional
        By default the study's first.
    part : str
        Part of the split.
    """

    def __init__(
        self, results: Results, done: FinishedRun, explanation: str, atlas: str | None = None, part: str = "test"
    ) -> None:
        self.table = merged(results.regions(done, explanation, atlas, part))
        self.scans = results.scans(done, explanation, part)
        self.scans["session_id"] = self.scans["session_id"].fillna("").astype(str)
        self.positive = class_groups(results.study.cohorts[results.study.arms[done.run.arm].cohort].classes)[1]

    def wide(self, measure: str, cells: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a measure, a row per scan (participant and session), a column per region, in the atlas's order.

        Parameters
        ----------
        measure : str
            sum, absolute, positive, negative or density.
        cells : sequence of {"TP", "FP", "TN", "FN"}, optional
            Scans of these alone.
        """
        regions = list(dict.fromkeys(self.table["region"]))
        table = self.table.pivot(index=SCAN, columns="region", values=measure)[regions]
        chosen = self.scans if cells is None else self.scans[self.scans["cell"].isin(cells)]
        keys = pd.MultiIndex.from_frame(chosen[SCAN])
        return table.reindex(keys)

    def patients(self, measure: str) -> pd.DataFrame:
        """All patients, recognised or not."""
        return self.wide(measure, ("TP", "FN"))

    def controls(self, measure: str) -> pd.DataFrame:
        """All controls, right or wrong."""
        return self.wide(measure, ("TN", "FP"))
