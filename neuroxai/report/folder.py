"""Read what ``neuroxai explain`` wrote: predictions, run record, and where each scan's files lie."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neuroxai.cohort import class_groups
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_object, read_space, read_tsv
from neuroxai.report.item import Item, read_item, text_of
from neuroxai.space import Space


@dataclass(frozen=True)
class ExplainFolder:
    """An explain output: the run record, its scans and what failed there.

    ``positive`` is the class explained; ``mixed`` says that some heatmaps explain another class. Who is a patient and
    who a control does not depend on it (`groups`).
    """

    path: Path
    record: Mapping[str, Any]
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
    if not (root / "predictions.tsv").is_file():
        raise InputError(f"{root}: holds no predictions.tsv; run `neuroxai explain ... --out {root}` first")
    table = read_tsv(root / "predictions.tsv", required=("participant_id", "predicted"))
    columns = [c for c in table.columns if c.startswith("probability_")]
    if not columns or table.empty:
        what = "has no row" if columns else "has no column probability_<CLASS>"
        raise InputError(f"{root / 'predictions.tsv'}: {what}; run `neuroxai explain` again")
    record = _record(root / "explain.json") if (root / "explain.json").is_file() else {}
    classes = [str(c) for c in record.get("classes") or [c.removeprefix("probability_") for c in columns]]
    absent = [c for c in classes if f"probability_{c}" not in columns]
    if absent:
        raise InputError(
            f"{root / 'predictions.tsv'}: column probability_{absent[0]} is absent, but explain.json names it"
        )
    method = str(record["method"]) if record.get("method") else _only_method(root)
    items: list[Item] = []
    used: set[str] = set()
    for row in table.to_dict("records"):
        items.append(read_item(root, row, classes, method, used))
    twice = [title for title, count in Counter(item.title for item in items).items() if count > 1]
    if twice:
        raise InputError(f"{root / 'predictions.tsv'}: {twice[0]} stands in two rows, wanted one; explain it again")
    if not any(getattr(item, wanted).is_file() for item in items):
        what = "heatmap" if wanted == "heatmap" else "table of regions"
        raise InputError(
            f"{root}: no {what} of {method} for any row of predictions.tsv (looked for {getattr(items[0], wanted)}); "
            "run `neuroxai explain`, `predict` alone makes none"
        )
    targets = _targets(items)
    failed = [
        (" ".join(filter(None, (text_of(f.get("participant_id")), text_of(f.get("session_id"))))), str(f.get("error")))
        for f in record.get("failed") or []
    ]
    positive = _class_explained(record, targets, classes)
    return ExplainFolder(root, record, classes, positive, items, failed, bool(targets - {positive}))


def _record(path: Path) -> dict[str, Any]:
    kinds = {"classes": list, "failed": list, "space": dict, "network_space": dict, "dataset_dir": str, "method": str}
    record = read_object(path, "record of `neuroxai explain`", optional=kinds)
    if not all(isinstance(one, dict) for one in record.get("failed") or []):
        raise InputError(f"{path}: 'failed' is {str(record['failed'])[:100]}, wanted a list of objects; restore it")
    return record


def common_space(folder: ExplainFolder) -> tuple[Space, dict[str, str]]:
    """Return the grid of all network-space heatmaps, from their headers, and the titles of those that cannot be read.

    Raises
    ------
    SpaceError
        If two heatmaps lie on different grids, or on another than the run record says.
    """
    noted = folder.record.get("space") or folder.record.get("network_space")
    reference = Space.from_dict(noted) if noted else None
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
            target = read_object(item.sidecar, "heatmap's sidecar").get("target")
        except InputError:
            continue
        if target is not None:
            found.add(str(target))
    return found


def _class_explained(record: Mapping[str, Any], targets: set[str], classes: list[str]) -> str:
    """Return the class that was asked for, by name or label; else the one that all heatmaps explain; else the last."""
    asked = record.get("target", record.get("explained"))
    if isinstance(asked, int) and 0 <= asked < len(classes):
        return classes[asked]
    if asked in classes:
        return str(asked)
    return next(iter(targets)) if len(targets) == 1 and targets <= set(classes) else classes[-1]


def _only_method(root: Path) -> str:
    """Find the one method whose heatmaps lie in a folder without a run record."""
    found = {
        m.group(1)
        for p in root.glob("sub-*/**/*.nii.gz")
        if p.name[0] != "." and (m := re.search(r"_space-network_desc-(\w+?)_heatmap", p.name))
    }
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none"
        raise InputError(f"{root}: no explain.json, and heatmaps of one method wanted, found: {names}; explain again")
    return found.pop()
