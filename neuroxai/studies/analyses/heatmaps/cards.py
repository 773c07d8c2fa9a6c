"""Figures, tables and sentences of what was measured of heatmaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroxai import io
from neuroxai.derivatives.trust import counted, hardly, learnt, value
from neuroxai.derivatives.trust import sentence as said
from neuroxai.evaluation import Trust, wilson
from neuroxai.evaluation.heatmaps.conservation import SUMS, conservation
from neuroxai.evaluation.heatmaps.twin_swap import MOST, groups
from neuroxai.evaluation.heatmaps.uninformative import CONTROLS
from neuroxai.report.plots.charts import interval_panels
from neuroxai.statistics import bootstrap
from neuroxai.studies.analyses.heatmaps.measure import REASON, effects_of, measured
from neuroxai.studies.analyses.heatmaps.networks import GIVEN
from neuroxai.studies.analyses.shared import limits, metric_findings, number, runs_doubt
from neuroxai.studies.findings import Finding, Findings, Picture
from neuroxai.studies.results import Results
from neuroxai.studies.spec import Statistics

GROUP = "group_overlap"
WORDS = {
    "region_first": "an affected region ranked first",
    "swap_overlap": f"overlap with the {MOST} regions used most, single scans",
    "others_swap_overlap": "the same by other patients' maps, which look at no scan",
    "sham_swap_overlap": "the same in shams",
    GROUP: f"overlap with the {MOST} regions used most, patients less shams",
    "roc_auc": "ROC area of the effect's voxels",
    "deletion": "deletion, gain over random orders",
    "region_deletion": "deletion of regions, gain over random orders",
    "between_trainings": "correlation between trainings",
    "noise_sensitivity": "change under noise",
    "randomised_all": "rank correlation with a network drawn anew",
    "conservation": "agreement of the map's sum with what it claims to add up to",
    "outside_brain": "share of the relevance outside the brain",
    "planted_flagged": "planted effects flagged against controls",
    "sham_flagged": "shams flagged against controls",
    "sham_alarms": "regions of shams with p at most .05",
}
"""The measures that pages and cards show, in words; the table of methods has all."""
TESTED = ("region_first", "swap_overlap", GROUP, "deletion", "sham_flagged")
"""The measures among a study's statistics; the table of intervals has all of `WORDS`."""
SHARES = ("region_first", "planted_flagged", "sham_flagged")
"""Shares of scans, whose interval is Wilson's."""


@dataclass(frozen=True)
class Card:
    """What was found of one arm.

    Parameters
    ----------
    arm : str
        The study's, or `neuroxai.studies.analyses.heatmaps.networks.GIVEN`.
    table : pandas.DataFrame
        Columns method, measure, value, low, high, n.
    trust : Trust
        All values by method and scan.
    networks, scans, controls, regions : int
        Trainings; patients that were explained; healthy scans that flags are judged by; regions of the atlas.
    roc_auc : float or None
        How well the networks told held-out patients from controls, on average.
    not_applicable : mapping of str to str
        Why, by method, of those that cannot explain the networks.
    """

    arm: str
    table: pd.DataFrame
    trust: Trust
    networks: int
    scans: int
    controls: int
    regions: int
    roc_auc: float | None = None
    not_applicable: Mapping[str, str] = field(default_factory=dict)

    def figures(self, method: str) -> dict[str, dict[str, Any]]:
        """Return what was measured of a method: value, low, high and n by measure."""
        own = self.table[self.table["method"] == method].astype(object)
        own = own.where(own.notna(), None)
        return {
            row["measure"]: {key: row[key] for key in ("value", "low", "high", "n")} for row in own.to_dict("records")
        }

    @property
    def chance(self) -> dict[str, float]:
        """What chance gives, by measure."""
        return {measure: one["value"] for measure, one in self.figures("chance").items()}


def cards(results: Results) -> list[Card]:
    """Return what was found of each arm, its splits taken together."""
    by_arm: dict[str, list[Any]] = {}
    for unit, common, tables in measured(results):
        by_arm.setdefault(unit.arm, []).append((unit, common, tables))
    return [_card(results, arm, found) for arm, found in by_arm.items()]


