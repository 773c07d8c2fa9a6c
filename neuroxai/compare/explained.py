"""What `neuroxai explain` wrote, read again: run record, predictions, and where each scan's files lie."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neuroxai.cohort import class_groups
from neuroxai.cohort.table import finite
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import heatmap_name, inside, read_object, read_space, read_tsv
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
        items.append(_read_item(root, row, classes, method, used))
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


def _read_item(root: Path, row: Mapping[Any, Any], classes: list[str], method: str, used: set[str]) -> Item:
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
