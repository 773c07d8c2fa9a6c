"""A cohort on disk, simulated in the template's anatomy: BIDS derivatives, in parallel, resumable."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai._version import __version__
from neuroxai.derivatives.dataset import complete
from neuroxai.errors import InputError, one_of
from neuroxai.processes import Bound, check_jobs, settled_jobs
from neuroxai.simulate.anatomy import mni152_anatomy
from neuroxai.simulate.effects.atrophy import Atrophy
from neuroxai.simulate.effects.base import Effect
from neuroxai.simulate.effects.lesions import Lesions
from neuroxai.simulate.effects.transplant import RealLesions, read_masks
from neuroxai.simulate.outputs import (
    CohortSummary,
    Person,
    claim,
    finished,
    subject_files,
    write_participants,
    write_subject,
)
from neuroxai.simulate.scan import Acquisition, simulate_scan
from neuroxai.simulate.variability import ScanOptions
from neuroxai.space import mni152

EFFECTS: dict[str, type[Effect]] = {"atrophy": Atrophy, "lesions": Lesions}
"""The effects by name."""

SPACINGS = (1.0, 8.0)


def simulate_cohort(
    out: str | os.PathLike[str],
    effect: str,
    subjects: int,
    spacing: float = 2.0,
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    scan_options: ScanOptions | None = None,
) -> CohortSummary:
    """Write a cohort of simulated patients and sham controls, with the truth beside every scan.

    A subject depends on seed and number only: not on the number of jobs, of subjects, or on interruptions. Finished
    subjects are kept on a rerun; a rerun with other options is refused. ``participants.tsv`` is written at the end.

    Parameters
    ----------
    out : path_like
        Cohort folder: new, empty, or of an earlier call with the same options.
    effect : {"atrophy", "lesions"}
        What is planted in the patients.
    subjects : int
        At least 2; half are patients.
    spacing : float
        Voxel size in mm, 1 to 8, of the grid `neuroxai.space.mni152`.
    seed : int
        Not negative.
    jobs : int
        Processes; -1 for one per core.
    progress : callable, optional
        Called with (finished, all) after each subject.
    scan_options : ScanOptions, optional
        Real lesion masks, a pose, the head around the brain.

    Returns
    -------
    CohortSummary
        Counts, and the subjects that failed.

    Raises
    ------
    InputError
        If an option is out of range, or the folder holds something else.
    """
    if effect not in EFFECTS:
        raise one_of("effect", effect, EFFECTS)
    if subjects < 2:
        raise InputError(f"subjects is {subjects}, expected 2 or more: at least one patient and one control")
    if not SPACINGS[0] <= spacing <= SPACINGS[1]:
        raise InputError(f"spacing is {spacing:g} mm, expected {SPACINGS[0]:g} to {SPACINGS[1]:g} mm, for example 2")
    if seed < 0:
        raise InputError(f"seed is {seed}, expected a whole number of 0 or more")
    check_jobs(jobs)
    # absolute: worker processes that are kept may stand in another folder
    folder, scan_options = Path(out).absolute(), scan_options or ScanOptions()
    masks, files = read_masks(scan_options.masks) if scan_options.masks is not None else ([], [])
    if masks and effect != "lesions":
        raise InputError(f"lesion masks are planted by --effect lesions, got {effect!r}")
    options = {
        "effect": effect,
        "subjects": int(subjects),
        "spacing": float(spacing),
        "seed": int(seed),
        "anatomy": "mni152",
        **scan_options.record(),
        **({"lesion_masks": [file.name for file in files]} if files else {}),
        "version": __version__,
    }
    claim(folder, options, EFFECTS[effect].__doc__ or "")
    planted = RealLesions if masks else EFFECTS[effect]
    people = draw_people(subjects, seed, planted.ages)
    where = {p.participant_id: subject_files(folder, p, planted, spacing, scan_options) for p in people}
    rows = {name: row for name, files in where.items() if (row := finished(files)) is not None}
    waiting = [p for p in people if p.participant_id not in rows]
    tasks: list[Task] = []
    if waiting:
        prepared = RealLesions(mni152_anatomy(), masks) if masks else _prepared(effect)
        acquisition = Acquisition(prepared, mni152(spacing))
        tasks = [partial(_make, where[p.participant_id], acquisition, p, seed, scan_options) for p in waiting]
    return carried_out(folder, effect, list(where), rows, tasks, Workers(jobs, progress))


Outcome = tuple[str, dict[str, Any] | None, str]
"""A subject's name, its row of participants.tsv, and what went wrong where there is no row."""

