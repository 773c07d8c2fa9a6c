"""What stands in a study's folder beside its runs: the declaration, the index of runs, their tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.errors import InputError
from neuroxai.studies.declaration import Study
from neuroxai.studies.results import Done, Results


def write_tables(study: Study, out: Path, done: Sequence[Done], cohorts: Mapping[str, Path]) -> None:
    """Write results.tsv and timings.tsv, and what is needed to make the report again without the runs' plan."""
    results = Results(study, out, done, cohorts)
    if done:
        io.write_tsv(out / "results.tsv", results.runs)
        io.write_tsv(out / "timings.tsv", results.timings)
    index = [
        {**{k: str(v) if isinstance(v, Path) else v for k, v in asdict(item.run).items()}, "chosen": item.chosen}
        for item in done
    ]
    io.write_json(out / "runs.json", {"runs": index, "cohorts": {name: str(path) for name, path in cohorts.items()}})


def claim(folder: Path, study: Study, cohorts: Mapping[str, Path]) -> None:
    """Take a new or empty folder, or one of the same study."""
    record = folder / "study.json"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, wanted a folder for the study")
    if record.is_file():
        before = io.read_object(record, "study", {"study": dict})
        if before.get("study", {}).get("name") != study.name:
            raise InputError(
                f"{folder}: holds study {before.get('study', {}).get('name')!r}, now {study.name!r} is asked for; name "
                "a new folder"
            )
    elif folder.exists() and (strange := sorted(p.name for p in folder.iterdir() if ".tmp." not in p.name)):
        raise InputError(f"{folder}: is not empty (holds {strange[0]!r}) and is no study; name a new folder")
    wanted = {
        "version": __version__,
        "cohorts": {name: str(Path(path).resolve()) for name, path in cohorts.items()},
        "study": json.loads(json.dumps(asdict(study))),
    }
    io.write_json(record, wanted)
