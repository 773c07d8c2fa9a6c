"""From an explain folder to tables against healthy controls: groups, gain, percentiles, fingerprints."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroxai._version import __version__
from neuroxai.cohort import two_groups
from neuroxai.compare.figures import fingerprint_figure, groups_figure
from neuroxai.compare.record import (
    alarms_note,
    class_score_note,
    counts,
    findings,
    gains_note,
    measure_name,
    of_class,
    reference_provenance,
    trained_note,
    zeros_note,
)
from neuroxai.compare.reference import Seen, fitting_reference, notes_of, reference_measure, scores_provenance
from neuroxai.compare.scores import MEASURES, CohortScores, Measure, read_scores
from neuroxai.derivatives.compared import COMPARED, ComparisonRecord, is_comparison, write_comparison
from neuroxai.derivatives.explain_folder import ExplainFolder, read_folder
from neuroxai.derivatives.explained import RESEARCH_USE, Failure
from neuroxai.derivatives.reference import write_reference
from neuroxai.errors import InputError, one_of
from neuroxai.io import atomic, check_file, check_folder, json_of, write_tsv
from neuroxai.statistics import Reference
from neuroxai.statistics.design import COLUMNS, SCALES, Scale
from neuroxai.statistics.reference import MEMBERS, Members
from neuroxai.statistics.tables import fingerprints_table, gain_table, groups_table, no_gains, percentiles_table

if TYPE_CHECKING:
    import pandas as pd

Place = str | os.PathLike[str]
# this cohort's own controls are compared with one another
KEPT_OUT: Members = "leave-one-out"
OUTPUTS = (
    "groups.tsv",
    "gain.tsv",
    "percentiles.tsv",
    "fingerprints.tsv",
    "groups.png",
    "fingerprints.png",
    COMPARED,
)


@dataclass(frozen=True)
class Settings:
    """Choices of a comparison; see `neuroxai compare --help`.

    Without a measure it is that of the stored reference, else ``"share"``. Without a scale, a reference made here is on
    logarithms where all controls' scores are above 0.
    """

    target: str | None = None
    control: str | None = None
    patients: str | None = None
    measure: Measure | None = None
    members: Members = "refuse"
    adjust: tuple[str, ...] | None = None
    scale: Scale | None = None
    accept_trained: bool = False
    above: float = 0.9
    permutations: int = 9999
    replicates: int = 2000
    seed: int = 0


@dataclass(frozen=True, repr=False)
class Comparison:
    """What was written, its figures (compare.json), and what could not be used."""

    out: Path
    record: ComparisonRecord
    failures: Sequence[Failure]

    def __repr__(self) -> str:
        one, found = self.record, self.record.findings.get("regions_false_discovery", ())
        groups = f"{one.patients} {one.patient or 'patients'} against {one.controls} {one.control or 'controls'}"
        return f"Comparison({groups}: {len(found)} of {one.regions} regions differ, 5 % false discoveries; {self.out})"


def build_comparison(
    explain_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    participants: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
    reference: str | os.PathLike[str] | None = None,
    save_reference: str | os.PathLike[str] | None = None,
    on_scan: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compare an explained cohort with healthy controls; everything is computed before the first file is written.

    Parameters
    ----------
    explain_dir : path_like
        Output folder of ``neuroxai explain``.
    out : path_like
        Folder for the tables.
    participants : path_like, optional
        The cohort's participants.tsv; by default that of the folder that the explain run noted.
    settings : Settings, optional
    reference : path_like, optional
        A stored reference; without it one is made of this cohort's controls, each of whom is compared with the others.
    save_reference : path_like, optional
        Where to write the reference made here.
    on_scan : callable, optional
        Called with scans read and scans in all.

    Raises
    ------
    InputError
        If the folder or the table cannot be used, groups are not clear, or the reference was made of other scores.
    LeakageError
        If a stored reference was made from one of the participants, or one would be made of controls that the network
        was trained on.
    """
    options = settings or Settings()
    if reference is not None and save_reference is not None:
        raise InputError("--reference and --save-reference exclude each other; a stored reference is there already")
    _check(options)
    folder = read_folder(explain_dir, needed="regions")
    _check_outputs(Path(out), save_reference, [explain_dir, participants, reference])
    if folder.mixed:
        raise InputError(f"{folder.path}: heatmaps explain different classes; explain all with one --target")
    provenance = scores_provenance(folder)
    stored = None if reference is None else fitting_reference(reference, provenance, options.measure)
    measure: Measure = options.measure or ("share" if stored is None else reference_measure(stored, reference))
    options = replace(options, measure=measure)
    scores = read_scores(folder, _table(folder, participants), options.target, measure, on_scan)
    control, patient, notes = _groups(scores, folder, options, needed=stored is None)
    is_control, is_patient = of_class(scores, control), of_class(scores, patient)
    sick, healthy = scores.densities[is_patient], scores.densities[is_control]
    tables: dict[str, pd.DataFrame] = {}
    pictures: dict[str, bytes] = {}
    if min(len(sick), len(healthy)) >= 2:
        why = no_gains(sick, healthy, scores.voxels)
        notes += [why] if why else gains_note(healthy)
        tables["groups.tsv"] = groups_table(
            sick, healthy, scores.voxels, options.permutations, options.replicates, options.seed
        )
        tables["gain.tsv"] = gain_table(scores.sums[is_patient], sick, healthy, measure, not why)
        pictures["groups.png"] = groups_figure(
            tables["groups.tsv"], f"density of {measure_name(measure)}, {patient} minus {control}"
        )
    else:
        notes.append(f"groups and gain need two patients and two controls, found {len(sick)} and {len(healthy)}")
    norm, members = stored, options.members
    if norm is None:
        norm, members = (
            _own_reference(scores, is_control, options, provenance, notes, save_reference is not None),
            KEPT_OUT,
        )
    failures = list(scores.failures)
    if norm is not None:
        notes += notes_of(norm.provenance, norm.controls) + norm.scale_notes()
        options = replace(options, scale=norm.scale)
        tables["percentiles.tsv"], failed = percentiles_table(norm, scores.densities, scores.people, members)
        failures += [Failure(name, f"not compared with the reference: {error}") for name, error in failed.items()]
        notes += (
            zeros_note(tables["percentiles.tsv"])
            + alarms_note(tables["percentiles.tsv"], control)
            + trained_note(scores, is_control)
        )
    prints = fingerprints_table(sick, scores.people["probability"], options.above)
    if len(prints):
        tables["fingerprints.tsv"] = prints
        pair = [str(prints["first"][0]), str(prints["second"][0])]
        pictures["fingerprints.png"] = fingerprint_figure(scores.densities.loc[pair])
    else:
        notes.append(f"fingerprints need two patients with a probability above {options.above:g}")
    notes += class_score_note(scores.sums[is_patient], scores.sums[is_control], measure)
    record = ComparisonRecord(
        **counts(scores, control, patient),
        settings=asdict(options),
        provenance=provenance,
        findings=findings(tables),
        reference=None if norm is None else reference_provenance(norm, reference),
        files=[*tables, *pictures, COMPARED],
        failures=[asdict(failure) for failure in failures],
        notes=[*scores.notes, *notes],
        versions={"neuroxai": __version__},
        research_use=RESEARCH_USE,
    )
    _write(Path(out), tables, pictures, record)
    if save_reference is not None and norm is not None:
        write_reference(save_reference, norm)
    return Comparison(Path(out), record, failures)


