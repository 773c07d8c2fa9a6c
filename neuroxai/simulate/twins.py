"""A cohort from the user's own scans: of every healthy scan a patient and its sham twin."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai._version import __version__
from neuroxai.cohort.groups import TWIN
from neuroxai.errors import InputError
from neuroxai.io import read_space, read_volume, sha256
from neuroxai.processes import Bound, check_jobs, settled_jobs
from neuroxai.simulate.curve import Curve
from neuroxai.simulate.own import OwnScan
from neuroxai.simulate.people import Person
from neuroxai.simulate.planting import Planting
from neuroxai.simulate.records import CohortSummary, claim, finished, subject_files, write_participants, write_subject
from neuroxai.simulate.scan import simulate_scan
from neuroxai.simulate.sources import Source, Sources
from neuroxai.simulate.transplant import read_masks
from neuroxai.space import Volume


def simulate_from(
    out: str | os.PathLike[str],
    sources: Sources,
    planting: Planting,
    subjects: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> CohortSummary:
    """Plant an effect in real healthy scans; of each comes a patient and a sham control, twins in all else.

    The results lie on the grid of their source, in its units. ``participants.tsv`` names the source of each in the
    column ``twin``, by which `neuroxai.cohort.split_cohort` keeps twins together. Who is which twin is drawn. A
    subject depends on the seed and its source only.

    Parameters
    ----------
    out : path_like
        Cohort folder: new, empty, or of an earlier call with the same options.
    sources : Sources
        From `neuroxai.simulate.sources.find_sources`.
    planting : Planting
        What, where and how much.
    subjects : int, optional
        Participants, an even number; default two for each source.
    seed : int
        Not negative.
    jobs : int
        Processes; -1 for one per core.
    progress : callable, optional
        Called with (finished, all) after each source.

    Returns
    -------
    CohortSummary
        Counts, and the subjects that failed with the reason.

    Raises
    ------
    InputError
        If an option is out of range, a region unknown, a lesion mask empty, or the folder holds something else.
    """
    chosen = _chosen(sources.scans, subjects)
    if seed < 0:
        raise InputError(f"seed is {seed}, wanted a whole number of 0 or more")
    check_jobs(jobs)
    masks: list[Volume] = []
    files: list[Path] = []
    if planting.extras.masks is not None:
        masks, files = read_masks(planting.extras.masks)
    elif planting.effect == "atrophy":
        planting.regions.finder(chosen[0].label_map)  # an unknown region is told before anything is written
    folder, count = Path(out).absolute(), 2 * len(chosen)  # worker processes may stand in another folder
    options = {
        "effect": planting.effect,
        "subjects": count,
        "seed": int(seed),
        "from": [source.participant_id for source in chosen],
        **({"loss": float(planting.loss), "regions": list(planting.regions.names)} if not masks else {}),
        **({"atlas": planting.regions.atlas} if planting.regions.atlas else {}),
        **({"label_maps": True} if chosen[0].label_map is not None else {}),
        **planting.extras.record(),
        **({"flair_curve": list(planting.curve.flair)} if planting.curve != Curve() else {}),
        **({"lesion_masks": [file.name for file in files]} if files else {}),
        "version": __version__,
    }
    claim(folder, options, planting.kind.__doc__ or "")
    rows: dict[str, Any] = {}
    waiting: list[tuple[Source, list[Person]]] = []
    order = []
    for number, source in enumerate(chosen):
        people = twins_of(source, number, seed)
        order += [person.participant_id for person in people]
        rows.update(_finished(folder, source, people, planting))
        left = [person for person in people if person.participant_id not in rows]
        if left:
            waiting.append((source, left))
    kept, done, failed = len(rows), len(rows), []
    if progress is not None:
        progress(done, count)
    from joblib import Parallel, delayed

    work = Parallel(n_jobs=settled_jobs(jobs, len(waiting)), return_as="generator_unordered")
    for results in work(
        delayed(Bound(_make))(folder, source, people, planting, masks, seed) for source, people in waiting
    ):
        for person, row, error in results:
            if row is None:
                failed.append({"participant_id": person.participant_id, "error": error})
            else:
                rows[person.participant_id] = row
        done += len(results)
        if progress is not None:
            progress(done, count)
    write_participants(folder, [rows[name] for name in order if name in rows])
    failed.sort(key=lambda item: item["participant_id"])
    return CohortSummary(os.fspath(folder), planting.effect, count, len(rows) - kept, kept, failed)


def twins_of(source: Source, number: int, seed: int) -> list[Person]:
    """Make a patient and a control of a source; by lot one is ``...A`` and one ``...B``."""
    lot = np.random.default_rng(_sequence(source, seed, 0)).permutation([False, True])
    return [
        Person(f"{source.participant_id}{letter}", 2 * number + place + 1, bool(patient), source.sex, source.age)
        for place, (letter, patient) in enumerate(zip("AB", lot, strict=True))
    ]


def _chosen(scans: list[Source], subjects: int | None) -> list[Source]:
    if subjects is None:
        return scans
    if subjects < 2 or subjects % 2:
        raise InputError(f"subjects is {subjects}, wanted an even number of 2 or more: a patient and a control a scan")
    if subjects > 2 * len(scans):
        raise InputError(
            f"subjects is {subjects}, wanted {2 * len(scans)} or fewer: {len(scans)} healthy scans give two each"
        )
    return scans[: subjects // 2]


def _sequence(source: Source, seed: int, purpose: int) -> np.random.SeedSequence:
    # by the participant's name, so that further scans in the folder change nothing
    return np.random.SeedSequence(seed, spawn_key=(2, zlib.crc32(source.participant_id.encode()), purpose))


def _finished(folder: Path, source: Source, people: list[Person], planting: Planting) -> dict[str, Any]:
    """Rows of the twins that are whole and of the same source file; none where the source cannot be read."""
    try:
        found = {p.participant_id: finished(_files(folder, p, source, planting), _checksum(source)) for p in people}
    except InputError:
        return {}  # the worker says what is wrong with it
    return {name: row for name, row in found.items() if row is not None}


def _checksum(source: Source) -> dict[str, str]:
    return {"participant_id": source.participant_id, "scan": source.scan.name, "sha256": sha256(source.scan)}


def _files(folder: Path, person: Person, source: Source, planting: Planting) -> dict[str, Path]:
    spacing = read_space(source.scan).spacing
    even = max(spacing) - min(spacing) < 1e-3
    return subject_files(
        folder, person, planting.kind, round(spacing[0], 3) if even else None, planting.extras, planting.suffix(source)
    )


def _make(
    folder: Path, source: Source, people: list[Person], planting: Planting, masks: list[Volume], seed: int
) -> list[tuple[Person, dict[str, Any] | None, str]]:
    """Simulate and write the twins of a source; runs in a worker and returns errors as text."""
    return list(_made(folder, source, people, planting, masks, seed))


def _made(
    folder: Path, source: Source, people: list[Person], planting: Planting, masks: list[Volume], seed: int
) -> Iterator[tuple[Person, dict[str, Any] | None, str]]:
    acquisition: OwnScan | None = None
    for person in people:
        row = None
        error = ""
        try:
            if acquisition is None:
                scan = read_volume(source.scan)
                effect, white = planting.prepared(source, masks, scan)
                acquisition = OwnScan(effect, scan.space, white, source.suffix, planting.curve)
            made = simulate_scan(acquisition, _sequence(source, seed, 1), person.patient, **planting.extras.scanning())
            files = _files(folder, person, source, planting)
            more = {TWIN: source.participant_id}
            row = write_subject(files, made, person, acquisition.effect, more, {"Source": _checksum(source)})
        except Exception as problem:  # one scan must not end a cohort; it is named at the end
            error = f"{type(problem).__name__}: {problem}"
        yield person, row, error
