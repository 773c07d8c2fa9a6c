"""What came out, in sentences built from the figures whichever way they fall (Eitel 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from neuroxai.studies.analyses._eitel2019_baselines import LOAD, VOXELS
from neuroxai.studies.declaration import Study
from neuroxai.studies.findings import Finding


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
    if change and "cannot give a p" in change.note:
        said.append(
            f"Pre-trained against from scratch: {change.note.split('; ', 1)[1]}, even if all point one way; "
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
            "construction, and a network that finds lesions is right. Nothing here speaks of patients."
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
                "and only what trained networks have beyond that speaks of what was learnt."
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
    if not change.decided or "cannot give a p" in change.note:
        return f"{where}: undecided"
    return f"{where}: {above if value > 0 else below}"
