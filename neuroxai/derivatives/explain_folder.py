"""Reading an output folder of `neuroxai explain` as a whole: its scans, their files, the grid that they share."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neuroxai.cohort import class_groups
from neuroxai.derivatives.explained import ExplainRecord, read_record
from neuroxai.derivatives.heatmap_names import NETWORK, ORIGINAL, method_label
from neuroxai.derivatives.heatmaps import ScanFiles, read_sidecar
from neuroxai.derivatives.predictions import read_predictions, text_of
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_space
from neuroxai.io.names import BidsName
from neuroxai.space import Space


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
        raise InputError(f"{folder}: holds {len(names)} heatmaps, expected one; name a new folder with --out")
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


def read_folder(path: str | os.PathLike[str], needed: Literal["heatmap", "regions"] = "heatmap") -> ExplainFolder:
    """Read an explain output folder.

    Parameters
    ----------
    path : path_like
        The folder.
    needed : {"heatmap", "regions"}
        What at least one scan must have.

    Raises
    ------
    InputError
        If the folder or predictions.tsv is absent, the table lacks a column or is empty, two rows stand for one scan,
        a probability is not between 0 and 1, or no row has what is needed.
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
    used = {"index"}
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
    if not any(getattr(item, needed).is_file() for item in items):
        what = "heatmap" if needed == "heatmap" else "table of regions"
        raise InputError(
            f"{root}: no {what} of {record.method or method} for any row of predictions.tsv (looked for "
            f"{getattr(items[0], needed)}); run `neuroxai explain`, `predict` alone makes none"
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
        raise InputError(f"{root}: no explain.json, and heatmaps of one method expected, found: {names}; explain again")
    return found.pop()


def _page_name(stem: str, used: set[str]) -> str:
    """Return a file name safe on every system and in a link, not used before (case does not tell files apart)."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", stem) or "scan"
    name, number = safe, 2
    while name.lower() in used:
        name, number = f"{safe}-{number}", number + 1
    used.add(name.lower())
    return f"{name}.html"
