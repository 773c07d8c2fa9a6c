"""A scan's regions against healthy controls: a stored reference, or the controls of the same report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroxai.cohort.table import parse_age
from neuroxai.errors import InputError
from neuroxai.report.comparison import fitting_reference, scores_facts
from neuroxai.report.controls_figure import controls_figure
from neuroxai.report.folder import ExplainFolder
from neuroxai.report.item import Item, text_of
from neuroxai.report.scan_regions import read_regions
from neuroxai.report.values import Region
from neuroxai.statistics import Reference, Subject
from neuroxai.statistics.reference import MINIMUM

_SHOWN = 8  # regions drawn, by size of deviation


@dataclass(frozen=True)
class AgainstControls:
    """One scan's place among controls.

    Parameters
    ----------
    source : str
        Whose controls, and how many.
    rows : sequence of mapping
        ``region``, ``z``, ``percentile``, ``q``: the most unusual regions first.
    figure : bytes
        PNG of the controls' distributions with this scan's place.
    beyond : bool
        The person is outside the controls' ages or sexes.
    patterns : bool
        Shares of the scan's relevance were compared, and not densities as they are.
    """

    source: str
    rows: Sequence[Mapping[str, Any]]
    figure: bytes
    beyond: bool
    patterns: bool


class Controls:
    """Healthy controls of one atlas, method and checkpoint."""

    def __init__(self, reference: Reference, source: str, own: bool) -> None:
        self.reference, self.source, self.own = reference, source, own

    @classmethod
    def stored(cls, path: Any, folder: ExplainFolder) -> Controls:
        """Read a reference that `neuroxai compare --save-reference` wrote.

        Raises
        ------
        InputError
            If it was made of other scores: another method, checkpoint or atlas.
        """
        reference = fitting_reference(path, scores_facts(folder), "sum")
        return cls(reference, f"{reference.controls} controls of a stored reference", own=False)

    @classmethod
    def of_report(cls, folder: ExplainFolder) -> Controls | None:
        """Take the report's own scans whose true label is another than the class explained; None if they are few.

        Compared are patterns (see `pattern`): sure patients would otherwise differ from controls everywhere.
        """
        import pandas as pd

        rows: dict[str, dict[str, float]] = {}
        for item in folder.items:
            if item.true in folder.classes and item.true != folder.positive and item.participant_id not in rows:
                try:
                    rows[item.participant_id] = pattern(read_regions(item.regions))
                except InputError:
                    continue
        if len(rows) < MINIMUM:
            return None
        frame = pd.DataFrame.from_dict(rows, orient="index").dropna(axis="columns")
        if frame.empty:
            return None
        reference = Reference.fit(frame, adjust=())
        return cls(
            reference, f"the {reference.controls} controls of this report (true label {_others(folder)})", own=True
        )

    def __call__(self, item: Item, regions: Sequence[Region], person: Mapping[str, Any]) -> AgainstControls:
        """Compare one scan.

        Raises
        ------
        InputError
            If its regions are others than the controls', age or sex is missing, or it is a control of the stored
            reference.
        """
        wanted = set(self.reference.regions)
        scores = {
            name: value
            for name, value in (pattern(regions) if self.own else {r.name: r.density for r in regions}).items()
            if not self.own or name in wanted
        }
        subject = Subject(item.participant_id, scores, parse_age(person.get("age")), text_of(person.get("sex")) or None)
        table = self.reference.compare(subject, "leave-one-out" if self.own else "refuse")
        known = table[table["z"].notna()]
        ordered = known.reindex(known["z"].abs().sort_values(ascending=False, kind="stable").index)
        shown = ordered.head(_SHOWN)
        places = [self.reference.regions.index(name) for name in shown.index]
        spread = [self.reference.ordered[:, n] / self.reference.sd[n] for n in places]
        rows: list[dict[str, Any]] = [
            {"region": str(name), "z": float(r["z"]), "percentile": float(r["percentile"]), "q": float(r["q"])}
            for name, r in ordered.iterrows()
        ]
        figure = controls_figure([r["region"] for r in rows[:_SHOWN]], spread, [r["z"] for r in rows[:_SHOWN]])
        return AgainstControls(self.source, rows, figure, bool(np.any(table["beyond"])), self.own)


def pattern(regions: Sequence[Region]) -> dict[str, float]:
    """Return regions' densities over the sum of all absolute region sums: the pattern, free of the class score."""
    total = sum(abs(region.sum) for region in regions)
    return {region.name: region.density / total if total > 0 else 0.0 for region in regions}


def _others(folder: ExplainFolder) -> str:
    return " or ".join(name for name in folder.classes if name != folder.positive)
