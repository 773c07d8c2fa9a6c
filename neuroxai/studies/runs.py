"""The runs of a study: one training each, known by the digest of all that decides its result, and where it stands."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.bundles.catalogue import bundle_folder
from neuroxai.derivatives.study_runs import ASKED, LOG, RESULT, read_error, read_run
from neuroxai.errors import InputError
from neuroxai.studies.spec import Arm, Study, Values


def digest(value: Any, length: int = 12) -> str:
    """Return the first digits of the SHA-256 of a plain value, whatever the order of keys.

    Examples
    --------
    >>> digest({"a": 1, "b": [2.0]}) == digest({"b": [2.0], "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Run:
    """One training and what is asked of it afterwards.

    Parameters
    ----------
    arm : str
        Name of the arm.
    split, repetition : int
        Numbers, from 0.
    draw : int or None
        Number of the draw, where hyper-parameters are searched for.
    drawn : dict
        The values drawn.
    bundle : pathlib.Path
        The bundle's sources.
    folder : pathlib.Path
        The cohort's.
    datalist : pathlib.Path
        Its parts.
    settings : dict
        Overrides of ``train.json``, with the seed.
    needs : str
        Identifier of the run whose weights it begins with; empty for none.
    train : bool
        False: weights are taken as they are.
    identifier : str
        Digest of all this and of the files' contents; two arms of equal settings share a run.
    """

    arm: str
    split: int
    repetition: int
    draw: int | None
    drawn: Values
    bundle: Path
    folder: Path
    datalist: Path
    settings: Values
    needs: str = ""
    train: bool = True
    identifier: str = field(default="")

    @property
    def title(self) -> str:
        """What a person would call it."""
        draw = "" if self.draw is None else f", draw {self.draw}"
        return f"{self.arm}, split {self.split}, repetition {self.repetition}{draw}"


def seed_of(study: Study, repetition: int, draw: int | None) -> int:
    """Return a training's seed: the same in all arms and splits, another for each repetition and draw."""
    return study.seed + repetition + 1000 * (draw or 0)


def make_run(
    study: Study,
    name: str,
    numbers: tuple[int, int, int | None],
    data: tuple[Path, Path],
    drawn: Values,
    chosen: Values,
    needs: str,
) -> Run:
    """Put a run together.

    Parameters
    ----------
    study : Study
        The declaration.
    name : str
        The arm.
    numbers : (int, int, int or None)
        Split, repetition, draw.
    data : (Path, Path)
        Folder and datalist of the arm's cohort.
    drawn, chosen : dict
        Values of the search, and the settings that they stand for.
    needs : str
        Identifier of the run to begin from.
    """
    arm: Arm = study.arms[name]
    split, repetition, draw = numbers
    bundle = bundle_folder(arm.bundle or study.bundle)
    settings = {**study.settings, **arm.settings, **chosen, "seed": seed_of(study, repetition, draw)}
    run = Run(name, split, repetition, draw, drawn, bundle, data[0], data[1], settings, needs, arm.train)
    return replace(run, identifier=identify(run, study.processes))


def identify(run: Run, processes: int = 1) -> str:
    """Return the digest of all that decides a run's result.

    Settings and the contents of files that they name, configurations, labels, the scans' contents, the parent run, and
    the version of this package.
    """
    return digest(
        {
            "bundle": run.bundle.name,
            "configs": {p.name: io.sha256(p) for p in sorted((run.bundle / "configs").glob("*.json"))},
            "data": _data_digest(run),
            "settings": run.settings,
            "files": {name: found for name, value in run.settings.items() if (found := _named_content(value))},
            "needs": run.needs,
            "train": run.train,
            "processes": processes,
            "version": __version__,
        }
    )


def _data_digest(run: Run) -> str:
    datalist: Mapping[str, Any] = io.read_object(run.datalist, "datalist")
    scans = {
        item["image"]: io.content_sha256(run.folder / item["image"])
        for part in ("training", "validation", "test")
        for item in datalist.get(part, [])
    }
    return digest({"parts": {k: v for k, v in datalist.items() if k != "versions"}, "scans": scans})


def _named_content(value: Any) -> str | None:
    """Return the checksum of the file, or of a bundle's weights, that a setting names; None for any other setting."""
    if not isinstance(value, str) or not value:
        return None
    path = Path(value).expanduser()
    path = path / "models" / "model.pt" if path.is_dir() else path
    return io.content_sha256(path) if path.is_file() else None


def status_of(out: Path) -> dict[str, Any]:
    """Return a study's runs with their state: done, at work, failed or waiting (begun, or not yet).

    Raises
    ------
    InputError
        If the folder is no study.
    """
    if not (out / "study.json").is_file():
        raise InputError(f"{out}: is no study (has no study.json); give the folder of `neuroxai study run --out`")
    runs: list[dict[str, Any]] = []
    for asked in sorted(out.glob(f"runs/*/{ASKED}")):
        place, title = asked.parent, read_run(asked.parent).title
        state, error = "waiting", ""
        if _locked(place / ".lock"):
            state = "at work"
        elif (failure := read_error(place)) is not None:
            state, error = "failed", failure
        elif (place / RESULT).is_file():
            state = "done"
        history = place / "bundle" / "models" / "history.tsv"
        epochs = len(io.read_tsv(history)) if history.is_file() else 0
        runs.append({"run": place.name, "title": title, "state": state, "epochs": epochs, "error": error,
                     "log": str(place / LOG)})  # fmt: skip
    runs.sort(key=lambda run: run["title"])
    counts = Counter(run["state"] for run in runs)
    return {
        "study": io.read_object(out / "study.json", "study", {"study": dict})["study"].get("name"),
        "counts": dict(sorted(counts.items())),
        "runs": runs,
    }


def _locked(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
