"""Rieke 2018: how far the score drops without a region, and whether other heatmaps name the same regions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuroxai.errors import InputError
from neuroxai.report.plots.charts import bars, matrix
from neuroxai.statistics import bootstrap
from neuroxai.studies.analyses.shared import known_options, metric_findings, number, runs_doubt
from neuroxai.studies.findings import Finding, Findings, Picture
from neuroxai.studies.results import Results
from neuroxai.studies.spec import Study

OCCLUSION = "region_occlusion"


def check(study: Study) -> None:
    """Refuse a study that does not occlude regions.

    Raises
    ------
    InputError
        Naming the key.
    """
    if OCCLUSION not in {spec.method for spec in study.explain.values()}:
        methods = {name: spec.method for name, spec in study.explain.items()}
        raise InputError(f"explain: none has method {OCCLUSION} (there are {methods or 'none'}); add one")
    known_options(study, ())


def analyse(results: Results) -> Findings:
    """Mean drop by region over true positives, and rank agreement of all explanations over regions."""
    study = results.study
    tables = {name: _positives(results, name) for name in study.explain}
    lead = next(name for name, spec in study.explain.items() if spec.method == OCCLUSION)
    findings = Findings(metric_findings(results, ("balanced_accuracy",)), doubts=[runs_doubt(results)])
    if tables[lead].empty:
        findings.answers.append("No patient of the test part was recognised: there is nothing to explain.")
        return findings
    options = study.statistics
    # the map of a region's occlusion holds the drop in each of its voxels: their mean is the drop
    density = {name: table.pivot_table(index="who", columns="name", values="density") for name, table in tables.items()}
    drops = density[lead].mean().sort_values(ascending=False, kind="stable").dropna()
    findings.tables["regions"] = pd.DataFrame(
        {"region": drops.index, **{name: frame.mean()[drops.index].to_numpy() for name, frame in density.items()}}
    )
    for name, frame in density.items():
        if name == lead:
            continue
        common = [region for region in drops.index if frame[region].notna().any()]
        ours, theirs = density[lead][common].to_numpy(), frame[common].to_numpy()

        def agreement(rows: np.ndarray, a: np.ndarray = ours, b: np.ndarray = theirs) -> float:
            chosen = rows.astype(int)
            return _spearman(np.nanmean(a[chosen], axis=0), np.nanmean(b[chosen], axis=0))

        rows = np.arange(len(ours))
        low = high = None
        subjects = [str(who).split("|")[1] for who in frame.index]
        if len(set(subjects)) > 1:
            found = bootstrap(agreement, rows, clusters=[subjects], method="percentile", **options.bootstrap())
            low, high = number(found.low), number(found.high)
        findings.figures.append(
            Finding(f"rank agreement with {lead}", name, number(agreement(rows)), low, high, len(set(subjects)),
                    method="Spearman over regions, bootstrap over patients",
                    note=f"{len(common)} regions; n are patients")
        )  # fmt: skip
    top = drops.head(study.statistics.top)
    findings.pictures.append(
        Picture(
            "drops",
            f"Mean drop of the score when one region is set to zero, over {len(density[lead])} recognised "
            "patients (all runs).",
            lambda: bars(list(top.index), {"drop of the score": top.tolist()}, "mean drop of the class score"),
        )
    )
    ranks = pd.DataFrame({n: f.mean()[drops.index].rank(ascending=False) for n, f in density.items()}).loc[top.index]
    findings.pictures.append(
        Picture(
            "ranks",
            f"Rank of those regions by mean density in each explanation (1 is highest, of {len(drops)}).",
            lambda: matrix(ranks, "rank of the region"),
        )
    )
    findings.answers.append(
        f"Without {top.index[0]} the score drops most, by {top.iloc[0]:.3g} on average over {len(density[lead])} "
        f"recognised patients; then {', '.join(top.index[1:4])}."
    )
    findings.doubts.append(
        "A region set to zero is a hole that no training scan has: part of the drop may be the hole's."
    )
    return findings


def _positives(results: Results, name: str) -> pd.DataFrame:
    """Region scores of the recognised patients of all runs; ``who`` tells run, participant and session."""
    frames = []
    for done in results.chosen():
        if not results.study.arms[done.run.arm].explain:
            continue
        scans = results.scans(done, name)
        known = scans[scans["cell"] == "TP"]
        keys = set(zip(known["participant_id"], known["session_id"].fillna(""), strict=True))
        table = results.regions(done, name)
        pairs = list(zip(table["participant_id"], table["session_id"].fillna(""), strict=True))
        own = table[[pair in keys for pair in pairs]].copy()
        own["who"] = [f"{done.run.identifier}|{p}|{s}" for p, s in pairs if (p, s) in keys]
        frames.append(own)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["who", "name", "density"])


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import spearmanr

    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 3 or np.ptp(first[known]) == 0 or np.ptp(second[known]) == 0:
        return float("nan")
    return float(spearmanr(first[known], second[known]).statistic)
