"""The known truth of a simulated cohort: where the effect was planted, how much, and how much relevance found it."""

from __future__ import annotations

import glob
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.derivatives.explain_folder import Item
from neuroxai.derivatives.predictions import text_of
from neuroxai.errors import InputError
from neuroxai.evaluation import GroupMeans, mask_in_space, positive_density_ratio, relevance_mass
from neuroxai.io import read_labels, read_tsv
from neuroxai.io.names import BidsName, without_run
from neuroxai.report.cohort.averages import Averages
from neuroxai.space import Space

DEFINITION = (
    "Effect: voxels of the network's grid that belong to the effect in at least half of the patients with a mask, "
    "where its mask fills most, its volume kept. Brain: voxels where the mean of the scans, each scaled to 0 to 1, "
    "is above zero. Density ratio: mean positive part of the group's mean heatmap inside the effect, over that in the "
    "rest of the brain. "
    "Relevance mass: share of a scan's positive relevance inside its own mask for patients, inside the effect for "
    "controls."
)


def mask_beside(scan: Path) -> Path | None:
    """Return the effect mask that lies beside a scan, or None.

    The name is the scan's with ``_desc-effect_mask`` in place of the description and suffix; failing that the one
    mask of the same participant and session in the folder.
    """
    name = BidsName.parse(scan.name)
    exact = scan.with_name(str(name.replaced(suffix="mask", extension=".nii.gz", desc="effect")))
    if exact.is_file():
        return exact
    if not name.participant:
        return None
    who = "_".join(filter(None, (name.participant, without_run(name.session))))
    found = list(scan.parent.glob(f"{glob.escape(who)}_*desc-effect_mask.nii.gz"))
    return found[0] if len(found) == 1 else None


class Truth:
    """The planted effect of the patients, and how much of each scan's relevance lies inside it.

    Parameters
    ----------
    space : Space
        The network's grid.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._masks = GroupMeans(space.shape)
        self._mass: dict[str, dict[str, float]] = {"patients": {}, "controls": {}}
        self.effect: NDArray[np.bool_] | None = None

    def add_mask(self, path: Path) -> None:
        """Add one patient's mask."""
        self._masks.add(self.read_mask(path), ["patients"])

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        """Read a mask onto the network's grid."""
        return mask_in_space(read_labels(path), self.space)

    @property
    def masks(self) -> int:
        """Patients with a mask."""
        return self._masks.count("patients")

    def settle(self) -> None:
        """Fix the effect's region once all masks are in."""
        share = self._masks.mean("patients")
        self.effect = None if share is None or not (share >= 0.5).any() else share >= 0.5

    def add_scan(self, title: str, heatmap: NDArray[Any], mask: NDArray[np.bool_] | None, group: str) -> None:
        """Measure one scan; its own mask for a patient, None for the effect's region."""
        region = self.effect if mask is None else mask
        if region is not None and region.any():
            self._mass[group][title] = relevance_mass(heatmap, region)

    def figures(self, averages: Averages, dose: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return all figures as plain values for JSON and the page."""
        brain, core = averages.brain(), averages.core_brain()
        effect_voxels = 0 if self.effect is None else int(self.effect.sum())
        result: dict[str, Any] = {
            "definition": DEFINITION,
            "patients_with_mask": self.masks,
            "effect_voxels": effect_voxels,
            "brain_voxels": 0 if brain is None else int(brain.sum()),
            "effect_share_of_brain": None,
        }
        if brain is not None and self.effect is not None and brain.any():
            result["effect_share_of_brain"] = float((self.effect & brain).sum() / brain.sum())
        for key, region in (("density_ratio", brain), ("density_ratio_core_brain", core)):
            result[key] = {g: self._ratio(averages.heatmaps.mean(g), region) for g in ("patients", "controls")}
        result["relevance_mass"] = {
            g: {**spread(v for v in mass.values() if math.isfinite(v)), "scans": _finite(mass)}
            for g, mass in self._mass.items()
        }
        result["dose"] = list(dose)
        return result

    def _ratio(self, heatmap: NDArray[np.float64] | None, brain: NDArray[np.bool_] | None) -> dict[str, Any]:
        if heatmap is None:
            return {"value": None, "reason": "no scan is in this group"}
        if self.effect is None or brain is None:
            what = (
                "no voxel belongs to the effect in half of the patients" if brain is not None else "no scan can be read"
            )
            return {"value": None, "reason": what}
        try:
            value = positive_density_ratio(heatmap, self.effect, brain)
        except InputError as error:
            return {"value": None, "reason": str(error)}
        if not math.isfinite(value):
            return {"value": None, "reason": "the rest of the brain holds no positive relevance"}
        return {"value": value, "reason": ""}


def planted_dose(table: Path, patients: Iterable[Item]) -> list[dict[str, Any]]:
    """Summarise the columns of participants.tsv that tell what was planted, over these patients.

    Columns: ``dose``, those that end in ``_percent`` (of a structure's volume) and those that start with ``lesion_``.
    """
    if not table.is_file():
        return []
    frame = read_tsv(table, required=("participant_id",))
    columns = [c for c in frame.columns if c == "dose" or c.endswith("_percent") or c.startswith("lesion_")]
    asked = {(item.participant_id, item.session_id) for item in patients}
    asked |= {(participant, "") for participant, _ in asked}
    rows = [
        r for r in frame.to_dict("records") if (text_of(r["participant_id"]), text_of(r.get("session_id"))) in asked
    ]
    result = []
    for column in columns:
        values = [float(r[column]) for r in rows if isinstance(r[column], int | float) and math.isfinite(r[column])]
        if values:
            result.append({"column": column, **spread(values)})
    return result


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Return number, mean, standard deviation and range; None where there are no values."""
    data = np.array(list(values), dtype=np.float64)
    if not data.size:
        return {"n": 0, "mean": None, "sd": None, "min": None, "max": None}
    sd = float(data.std(ddof=1)) if data.size > 1 else None
    return {
        "n": int(data.size),
        "mean": float(data.mean()),
        "sd": sd,
        "min": float(data.min()),
        "max": float(data.max()),
    }


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
