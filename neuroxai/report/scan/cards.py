"""The cards on top of a scan's page: what a reader must know first, each in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from neuroxai.derivatives.trust import counted
from neuroxai.pictures.text import number, percent
from neuroxai.report.values import ScanValues

_MOST = 3  # regions on a card
_Q = 0.05  # false discovery rate below which a region counts as unusual


@dataclass(frozen=True)
class Card:
    """A figure with its name and what qualifies it.

    Parameters
    ----------
    title, value : str
        What it is, and the figure or word.
    details : sequence of str
        Lines below.
    tone : {"", "good", "warn", "bad"}
        How it bears on trusting the page.
    regions : sequence of str
        Names that lead to their places in the viewer, in the value's stead.
    """

    title: str
    value: str
    details: Sequence[str] = ()
    tone: Literal["", "good", "warn", "bad"] = ""
    regions: Sequence[str] = ()


def cards_of(values: ScanValues) -> list[Card]:
    """Return the cards of a scan's page, those that something is known for."""
    cards = [_decision(values), _fit(values)]
    if values.strength is not None:
        cards.append(_strength(values))
    if values.regions:
        for side in ("for", "against"):
            names = [row.name for row in values.regions[f"density {side}"][:_MOST]]
            cards.append(Card(f"Most {side} {values.target}", "" if names else "no region", regions=names))
    if values.controls is not None:
        rows = values.controls.rows
        unusual = sum(row["q"] <= _Q for row in rows)
        first = f"largest deviation: {rows[0]['region']}, {number(rows[0]['z'])}" if rows else ""
        details = ["at q \N{LESS-THAN OR EQUAL TO} .05", first]
        cards.append(Card("Unlike healthy controls", counted(unusual, "region"), details))
    cards += [_quality(values), _stability(values)]
    return cards


def _decision(values: ScanValues) -> Card:
    details = []
    tone: Literal["", "good", "bad"] = ""
    if values.calibrated is not None:
        c = values.calibrated
        details.append(
            f"calibrated, {values.target}: {percent(c.value)}, 95 % interval {percent(c.low)} to {percent(c.high)}"
        )
    else:
        details.append(f"the network's own output{values.calibrated_on or ', not calibrated'}")
    if values.true:
        right = values.true == values.predicted
        tone = "good" if right else "bad"
        details.append(f"true label {values.true}: the prediction is {'right' if right else 'wrong'}")
    chance = percent(values.probabilities.get(values.predicted))
    return Card("Decision", f"{values.predicted} {chance}", details, tone)


def _fit(values: ScanValues) -> Card:
    known = {
        "fits": Card("Fit to the training scans", "fits", tone="good"),
        "nearly": Card("Fit to the training scans", "nearly", [values.unlike], "warn"),
        "far": Card("Fit to the training scans", "far", [values.unlike, "do not read the heatmap"], "bad"),
    }
    unknown = Card(
        "Fit to the training scans", "not known", ["the bundle keeps no record of its training scans"], "warn"
    )
    return known.get(values.fit, unknown)


def _strength(values: ScanValues) -> Card:
    found = values.strength
    assert found is not None
    details = []
    if found.weaker_than is not None:
        details.append(f"weaker than {100 * found.weaker_than:.0f} % of {found.patients} patients")
    if found.faint:
        details.append("faint on the common scale")
    return Card("Strength of the map", number(found.total, 2), details, "warn" if found.faint else "")


def _quality(values: ScanValues) -> Card:
    details = list(values.flags or ())
    if values.outside is not None:
        details.append(f"relevance outside the brain: {percent(values.outside)}")
    if values.flags is None:
        why = "not prepared by neuroxai prepare"
        if values.other_version:
            why = "prepared by another version of neuroxai; prepare the scan again to see its flags and its own space"
        return Card("Quality of the scan", "not known" if values.other_version else "not checked", [*details, why])
    word = counted(len(values.flags), "flag") if values.flags else "no flag"
    return Card("Quality of the scan", word, details, "warn" if values.flags else "good")


def _stability(values: ScanValues) -> Card:
    title = "Stability over trainings"
    if values.models is None:
        return Card(title, "not known", ["one training; others are compared with --also"])
    details = [f"correlation of the heatmaps over {len(values.models.probabilities)} trainings"]
    if values.models.unstable:
        details.append(f"sign changes: {', '.join(values.models.unstable[:_MOST])}")
    return Card(title, number(values.models.voxels, 2), details, "warn" if values.models.unstable else "")
