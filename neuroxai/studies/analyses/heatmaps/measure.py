"""Measure every method on every arm and split; what is finished is kept, what fails is named and the rest goes on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from neuroxai import attribution, io
from neuroxai._version import __version__
from neuroxai.attribution.baselines import FROM_CONTROLS
from neuroxai.errors import InputError, UnsupportedLayerError, one_of, ours
from neuroxai.evaluation.heatmaps.trust import Common, common_of, measure_method
from neuroxai.evaluation.heatmaps.uninformative import CONTROLS, controls
from neuroxai.processes import Bound, settled_jobs
from neuroxai.studies.analyses.heatmaps.networks import GIVEN, Unit, digest_values, opened, own_method
from neuroxai.studies.analyses.shared import known_options
from neuroxai.studies.data import Progress
from neuroxai.studies.reading import nearest
from neuroxai.studies.results import Results
from neuroxai.studies.runs import digest
from neuroxai.studies.spec import Study

FOLDER = "measured"
COMMON, PEOPLE, EFFECTS = "common.json", "people.tsv", "effects.tsv"
REASON = "not_applicable"
"""Key of why a method cannot explain a network."""
FILLS = ("controls", "zero", "blur")
_OPTIONS = ("methods", "scans", "fill", "bundle")


def check(study: Study) -> None:
    """Refuse a study without methods, or with options that are none of these.

    Raises
    ------
    InputError
        Naming the key.
    """
    known_options(study, _OPTIONS)
    methods = study.options.get("methods")
    if not isinstance(methods, Mapping) or not methods:
        raise InputError(
            "options: methods: there is none; name what is to be measured, such as lrp: {method: lrp_z_plus}"
        )
    for name, spec in methods.items():
        _check_method(f"options: methods: {name}", name, spec)
    count = study.options.get("scans", 1)
    if type(count) is not int or count < 1:
        raise InputError(f"options: scans is {count!r}, expected a whole number of 1 or more")
    if study.options.get("fill", FILLS[0]) not in FILLS:
        raise one_of("fill in options", study.options["fill"], FILLS)


def _check_method(where: str, name: str, spec: Any) -> None:
    if name in (*CONTROLS, "chance") or not isinstance(spec, Mapping) or not isinstance(spec.get("method"), str):
        raise InputError(f"{where} is {spec!r}, expected a name of its own and {{method: NAME, options: {{...}}}}")
    method, options = spec["method"], dict(spec.get("options") or {})
    if ":" in method:
        own_method(method)
        return
    if method not in attribution.names():
        raise one_of(f"method in {where}", method, attribution.names(), nearest(method, attribution.names()))
    if options.get("baselines") in FROM_CONTROLS:
        del options["baselines"]
    if (
        not attribution.takes_regions(method)
        and attribution.complete(method, options).get("baselines") not in FROM_CONTROLS
    ):
        attribution.create(method, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2)).eval(), **options)


def units(results: Results) -> list[tuple[Unit, Path]]:
    """Return what is measured together, with the folder that holds it: each arm and split, then a given bundle."""
    study, found = results.study, []
    options = {"scans": study.options.get("scans", 8), "fill": study.options.get("fill", FILLS[0])}
    options["atlas"] = study.atlases[0]
    for arm in study.arms:
        runs: dict[int, list[str]] = {}
        for done in results.chosen(arm):
            runs.setdefault(done.run.split, []).append(str(done.folder))
        source = str(results.cohorts[study.arms[arm].cohort])
        for split, folders in runs.items():
            found.append(Unit(f"{arm}_split-{split}", arm, tuple(folders), "", source=source, **options))
    given = study.options.get("bundle")
    if given and found:
        found.append(Unit("given", GIVEN, found[0].runs[:1], str(given), source=found[0].source, **options))
    return [(unit, results.out / FOLDER / unit.name) for unit in found]


def measure(results: Results, jobs: int = 1, progress: Progress | None = None) -> list[str]:
    """Measure what is wanting, in several processes.

    Returns
    -------
    list of str
        Methods that failed, with the arm and the reason; all others are written.
    """
    from joblib import Parallel, delayed

    specs = {**results.study.options["methods"], **dict.fromkeys(CONTROLS)}
    left = [
        (unit, folder, name, spec)
        for unit, folder in units(results)
        for name, spec in specs.items()
        if finished(unit, folder, name, spec) is None
    ]
    shared = {unit.name: (unit, folder, "", None) for unit, folder, *_ in left}
    run = Parallel(n_jobs=settled_jobs(jobs, len(left) or 1), return_as="generator_unordered", batch_size=1)
    failed: dict[str, str] = {}

    def work(what: str, tasks: Sequence[tuple[Unit, Path, str, Any]]) -> None:
        for done, (where, error) in enumerate(run(delayed(Bound(_one))(*task) for task in tasks), start=1):
            if error:
                failed[where] = error
            if progress is not None:
                progress(what, done, len(tasks))

    if progress is not None:
        progress("finding what networks use", 0, len(shared))
    # what all methods of a unit share comes first; without it there are no methods
    work("finding what networks use", list(shared.values()))
    work("measuring heatmaps", [task for task in left if task[0].name not in failed])
    return list(failed.values())


def _one(unit: Unit, folder: Path, name: str, spec: Any) -> tuple[str, str]:
    """Measure one method of a unit, or without a name what all share; return its name and what went wrong."""
    where = f"{unit.name}: {name}" if name else unit.name
    try:
        with warnings.catch_warnings():
            # how far maps fail to add up is measured
            warnings.simplefilter("ignore", UserWarning)
            if name:
                _method(unit, folder, name, spec)
            else:
                _common(unit, folder)
    except Exception as error:  # one method must not end the others; it is named at the end
        return where, f"{where}: {ours(error) or f'{type(error).__name__}: {error}'}"
    return where, ""


def unit_digest(unit: Unit) -> str:
    """Return the digest of all that decides a unit's figures but the methods."""
    return digest([*digest_values(unit), __version__])


