"""Small studies on phantoms."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

SMALL = {
    "title": "A small study",
    "analysis": "metrics",
    "bundle": "brain_t1w_alzheimers_classification",
    "cohorts": {"main": {}},
    "arms": {"plain": {}, "dropout": {"settings": {"dropout": 0.1}}},
    "split": {"age_bins": 1},
    "settings": {"spacing": 5, "max_epochs": 2, "batch_size": 4, "learning_rate": 0.001, "normalisation": "zscore"},
    "explain": {"lrp": {"method": "lrp_alpha_beta"}},
}


def declared(path: Path, *, without: tuple[str, ...] = (), **changes) -> str:
    """Write a declaration that differs from the small one; returns its path."""
    values = {key: value for key, value in {**SMALL, **changes}.items() if key not in without}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return str(path)


def cohort_of(phantoms: Path, folder: Path) -> Path:
    """A copy of the phantoms with a participants.tsv, as users have one."""
    shutil.copytree(phantoms, folder, ignore=shutil.ignore_patterns("datalist.json"))
    rows = ["participant_id\tdiagnosis\tage\tsex"]
    for number in range(20):
        rows.append(f"sub-{number:02d}\t{('CN', 'AD')[number % 2]}\t{60 + number}\t{'FM'[number // 2 % 2]}")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    return folder


def tables(folder: Path) -> dict[str, bytes]:
    """The results of a study that must not depend on how it was run: everything but timings."""
    names = ["results.tsv", "statistics.tsv"]
    files = [folder / name for name in names] + sorted(folder.glob("runs/*/explained/*/*/*.tsv"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
