"""How far a study is, read from its folder alone, also while it runs."""

from __future__ import annotations

import fcntl
from collections import Counter
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.studies.execute import ERROR, LOG, RESULT


def status_of(out: Path) -> dict[str, Any]:
    """Return a study's runs with their state: done, at work, failed or waiting (begun, or not yet).

    Raises
    ------
    InputError
        If the folder is no study.
    """
    if not (out / "study.json").is_file():
        raise InputError(f"{out}: is no study (has no study.json); give the folder of `neuroxai study run --out`")
    runs = []
    for facts_file in sorted(out.glob("runs/*/run.json")):
        place, facts = facts_file.parent, io.read_object(facts_file, "run of a study", {"title": str})
        state, error = "waiting", ""
        if _locked(place / ".lock"):
            state = "at work"
        elif (place / ERROR).is_file():
            state, error = "failed", io.read_object(place / ERROR, "record of a failure", {"error": str})["error"]
        elif (place / RESULT).is_file():
            state = "done"
        history = place / "bundle" / "models" / "history.tsv"
        epochs = len(io.read_tsv(history)) if history.is_file() else 0
        runs.append({"run": place.name, "title": facts["title"], "state": state, "epochs": epochs, "error": error,
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
