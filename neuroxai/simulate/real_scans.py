"""A cohort from the user's own scans: of every healthy scan a patient and its sham twin."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neuroxai._version import __version__
from neuroxai.cohort.groups import TWIN
from neuroxai.deformation import Displacement
from neuroxai.errors import InputError, one_of
from neuroxai.io import read_space, read_volume, sha256
from neuroxai.processes import check_jobs
from neuroxai.simulate.anatomy import Array, anatomy_of
from neuroxai.simulate.cohort import Outcome, Task, Workers, carried_out
from neuroxai.simulate.contrast import Curve
from neuroxai.simulate.effects.base import Contrast, Effect
from neuroxai.simulate.effects.lesions import Lesions
from neuroxai.simulate.effects.regional import LOSSES, RegionalAtrophy
from neuroxai.simulate.effects.transplant import RealLesions, read_masks
from neuroxai.simulate.outputs import CohortSummary, Person, claim, finished, subject_files, write_subject
from neuroxai.simulate.pose import rotation
from neuroxai.simulate.regions import Regions, check_grid
from neuroxai.simulate.scan import Acquisition, _volume_columns, simulate_scan
from neuroxai.simulate.sources import Source, Sources
from neuroxai.simulate.variability import ScanOptions, Shape, scan_with
from neuroxai.space import Space, Volume

OWN_EFFECTS: dict[str, type[Effect]] = {"atrophy": RegionalAtrophy, "lesions": Lesions}
"""The effects on real scans by name."""


@dataclass(frozen=True)
class Planting:
    """What is planted in real scans, and how they come out.

    Parameters
    ----------
    effect : {"atrophy", "lesions"}
        What is planted.
    loss : float
        Percent that each region loses (atrophy).
    regions : Regions
        Which regions (atrophy).
    scan_options : ScanOptions
        Real lesions, pose, head.
    curve : Curve
        How a T1w comes to look like a FLAIR (lesions).

    Raises
    ------
    InputError
        If the effect is unknown, the loss out of range, or lesion masks are given with another effect.
    """

    effect: str
    loss: float = 25.0
    regions: Regions = field(default_factory=Regions)
    scan_options: ScanOptions = field(default_factory=ScanOptions)
    curve: Curve = field(default_factory=Curve)

    def __post_init__(self) -> None:
        if self.effect not in OWN_EFFECTS:
            raise one_of("effect", self.effect, OWN_EFFECTS)
        if self.scan_options.masks is not None and self.effect != "lesions":
            raise InputError(f"lesion masks are planted by --effect lesions, got {self.effect!r}")
        if not LOSSES[0] <= self.loss <= LOSSES[1]:
            raise InputError(f"--loss is {self.loss:g} %, expected {LOSSES[0]:g} to {LOSSES[1]:g} %")

    @property
    def kind(self) -> type[Effect]:
        """The effect's class."""
        return RealLesions if self.scan_options.masks is not None else OWN_EFFECTS[self.effect]

    def suffix(self, source: Source) -> str:
        """Contrast of what comes of a source."""
        return self.kind.suffix if source.suffix == "T1w" else source.suffix

    def prepared(self, source: Source, masks: list[Volume], scan: Volume) -> tuple[Effect, float]:
        """Prepare the effect on a source's anatomy; with the scan's intensity of white matter."""
        anatomy, white = anatomy_of(scan, source.scan.name, source.suffix)
        if masks:
            return RealLesions(anatomy, masks), white
        if self.effect == "lesions":
            return Lesions(anatomy), white
        if source.label_map is not None:
            check_grid(source.label_map, read_space(source.label_map), scan.space)
        return RegionalAtrophy(anatomy, self.regions.finder(source.label_map), self.loss), white


class OwnScan(Acquisition):
    """A real scan as what an effect is seen in.

    A patient's scan is interpolated where tissue moves, and an untouched control's would not be, which a classifier
    finds at once. Both are therefore sampled at places moved by a shift within a voxel and a slight turn, the same for
    the twins, with cubic splines. There is no other natural variation: the scans bring their own.

    Parameters
    ----------
    effect : Effect
        Prepared on the scan's anatomy (`neuroxai.simulate.anatomy.anatomy_of`).
    space : Space
        Grid of the results: the scan's own.
    white : float
        The scan's intensity of white matter; results are in the scan's units.
    suffix : str
        The scan's contrast.
    curve : Curve, optional
        From T1w to FLAIR; the measured one by default.
    """

    before: ClassVar[bool] = True

    def __init__(self, effect: Effect, space: Space, white: float, suffix: str, curve: Curve | None = None) -> None:
        from scipy import ndimage

        super().__init__(effect, space)
        self.white, self._source, self._curve = white, suffix, curve or Curve()
        scan = self.maps[0]
        self._limits = float(scan.min()), float(scan.max())
        self.maps = [np.asarray(ndimage.spline_filter(scan, order=3, output=np.float32, mode="nearest"))]

    @property
    def suffix(self) -> str:
        """A T1w on which lesions are to be seen becomes a FLAIR; any other contrast stays."""
        return self.effect.suffix if self._source == "T1w" else self._source

    def sources(self) -> list[Array]:
        """Return the scan, fluid beyond the brain's edge."""
        return [self.effect.anatomy.in_fluid()]

    def shape(self, rng: np.random.Generator) -> Shape:
        """Draw the shift and the turn that patient and control share."""
        turn, shift = rng.normal(0.0, 0.3, 3), rng.uniform(-0.5, 0.5, 3)
        grid = self.effect.grid
        centre = grid.corners().mean(0)
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(turn)
        matrix[:3, 3] = centre - matrix[:3, :3] @ centre + self.space.reoriented().affine[:3, :3] @ shift
        return Shape(matrix, Displacement(np.zeros((3, 2, 2, 2), np.float32), Space((2, 2, 2), np.eye(4))))

    def contrast(self, rng: np.random.Generator) -> Contrast:
        """Leave intensities as they are, or take them from T1w to FLAIR."""
        return self._curve if self.suffix == "FLAIR" and self._source == "T1w" else _first

    def sampled(self, voxels: NDArray[np.float64]) -> list[Array]:
        """Cubic interpolation, within the scan's range."""
        from scipy import ndimage

        values = ndimage.map_coordinates(self.maps[0], voxels, np.float32, 3, "nearest", prefilter=False)
        return [np.clip(values, *self._limits)]

    def scanned(self, rng: np.random.Generator, clean: Array, brain: NDArray[np.bool_]) -> Array:
        """Bring the scan's own units back; noise and gain are its own too, unless the head is added."""
        if brain.all():
            return scan_with(rng, clean, brain)
        return np.where(brain, clean * np.float32(self.white), np.float32(0.0))

    def measured(self, volumes: dict[str, float], healthy: dict[str, float]) -> dict[str, float]:
        """Volumes in mm^3, and what each region lost, in percent."""
        after, before = _volume_columns(volumes), _volume_columns(healthy)
        lost = {
            name.replace("_volume_mm3", "_loss_percent"): round(100.0 * (1.0 - after[name] / before[name]), 4) + 0.0
            for name in after
            if before[name] > 0
        }
        return {**after, **lost}