Task = Callable[[], list[Outcome]]


@dataclass(frozen=True)
class Workers:
    """How many processes work, -1 for one per core, and whom they report (finished, all) to."""

    jobs: int = 1
    progress: Callable[[int, int], None] | None = None


def carried_out(
    folder: Path, effect: str, order: Sequence[str], rows: dict[str, Any], tasks: Sequence[Task], workers: Workers
) -> CohortSummary:
    """Do a cohort's tasks in worker processes and write its participants.

    Parameters
    ----------
    folder : pathlib.Path
        The cohort's.
    effect : str
        Its effect.
    order : sequence of str
        All participants in the order of the table.
    rows : dict
        Those that were finished before, by name.
    tasks : sequence of callable
        Each simulates and writes some of the others.
    workers : Workers
        Processes and progress.
    """
    from joblib import Parallel, delayed

    kept = done = len(rows)
    failed = []
    if workers.progress is not None:
        workers.progress(done, len(order))
    work = Parallel(n_jobs=settled_jobs(workers.jobs, len(tasks)), return_as="generator_unordered")
    for outcomes in work(delayed(Bound(task))() for task in tasks):
        for name, row, error in outcomes:
            if row is None:
                failed.append({"participant_id": name, "error": error})
            else:
                rows[name] = row
        done += len(outcomes)
        if workers.progress is not None:
            workers.progress(done, len(order))
    write_participants(folder, [rows[name] for name in order if name in rows])
    complete(folder)
    failed.sort(key=lambda item: item["participant_id"])
    return CohortSummary(os.fspath(folder), effect, len(order), len(rows) - kept, kept, failed)


@lru_cache(maxsize=1)
def _prepared(effect: str) -> Effect:
    """Prepare an effect on the template; kept for the next call, as it takes some seconds."""
    return EFFECTS[effect](mni152_anatomy())


def _make(
    files: dict[str, Path], acquisition: Acquisition, person: Person, seed: int, scan_options: ScanOptions
) -> list[Outcome]:
    """Simulate and write one subject, the sidecar last; runs in a worker and returns errors as text."""
    try:
        sequence = np.random.SeedSequence(seed, spawn_key=(1, person.number))
        scan = simulate_scan(acquisition, sequence, person.patient, **scan_options.scanning())
        return [(person.participant_id, write_subject(files, scan, person, acquisition.effect), "")]
    except Exception as error:  # one subject must not end a cohort; it is named at the end
        return [(person.participant_id, None, f"{type(error).__name__}: {error}")]


def draw_people(count: int, seed: int, ages: tuple[float, float, float, float]) -> list[Person]:
    """Draw participants in pairs: a patient and a control of one sex and nearly one age, in random order.

    Two pairs after each other are of the two sexes in random order. A pair depends on the seed and its place only,
    so that a person is the same in a cohort of any size.

    Parameters
    ----------
    count : int
        Participants; where odd, the last pair lacks one.
    seed : int
        The cohort's seed.
    ages : tuple of float
        Mean, standard deviation, lowest and highest age in years.
    """
    mean, spread, low, high = ages
    people: list[Person] = []
    for four in range((count + 3) // 4):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, four)))
        for sex in rng.permutation(["F", "M"]):
            age = rng.normal(mean, spread)
            for patient in rng.permutation([False, True]):
                own = float(np.clip(age + rng.uniform(-1.5, 1.5), low, high))
                number = len(people) + 1
                people.append(Person(f"sub-{number:04d}", number, bool(patient), str(sex), round(own, 1)))
    return people[:count]