def _card(results: Results, arm: str, found: Sequence[Any]) -> Card:
    options = results.study.statistics
    names = list(dict.fromkeys(name for _, _, tables in found for name in tables))
    values = pd.concat(
        [values.assign(method=name, scan=[f"{unit.name} {n}" for n in values["scan"]])
         for name in names for unit, _, tables in found if name in tables for values in [tables[name][0]]],
        ignore_index=True,
    )  # fmt: skip
    chance = {key: float(np.mean([c["chance"][key] for _, c, _ in found if key in c["chance"]]))
              for _, common, _ in found for key in common["chance"]}  # fmt: skip
    rows = []
    for name in names:
        own = values[values["method"] == name]
        for measure in WORDS:
            if measure == "conservation" and SUMS[0] in own and own[SUMS[0]].notna().any():
                found_of = _conservation(own[[*SUMS]].dropna().to_numpy(), options)
            elif measure in own and own[measure].notna().any():
                found_of = _mean(measure, own[measure].dropna(), options)
            else:
                continue
            rows.append({"method": name, "measure": measure, **found_of})
    of_groups, regions = _groups(names, found)
    for name, row in of_groups.iterrows():
        rows.append({"method": name, "measure": GROUP, "value": row["overlap"], "low": number(row["overlap_low"]),
                     "high": number(row["overlap_high"]), "n": len(values) // len(names)})  # fmt: skip
    if len(of_groups):
        chance[GROUP] = chance["swap_overlap"]
    rows += [{"method": "chance", "measure": key, "value": chance[key]} for key in WORDS if key in chance]
    table = pd.DataFrame(rows, columns=["method", "measure", "value", "low", "high", "n"])
    scans = sum(int(common["scans"]) for _, common, _ in found)
    networks = sum(int(common["networks"]) for _, common, _ in found)
    controls = sum(int(common["controls"]) for _, common, _ in found)
    runs = results.runs[(results.runs["arm"] == arm) & results.runs["chosen"]]["roc_auc"]
    area = runs.mean() if len(runs) else np.mean([common.get("roc_auc", np.nan) for _, common, _ in found])
    reasons = {name: why for _, common, _ in found for name, why in common[REASON].items()}
    return Card(arm, table, Trust(values, chance), networks, scans, controls, regions, number(area), reasons)


def _mean(measure: str, values: pd.Series[float], options: Statistics) -> dict[str, Any]:
    mean, low, high = float(values.mean()), None, None
    if measure in SHARES:
        low, high = wilson(round(float(values.sum())), len(values), options.level)
    elif len(values) > 1 and np.ptp(values.to_numpy()) > 0:
        low, high = limits(values.to_numpy(), options)
    return {"value": mean, "low": low, "high": high, "n": len(values)}


def _conservation(sums: NDArray[np.float64], options: Statistics) -> dict[str, Any]:
    """Return how well sums agree with claims, with the interval; each map's sum goes with its claim."""

    def of(drawn: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        rows = drawn.astype(np.int64)
        return conservation(sums[rows, 0], sums[rows, 1], axis)

    low, high = None, None
    if len(sums) > 1:
        found = bootstrap(of, np.arange(len(sums)), **options.bootstrap())
        low, high = number(found.low), number(found.high)
    return {"value": float(conservation(*sums.T)), "low": low, "high": high, "n": len(sums)}


def _groups(names: Sequence[str], found: Sequence[Any]) -> tuple[pd.DataFrame, int]:
    """Compare group maps with the twin swap, network by network; empty without twins."""
    scores: dict[str, dict[str, list[Any]]] = {}
    effects: list[Any] = []
    folds: list[int] = []
    regions = 0
    for _, _, tables in found:
        place = next(iter(tables.values()))[1].parent
        known = effects_of(place)
        first = io.read_tsv(place / "people.tsv")
        regions = int(first["region"].nunique())
        if known is None or any(name not in tables for name in names):
            continue
        for model, own in enumerate(known[0]):
            effects.extend(own)
            folds.extend([1000 * len(folds) + model] * len(own))
        for name in names:
            table = io.read_tsv(tables[name][1]).sort_values(["model", "scan", "region"])
            for kind in ("patient", "sham"):
                rows = table[table["kind"] == kind]["sum"].to_numpy(dtype=np.float64).reshape(-1, regions)
                scores.setdefault(kind, {}).setdefault(name, []).extend(rows)
    if not effects:
        return pd.DataFrame(), regions
    patients, shams = ({n: np.stack(v) for n, v in scores[kind].items()} for kind in ("patient", "sham"))
    return groups(patients, shams, np.stack(effects), folds), regions


def analyse(results: Results) -> Findings:
    """Make figures of what `measure` wrote."""
    findings = Findings(metric_findings(results, ("balanced_accuracy", "roc_auc")), doubts=[runs_doubt(results)])
    found = cards(results)
    if not found:
        findings.answers.append("Nothing was measured: see the failures that the command reported.")
        return findings
    for card in found:
        where = f"{card.arm}: " if len(found) > 1 else ""
        area = card.roc_auc
        if not learnt(area):
            findings.answers.append(f"{where}nothing is claimed of any method: {hardly(area, card.arm == GIVEN)}.")
        elif area is not None:
            findings.answers.append(
                f"{where}{'its network' if card.arm == GIVEN else 'the networks'} told held-out patients from controls "
                f"with a ROC area of {area:.2f}{'' if card.arm == GIVEN else ' on average'} (chance 0.50); where that "
                "is poor, maps explain guesses."
            )
        if learnt(area):
            findings.answers += [where + text for text in sentences(card)]
        if card.arm != GIVEN:  # it has the network of the repeats
            findings.answers += [
                f"{where}{name} is not applicable to this network: {why}" for name, why in card.not_applicable.items()
            ]
        for row in card.table.to_dict("records"):
            if row["method"] != "chance" and row["measure"] in TESTED:
                findings.figures.append(
                    Finding(WORDS[row["measure"]], f"{card.arm}, {row['method']}", number(row["value"]),
                            number(row["low"]), number(row["high"]), int(row["n"]),
                            method="Wilson" if row["measure"] in SHARES else "bootstrap over scans",
                            note=_note(card, row["measure"]))
                )  # fmt: skip
        label = card.arm.replace(" ", "_")
        findings.tables[f"methods_{label}"] = card.trust.table().round(3).reset_index()
        findings.tables[f"intervals_{label}"] = card.table
        findings.pictures.append(
            Picture(
                f"trust_{label}",
                f"{card.arm}: {counted(card.scans, 'planted effect')}, {counted(card.networks, 'network')}; "
                "95 % intervals. From the left: "
                f"{'; '.join(_PANELS[measure] for measure in _shown(card))}. What knows nothing stands below: noise, "
                "and the scan itself.",
                lambda card=card: _picture(card),  # type: ignore[misc]
            )
        )
    findings.doubts += [
        "Localisation, the twin swap and agreement between trainings are means over all networks of an arm; "
        "faithfulness, noise, randomisation, conservation and flags are of its first network.",
        "Planted effects are simpler than disease: a method that fails here will hardly do better there, one that "
        "succeeds here may.",
    ]
    return findings


def _note(card: Card, measure: str) -> str:
    chance = card.chance.get(measure)
    return "n are scans" + ("" if chance is None else f"; chance {chance:.3g}")


_PANELS = {
    "region_first": "how often an affected region is ranked first",
    "swap_overlap": "how many of the ten regions that the networks use most (twin swap) are among the ten highest",
    GROUP: "the same of patients less shams",
    "deletion": "how much more the score falls than in random orders",
}


def _shown(card: Card) -> dict[str, pd.DataFrame]:
    """Return the rows of each panel that has any: the twin swap needs twins."""
    known = card.table[card.table["method"] != "chance"]
    rows = {measure: known[known["measure"] == measure] for measure in _PANELS}
    return {measure: own for measure, own in rows.items() if len(own)}


def _picture(card: Card) -> Any:
    panels: list[Any] = [
        (WORDS[measure].split(",")[0] + (", groups" if measure == GROUP else ""),
         own.rename(columns={"method": "group"}), {})
        for measure, own in _shown(card).items()
    ]  # fmt: skip
    return interval_panels(panels)


def sentences(card: Card) -> list[str]:
    """Say what was found of each method in plain sentences, the best first."""
    methods = [name for name in card.table["method"].unique() if name not in (*CONTROLS, "chance")]

    def rank(name: str) -> float:
        own = card.figures(name)
        return -(value(own, "swap_overlap") or value(own, "region_first") or 0.0)

    found = [text for name in sorted(methods, key=rank) if (text := sentence(card, name))]
    worse = (
        {name: measures for name, measures in card.trust.no_better().items() if measures}
        if methods and card.scans > 5
        else {}
    )
    for name, measures in worse.items():
        found.append(f"Not shown to be better than maps that know nothing: {name}, in {', '.join(measures)}.")
    return found


def sentence(card: Card, method: str) -> str:
    """Say how far one method can be believed; empty where nothing was measured."""
    return said(method, card.figures(method), card.chance, card.figures("scan"), card.scans, most=MOST)
