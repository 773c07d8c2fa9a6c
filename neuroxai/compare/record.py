"""The figures of a comparison as plain values, for compare.json."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroxai.compare.scores import CohortScores
from neuroxai.statistics import Reference
from neuroxai.statistics.regions import ERRORS, gain_is_known

if TYPE_CHECKING:
    import pandas as pd


def of_class(scores: CohortScores, name: str | None) -> pd.Series[bool]:
    """Return which participants belong to a class; none to a class that is not there."""
    return scores.people["class"].map(lambda value: name is not None and value == name).astype(bool)


def counts(scores: CohortScores, control: str | None, patient: str | None) -> dict[str, Any]:
    """Count participants, scans, patients, controls and regions."""
    people = scores.people
    return {
        "participants": len(people),
        "scans": int(people["scans"].sum()),
        "control": control,
        "patient": patient,
        "controls": int(of_class(scores, control).sum()),
        "patients": int(of_class(scores, patient).sum()),
        "regions": len(scores.voxels),
    }


def findings(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Name what stands out: regions of the groups, flagged participants, the most different pair."""
    result: dict[str, Any] = {}
    if "groups.tsv" in tables:
        table = tables["groups.tsv"]
        result["regions_family_wise"] = [str(n) for n in table["region"][table["p_family"] <= 0.05]]
        result["regions_false_discovery"] = [str(n) for n in table["region"][table["q"] <= 0.05]]
    if "percentiles.tsv" in tables:
        table = tables["percentiles.tsv"]
        people = table.assign(flagged=table["q"] <= 0.05).groupby("participant_id")
        person = people.agg({"class": "first", "flagged": "any"})
        names = person["class"].where(person["class"].notna(), "unknown class")
        result["flagged"] = {
            str(name): [int(part.sum()), len(part)] for name, part in person["flagged"].groupby(names.to_numpy())
        }
    if "fingerprints.tsv" in tables:
        result["most_different"] = tables["fingerprints.tsv"].iloc[0].to_dict()
    return result


def reference_provenance(reference: Reference, path: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Say what the participants were compared with."""
    return {
        "file": None if path is None else Path(path).name,
        "controls": reference.controls,
        "adjusted": list(reference.design.adjusted),
        "measure": reference.measure,
        "scale": reference.scale,
        "linear_regions": sorted(reference.linear),
        "controls_seen": reference.provenance.get("controls_seen"),
        "false_alarms": reference.false_alarms,
    }


def measure_name(measure: str) -> str:
    """Return what a figure calls a measure."""
    return {"sum": "relevance", "share": "share of relevance"}.get(measure, f"{measure} relevance")


def alarms_note(table: pd.DataFrame, control: str | None, level: float = 0.05) -> list[str]:
    """Warn where more controls are flagged, each compared with others, than the level allows (binomial p < .01)."""
    from scipy.stats import binom

    people = table[table["class"] == control].assign(flagged=lambda own: own["q"] <= level)
    flagged = people.groupby("participant_id")["flagged"].any()
    count = int(flagged.sum())
    if not len(flagged) or binom.sf(count - 1, len(flagged), level) >= 0.01:
        return []
    return [
        f"{count} of {len(flagged)} controls are flagged themselves, where {level:.0%} may be: a flag says little "
        "here; read the percentiles, or add controls"
    ]


def zeros_note(table: pd.DataFrame) -> list[str]:
    """Say where a participant's score of 0 has no logarithm to be compared."""
    count = int((table["z"].isna() & table["percentile"].notna()).sum())
    what = "scores are 0 where logarithms are compared: they have a percentile (the lowest), and no z, p or q"
    return [f"{count} {what}"] if count else []


def gains_note(healthy: pd.DataFrame) -> list[str]:
    """Say how many regions have no gain, as the controls' mean is not above zero, or may as well be zero."""
    count = int((~gain_is_known(healthy) & ~healthy.isna().all().to_numpy()).sum())
    what = f"regions have no gain: their controls' mean is not above zero by {ERRORS:g} standard errors"
    return [f"{count} of {healthy.shape[1]} {what}"] if count else []


def trained_note(scores: CohortScores, is_control: pd.Series[bool]) -> list[str]:
    """Warn of people compared, other than controls, that the network was trained on."""
    count = int(((scores.people["seen"] == "training") & ~is_control).sum())
    what = "participants compared are scans that the network was trained on: it is surer of them than of new ones"
    return [f"{count} {what}"] if count else []


def class_score_note(sick: pd.DataFrame, healthy: pd.DataFrame, measure: str) -> list[str]:
    """Warn where the groups' whole relevance differs more than twofold: then every region differs with it.

    Relevance adds up to the class score it started from, so that a sure decision has more of it everywhere.
    """
    if measure == "share" or not len(sick) or not len(healthy):
        return []
    one, two = float(sick.sum(axis=1).mean()), float(healthy.sum(axis=1).mean())
    if 0.5 <= (one / two if two else 0.0) <= 2:
        return []
    return [
        f"the regions of a patient hold {one:.3g} together, of a control {two:.3g}: much of every difference is the "
        "class score itself; --measure share compares the patterns"
    ]
