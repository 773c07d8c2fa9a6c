"""The trust card of a bundle, ``trust.json``: how far each method's heatmaps can be believed, by planted effects."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.derivatives.records import from_json, to_json
from neuroxai.errors import InputError

FILE = "trust.json"
"""Beside the weights that it is of."""
FORMAT, VERSION = "neuroxai trust card", 1
LEARNT = 0.7
"""ROC area from which networks count as having learnt an effect: "acceptable" in Hosmer & Lemeshow (2013)."""
Figures = Mapping[str, Mapping[str, Any]]
"""By measure: value, low, high and n."""


@dataclass(frozen=True)
class TrustedMethod:
    """One method on a card.

    Parameters
    ----------
    method, options : str, mapping
        As `neuroxai.attribution.create` takes them, or an import path.
    repeats : mapping
        What was measured of networks that were trained on the planted effect.
    bundle : mapping
        The same of the bundle's own network.
    not_applicable : str
        Why the method cannot explain this network, and has no figures; empty where it can.
    """

    method: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    repeats: Figures = field(default_factory=dict)
    bundle: Figures = field(default_factory=dict)
    not_applicable: str = ""


def _methods(values: Mapping[str, Any]) -> dict[str, TrustedMethod]:
    return {name: from_json(TrustedMethod, one) for name, one in values.items()}


def _plain(values: Mapping[str, TrustedMethod]) -> dict[str, Any]:
    return {name: to_json(one) for name, one in values.items()}


@dataclass(frozen=True)
class TrustCard:
    """``trust.json``.

    Parameters
    ----------
    bundle, checkpoint_sha256 : str
        Name of the bundle, and digest of the weights.
    effect : mapping
        What was planted: effect, loss, regions.
    space : mapping
        The network's grid.
    settings : mapping
        Of the repeats' training.
    anatomies, seen : int
        Healthy people whose scans were used, and how many of them the bundle's network was trained on.
    networks, scans, controls, regions : int
        Repeats; planted effects explained; healthy scans that flags are judged by; regions of the atlas.
    atlas : str
        Whose regions are ranked: its name, or its file's.
    roc_auc, bundle_roc_auc : float or None
        How well the repeats told held-out twins apart, on average; how well the bundle's own network did.
    methods : mapping of str to TrustedMethod
        By name; also what knows nothing: noise, smooth noise and scan.
    chance : mapping of str to float
        By measure.
    version : str
        Of this package.
    """

    bundle: str = ""
    checkpoint_sha256: str = ""
    effect: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    anatomies: int = 0
    seen: int = 0
    networks: int = 0
    scans: int = 0
    controls: int = 0
    regions: int = 0
    atlas: str = "builtin"
    roc_auc: float | None = None
    bundle_roc_auc: float | None = None
    methods: Mapping[str, TrustedMethod] = field(default_factory=dict, metadata={"write": _plain, "read": _methods})
    chance: Mapping[str, float] = field(default_factory=dict)
    version: str = ""


def write_card(path: str | os.PathLike[str], card: TrustCard) -> Path:
    """Write a card."""
    return io.write_json(path, {"format": FORMAT, "format_version": VERSION, **to_json(card)})


def is_card(path: Path) -> bool:
    """Whether a file is a card that this package wrote."""
    try:
        found = io.read_json(path)
    except InputError:
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def read_card(path: str | os.PathLike[str]) -> TrustCard:
    """Read a card.

    Raises
    ------
    InputError
        If it is absent, none, or damaged.
    """
    kinds = {"checkpoint_sha256": str, "methods": dict, "chance": dict, "scans": int}
    found = io.read_object(path, "trust card", kinds)
    if found.get("format") != FORMAT or found.get("format_version") != VERSION:
        raise InputError(f"{path}: is no trust card of version {VERSION}; make it with `neuroxai trust`")
    try:
        return from_json(TrustCard, found)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: is damaged ({error}); make it again with `neuroxai trust`") from None


def card_of(checkpoint: str | os.PathLike[str], sha256: str | None = None) -> TrustCard | None:
    """Return the card beside a checkpoint; None where there is none, or it is of other weights."""
    path = Path(checkpoint).with_name(FILE)
    if not path.is_file() or not is_card(path):
        return None
    card = read_card(path)
    return card if card.checkpoint_sha256 == (sha256 or io.sha256(checkpoint)) else None


def learnt(roc_auc: float | None) -> bool:
    """Whether networks told an effect apart well enough for maps of theirs to be judged by it; so, where not known."""
    return roc_auc is None or roc_auc >= LEARNT


def hardly(roc_auc: float | None, own: bool = False) -> str:
    """Say that networks, or the bundle's `own`, learnt too little of an effect for a claim."""
    who, way_out = "the networks", "train on more people, for more epochs, or plant a larger effect"
    if own:
        who, way_out = "its network", "it was trained for something else, or too little"
    return (
        f"{who} hardly told the planted effects from healthy twins (ROC area {roc_auc:.2f}, by chance 0.50, "
        f"at least {LEARNT:.2f} expected), and maps of guesses show little of a method; {way_out}"
    )


