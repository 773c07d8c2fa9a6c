"""Klingenberg 2021 (Study 4): what registration is worth: none, linear, non-linear."""

from __future__ import annotations

from itertools import combinations

from neuroxai.errors import InputError
from neuroxai.report.plots.charts import curves, intervals, strips
from neuroxai.studies.analyses.shared import compare, mean_roc, metric_findings, runs_doubt
from neuroxai.studies.findings import Finding, Findings, Picture
from neuroxai.studies.results import Results
from neuroxai.studies.spec import Study

COMPARED = ("balanced_accuracy", "roc_auc")


def check(study: Study) -> None:
    """Refuse a study of one arm, which has nothing to be compared with.

    Raises
    ------
    InputError
        Naming the key.
    """
    if len(study.arms) < 2:
        raise InputError(f"arms: there is one ({', '.join(study.arms)}), expected two or more to compare")


def analyse(results: Results) -> Findings:
    """Means with standard errors by arm, paired comparisons of all arms, ROC curves."""
    findings = Findings(metric_findings(results), doubts=[runs_doubt(results)])
    arms = [arm for arm in results.study.arms if results.chosen(arm)]
    compared: dict[tuple[str, str], Finding] = {}
    for first, second in combinations(arms, 2):
        for column in COMPARED:
            found = compare(results, first, second, column)
            findings.figures.extend(found)
            if found and column == "balanced_accuracy":
                # split means are the independent units, where there are several
                compared[first, second] = found[-1]
    table = results.runs[results.runs["chosen"]]
    points = {arm: (100 * table[table["arm"] == arm]["balanced_accuracy"]).tolist() for arm in arms}
    frame = findings.frame()
    rows = frame[frame["quantity"] == "balanced accuracy"]
    level = f"{results.study.statistics.level:.0%}".replace("%", " %")
    findings.pictures = [
        Picture(
            "balanced_accuracy",
            f"Balanced accuracy on the test part by arm: mean with {level} interval; grey, single runs.",
            lambda: intervals(rows, "balanced accuracy, %", points),
        ),
        Picture(
            "roc",
            "ROC curves, mean over runs with the standard error (where there are several).",
            lambda: curves(mean_roc(results), "1 - specificity", "sensitivity", diagonal=True),
        ),
        Picture("runs", "Balanced accuracy of every run, in order of splits; bars are medians.",
                lambda: strips(points, "balanced accuracy, %")),
    ]  # fmt: skip
    for (first, second), row in compared.items():
        findings.answers.append(_sentence(first, second, row))
    findings.doubts.append(
        "More splits narrow the intervals; a cohort that is aligned already has nothing for registration to gain."
    )
    return findings


def _sentence(first: str, second: str, row: Finding) -> str:
    assert row.value is not None
    assert row.p is not None
    verb = "above" if row.value > 0 else "below" if row.value < 0 else "equal to"
    known = row.low is not None and row.high is not None
    span = f", interval {row.low:.1f} to {row.high:.1f}" if known else ""
    verdict = "" if row.decided else "; the runs do not tell which is better"
    over = row.quantity.split(" over ")[-1]
    return (
        f"Balanced accuracy of {second} is {abs(row.value):.1f} points {verb} that of {first} (over "
        f"{over}{span}, p = {row.p:.3g}){verdict}."
    )
