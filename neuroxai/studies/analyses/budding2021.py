"""Heatmaps scored against planted lesions: which methods find them, and which need no training to (Budding 2021)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from neuroxai.errors import InputError, one_of
from neuroxai.report.plots import charts as draw
from neuroxai.report.plots.charts import interval_panels
from neuroxai.statistics import false_discovery, paired_difference
from neuroxai.studies.analyses.shared import known_options, limits, metric_findings, number, runs_doubt
from neuroxai.studies.findings import Finding, Findings, Picture
from neuroxai.studies.results import Results
from neuroxai.studies.spec import Study

MEASURES = {
    "roc_auc": ("ROC area of lesion voxels", ""),
    "relevance_mass": ("positive relevance in lesions", "%"),
    "density_ratio": ("density ratio", ""),
}
SCALES = {"relevance_mass": 100.0}
OPTIONS = {"trained", "untrained"}


def check(study: Study) -> None:
    """Ask for a trained arm, and for two methods at least.

    Raises
    ------
    InputError
        Naming the key and the choices.
    """
    known_options(study, OPTIONS)
    for key, arm in study.options.items():
        if arm not in study.arms:
            raise one_of(f"arm for options: {key}", arm, study.arms)
    trained = study.options.get("trained", "trained")
    if trained not in study.arms:
        raise one_of("arm for options: trained", trained, study.arms)
    if len(study.explain) < 2:
        raise InputError(f"explain: has {len(study.explain)} methods, expected two or more to compare")
    for name, spec in study.explain.items():
        if spec.neurons is not None:
            raise InputError(f"explain: {name}: neurons have no truth; leave them out")
    for arm in {trained, study.options.get("untrained", trained)}:
        if not study.arms[arm].explain:
            raise InputError(f"arms: {arm}: explain is false, but its heatmaps are what is asked for")
    if "test" not in study.parts:
        raise InputError(f"parts are {study.parts}, expected test among them")


def scores(results: Results, arm: str, column: str) -> pd.DataFrame:
    """Return a measure of each subject with lesions (rows) by each method, means over scans and runs.

    A value that is not finite (no positive relevance outside, or none at all) is missing.
    """
    columns = {}
    for method in results.study.explain:
        tables = [results.scans(done, method) for done in results.chosen(arm)]
        joined = pd.concat(tables).dropna(subset=["truth_voxels"])
        values = joined[column].where(np.isfinite(joined[column]))
        columns[method] = values.groupby(joined["participant_id"]).mean() * SCALES.get(column, 1.0)
    return pd.DataFrame(columns).sort_index()


def ranks(table: pd.DataFrame) -> tuple[pd.Series, float | None]:
    """Return each method's mean rank over subjects (1 is best), and Friedman's p; subjects with all values count."""
    from scipy.stats import friedmanchisquare

    whole = table.dropna()
    mean = whole.rank(axis=1, ascending=False).mean()
    if len(whole) < 2 or table.shape[1] < 3 or (whole.nunique(axis=1) == 1).all():
        return mean, None
    return mean, number(friedmanchisquare(*(whole[name] for name in whole)).pvalue)


def analyse(results: Results) -> Findings:
    """Score methods against the planted lesions."""
    study = results.study
    trained = str(study.options.get("trained", "trained"))
    other = study.options.get("untrained", "untrained")
    done = {run.run.arm for run in results.chosen()}
    found = Findings(metric_findings(results, ("balanced_accuracy", "roc_auc")))
    if trained not in done or not len(scores(results, trained, "roc_auc")):
        found.doubts = [
            "No run of the trained arm is finished, or no scan of the test part has lesions.",
            runs_doubt(results),
        ]
        return found
    arms = [arm for arm in (trained, other) if arm in done]
    chance = _chance(results, trained)
    tables = {(arm, column): scores(results, arm, column) for arm in arms for column in MEASURES}
    for (arm, column), table in tables.items():
        found.figures += _against_chance(results, arm, column, table, chance[column])
    rank, p = ranks(tables[trained, "roc_auc"])
    for name in rank.sort_values(kind="stable").index:
        found.figures.append(Finding(
            "mean rank by ROC area", name, number(rank[name]), n=len(tables[trained, "roc_auc"].dropna()),
            method=f"1 is best of {len(rank)}; Friedman's test of all methods over subjects", p=p,
        ))  # fmt: skip
    if len(arms) > 1:
        found.figures += _learnt(results, tables[trained, "roc_auc"], tables[other, "roc_auc"])
    found.tables["methods"] = _overview(tables, rank, arms)
    found.pictures = _pictures(results, found.figures, tables, arms, chance)
    found.answers = _answers(found.figures, tables[trained, "roc_auc"], rank, p, len(arms) > 1)
    found.doubts = _doubts(results, len(arms) > 1)
    return found


def _chance(results: Results, arm: str) -> dict[str, float]:
    """Return what an uninformative map has: half the area, relevance as lesions have room, equal density."""
    method = next(iter(results.study.explain))
    coverage = pd.concat([results.scans(done, method) for done in results.chosen(arm)])["coverage"]
    return {"roc_auc": 0.5, "relevance_mass": float(coverage.mean()) * 100, "density_ratio": 1.0}


def _against_chance(results: Results, arm: str, column: str, table: pd.DataFrame, chance: float) -> list[Finding]:
    (words, unit), rows = MEASURES[column], []
    for method in table:
        values = table[method].dropna()
        if not len(values):
            rows.append(Finding(words, f"{method}, {arm}", None, note="not finite in any subject"))
            continue
        low, high = limits(values, results.study.statistics)
        seen = paired_difference(values, np.full(len(values), chance), **results.study.statistics.bootstrap())
        rows.append(Finding(
            words, f"{method}, {arm}", float(values.mean()), low, high, len(values), unit,
            f"BCa bootstrap over subjects; Wilcoxon's signed-rank test against chance, {chance:.4g}", seen.p,
            seen.effect, "rank-biserial r", seen.caveat("subjects"), seen.caveat("subjects"),
        ))  # fmt: skip
    return rows


def _learnt(results: Results, trained: pd.DataFrame, untrained: pd.DataFrame) -> list[Finding]:
    """Trained minus untrained by subject: what a method owes to what was learnt; q over the methods."""
    options, rows = results.study.statistics, []
    both = trained.index.intersection(untrained.index)
    seen = {}
    for method in map(str, trained):
        pairs = pd.DataFrame({"a": trained[method].loc[both], "b": untrained[method].loc[both]}).dropna()
        if len(pairs):
            seen[method] = paired_difference(pairs["a"], pairs["b"], **options.bootstrap())
    q = false_discovery([one.p for one in seen.values()]).tolist() if seen else []
    for (method, one), corrected in zip(seen.items(), q, strict=True):
        rows.append(Finding(
            "ROC area, trained - untrained", method, one.difference, one.low, one.high, one.n, "",
            "BCa bootstrap and Wilcoxon's signed-rank test over subjects", one.p, one.effect, "rank-biserial r",
            f"q = {corrected:.2g} over {len(seen)} methods",
        ))  # fmt: skip
    return rows


def _overview(tables: dict[tuple[str, str], pd.DataFrame], rank: pd.Series, arms: list[str]) -> pd.DataFrame:
    rows = pd.DataFrame({"method": rank.index, "mean_rank": rank.to_numpy()})
    for column in MEASURES:
        for arm in arms:
            rows[f"{column}_{arm}"] = tables[arm, column].mean().reindex(rank.index).to_numpy()
    return rows.sort_values("mean_rank", kind="stable", ignore_index=True)


def _pictures(
    results: Results,
    figures: list[Finding],
    tables: dict[tuple[str, str], pd.DataFrame],
    arms: list[str],
    chance: dict[str, float],
) -> list[Picture]:
    order = tables[arms[0], "roc_auc"].mean().sort_values(ascending=False, kind="stable").index
    found = []
    for column, name in (("roc_auc", "areas"), ("relevance_mass", "mass")):
        words, unit = MEASURES[column]
        panels = []
        for arm in arms:
            expected = [(words, f"{m}, {arm}") for m in order]
            rows = [f for key in expected for f in figures if (f.quantity, f.group) == key and f.value is not None]
            frame = pd.DataFrame(
                [{"group": f.group.rsplit(", ", 1)[0], "value": f.value, "low": f.low, "high": f.high} for f in rows],
                columns=["group", "value", "low", "high"],
            )
            points = {m: tables[arm, column][m].dropna().tolist() for m in order}
            panels.append((f"{words}{', ' + unit if unit else ''} ({arm})", frame, points))
        found.append(Picture(
            name,
            f"{words[0].upper() + words[1:]} by method, of each subject with lesions (grey), mean with interval over "
            f"subjects; {' and '.join(arms)} networks. Dashed: chance, {chance[column]:.3g}.",
            partial(interval_panels, panels, chance[column]),
        ))  # fmt: skip
    whole = tables[arms[0], "roc_auc"].corr(method="spearman")
    if len(tables[arms[0], "roc_auc"].dropna()) > 2:
        found.append(Picture(
            "agreement",
            "Spearman's correlation over subjects between methods' ROC areas: whether they find the same scans easy.",
            partial(draw.matrix, whole.loc[order, order], "Spearman's correlation of ROC areas", -1.0, 1.0),
        ))  # fmt: skip
    return found


def _answers(
    figures: list[Finding], areas: pd.DataFrame, rank: pd.Series, p: float | None, compared: bool
) -> list[str]:
    best, worst = str(rank.idxmin()), str(rank.idxmax())
    differ = (
        "too few subjects or methods for a test" if p is None else f"Friedman's p = {p:.2g} over {len(areas)} subjects"
    )
    said = [
        f"By ROC area {best} is best (mean {areas[best].mean():.3f}, mean rank {rank[best]:.2f} of {len(rank)}) and "
        f"{worst} last (mean {areas[worst].mean():.3f}); {differ}."
    ]
    words = MEASURES["roc_auc"][0]
    rows = [f for f in figures if f.quantity == words and f.low is not None]
    above = [f.group for f in rows if f.low is not None and f.low > 0.5 and not f.caveat]
    below = [f.group for f in rows if f.high is not None and f.high < 0.5 and not f.caveat]
    said.append(
        f"Above chance by their interval: {'; '.join(above) or 'none'}. Below chance: {'; '.join(below) or 'none'}."
    )
    if compared:
        gains = [f for f in figures if f.quantity == "ROC area, trained - untrained" and f.low is not None]
        owed = [f"{f.group} ({f.value:+.3f})" for f in gains if f.low is not None and f.low > 0]
        said.append(
            f"Better on trained than on untrained networks: {', '.join(owed) or 'none'}, of {len(gains)} methods."
        )
    return said


def _doubts(results: Results, compared: bool) -> list[str]:
    said = [
        "Lesions are bright, and a map of brightness finds them without any network: only what a method gains "
        "from untrained to trained networks shows what was learnt."
        if compared
        else "No untrained network stands beside: lesions are bright, and a map of brightness finds them, too.",
        "A network may tell the groups without using every lesion: the truth is where the effect is, not what the "
        "network uses. A method that is true to its network can score low.",
        "Methods are scored on the same subjects and networks; intervals are over these subjects alone.",
    ]
    weak = [
        f for f in metric_findings(results, ("balanced_accuracy",))
        if f.group == results.study.options.get("trained", "trained") and f.value is not None and f.value < 75
    ]  # fmt: skip
    if weak:
        said.insert(
            0, f"The networks are weak (balanced accuracy {weak[0].value:.1f} %): they may not have learnt lesions."
        )
    return [*said, runs_doubt(results)]
