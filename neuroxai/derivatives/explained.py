"""The output folder of `neuroxai explain`: records of the call, joined tables, and where each scan's files lie."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from neuroxai import io
from neuroxai.cohort import class_groups
from neuroxai.derivatives.heatmap_names import NETWORK, ORIGINAL, method_label
from neuroxai.derivatives.heatmaps import Provenance, Run, ScanFiles, read_regions, read_sidecar
from neuroxai.derivatives.predictions import read_predictions, text_of
from neuroxai.derivatives.records import codec, from_json, to_json
from neuroxai.derivatives.scales import Scale, scale_of_record, scale_record
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_space
from neuroxai.io.names import BidsName
from neuroxai.space import Space

RESEARCH_USE = (
    "For research use only. This is not a medical device: nothing on this page may be used to diagnose, treat or "
    "advise a person."
)


@dataclass(frozen=True)
class Failure:
    """A scan that could not be shown or compared, or was not explained, and why."""

    title: str
    error: str


@dataclass(frozen=True)
class ExplainRecord(Run):
    """``explain.json``: the last call that wrote to a folder; all is empty where there is none.

    Parameters
    ----------
    classes : sequence of str
        In the order of labels.
    dataset_dir, datalist, part : str or None
        The cohort's folder, and the part of a datalist that was asked for.
    scans : int
        Rows of ``predictions.tsv``.
    held_out : mapping or None
        How well the network does on scans that it had not seen (`neuroxai.evaluation.held_out`).
    scale : Scale or None
        The common colour scale.
    failed : sequence of mapping
        participant_id, session_id, error.
    """

    classes: Sequence[str] = ()
    dataset_dir: str | None = None
    datalist: str | None = None
    part: str | None = None
    scans: int = 0
    held_out: Mapping[str, Any] | None = None
    scale: Scale | None = field(default=None, metadata=codec(write=scale_record, read=scale_of_record))
    failed: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class GroupRecord(Provenance):
    """``group_..._heatmaps.json``: mean heatmaps of hidden neurons over scans.

    Parameters
    ----------
    layer, neurons, conditions
        Where relevance started, and through which channels it went.
    scans : sequence of mapping
        participant_id, session_id, source, source_sha256 of the scans asked for.
    scan_count : int
        How many the means are of.
    failed : sequence of mapping
        As in `ExplainRecord`.
    """

    layer: str = ""
    neurons: Any = "all"
    conditions: Mapping[str, Sequence[int]] | None = None
    scans: Sequence[Mapping[str, Any]] = ()
    scan_count: int = 0
    failed: Sequence[Mapping[str, str]] = ()


_CALL = "record of `neuroxai explain`"
_KINDS = {"classes": list, "failed": list, "dataset_dir": str, "method": str, "network_space": dict, "options": dict}


def read_record(path: Path) -> ExplainRecord:
    """Read ``explain.json``.

    Raises
    ------
    InputError
        If it is absent, or a value is of another kind than `neuroxai explain` writes.
    """
    values = io.read_object(path, _CALL, optional=_KINDS)
    if not all(isinstance(one, dict) for one in values.get("failed") or []):
        raise InputError(f"{path}: 'failed' is {str(values['failed'])[:100]}, wanted a list of objects; restore it")
    return from_json(ExplainRecord, values)


def read_group(path: Path) -> GroupRecord:
    """Read the record of mean heatmaps.

    Raises
    ------
    InputError
        As `read_record`.
    """
    return from_json(GroupRecord, io.read_object(path, f"{_CALL[:-1]} --neuron all`", optional=_KINDS))


def write_record(path: Path, record: ExplainRecord | GroupRecord) -> Path:
    """Write a record of a call."""
    return io.write_json(path, to_json(record))


def write_regions(path: Path, scans: Iterable[ScanFiles]) -> None:
    """Write the region scores of all scans as one table, by participant and session; none is left where there is none.

    Parameters
    ----------
    path : pathlib.Path
        The table.
    scans : iterable of ScanFiles
        Scans with a table of their own.
    """
    import pandas as pd

    frames = []
    for scan in sorted(scans, key=lambda one: (one.participant_id, one.session_id)):
        frame = read_regions(scan.regions)
        frame.insert(0, "participant_id", scan.participant_id)
        frame.insert(1, "session_id", scan.session_id or None)
        frames.append(frame)
    if frames:
        io.write_tsv(path, pd.concat(frames, ignore_index=True))
    else:
        path.unlink(missing_ok=True)


def heatmaps_below(folder: Path, space: str = NETWORK) -> list[Path]:
    """Return the heatmaps below a folder in one space, sorted; what begins with a dot is the rest of a killed run."""
    return sorted(p for p in folder.rglob(f"*_space-{space}_*heatmap.nii.gz") if p.name[0] != ".")


def only_scan(folder: Path) -> tuple[Path, ScanFiles]:
    """Find the last run's heatmap of the only scan of a folder, on the scanner's grid, and where its files lie.

    Raises
    ------
    InputError
        If there is none, or those of several scans.
    """
    label = method_label(read_record(folder / "explain.json").method)
    names = [BidsName.parse(path.name) for path in heatmaps_below(folder)]
    names = [name for name in names if name.entities.get("desc") == label]
    if len(names) != 1:
        raise InputError(f"{folder}: holds {len(names)} heatmaps, wanted one; name a new folder with --out")
    files = ScanFiles(folder, names[0].participant, names[0].session, label)
    for space in ("T1w", "FLAIR", ORIGINAL):
        if (heatmap := files.heatmap(space)).is_file():
            return heatmap, files
    raise InputError(f"{folder}: holds no heatmap on the scan's own grid; leave out --no-native and --scores-only")


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
    files : ScanFiles
        Where its results lie.
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
    files: ScanFiles
    page: str
    seen: str = "unknown"
    fit: str = ""
    unlike: str = ""

    @property
    def title(self) -> str:
        """Participant and session."""
        return " ".join(filter(None, (self.participant_id, self.session_id)))

    @property
    def heatmap(self) -> Path:
        """The heatmap on the network's grid."""
        return self.files.heatmap()

    @property
    def native_heatmap(self) -> Path:
        """The heatmap on the scan's own grid; it may be absent."""
        return self.files.heatmap(ORIGINAL)

    @property
    def sidecar(self) -> Path:
        """JSON beside the heatmap."""
        return self.files.sidecar()

    @property
    def regions(self) -> Path:
        """Region scores beside the heatmap; they may be absent."""
        return self.files.regions


