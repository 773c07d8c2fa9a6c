"""Multiple sclerosis on FLAIR: transfer learning, lesions filled, relevance in lesions (Eitel 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from neuroxai.cohort import class_groups
from neuroxai.errors import InputError, one_of
from neuroxai.statistics import overlap, paired_difference
from neuroxai.studies.analyses.eitel2019.baselines import LOAD, SHOWN, VOXELS, baseline_findings, check_baselines
from neuroxai.studies.analyses.eitel2019.figures import pictures
from neuroxai.studies.analyses.eitel2019.relevance import correlation_findings, lesion_findings, region_table
from neuroxai.studies.analyses.shared import WORDS, known_options, metric_findings, runs_doubt
from neuroxai.studies.findings import Finding, Findings
from neuroxai.studies.results import Results
from neuroxai.studies.spec import Study
from neuroxai.studies.trained import atlas_label

ROLES = ("scratch", "transfer", "filled")
OPTIONS = {*ROLES, "svm_components", "top", "maps"}


def check(study: Study) -> None:
    """Ask for the arms that are compared, on one cohort, and for an explanation of them.

    Raises
    ------
    InputError
        Naming the key and the choices.
    """
    known_options(study, OPTIONS)
    roles = roles_of(study)
    for role in ("scratch", "transfer"):
        if role not in roles:
            raise one_of(f"arm for options: {role}", study.options.get(role, role), study.arms)
    if "filled" in study.options and "filled" not in roles:
        raise one_of("arm for options: filled", study.options["filled"], study.arms)
    cohort = study.arms[roles["scratch"]].cohort
    for role, arm in roles.items():
        if study.arms[arm].cohort != cohort:
            raise InputError(
                f"arms: {arm} ({role}): cohort is {study.arms[arm].cohort!r}, expected {cohort!r}, scratch's"
            )
    if study.arms[roles["transfer"]].pretrained is None:
        raise InputError(
            f"arms: {roles['transfer']} (transfer): has no pretrained; name the arm whose weights it takes"
        )
    if "filled" in roles and not study.arms[roles["filled"]].fill_lesions:
        raise InputError(f"arms: {roles['filled']} (filled): has no fill_lesions; choose valverde or eitel2019")
    if not study.explain:
        raise InputError("explain: there is none; this analysis asks how much relevance lies in lesions: add one")
    if not explained(study):
        raise InputError(f"arms: none of cohort {cohort} is explained; leave explain: false out of one")
    for name, spec in study.explain.items():
        if spec.neurons is not None:
            raise InputError(f"explain: {name}: neurons are not looked at by this analysis; leave them out")
    if "test" not in study.parts:
        raise InputError(f"parts are {study.parts}, expected test among them")
    top = study.options.get("top", 30)
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise InputError(f"options: top is {top!r}, expected a whole number of regions from 1")
    check_baselines(study)


def roles_of(study: Study) -> dict[str, str]:
    """Return which arm is from scratch, which pre-trained, which on filled lesions; filled may be absent."""
    named = {role: str(study.options.get(role, role)) for role in ROLES}
    return {role: arm for role, arm in named.items() if arm in study.arms}


def explained(study: Study) -> list[str]:
    """Return the arms of the lesions' cohort whose runs are explained."""
    cohort = study.arms[roles_of(study)["scratch"]].cohort
    return [name for name, arm in study.arms.items() if arm.explain and arm.cohort == cohort]


def analyse(results: Results) -> Findings:
    """Compare networks and baselines, and ask what the networks look at."""
    study = results.study
    roles, done = roles_of(study), {run.run.arm for run in results.chosen()}
    looked_at = [arm for arm in explained(study) if arm in done and _is_explained(results, arm)]
    first, *others = study.explain
    found = Findings(metric_findings(results))
    lost: list[str] = []
    if roles["scratch"] in done:
        rows, lost = baseline_findings(results, roles["scratch"])
        found.figures += rows
    found.tables["table_3"] = table_3(found.figures, list(study.arms))
    found.figures += _differences(results, {role: arm for role, arm in roles.items() if arm in done})
    for explanation in study.explain:
        for arm in looked_at:
            found.figures += lesion_findings(
                results, arm, explanation, arm if explanation == first else f"{arm}, {explanation}"
            )
    trained = [arm for arm in looked_at if study.arms[arm].train]
    for part in study.parts:
        for arm in trained:
            found.figures += correlation_findings(results, arm, first, arm, part)
    regions: dict[str, pd.DataFrame] = {}
    if looked_at:
        for atlas in study.atlases:
            label = atlas_label(atlas)
            regions[label] = region_table(results, {arm: arm for arm in looked_at}, first, atlas)
            found.tables[f"regions_{label}"] = regions[label]
            found.figures += _overlaps(results, regions[label], label, roles)
    found.pictures = pictures(results, found.figures, regions, roles, looked_at)
    found.answers = answers(study, found.figures, roles, first)
    found.doubts = [*doubts(study, found.figures, roles, others), *lost, runs_doubt(results)]
    return found


