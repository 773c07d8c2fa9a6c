"""The ``compare`` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neuroxai.cli import _options as opt

if TYPE_CHECKING:
    from neuroxai.derivatives.compared import ComparisonRecord

_GROUPS = opt.group("Groups")
_REFERENCE = opt.group("Reference of healthy controls")
_STATISTICS = opt.group("Measure and tests")


def compare(
    explain_dir: opt.Explained,
    out: opt.Out,
    participants: Annotated[
        Path | None, _GROUPS(help="participants.tsv. [default: that of the cohort which the explain run noted]")
    ] = None,
    target: opt.ClassColumn = None,
    control: Annotated[str | None, _GROUPS(help="Class of the controls. [default: a well-known name]")] = None,
    patients: Annotated[str | None, _GROUPS(help="Class of the patients. [default: the other one]")] = None,
    reference: Annotated[
        Path | None, _REFERENCE(help="Stored reference. [default: this cohort's own controls]")
    ] = None,
    save_reference: Annotated[Path | None, _REFERENCE(help="Write the reference of this cohort's controls.")] = None,
    members: Annotated[
        str,
        _REFERENCE(
            help="Participants whose identifier is that of a stored reference's control: refuse, leave-one-out (it is "
            "they), or strangers (somebody else)."
        ),
    ] = "refuse",
    adjust: Annotated[
        str | None,
        _REFERENCE(help="Reference: age,sex or one of them or none. [default: those in participants.tsv]"),
    ] = None,
    measure: Annotated[
        str | None,
        _STATISTICS(
            help="Relevance summed over a region: sum, absolute, positive, negative, or share (sum over the scan's "
            "absolute relevance in all regions: the pattern without the class score). [default: that of --reference, "
            "else share]"
        ),
    ] = None,
    scale: Annotated[
        str | None,
        _REFERENCE(
            help="Reference made here: deviations of the scores (linear), or of their logarithms (log; scores above 0, "
            "such as shares of positive relevance, whose upper tail is long). [default: log where all controls' scores "
            "are above 0]"
        ),
    ] = None,
    accept_trained: Annotated[
        bool,
        _REFERENCE(
            "--accept-trained",
            help="Make a reference of controls that the network was trained on; the reference is marked.",
        ),
    ] = False,
    above: Annotated[float, _STATISTICS(help="Fingerprints: patients with a larger probability.")] = 0.9,
    permutations: Annotated[int, _STATISTICS(min=99, max=1_000_000, help="Of each test.")] = 9999,
    replicates: Annotated[int, _STATISTICS(min=100, max=1_000_000, help="Bootstrap draws of each interval.")] = 2000,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Compare an explained cohort, region by region, with healthy controls.

    Writes `groups.tsv` (differences, tests, intervals, gain), `gain.tsv` and `percentiles.tsv` (each participant),
    `fingerprints.tsv` (the most different pairs), figures and `compare.json`. Scans of one participant are averaged.
    Exit code 1 if some scans could not be used.

    Example: `neuroxai compare explained --participants cohort/participants.tsv --control CN --out compared`
    """
    from neuroxai.cli._start import import_readers

    import_readers("neuroxai.compare")
    import json
    import math
    import sys

    from neuroxai.cli._progress import progress_bar
    from neuroxai.compare import Settings, build_comparison
    from neuroxai.derivatives.records import to_json
    from neuroxai.errors import InputError

    if not math.isfinite(above):
        raise InputError(f"--above is {above}, expected a finite number")
    columns_adjusted = None if adjust is None else tuple(n for n in adjust.split(",") if n and n != "none")
    settings = Settings(
        target=target,
        control=control,
        patients=patients,
        measure=measure,  # type: ignore[arg-type]  # checked where it is used
        members=members,  # type: ignore[arg-type]  # checked where it is used
        adjust=columns_adjusted,
        scale=scale,  # type: ignore[arg-type]  # checked where it is used
        accept_trained=accept_trained,
        above=above,
        permutations=permutations,
        replicates=replicates,
        seed=seed,
    )
    with progress_bar("scans", quiet=as_json, transient=True) as progress:
        done = build_comparison(
            explain_dir,
            out,
            participants,
            settings,
            reference,
            save_reference,
            on_scan=progress,
        )
    for failure in done.failures:
        sys.stderr.write(f"failed: {failure.title}: {failure.error}\n")
    if as_json:
        typer.echo(json.dumps(to_json(done.record), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        for line in _lines(done.record):
            typer.echo(line)
        typer.echo(f"tables: {done.out}")
    if done.failures:
        raise typer.Exit(1)


def _lines(record: ComparisonRecord) -> list[str]:
    """Say the main figures in plain lines."""
    lines = [f"{record.participants} participants ({record.scans} scans), {record.regions} regions"]
    found, reference = record.findings, record.reference
    if "regions_family_wise" in found:
        lines.append(f"{record.patients} {record.patient} against {record.controls} {record.control}:")
        for key, what in (
            ("regions_family_wise", "family-wise p <= .05"),
            ("regions_false_discovery", "false discovery rate <= .05"),
        ):
            names = found[key]
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            lines.append(f"  {what}: {len(names)} regions{': ' + shown if names else ''}")
    if reference is not None:
        adjusted = " and ".join(reference["adjusted"]) or "nothing"
        logs = " of logarithms" if reference["scale"] == "log" else ""
        lines.append(
            f"reference{logs} of {reference['controls']} controls, adjusted for {adjusted}; controls left out in turn "
            f"have p < .05 in {reference['false_alarms']:.1%} of regions"
        )
        lines.append(
            "  flagged (false discovery rate <= .05 within a person, in one region or more): "
            + ", ".join(f"{name}: {some} of {every}" for name, (some, every) in found["flagged"].items())
        )
    if "most_different" in found:
        pair = found["most_different"]
        lines.append(f"most different: {pair['first']} and {pair['second']}, distance {pair['cosine_distance']:.3f}")
    lines.extend(f"note: {note}" for note in record.notes)
    return lines