@dataclass(frozen=True)
class ExplainFolder:
    """An explain output: the run record, its scans and what failed there.

    ``positive`` is the class explained; ``mixed`` says that some heatmaps explain another class. Who is a patient and
    who a control does not depend on it (`groups`).
    """

    path: Path
    record: ExplainRecord
    classes: list[str]
    positive: str
    items: list[Item]
    failed: list[tuple[str, str]]
    mixed: bool

    @property
    def groups(self) -> tuple[str, str]:
        """The classes of controls and of patients, settled as `neuroxai compare` does."""
        return class_groups(self.classes, self.positive)

    @property
    def patients(self) -> str:
        """The class of the patients: the positive one of all figures of classification."""
        return self.groups[1]


def read_folder(path: str | os.PathLike[str], wanted: Literal["heatmap", "regions"] = "heatmap") -> ExplainFolder:
    """Read an explain output folder.

    Parameters
    ----------
    path : path_like
        The folder.
    wanted : {"heatmap", "regions"}
        What at least one scan must have.

    Raises
    ------
    InputError
        If the folder or predictions.tsv is absent, the table lacks a column or is empty, two rows stand for one scan,
        a probability is not between 0 and 1, or no row has what is wanted.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the output folder of `neuroxai explain`")
    table = root / "predictions.tsv"
    if not table.is_file():
        raise InputError(f"{root}: holds no predictions.tsv; run `neuroxai explain ... --out {root}` first")
    record = read_record(root / "explain.json") if (root / "explain.json").is_file() else ExplainRecord()
    rows = read_predictions(table, [str(name) for name in record.classes])
    classes = [str(name) for name in record.classes or rows[0].probabilities]
    method = method_label(record.method) if record.method else _only_method(root)
    used: set[str] = set()
    items = [
        Item(
            *row.who,
            row.true or "",
            row.predicted,
            {name: row.probabilities[name] for name in classes},
            row.score,
            ScanFiles(root, *row.who, method),
            _page_name("_".join(filter(None, row.who)), used),
            row.seen or "unknown",
            row.fit or "",
            row.unlike or "",
        )
        for row in rows
    ]
    if not any(getattr(item, wanted).is_file() for item in items):
        what = "heatmap" if wanted == "heatmap" else "table of regions"
        raise InputError(
            f"{root}: no {what} of {record.method or method} for any row of predictions.tsv (looked for "
            f"{getattr(items[0], wanted)}); run `neuroxai explain`, `predict` alone makes none"
        )
    targets = _targets(items)
    failed = [
        (" ".join(filter(None, (text_of(f.get("participant_id")), text_of(f.get("session_id"))))), str(f.get("error")))
        for f in record.failed or ()
    ]
    positive = _class_explained(record.explained, targets, classes)
    return ExplainFolder(root, record, classes, positive, items, failed, bool(targets - {positive}))


def common_space(folder: ExplainFolder) -> tuple[Space, dict[str, str]]:
    """Return the grid of all network-space heatmaps, from their headers, and the titles of those that cannot be read.

    Raises
    ------
    SpaceError
        If two heatmaps lie on different grids, or on another than the run record says.
    """
    reference = folder.record.grid
    source, broken = "explain.json", {}
    for item in folder.items:
        try:
            space = read_space(item.heatmap)
        except InputError as error:
            broken[item.title] = str(error)
            continue
        if reference is None:
            reference, source = space, str(item.heatmap)
        if not space.matches(reference):
            raise SpaceError(
                f"{item.heatmap} ({space.describe()}) is on another grid than {source} ({reference.describe()}); "
                "heatmaps of one report share a grid: explain all scans with one bundle into an empty folder"
            )
    if reference is None:
        raise InputError(f"{folder.path}: no heatmap can be read; the first: {next(iter(broken.values()))}")
    return reference, broken


def _targets(items: list[Item]) -> set[str]:
    """Classes that the heatmaps explain, from the sidecars that can be read."""
    found = set()
    for item in items:
        try:
            target = read_sidecar(item.sidecar).target
        except InputError:
            continue
        if target is not None:
            found.add(target)
    return found


def _class_explained(asked: int | str | None, targets: set[str], classes: list[str]) -> str:
    """Return the class that was asked for, by name or label; else the one that all heatmaps explain; else the last."""
    if isinstance(asked, int) and 0 <= asked < len(classes):
        return classes[asked]
    if asked in classes:
        return str(asked)
    return next(iter(targets)) if len(targets) == 1 and targets <= set(classes) else classes[-1]


def _only_method(root: Path) -> str:
    """Return the label of the one method whose heatmaps lie in a folder without a run record."""
    found = {BidsName.parse(path.name).entities.get("desc", "") for path in heatmaps_below(root)}
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none"
        raise InputError(f"{root}: no explain.json, and heatmaps of one method wanted, found: {names}; explain again")
    return found.pop()


def _page_name(stem: str, used: set[str]) -> str:
    """Return a file name safe on every system and in a link, not used before (case does not tell files apart)."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", stem) or "scan"
    name, number = safe, 2
    while name.lower() in used | {"index"}:
        name, number = f"{safe}-{number}", number + 1
    used.add(name.lower())
    return f"{name}.html"