def finished(unit: Unit, folder: Path, name: str, spec: Any) -> dict[str, Any] | None:
    """Return the record of a method that was measured as it would be now; None of any other."""
    path = folder / f"{_file(name)}.json"
    record = io.read_object(path, "measured method") if path.is_file() else {}
    return record if record.get("digest") == _digest(unit, spec) else None


def _digest(unit: Unit, spec: Any) -> str:
    return digest([unit_digest(unit), None if spec is None else dict(spec)])


def _file(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in name)


def _common(unit: Unit, folder: Path) -> None:
    record = folder / COMMON
    if record.is_file() and io.read_object(record, "what methods share").get("digest") == unit_digest(unit):
        return
    found = opened(unit)
    shared = common_of(found.networks, found.test)
    test, atlas = found.test, found.atlas
    planted = np.stack([test.planted(n) for n in range(len(test.scans))])
    scans, regions = np.indices(planted.shape).reshape(2, -1)
    names = list(atlas.names.values())
    people = {"scan": scans, "participant_id": [found.people[n] for n in scans], "region": regions}
    people |= {"name": [names[k] for k in regions], "planted": planted.ravel().astype(int)}
    io.write_tsv(folder / PEOPLE, pd.DataFrame(people))
    (folder / EFFECTS).unlink(missing_ok=True)
    if shared.effects is not None:
        kinds, models, places, numbers = np.indices(shared.effects.shape).reshape(4, -1)
        effects = {"model": models, "scan": places, "kind": np.array(["patient", "sham"])[kinds], "region": numbers}
        io.write_tsv(folder / EFFECTS, pd.DataFrame({**effects, "effect": shared.effects.ravel()}))
    known = {"digest": unit_digest(unit), "scans": len(test.scans), "networks": len(found.networks)}
    known |= {"controls": 0 if test.controls is None else len(test.controls)}
    # of trainings their runs say it
    known |= {"roc_auc": found.told_apart()} if unit.bundle else {}
    io.write_json(record, {**known, "chance": test.chance(), "random": list(shared.random)})


def _method(unit: Unit, folder: Path, name: str, spec: Any) -> None:
    found, record = opened(unit), io.read_object(folder / COMMON, "what methods share")
    explain = controls(found.test.seed)[name] if spec is None else found.maker(spec)
    made = {"method": name, "spec": spec, "digest": _digest(unit, spec)}
    try:
        measured = measure_method(found.networks, explain, found.test, Common(record["random"], effects_of(folder)))
    except UnsupportedLayerError as error:  # no failure: it would be the same tomorrow
        made[REASON] = str(error)
    else:
        io.write_tsv(folder / f"{_file(name)}_regions.tsv", measured.regions)
        io.write_tsv(folder / f"{_file(name)}_values.tsv", measured.values)
    io.write_json(folder / f"{_file(name)}.json", made)


def effects_of(folder: Path) -> np.ndarray | None:
    """Read what each region does: shape (2, models, scans, regions), patients and shams; None without twins."""
    path = folder / EFFECTS
    if not path.is_file():
        return None
    table = io.read_tsv(path).sort_values(["kind", "model", "scan", "region"])
    shape = tuple(table[name].nunique() for name in ("kind", "model", "scan", "region"))
    return np.asarray(table["effect"].to_numpy(dtype=np.float64).reshape(shape))


def measured(results: Results) -> Iterator[tuple[Unit, dict[str, Any], dict[str, tuple[pd.DataFrame, Path]]]]:
    """Yield each unit that was measured: what methods share, and by method the values and its table of regions.

    What methods share has the reasons of those that cannot explain the networks, ``not_applicable``, by name.
    """
    for unit, folder in units(results):
        if not (folder / COMMON).is_file():
            continue
        specs = {**results.study.options["methods"], **dict.fromkeys(CONTROLS)}
        records = {name: finished(unit, folder, name, spec) for name, spec in specs.items()}
        reasons = {name: one[REASON] for name, one in records.items() if one is not None and REASON in one}
        tables = {
            name: (io.read_tsv(folder / f"{_file(name)}_values.tsv"), folder / f"{_file(name)}_regions.tsv")
            for name, one in records.items()
            if one is not None and REASON not in one
        }
        if tables:
            yield unit, {**io.read_object(folder / COMMON, "what methods share"), REASON: reasons}, tables
