"""A scan's regions against healthy controls: a stored reference, or the controls of the same report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.cohort.table import parse_age
from neuroxai.compare.reference import Seen, fitting_reference, notes_of, reference_measure, scores_provenance
from neuroxai.compare.scores import Measure, region_values
from neuroxai.derivatives.explain_folder import ExplainFolder, Item
from neuroxai.derivatives.predictions import text_of
from neuroxai.errors import InputError
from neuroxai.statistics import Reference, Subject
from neuroxai.statistics.reference import MINIMUM

_SHOWN = 8  # regions drawn, by size of deviation
_MOST_DOTS = 150  # controls drawn for each, at most


@dataclass(frozen=True)
class AgainstControls:
    """One scan's place among controls.

    Parameters
    ----------
    source : str
        Whose controls, and how many.
    rows : sequence of mapping
        ``region``, ``z``, ``percentile``, ``q``: the most unusual regions first.
    deviations : sequence of sequence of float
        Those of the controls in the first rows' regions, in their standard deviations.
    beyond : bool
        The person is outside the controls' ages or sexes.
    patterns : bool
        Shares of the scan's relevance were compared, and not densities as they are.
    """

    source: str
    rows: Sequence[Mapping[str, Any]]
    deviations: Sequence[Sequence[float]]
    beyond: bool
    patterns: bool


class Controls:
    """Healthy controls of one atlas, method and checkpoint."""

    def __init__(self, reference: Reference, measure: Measure, source: str, own: bool) -> None:
        self.reference, self.measure, self.source, self.own = reference, measure, source, own

    @classmethod
    def stored(cls, path: Any, folder: ExplainFolder) -> Controls:
        """Read a reference that `neuroxai compare --save-reference` wrote, of any measure.

        Raises
        ------
        InputError
            If it was made of other scores: another method, checkpoint or atlas.
        """
        reference = fitting_reference(path, scores_provenance(folder))
        source = "; ".join(
            [
                f"{reference.controls} controls of a stored reference",
                *notes_of(reference.provenance, reference.controls),
            ]
        )
        return cls(reference, reference_measure(reference, path), source, own=False)

    @classmethod
    def of_report(cls, folder: ExplainFolder) -> Controls | None:
        """Take the report's own scans whose true label is that of the controls; None if they are few.

        Those that the network was trained on are left out. Compared are shares, as `neuroxai compare` does by default:
        sure patients would otherwise differ from controls everywhere.
        """
        import pandas as pd

        rows: dict[str, dict[str, float]] = {}
        parts: dict[str, str] = {}
        for item in _healthy(folder):
            if item.participant_id not in rows and item.seen != "training":
                try:
                    rows[item.participant_id] = densities(item, "share")
                except InputError:
                    continue
                parts[item.participant_id] = item.seen
        if len(rows) < MINIMUM:
            return None
        frame = pd.DataFrame.from_dict(rows, orient="index").dropna(axis="columns")
        if frame.empty:
            return None
        seen = Seen.of(parts)
        reference = Reference.fit(frame, None, "share", seen.provenance(), (), None)
        source = f"the {reference.controls} controls of this report (true label {folder.groups[0]})"
        return cls(reference, "share", "; ".join([source, *seen.notes(), *reference.scale_notes()]), own=True)

    def __call__(self, item: Item, person: Mapping[str, Any]) -> AgainstControls:
        """Compare one scan.

        Raises
        ------
        InputError
            If its regions are others than the controls', age or sex is missing, or it is a control of the stored
            reference.
        """
        known_regions = set(self.reference.regions)
        scores = {n: v for n, v in densities(item, self.measure).items() if not self.own or n in known_regions}
        subject = Subject(item.participant_id, scores, parse_age(person.get("age")), text_of(person.get("sex")) or None)
        table = self.reference.compare(subject, "leave-one-out" if self.own else "refuse")
        known = table[table["z"].notna()]
        ordered = known.reindex(known["z"].abs().sort_values(ascending=False, kind="stable").index)
        shown = ordered.head(_SHOWN)
        places = [self.reference.regions.index(name) for name in shown.index]
        spread = [self.reference.ordered[:, n] / self.reference.sd[n] for n in places]
        rows: list[dict[str, Any]] = [
            {"region": str(name), "z": float(z), "percentile": float(percentile), "q": float(q)}
            for name, z, percentile, q in ordered[["z", "percentile", "q"]].itertuples()
        ]
        dots = [_thinned(values) for values in spread]
        return AgainstControls(self.source, rows, dots, bool(np.any(table["beyond"])), self.measure == "share")


def _thinned(values: NDArray[Any]) -> list[float]:
    """Return values, or as many quantiles of theirs as are drawn."""
    few = np.quantile(values, np.linspace(0, 1, _MOST_DOTS)) if len(values) > _MOST_DOTS else values
    return [float(value) for value in few]


def densities(item: Item, measure: Measure) -> dict[str, float]:
    """Return a measure over the size of each region of a scan; NaN for a region without a voxel."""
    table = region_values(item, measure)
    found = table["value"] / table["voxels"].where(table["voxels"] > 0)
    return {str(name): float(value) for name, value in found.items()}


def trained_alone(folder: ExplainFolder) -> list[str]:
    """Say that a report's own controls cannot be compared with, where it is that the network was trained on them."""
    trained = {item.participant_id for item in _healthy(folder) if item.seen == "training"}
    if not trained:
        return []
    return [
        f"No comparison with controls: the network was trained on {len(trained)} of this report's controls, and too "
        "few others are left; explain the test part, or give a --reference"
    ]


def _healthy(folder: ExplainFolder) -> list[Item]:
    return [item for item in folder.items if item.true == folder.groups[0]]
