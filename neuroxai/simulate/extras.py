"""What can be added to the scans of any cohort: real lesions, a pose, the head and its receive field."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from neuroxai.simulate.head import Raw
from neuroxai.simulate.pose import Misalign


@dataclass(frozen=True)
class Extras:
    """What is added; nothing by default.

    Parameters
    ----------
    misalign : Misalign, optional
        Give each scan a random known pose, in the scanner's space.
    raw : Raw, optional
        Leave a head around the brain and a receive field on both.
    masks : pathlib.Path, optional
        Folder of real lesion masks in MNI152 space, in the place of synthetic lesions.
    """

    misalign: Misalign | None = None
    raw: Raw | None = None
    masks: Path | None = None

    def record(self) -> dict[str, Any]:
        """Plain values of what is set, for the cohort's record."""
        found: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None:
                found[item.name] = Path(value).name if item.name == "masks" else asdict(value)
        return found

    def scanning(self) -> dict[str, Any]:
        """Return what is set of `simulate_scan`'s options."""
        return {name: value for name in ("misalign", "raw") if (value := getattr(self, name)) is not None}

    def label(self, resolution: float | None) -> str:
        """Return the entities of a scan's file name that tell its space; `resolution` in mm, None where uneven.

        Examples
        --------
        >>> Extras().label(2.0), Extras(misalign=Misalign()).label(2.0)
        ('space-MNI152_res-2', 'space-orig')
        """
        if self.misalign is not None:
            return "space-orig"
        return "space-MNI152" + (f"_res-{resolution:g}".replace(".", "p") if resolution is not None else "")
