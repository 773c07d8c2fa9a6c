"""The common scale of heatmaps: noted by an explain run, kept with the bundle, read by reports and viewers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from neuroxai.derivatives.heatmaps import ScanFiles, Sidecar
from neuroxai.errors import InputError
from neuroxai.io.nifti import set_display
from neuroxai.io.tables import read_json, write_json

FILE = "heatmap_scales.json"
"""Beside the weights that it belongs to."""
FEWEST = 5  # scans of which a scale is kept with the bundle
# of what is noted of heatmaps, what they must have in common to share a scale
_KEY = ("method", "options", "start", "explained", "checkpoint_sha256", "network_space")
_SUMMARISED = 101  # totals kept of the patients, from the lowest to the highest


@dataclass(frozen=True)
class Scale:
    """Which relevance has the end colours, and how strong the maps are that it was taken from.

    Parameters
    ----------
    limit : float
        The largest of the scans' own limits (`neuroxai.bands.limit_of`).
    source : {"cohort", "bundle"}
        The scans of one explain run, or those that the bundle keeps, whose maps are stronger.
    scans : int
        Taken from.
    patients : tuple of float
        Total absolute relevance of the patients' maps, ascending; quantiles where they are many.
    """

    limit: float
    source: str
    scans: int
    patients: tuple[float, ...] = ()

    def weaker_than(self, total: float) -> float | None:
        """Return the share of patients whose map is stronger; None without patients."""
        return sum(one > total for one in self.patients) / len(self.patients) if self.patients else None


def scale_of(maps: Iterable[tuple[float, float, bool]], source: str = "cohort") -> Scale | None:
    """Return the scale of maps given as limit, total absolute relevance and whether it is a patient's; None of none."""
    rows = [(float(limit), float(total), bool(patient)) for limit, total, patient in maps]
    limit = max((row[0] for row in rows), default=0.0)
    if limit <= 0:
        return None
    totals = sorted(total for _, total, patient in rows if patient)
    if len(totals) > _SUMMARISED:
        totals = [totals[round(n * (len(totals) - 1) / (_SUMMARISED - 1))] for n in range(_SUMMARISED)]
    return Scale(limit, source, len(rows), tuple(totals))


class ScanMap(NamedTuple):
    """What a scale needs of a scan's heatmap: of a large cohort the whole sidecars would fill the memory."""

    files: ScanFiles
    limit: float | None
    total: float
    group: str | None
    seen: str | None

    @classmethod
    def of(cls, files: ScanFiles, sidecar: Sidecar) -> ScanMap:
        """Take it from the scan's sidecar."""
        total, group = sidecar.relevance_absolute or 0.0, sidecar.true or sidecar.predicted
        return cls(files, sidecar.relevance_limit, total, group, sidecar.seen)


def own_scale(maps: Iterable[ScanMap], patients: str) -> Scale | None:
    """Return the scale of heatmaps, `patients` being the class of these; None of none."""
    return scale_of((one.limit, one.total, one.group == patients) for one in maps if one.limit is not None)


def display(sidecar: Sidecar, files: ScanFiles, scale: Scale) -> None:
    """Give a scan's heatmaps the scale for viewers, and its sidecar their new checksums."""
    maps = [files.sidecar().parent / name for name in sidecar.files or {} if name.endswith(".nii.gz")]
    new = [set_display(path, scale.limit) for path in maps]
    if any(new):
        files.finish(sidecar, maps)


def wider(own: Scale | None, stored: Scale | None) -> Scale | None:
    """Return the scale with the larger limit, and the patients of the run itself where they are enough."""
    if own is None or stored is None:
        return own or stored
    patients = own.patients if len(own.patients) >= FEWEST or not stored.patients else stored.patients
    return replace(own if own.limit >= stored.limit else stored, patients=patients)


def common_limit(scale: Scale | None, own: float) -> float:
    """Return the limit of one heatmap's picture: the common scale's, unless the map itself is stronger."""
    return own if scale is None else max(scale.limit, own)


def scale_of_record(noted: Any) -> Scale | None:
    """Return the scale that a record notes; None where it notes none that can be used."""
    try:
        totals = tuple(float(one) for one in noted["patients"])
        found = Scale(float(noted["limit"]), str(noted["source"]), int(noted["scans"]), totals)
    except (TypeError, KeyError, ValueError):
        return None
    return found if 0 < found.limit < float("inf") else None


def scale_record(scale: Scale | None) -> dict[str, Any] | None:
    """Return a scale as a run's record notes it."""
    return None if scale is None else {**asdict(scale), "patients": list(scale.patients)}


def stored_scale(folder: Path, provenance: Mapping[str, Any]) -> Scale | None:
    """Return the scale that a bundle keeps beside its weights for heatmaps of which this is noted; None without."""
    key = _key(provenance)
    kept = next((one for one in _kept(folder) if one.get("key") == key), None)
    return None if kept is None else scale_of_record(kept.get("scale"))


def store_scale(folder: Path, provenance: Mapping[str, Any], scale: Scale) -> bool:
    """Keep a scale of enough scans beside the weights, unless one of as many is there; a bundle may be read-only."""
    there, key = stored_scale(folder, provenance), _key(provenance)
    if scale.scans < FEWEST or not scale.patients or (there is not None and there.scans >= scale.scans):
        return False
    others = [one for one in _kept(folder) if one.get("key") != key]
    try:
        kept = {"key": key, "scale": scale_record(Scale(scale.limit, "bundle", scale.scans, scale.patients))}
        write_json(folder / FILE, {"scales": [*others, kept]})
    except OSError:
        return False
    return True


def _key(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {name: provenance[name] for name in _KEY if name in provenance}


def _kept(folder: Path) -> list[dict[str, Any]]:
    if not (folder / FILE).is_file():
        return []
    try:
        found = read_json(folder / FILE)
    except InputError:
        return []
    scales = found.get("scales") if isinstance(found, dict) else None
    return [one for one in scales if isinstance(one, dict)] if isinstance(scales, list) else []