def _first(maps: list[Array]) -> Array:
    return maps[0]


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
        raise InputError(f"seed is {seed}, expected a whole number of 0 or more")
    check_jobs(jobs)
    masks: list[Volume] = []
    files: list[Path] = []
    if planting.scan_options.masks is not None:
        masks, files = read_masks(planting.scan_options.masks)
    elif planting.effect == "atrophy":
        planting.regions.finder(chosen[0].label_map)  # an unknown region is reported before anything is written
    folder, count = Path(out).absolute(), 2 * len(chosen)  # worker processes may stand in another folder
    options = {
        "effect": planting.effect,
        "subjects": count,
        "seed": int(seed),
        "from": [source.participant_id for source in chosen],
        **({"loss": float(planting.loss), "regions": list(planting.regions.names)} if not masks else {}),
        **({"atlas": planting.regions.atlas} if planting.regions.atlas else {}),
        **({"label_maps": True} if chosen[0].label_map is not None else {}),
        **planting.scan_options.record(),
        **({"flair_curve": list(planting.curve.flair)} if planting.curve != Curve() else {}),
        **({"lesion_masks": [file.name for file in files]} if files else {}),
        "version": __version__,
    }
    claim(folder, options, planting.kind.__doc__ or "", sources.folder)
    rows: dict[str, Any] = {}
    tasks: list[Task] = []
    order = []
    for number, source in enumerate(chosen):
        people = twins_of(source, number, seed)
        order += [person.participant_id for person in people]
        rows.update(_finished(folder, source, people, planting))
        left = [person for person in people if person.participant_id not in rows]
        if left:
            tasks.append(partial(_make, folder, source, left, planting, masks, seed))
    return carried_out(folder, planting.effect, order, rows, tasks, Workers(jobs, progress))


def twins_of(source: Source, number: int, seed: int) -> list[Person]:
    """Make a patient and a control of a source; at random one is ``...A`` and one ``...B``."""
    lot = np.random.default_rng(_sequence(source, seed, 0)).permutation([False, True])
    return [
        Person(f"{source.participant_id}{letter}", 2 * number + place + 1, bool(patient), source.sex, source.age)
        for place, (letter, patient) in enumerate(zip("AB", lot, strict=True))
    ]


def _chosen(scans: list[Source], subjects: int | None) -> list[Source]:
    if subjects is None:
        return scans
    if subjects < 2 or subjects % 2:
        raise InputError(
            f"subjects is {subjects}, expected an even number of 2 or more: a patient and a control per scan"
        )
    if subjects > 2 * len(scans):
        raise InputError(
            f"subjects is {subjects}, expected {2 * len(scans)} or fewer: {len(scans)} healthy scans give two each"
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
        folder,
        person,
        planting.kind,
        round(spacing[0], 3) if even else None,
        planting.scan_options,
        planting.suffix(source),
    )


def _make(
    folder: Path, source: Source, people: list[Person], planting: Planting, masks: list[Volume], seed: int
) -> list[Outcome]:
    """Simulate and write the twins of a source; runs in a worker and returns errors as text."""
    acquisition: OwnScan | None = None
    outcomes: list[Outcome] = []
    for person in people:
        try:
            if acquisition is None:
                scan = read_volume(source.scan)
                effect, white = planting.prepared(source, masks, scan)
                acquisition = OwnScan(effect, scan.space, white, source.suffix, planting.curve)
            options = planting.scan_options.scanning()
            made = simulate_scan(acquisition, _sequence(source, seed, 1), person.patient, **options)
            files = _files(folder, person, source, planting)
            more = {TWIN: source.participant_id}
            row = write_subject(files, made, person, acquisition.effect, more, {"Source": _checksum(source)})
            outcomes.append((person.participant_id, row, ""))
        except Exception as problem:  # one scan must not end a cohort; it is named at the end
            outcomes.append((person.participant_id, None, f"{type(problem).__name__}: {problem}"))
    return outcomes
