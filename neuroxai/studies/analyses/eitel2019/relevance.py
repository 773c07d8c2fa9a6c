"""Relevance in lesions against their room, its sum against their number of voxels, and regions (Eitel 2019)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuroxai.cohort import class_groups
from neuroxai.errors import InputError
from neuroxai.statistics import correlation, group_difference, paired_difference
from neuroxai.studies.analyses.shared import limits, merged, number
from neuroxai.studies.findings import Finding
from neuroxai.studies.results import Results


def subjects(results: Results, arm: str, explanation: str, part: str = "test") -> pd.DataFrame:
    """Return one row per subject: the means over its scans and over the runs that explained it.

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
    runs = len(results.chosen(arm))
    rows = []
    for what, people in (("patients", patients), ("all scans", table)):
        for column, words in (("relevance", "lesion relevance"), ("coverage", "lesion coverage")):
            values = people[column].dropna().to_numpy() * 100
            if not len(values):
                continue
            low, high = limits(values, options)
            note = f"means of {runs} runs per subject" + ("; without lesions 0" if what == "all scans" else "")
            rows.append(Finding(f"{words} in {what}", group, float(values.mean()), low, high, len(values), "%",
                                "BCa bootstrap over subjects", note=note))  # fmt: skip
    known = patients.dropna(subset=["relevance"])
    if len(known):
        found = paired_difference(known["relevance"] * 100, known["coverage"] * 100, **options.bootstrap())
        times = known["relevance"].mean() / known["coverage"].mean()
        rows.append(Finding(
            "lesion relevance - coverage", group, found.difference, found.low, found.high, found.n, "percentage points",
            "BCa bootstrap and Wilcoxon's signed-rank test over patients", found.p, found.effect, "rank-biserial r",
            "; ".join(filter(None, (f"{times:.3g} times the coverage", found.caveat("patients")))),
            found.caveat("patients"),
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


WHO = ["participant_id", "session_id"]


def region_values(results: Results, arm: str, explanation: str, atlas: str, part: str = "test") -> pd.DataFrame:
    """Return relevance per voxel of each subject and region, means over scans and runs.

    In multiples of the run's mean absolute relevance per voxel of all regions, since each run has a scale of its
    own: 1 is what an average voxel has.

    Returns
    -------
    DataFrame
        participant_id, true, region, mean (signed), absolute. A region without a voxel is absent.
    """
    tables = []
    for done in results.chosen(arm):
        table = results.regions(done, explanation, atlas, part)
        whole = table["absolute"].sum() / max(float(table["voxels"].sum()), 1.0)
        true = _with_session(results.scans(done, explanation, part))[[*WHO, "true"]]
        both = merged(table).merge(true, on=WHO)
        both = both[both["voxels"] > 0]
        unit = whole if whole > 0 else 1.0
        tables.append(
            both.assign(mean=both["sum"] / both["voxels"] / unit, absolute=both["absolute"] / both["voxels"] / unit)
        )
    joined = pd.concat(tables, ignore_index=True)
    return joined.groupby(["participant_id", "true", "region"], as_index=False, sort=True)[["mean", "absolute"]].mean()


def _with_session(table: pd.DataFrame) -> pd.DataFrame:
    """Write an absent session as an empty text, which tables can be joined by."""
    session = table["session_id"].astype(object)
    return table.assign(session_id=session.where(session.notna(), ""))


def region_table(
    results: Results, arms: dict[str, str], explanation: str, atlas: str, part: str = "test"
) -> pd.DataFrame:
    """Return a row an arm and region: both groups' means and their difference, tested over subjects.

    Parameters
    ----------
    arms : dict of str to str
        Title to arm.

    Returns
    -------
    DataFrame
        arm, region, for each class mean_CLASS and absolute_CLASS, difference (patients minus controls), p_family
        (against the largest difference of all regions), leads (rank by the sum of both groups' absolute means, as in
        the paper).
    """
    found = []
    for title, arm in arms.items():
        values = region_values(results, arm, explanation, atlas, part)
        controls, patients = results.study.cohorts[results.study.arms[arm].cohort].classes
        wide = values.pivot(index=["participant_id", "true"], columns="region", values="mean")
        member = wide.index.get_level_values("true") == patients
        rows = pd.DataFrame({"arm": title, "region": wide.columns})
        size = values.pivot(index=["participant_id", "true"], columns="region", values="absolute")
        for name, who in ((controls, ~member), (patients, member)):
            for kind, table in (("mean", wide), ("absolute", size)):
                part_mean = table[who].mean(axis=0) if who.any() else pd.Series(np.nan, index=table.columns)
                rows[f"{kind}_{name}"] = part_mean.to_numpy()
        rows["difference"] = rows[f"mean_{patients}"] - rows[f"mean_{controls}"]
        rows["p_family"] = np.nan
        if min(member.sum(), (~member).sum()) > 1:
            options = results.study.statistics
            rows["p_family"] = group_difference(wide.to_numpy(), member, options.permutations, options.seed).p_family
        strength = rows[[f"mean_{controls}", f"mean_{patients}"]].abs().sum(axis=1, min_count=1)
        rows["leads"] = strength.rank(ascending=False, method="first")
        found.append(rows)
    return pd.concat(found, ignore_index=True)
