"""Eitel 2021 (Study 5): whether patch-individual filters decide as well and learn faster than shared ones."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroxai.derivatives.study_runs import read_result
from neuroxai.errors import InputError, one_of
from neuroxai.pictures.maps import maps
from neuroxai.report.plots.charts import curves, intervals, strips
from neuroxai.statistics import bootstrap
from neuroxai.studies.analyses.shared import compare, known_options, mean_roc, metric_findings, number, runs_doubt
from neuroxai.studies.findings import Finding, Findings, Picture
from neuroxai.studies.results import Results
from neuroxai.studies.spec import Study

MOST_MAPS = 12
"""Heatmaps of hidden filters that the page shows for each explanation and arm."""


def check(study: Study) -> None:
    """Refuse comparisons of arms that are not there.

    Raises
    ------
    InputError
        Naming the key.
    """
    known_options(study, ("compare",))
    pairs = study.options.get("compare")
    if not isinstance(pairs, list) or not pairs or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise InputError(f"options: compare is {pairs!r}, expected pairs of arms, such as [[baseline, pif]]")
    for name in (name for pair in pairs for name in pair):
        if name not in study.arms:
            raise one_of("arm in options: compare", name, study.arms)


def analyse(results: Results) -> Findings:
    """Metrics of each search's best draw, steps and seconds to early stopping of all draws, heatmaps of filters."""
    findings = Findings(metric_findings(results), doubts=[runs_doubt(results)])
    timing: list[Finding] = []
    for first, second in results.study.options["compare"]:
        if not (results.chosen(first) and results.chosen(second)):
            continue
        findings.figures.extend(compare(results, first, second, "roc_auc"))
        steps = convergence(results, results.runs, first, second, "steps", "training steps to early stopping")
        findings.figures.append(steps)
        findings.answers.append(_sentence(first, second, steps, "training steps"))
        timing.append(convergence(results, results.timings, first, second, "seconds", "seconds of training"))
    findings.tables["timing_convergence"] = pd.DataFrame([row.cells() for row in timing])
    findings.tables["best_draws"] = results.runs[results.runs["chosen"]].drop(columns=["chosen", "run"])
    arms = [arm for arm in results.study.arms if results.chosen(arm)]
    steps_of = {arm: results.runs[results.runs["arm"] == arm]["steps"].tolist() for arm in arms}
    frame = findings.frame()
    rows = frame[frame["quantity"] == "ROC area"]
    best = results.runs[results.runs["chosen"]]
    points = {arm: (100 * best[best["arm"] == arm]["roc_auc"]).tolist() for arm in arms}
    findings.pictures = [
        Picture("roc_area", "Area under the ROC curve by arm: mean over splits with interval; grey, single runs.",
                partial(intervals, rows, "ROC area, %", points)),
        Picture("roc", "ROC curves, mean over runs with the standard error (where there are several).",
                lambda: curves(mean_roc(results), "1 - specificity", "sensitivity", diagonal=True)),
        Picture("steps", "Training steps until early stopping, every draw; bars are medians.",
                partial(strips, steps_of, "training steps")),
    ]  # fmt: skip
    _filters(results, findings)
    findings.doubts.append(
        "Steps depend on the batch size that was drawn; a run that reaches its last epoch has not converged, and its "
        "steps are a lower bound."
    )
    capped = _capped(results)
    if capped:
        findings.doubts.append(f"{capped} of {len(results.runs)} runs ended at their last epoch without an early stop.")
    return findings


def convergence(results: Results, table: pd.DataFrame, first: str, second: str, column: str, quantity: str) -> Finding:
    """Compare two arms' medians over all draws, by Wilcoxon's rank-sum test as in the paper.

    Parameters
    ----------
    results : Results
        For statistics' options.
    table : pandas.DataFrame
        Columns arm, split and `column`, one row per run.
    first, second : str
        Arms; the value is the second's median over the first's, minus 1, in percent.
    """
    from scipy.stats import mannwhitneyu

    options = results.study.statistics
    one, two = (table[(table["arm"] == arm) & (table[column] > 0)] for arm in (first, second))
    group = f"{second} against {first}"
    if one.empty or two.empty:
        return Finding(quantity, group, None, note="an arm has no trained run")
    a, b = one[column].to_numpy(dtype=np.float64), two[column].to_numpy(dtype=np.float64)
    value = change(a, b)
    low = high = None
    method = "Wilcoxon rank-sum over all draws"
    if one["split"].nunique() > 1 and two["split"].nunique() > 1:
        found = bootstrap(change, a, b, clusters=[one["split"].tolist(), two["split"].tolist()], method="percentile",
                          **options.bootstrap())  # fmt: skip
        low, high = number(found.low), number(found.high)
        method += "; interval of the change by bootstrap over splits"
    test = mannwhitneyu(b, a, alternative="two-sided")
    effect = float(2 * test.statistic / (len(a) * len(b)) - 1)
    note = f"medians {np.median(a):.4g} and {np.median(b):.4g}; draws of one split are not independent"
    return Finding(quantity, group, value, low, high, len(a) + len(b), "% change of the median", method,
                   float(test.pvalue), effect, "rank-biserial r", note)  # fmt: skip


def change(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Change of the median, in percent."""
    return float(100 * (np.median(second) / np.median(first) - 1))


def _sentence(first: str, second: str, row: Finding, what: str) -> str:
    if row.value is None or row.p is None:
        return f"{second} cannot be compared with {first}: {row.note}."
    known = row.low is not None and row.high is not None
    span = f", interval {row.low:+.0f} to {row.high:+.0f} %" if known else ""
    verdict = "" if row.decided and row.p < 0.05 else "; the runs do not tell whether there is a difference"
    way = "fewer" if row.value < 0 else "more"
    return f"{second} needs {abs(row.value):.0f} % {way} {what} than {first} (median{span}, p = {row.p:.3g}){verdict}."


def _capped(results: Results) -> int:
    """Count the runs that were trained to their last epoch."""
    from neuroxai import io

    count = 0
    for done in results.done:
        values = io.read_json(done.run.bundle / "configs" / "train.json")
        last = {**values, **done.run.settings}["max_epochs"]
        count += int(read_result(done.folder).epochs >= last)
    return count


def _filters(results: Results, findings: Findings) -> None:
    """Show the mean heatmaps that begin at hidden filters, of the first run of each arm that has the layer."""
    for name, spec in results.study.explain.items():
        if spec.neurons is None:
            continue
        for arm in results.study.arms:
            runs = results.chosen(arm)
            groups = results.groups(runs[0], name) if runs else []
            scan = results.mean_scan(runs[0]) if runs else None
            for group in groups[:MOST_MAPS]:
                mean = results.mean_map(runs[0], name, group)
                assert mean is not None
                limit = float(np.percentile(np.abs(mean.data), 99.9)) or 1.0
                what = f"{group.replace('-', ' ')} of {spec.layer}, {arm} (first split)"
                findings.pictures.append(
                    Picture(f"{name}_{arm}_{group}", f"Mean heatmap that starts at {what}.",
                            partial(maps, mean, scan, limit, 6, ("", "")))
                )  # fmt: skip
            if len(groups) > MOST_MAPS:
                findings.doubts.append(f"{len(groups) - MOST_MAPS} further filters of {name} in {arm} are not shown.")
