"""Small studies on phantoms."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from helpers.warm import Shell
from neuroxai.studies import runner, text_of
from neuroxai.studies.reading import load, merged

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

# over the quick forms of the published studies, so that they take seconds: of all, and of one
QUICKER = {
    "cohorts": {"main": {"simulate": {"subjects": 20}}},
    "split": {"fractions": [0.5, 0.25, 0.25], "repeats": 1, "age_bins": 1},
    "settings": {"max_epochs": 2, "min_epochs": 1},
    "statistics": {"permutations": 99, "replicates": 50},
}
OWN = {
    "eitelritter2019": {"repetitions": 2},
    # two ways without registration, which has tests of its own and takes seven seconds a scan
    "klingenberg2021": {
        "cohorts": {"main": {"simulate": {"subjects": 16}}},
        "repetitions": 1,
        "arms": {"linear": {"prepare": {"arm": "none", "centre": "image"}}},
    },
    "eitel2021": {"split": {"repeats": 2}, "search": {"draws": 1}},
    "eitel2019": {
        "repetitions": 1,
        "cohorts": {"pretraining": {"simulate": {"subjects": 14}}, "main": {"simulate": {"subjects": 28}}},
        "arms": {"adni": {"settings": {"max_epochs": 2, "min_epochs": 1}}},
    },
}


def smaller(name: str, path: Path) -> Path:
    """Write the declaration of a published study, in its quick form made smaller still."""
    values = load(text_of(name), name)
    quick = merged(merged(merged(values, values.pop("quick")), QUICKER), OWN.get(name, {}))
    path.write_text(yaml.safe_dump(quick, sort_keys=False))
    return path


@contextmanager
def sooner(terminal: Shell) -> Iterator[None]:
    """Runs that a study starts are spared the imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "sys", SimpleNamespace(executable=str(terminal.programs / "python")))
        yield


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