def _is_explained(results: Results, arm: str) -> bool:
    """Whether all runs of an arm are explained; a study that was stopped may have trained more than it explained."""
    try:
        for run in results.chosen(arm):
            for explanation in results.study.explain:
                for part in results.study.parts:
                    results.scans(run, explanation, part)
    except InputError:
        return False
    return True


def table_3(figures: list[Finding], arms: list[str]) -> pd.DataFrame:
    """Return the paper's table 3: a row a classifier, each metric in percent with its interval."""
    rows = []
    for model in (LOAD, VOXELS, *arms):
        row: dict[str, object] = {"model": model}
        for metric in SHOWN:
            one = next((f for f in figures if f.quantity == WORDS[metric] and f.group == model), None)
            for key in ("value", "low", "high"):
                row[f"{metric}{'' if key == 'value' else '_' + key}"] = getattr(one, key) if one else None
            row["runs"] = one.n if one else row.get("runs")
        if row["runs"]:
            rows.append(row)
    return pd.DataFrame(rows)


def _differences(results: Results, roles: dict[str, str]) -> list[Finding]:
    """Pre-trained minus from scratch, and filled minus pre-trained, by pairs of runs."""
    table = results.runs[results.runs["chosen"]]
    options, rows = results.study.statistics, []
    pairs = [(a, b) for a, b in (("transfer", "scratch"), ("filled", "transfer")) if a in roles and b in roles]
    for first, second in pairs:
        one, two = (table[table["arm"] == roles[role]].set_index(["split", "repetition"]) for role in (first, second))
        both = one.index.intersection(two.index)
        for metric, words in WORDS.items():
            change = ((one.loc[both, metric] - two.loc[both, metric]) * 100).dropna()
            # repetitions of one split share its test subjects: where there are splits, they are the pairs
            by_split = change.groupby(level="split").mean()
            what, values = ("splits", by_split) if len(by_split) > 1 else ("repetitions of one split", change)
            if not len(values):
                continue
            seen = paired_difference(values, [0.0] * len(values), **options.bootstrap())
            rows.append(Finding(
                words, f"{roles[first]} - {roles[second]}", float(change.mean()), seen.low, seen.high, len(change), "%",
                f"BCa bootstrap and Wilcoxon's signed-rank test over {seen.n} {what}", seen.p, seen.effect,
                "rank-biserial r", "; ".join(filter(None, ("percentage points", seen.caveat(what)))), seen.caveat(what),
            ))  # fmt: skip
    return rows


def _overlaps(results: Results, table: pd.DataFrame, label: str, roles: dict[str, str]) -> list[Finding]:
    """Share of leading regions that two networks have in common, by the patients' absolute mean."""
    patients = class_groups(results.study.cohorts[results.study.arms[roles["scratch"]].cohort].classes)[1]
    wide = table.pivot(index="region", columns="arm", values=f"mean_{patients}").abs().dropna()
    k, rows = min(results.study.statistics.top, len(wide)), []
    for role in ("scratch", "filled"):
        pair = roles["transfer"], roles.get(role, "")
        if k and all(arm in wide for arm in pair):
            share = overlap(wide[pair[0]], wide[pair[1]], k) * 100
            rows.append(Finding(
                f"overlap of the {k} leading regions", f"{pair[0]} and {pair[1]}, {label}", share, n=len(wide),
                unit="%", method=f"two random orders of {len(wide)} regions share {100 * k / len(wide):.3g} %",
            ))  # fmt: skip
    return rows


def finding(figures: Sequence[Finding], quantity: str, group: str) -> Finding | None:
    """Return a figure that has a value, or None."""
    return next((f for f in figures if (f.quantity, f.group) == (quantity, group) and f.value is not None), None)


