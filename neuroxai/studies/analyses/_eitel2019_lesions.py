"""Relevance in lesions against the room that they take, and its sum against their number of voxels (Eitel 2019)."""

from __future__ import annotations

import pandas as pd

from neuroxai.cohort import class_groups
from neuroxai.errors import InputError
from neuroxai.statistics import correlation, mean_interval, paired_difference
from neuroxai.studies.analyses._common import number
from neuroxai.studies.findings import Finding
from neuroxai.studies.results import Results


def subjects(results: Results, arm: str, explanation: str, part: str = "test") -> pd.DataFrame:
    """Return one row a subject: the means over its scans and over the runs that explained it.

    Returns
    -------
    DataFrame
        participant_id, true, relevance (share of the positive relevance inside lesions), coverage (share of the brain),
        voxels (of lesions), sum (of all relevance, in standard deviations of the run over the part's scans, since the
        scale of relevance is the run's own) and scans. Without lesions relevance, coverage and voxels are 0; without
        positive relevance, relevance is NaN.
    """
    tables = []
    for done in results.chosen(arm):
        scans = results.scans(done, explanation, part)
        healthy, spread = scans["truth_voxels"].isna(), float(scans["sum"].std(ddof=0))
        relevance = scans["relevance_in_truth"].mask(healthy & (scans["positive"] > 0), 0.0)
        tables.append(pd.DataFrame({
            "participant_id": scans["participant_id"], "true": scans["true"], "relevance": relevance,
            "coverage": scans["coverage"].mask(healthy, 0.0), "voxels": scans["truth_voxels"].fillna(0.0),
            "sum": scans["sum"] / (spread if spread > 0 else 1.0),
        }))  # fmt: skip
    joined = pd.concat(tables, ignore_index=True)
    groups = joined.groupby(["participant_id", "true"], as_index=False, sort=True)
    return groups.mean().merge(groups.size().rename(columns={"size": "scans"}))


def lesion_findings(results: Results, arm: str, explanation: str, group: str, part: str = "test") -> list[Finding]:
    """Lesion relevance of an arm in patients and in all, set against coverage by pairs, subjects drawn."""
    table = subjects(results, arm, explanation, part)
    positive = class_groups(results.study.cohorts[results.study.arms[arm].cohort].classes)[1]
    patients = table[(table["true"] == positive) & (table["voxels"] > 0)]
    options = results.study.statistics
    how = options.bootstrap()
    runs = len(results.chosen(arm))
    rows = []
    for what, people in (("patients", patients), ("all scans", table)):
        for column, words in (("relevance", "lesion relevance"), ("coverage", "lesion coverage")):
            values = people[column].dropna().to_numpy() * 100
            if not len(values):
                continue
            low = high = None
            if len(values) > 1:
                interval = mean_interval(values, **how)
                low, high = number(interval.low), number(interval.high)
            note = f"means of {runs} runs a subject" + ("; without lesions 0" if what == "all scans" else "")
            rows.append(Finding(f"{words} in {what}", group, float(values.mean()), low, high, len(values), "%",
                                "BCa bootstrap over subjects", note=note))  # fmt: skip
    known = patients.dropna(subset=["relevance"])
    if len(known):
        found = paired_difference(known["relevance"] * 100, known["coverage"] * 100, **how)
        times = known["relevance"].mean() / known["coverage"].mean()
        rows.append(Finding(
            "lesion relevance - coverage", group, found.difference, found.low, found.high, found.n, "percentage points",
            "BCa bootstrap and Wilcoxon's signed-rank test over patients", found.p, found.effect, "rank-biserial r",
            "; ".join(filter(None, (f"{times:.3g} times the coverage", found.caveat("patients")))),
        ))  # fmt: skip
    return rows


def correlation_findings(results: Results, arm: str, explanation: str, group: str, part: str) -> list[Finding]:
    """Correlate lesion voxels with the sum of relevance: over all subjects as in the paper, and over patients alone.

    Controls have few lesions and low sums, so that over all subjects the difference of the groups alone correlates.
    """
    table = subjects(results, arm, explanation, part)
    positive = class_groups(results.study.cohorts[results.study.arms[arm].cohort].classes)[1]
    options, rows = results.study.statistics, []
    for people, who in ((table, ""), (table[table["true"] == positive], ", patients alone")):
        quantity, name = "correlation of lesion voxels and relevance sum", f"{group}, {part}{who}"
        try:
            found = correlation(people["voxels"], people["sum"], options.permutations, options.seed)
        except InputError as error:
            rows.append(Finding(quantity, name, None, n=len(people), note=str(error)))
            continue
        r, p = number(found.r), number(found.p)
        rows.append(Finding(
            quantity, name, r, n=found.n, method=f"Pearson's r, {found.permutations} permutations of subjects", p=p,
            effect=r, effect_name="r", note="" if r is not None else "all sums are alike",
        ))  # fmt: skip
    return rows