def claim(card: TrustCard, name: str) -> str:
    """Say how far a card's method can be believed, and how many of its people the network was trained on."""
    own, scan = card.methods[name].repeats, card.methods["scan"].repeats
    said = sentence(name, own, card.chance, scan, card.scans, card.roc_auc)
    if not said:
        return ""
    seen = f"Of the {card.anatomies} people that they were planted in, {card.seen} were in the network's training."
    return " ".join(filter(None, (not_of_this_network(card), said, seen if card.seen else "")))


def not_of_this_network(card: TrustCard) -> str:
    """Say that the bundle's own network did not tell planted effects apart, whose repeats did; empty where it did."""
    if learnt(card.bundle_roc_auc) or not learnt(card.roc_auc):
        return ""
    return (
        "This network itself hardly told planted effects from healthy twins "
        f"(ROC area {card.bundle_roc_auc:.2f}, by chance 0.50): what follows is of repeats of its training that did."
    )


def sentence(
    name: str,
    own: Figures,
    chance: Mapping[str, float],
    scan: Figures,
    scans: int,
    roc_auc: float | None = None,
    most: int = 10,
) -> str:
    """Say how far one method can be believed; empty where no region was ranked.

    Parameters
    ----------
    name : str
        Of the method.
    own, scan : mapping
        Figures of the method, and of the scan itself as a map.
    chance : mapping
        By measure.
    scans : int
        Planted effects.
    roc_auc : float, optional
        How well the networks told these from their twins; where that is below `LEARNT`, nothing is claimed.
    most : int
        Regions that count as the most used.
    """
    first = value(own, "region_first")
    if first is None:
        return ""
    if not learnt(roc_auc):
        return f"Nothing is claimed of {name}: {hardly(roc_auc)}."
    told = ""
    if roc_auc is not None:
        told = f" (told from healthy twins by repeats of its training with a ROC area of {roc_auc:.2f}, by chance 0.50)"
    said = (
        f"Of {counted(scans, 'planted effect')}{told}, {name} ranked an affected region first in "
        f"{percent(first)} "
        f"(chance {percent(chance.get('region_first'))}, the scan itself {percent(value(scan, 'region_first'))})"
    )
    overlap = value(own, "swap_overlap")
    if overlap is not None:
        said += (
            f"; of the {most} regions that the network used most, {percent(overlap)} were among its {most} highest "
            f"(chance {percent(chance.get('swap_overlap'))}, other patients' maps "
            f"{percent(value(own, 'others_swap_overlap'))}), of groups {percent(value(own, 'group_overlap'))}"
        )
    flagged = value(own, "sham_flagged")
    if flagged is not None:
        said += f"; of healthy scans {percent(flagged)} had a region flagged (5 % expected)"
    return f"{said}."


def value(figures: Figures, measure: str) -> float | None:
    """Return a figure; None where it was not measured."""
    found = figures.get(measure, {}).get("value")
    return None if found is None else float(found)


def counted(count: int, noun: str) -> str:
    """Return "1 run", "2 runs"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def percent(share: float | None) -> str:
    """Write a share for people."""
    return "n/a" if share is None else f"{100 * share:.0f} %"
