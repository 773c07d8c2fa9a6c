"""A cohort on disk: BIDS derivatives, in parallel, resumable."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai._version import __version__
from neuroxai.errors import InputError, one_of
from neuroxai.io import write_json, write_volume
from neuroxai.simulate.anatomy import Anatomy, mni152_anatomy
from neuroxai.simulate.atrophy import Atrophy
from neuroxai.simulate.effect import Effect
from neuroxai.simulate.lesions import Lesions
from neuroxai.simulate.people import Person, draw_people
from neuroxai.simulate.records import claim, finished, subject_files, write_participants
from neuroxai.simulate.scan import Acquisition, simulate_scan
from neuroxai.space import Volume, mni152

EFFECTS: dict[str, type[Effect]] = {"atrophy": Atrophy, "lesions": Lesions}
"""The effects by name."""

SPACINGS = (1.0, 8.0)


@dataclass(frozen=True)
class CohortSummary:
    """What `simulate_cohort` did.

    Parameters
    ----------
    folder : str
        The cohort folder.
    effect : str
        Its effect.
    subjects, made, kept : int
        Participants wanted, simulated now, and found finished.
    failed : list of dict
        ``participant_id`` and ``error`` of those that failed.
    """

    folder: str
    effect: str
    subjects: int
    made: int
    kept: int
    failed: list[dict[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def simulate_cohort(
    out: str | os.PathLike[str],
    effect: str,
    subjects: int,
    spacing: float = 2.0,
    seed: int = 0,
    jobs: int = 1,
    anatomy: Anatomy | None = None,
    progress: Callable[[int, int], None] | None = None,
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
    anatomy : Anatomy, optional
        The healthy brain; default the MNI152 template.
    progress : callable, optional
        Called with (finished, all) after each subject.

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
        raise InputError(f"subjects is {subjects}, wanted 2 or more: at least one patient and one control")
    if not SPACINGS[0] <= spacing <= SPACINGS[1]:
        raise InputError(f"spacing is {spacing:g} mm, wanted {SPACINGS[0]:g} to {SPACINGS[1]:g} mm, for example 2")
    if seed < 0:
        raise InputError(f"seed is {seed}, wanted a whole number of 0 or more")
    if jobs == 0 or jobs < -1:
        raise InputError(f"jobs is {jobs}, wanted 1 or more, or -1 for one per core")
    folder = Path(out)
    options = {
        "effect": effect,
        "subjects": int(subjects),
        "spacing": float(spacing),
        "seed": int(seed),
        "anatomy": "mni152" if anatomy is None else anatomy.name,
        "version": __version__,
    }
    claim(folder, options, EFFECTS[effect].__doc__ or "")
    planted = EFFECTS[effect]
    people = draw_people(subjects, seed, planted.ages)
    rows = {p.participant_id: row for p in people if (row := finished(folder, p, planted, spacing)) is not None}
    waiting = [p for p in people if p.participant_id not in rows]
    kept, failed = len(rows), []
    if progress is not None:
        progress(kept, subjects)
    if waiting:
        from joblib import Parallel, delayed

        acquisition = Acquisition(_prepared(effect) if anatomy is None else planted(anatomy), mni152(spacing))
        work = Parallel(n_jobs=jobs, return_as="generator_unordered")
        results = work(delayed(_make)(folder, acquisition, person, seed, spacing) for person in waiting)
        for number, (person, row, error) in enumerate(results, start=kept + 1):
            if row is None:
                failed.append({"participant_id": person.participant_id, "error": error})
            else:
                rows[person.participant_id] = row
            if progress is not None:
                progress(number, subjects)
    write_participants(folder, [rows[p.participant_id] for p in people if p.participant_id in rows])
    failed.sort(key=lambda item: item["participant_id"])
    return CohortSummary(os.fspath(folder), effect, subjects, len(rows) - kept, kept, failed)


@lru_cache(maxsize=1)
def _prepared(effect: str) -> Effect:
    """Prepare an effect on the template; kept for the next call, as it takes some seconds."""
    return EFFECTS[effect](mni152_anatomy())


def _make(
    folder: Path, acquisition: Acquisition, person: Person, seed: int, spacing: float
) -> tuple[Person, dict[str, Any] | None, str]:
    """Simulate and write one subject, the sidecar last; runs in a worker and returns errors as text."""
    try:
        effect = acquisition.effect
        sequence = np.random.SeedSequence(seed, spawn_key=(1, person.number))
        scan = simulate_scan(acquisition, sequence, person.patient)
        files = subject_files(folder, person, type(effect), spacing)
        truth = "simulated, for research use only"
        write_volume(files["scan"], Volume(scan.image, scan.space), description=truth)
        write_volume(files["mask"], Volume(scan.mask, scan.space), dtype=np.uint8, description=truth)
        if "logjacobian" in files:
            write_volume(files["logjacobian"], Volume(scan.log_jacobian, scan.space), description=truth)
        row = {
            "participant_id": person.participant_id,
            "diagnosis": effect.patient if person.patient else effect.control,
            "age": person.age,
            "sex": person.sex,
            **{name: float(f"{value:.6g}") for name, value in scan.columns.items()},
        }
        sizes = {path.name: path.stat().st_size for name, path in files.items() if name != "sidecar"}
        write_json(files["sidecar"], {"SkullStripped": True, "Simulated": True, "Participant": row, "Bytes": sizes})
    except Exception as error:  # one subject must not end a cohort; it is named at the end
        return person, None, f"{type(error).__name__}: {error}"
    return person, row, ""
