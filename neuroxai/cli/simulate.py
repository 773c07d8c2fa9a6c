"""The ``simulate`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder of the cohort: new, empty, or of an interrupted run.")],
    effect: Annotated[str, typer.Option(help="What is planted in the patients: atrophy (T1w) or lesions (FLAIR).")],
    subjects: Annotated[int, typer.Option(help="Participants, 2 or more; half are patients, half sham controls.")],
    spacing: Annotated[float, typer.Option(help="Voxel size in mm, 1 to 8.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Same seed, same cohort.")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes; -1 for one per core.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Simulate a cohort whose truth is known: patients with a planted effect, and sham controls.

    Scans lie in MNI152 space, brain only, with the truth mask (and for atrophy the log-Jacobian) beside each, and
    measured volumes in participants.tsv. Run the same command again to go on after an interruption.

    Example: `neuroxai simulate cohort --effect atrophy --subjects 40 --spacing 4 --seed 1 --jobs 2`
    """
    import json

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from neuroxai.simulate import simulate_cohort

    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=subjects)
        summary = simulate_cohort(
            out, effect, subjects, spacing, seed, jobs, progress=lambda done, _: bar.update(task, completed=done)
        )
    for item in summary.failed:
        typer.echo(f"failed: {item['participant_id']}: {item['error']}", err=True)
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        finished = summary.made + summary.kept
        typer.echo(f"{out}: {finished} of {summary.subjects} subjects ({summary.made} new, {summary.kept} kept)")
    if summary.failed:
        raise typer.Exit(1)