def _check(options: Settings) -> None:
    """Refuse unknown names before anything is read."""
    if options.measure is not None and options.measure not in MEASURES:
        raise one_of("measure", options.measure, MEASURES)
    if options.members not in MEMBERS:
        raise one_of("choice for members", options.members, MEMBERS)
    if options.scale is not None and options.scale not in SCALES:
        raise one_of("scale", options.scale, SCALES)
    for name in options.adjust or ():
        if name not in COLUMNS:
            raise one_of("column to adjust for", name, COLUMNS)


def _check_outputs(out: Path, save_reference: Place | None, inputs: Sequence[Place | None]) -> None:
    made = (out / COMPARED).is_file() and is_comparison(out / COMPARED)
    check_folder("--out", out, inputs, dict.fromkeys(OUTPUTS, lambda _: made) | {COMPARED: is_comparison})
    if save_reference is not None:
        of_this_call = [out / name for name in OUTPUTS]
        check_file("--save-reference", save_reference, [*inputs, *of_this_call], json_of("format"), "reference")


def _write(
    out: Path, tables: Mapping[str, pd.DataFrame], pictures: Mapping[str, bytes], record: ComparisonRecord
) -> None:
    for name, table in tables.items():
        write_tsv(out / name, table)
    for name, picture in pictures.items():
        with atomic(out / name) as temporary:
            temporary.write_bytes(picture)
    # what a former run wrote and this one did not would be taken for its result
    for name in OUTPUTS:
        if name not in tables and name not in pictures:
            (out / name).unlink(missing_ok=True)
    write_comparison(out, record)


def _own_reference(
    scores: CohortScores,
    is_control: pd.Series[bool],
    options: Settings,
    provenance: Mapping[str, Any],
    notes: list[str],
    needed: bool,
) -> Reference | None:
    """Make a reference of this cohort's controls; None and a note where that cannot be, unless it is to be saved."""
    seen = Seen.of({str(who): str(part) for who, part in scores.people["seen"][is_control].items()})
    if not options.accept_trained:
        seen.refuse()
    own = scores.densities[is_control]
    try:
        made = Reference.fit(
            own,
            scores.people[is_control],
            str(options.measure),
            {**provenance, **seen.provenance()},
            options.adjust,
            options.scale,
        )
    except InputError as error:
        if needed:
            raise
        notes.append(f"no percentiles: {error}")
        return None
    if options.scale is None and made.scale == "linear":
        notes.append(
            f"scores ({options.measure}) are not all above 0: they are compared as they are (scale linear), not as "
            "logarithms"
        )
    return made


def _table(folder: ExplainFolder, participants: str | os.PathLike[str] | None) -> Path:
    if participants is not None:
        return Path(participants)
    noted = folder.record.dataset_dir
    if not noted:
        raise InputError(f"{folder.path}: explain.json names no cohort; give its table with --participants")
    return Path(noted) / "participants.tsv"


def _groups(
    scores: CohortScores, folder: ExplainFolder, options: Settings, needed: bool
) -> tuple[str | None, str | None, list[str]]:
    """Settle controls and patients; None and a note where a stored reference makes them dispensable."""
    # pandas may hold a missing text as NaN
    classes = [value if isinstance(value, str) else None for value in scores.people["class"]]
    try:
        return *two_groups(classes, options.control, options.patients, folder.positive), []
    except InputError as error:
        if needed or options.control is not None or options.patients is not None:
            raise
        return None, None, [str(error)]
