"""One row of predictions.tsv and where its files lie."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroxai.cohort.table import finite
from neuroxai.errors import InputError
from neuroxai.io import heatmap_name, inside


@dataclass(frozen=True)
class Item:
    """One row of predictions.tsv and its files.

    Parameters
    ----------
    participant_id : str
        As in the table.
    session_id : str
        Empty where there is none.
    true, predicted : str
        Class names; `true` is empty where unknown.
    probabilities : mapping of str to float
        Class to probability.
    score : float or None
        Logit of the explained class.
    heatmap : pathlib.Path
        On the network's grid; the sidecar, the regions and the heatmap on the scan's own grid lie beside it.
    page : str
        File name of the scan's page.
    seen : str
        Whether the network had seen the scan (see `neuroxai.cohort.seen`); "unknown" where no table tells.
    fit, unlike : str
        Whether the scan looks like the training scans (``"fits"``, ``"nearly"``, ``"far"``) and what does not; empty
        where it is not known.
    """

    participant_id: str
    session_id: str
    true: str
    predicted: str
    probabilities: Mapping[str, float]
    score: float | None
    heatmap: Path
    page: str
    seen: str = "unknown"
    fit: str = ""
    unlike: str = ""

    @property
    def title(self) -> str:
        """Participant and session."""
        return " ".join(filter(None, (self.participant_id, self.session_id)))

    @property
    def native_heatmap(self) -> Path:
        """The heatmap on the scan's own grid; it may be absent."""
        return self.heatmap.with_name(self.heatmap.name.replace("_space-network_", "_space-orig_"))

    @property
    def sidecar(self) -> Path:
        """JSON beside the heatmap."""
        return self.heatmap.with_name(self.heatmap.name.removesuffix(".nii.gz") + ".json")

    @property
    def regions(self) -> Path:
        """Region scores beside the heatmap; they may be absent."""
        return self.heatmap.with_name(self.heatmap.name.removesuffix("_heatmap.nii.gz") + "_regions.tsv")


def read_item(root: Path, row: Mapping[Any, Any], classes: list[str], method: str, used: set[str]) -> Item:
    """Read a row: classes, probabilities, files, and a page name that is not in `used` (added to it).

    Raises
    ------
    InputError
        If a probability is not between 0 and 1, the predicted class is unknown, or the identifier leaves the folder.
    """
    participant, session = text_of(row["participant_id"]), text_of(row.get("session_id"))
    probabilities = {c: finite(row[f"probability_{c}"]) for c in classes}
    for name, value in probabilities.items():
        if value is None or not 0 <= value <= 1:
            raise InputError(
                f"{root / 'predictions.tsv'}: probability_{name} of {participant or 'a row without participant_id'} is "
                f"{row[f'probability_{name}']}, wanted 0 to 1; predict again"
            )
    predicted = text_of(row["predicted"])
    if predicted not in classes:
        raise InputError(
            f"{root / 'predictions.tsv'}: {participant} is predicted {predicted!r}, wanted one of {', '.join(classes)}"
        )
    parts = [part for part in (participant, session) if part]
    return Item(
        participant,
        session,
        text_of(row.get("true")),
        predicted,
        {name: float(value) for name, value in probabilities.items() if value is not None},
        finite(row.get("score")),
        inside(root, heatmap_name(participant, session, "network", method)),
        _page_name("_".join(parts), used),
        text_of(row.get("seen")) or "unknown",
        text_of(row.get("fit")),
        text_of(row.get("unlike")),
    )


def text_of(value: Any) -> str:
    """Return a table's cell as text: empty where missing; a class written 1 is ``"1"``, also when read as 1.0."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _page_name(stem: str, used: set[str]) -> str:
    """Return a file name safe on every system and in a link, not used before (case does not tell files apart)."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", stem) or "scan"
    name, number = safe, 2
    while name.lower() in used | {"index"}:
        name, number = f"{safe}-{number}", number + 1
    used.add(name.lower())
    return f"{name}.html"