def answers(study: Study, figures: Sequence[Finding], roles: dict[str, str], explanation: str) -> list[str]:
    """Say what the study says."""
    said = []
    scratch, transfer, filled = (roles.get(role, "") for role in ("scratch", "transfer", "filled"))
    for metric in ("balanced accuracy", "ROC area"):
        one, two = finding(figures, metric, transfer), finding(figures, metric, scratch)
        change = finding(figures, metric, f"{transfer} - {scratch}")
        if one and two and change:
            said.append(
                f"Pre-training: mean {metric} {one.value:.1f} % pre-trained, {two.value:.1f} % from scratch; "
                f"{_verdict(change, 'pre-trained networks do better', 'pre-trained networks do worse')}."
            )
    load, best = finding(figures, "ROC area", LOAD), finding(figures, "ROC area", transfer)
    if load and best:
        more = (load.value or 0.0) - (best.value or 0.0)
        order = "more than" if more > 0 else "less than" if more < 0 else "as much as"
        said.append(
            f"Lesion load alone, by a support vector machine, has a ROC area of {load.value:.1f} %, {order} the "
            f"pre-trained networks' {best.value:.1f} %."
        )
    for arm in (name for name, one in study.arms.items() if one.train):
        excess = finding(figures, "lesion relevance - coverage", arm)
        share, room = (finding(figures, f"lesion {w} in patients", arm) for w in ("relevance", "coverage"))
        if excess and share and room:
            where = "where lesions were" if study.arms[arm].fill_lesions else "in lesions"
            said.append(
                f"{arm}: patients have {share.value:.3g} % of the positive relevance ({explanation}) {where}, "
                f"which are {room.value:.3g} % of the brain; {_verdict(excess, 'more than that', 'less than that')}."
            )
    worse = finding(figures, "balanced accuracy", f"{filled} - {transfer}")
    rest = finding(figures, "balanced accuracy", filled)
    if worse and rest:
        said.append(
            f"Lesions filled: mean balanced accuracy {rest.value:.1f} %; "
            f"{_verdict(worse, 'networks do better without lesions', 'networks do worse without lesions')}."
        )
    for part in study.parts:
        r, group = "correlation of lesion voxels and relevance sum", f"{transfer}, {part}"
        whole, alone = finding(figures, r, group), finding(figures, r, f"{group}, patients alone")
        if whole:
            inside = f"; among patients alone r = {alone.value:.2f}, p = {alone.p:.2g}" if alone else ""
            said.append(
                f"Lesion voxels against the sum of relevance, {transfer}, {part} part: r = {whole.value:.2f}, "
                f"p = {whole.p:.2g} over all subjects{inside}."
            )
    return said


def doubts(study: Study, figures: Sequence[Finding], roles: dict[str, str], others: Sequence[str]) -> list[str]:
    """Say what would change the conclusion, and what limits it."""
    scratch, transfer = roles["scratch"], roles["transfer"]
    said = []
    change = finding(figures, "balanced accuracy", f"{transfer} - {scratch}")
    if change and change.caveat:
        said.append(
            f"Pre-trained against from scratch: {change.caveat}, even if all point one way; "
            "the interval, too, is that of a handful. Six repetitions or splits are the least that can."
        )
    if study.split.repeats == 1:
        said.append(
            "All runs share one split: repetitions differ by initialisation and order alone, and another choice of "
            "test subjects may change any of these figures. Several splits (split: repeats) would tell."
        )
    cohort = study.cohorts[study.arms[scratch].cohort]
    if cohort.simulate:
        said.append(
            "The scans are simulated: controls have no lesion at all, so lesion load separates the groups by "
            "construction, and a network that finds lesions is right. Nothing here is a statement about patients."
        )
    settings = {**study.settings, **study.arms[transfer].settings}
    if settings.get("normalisation", "maximum") in ("maximum", "minmax"):
        said.append(
            "Scans are divided by their maximum, which in a patient is often a lesion's: the rest of the brain is "
            "darker, and a network can tell patients by overall brightness alone. Lesion relevance at or "
            "below coverage would be a sign of it; normalisation: zscore closes that way."
        )
    for arm in (name for name, one in study.arms.items() if not one.train):
        share = finding(figures, "lesion relevance in patients", arm)
        room = finding(figures, "lesion coverage in patients", arm)
        if share and room:
            said.append(
                f"{arm}: these networks were not trained on these scans and have {share.value:.3g} % of the positive "
                f"relevance in lesions, {room.value:.3g} % of the brain: bright voxels draw relevance by themselves, "
                "and only what trained networks have beyond that shows what was learnt."
            )
    if finding(figures, "balanced accuracy", VOXELS):
        said.append(
            "The machine on voxels takes scans divided by their maximum, whatever the networks take: overall "
            "brightness alone may tell it the groups."
        )
    for other in others:
        one, two = (finding(figures, "lesion relevance in patients", g) for g in (transfer, f"{transfer}, {other}"))
        if one and two:
            said.append(
                f"By {other} the {transfer} networks have {two.value:.3g} % of positive relevance in lesions, where "
                f"{next(iter(study.explain))} says {one.value:.3g} %."
            )
    said.append(
        "Relevance in lesions above their coverage says that relevance gathers there, not that the decision hangs on "
        "them; the networks on filled lesions are the test of that, and they were trained without lesions, not only "
        "shown none."
    )
    return said


def _verdict(change: Finding, above: str, below: str) -> str:
    value = change.value or 0.0
    unit = "percentage points"
    if change.low is None or change.high is None:
        return f"the difference is {value:+.3g} {unit}, without an interval ({change.n} pairs): no conclusion"
    where = (
        f"difference {value:+.3g} {unit}, interval {change.low:.3g} to {change.high:.3g}, p = {change.p:.2g}, "
        f"n = {change.n}"
    )
    if not change.decided or change.caveat:
        return f"{where}: undecided"
    return f"{where}: {above if value > 0 else below}"
