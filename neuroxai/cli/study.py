"""The ``study`` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroxai.cli import _options as opt

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The published studies, or one's own, as experiments that can be killed, resumed and shared out.",
)

CohortOption = Annotated[
    list[str] | None,
    opt.WHICH("--cohort", help="NAME=DIR: your cohort in the place of a declared one; DIR alone for `main`."),
]
SourceArgument = Annotated[
    str, typer.Argument(help="A name of `neuroxai study list`, or a YAML file.", autocompletion=opt.studies)
]


@app.command("list")
def list_(as_json: opt.Json = False) -> None:
    """List the studies that come with the package.

    Example: `neuroxai study list`
    """
    import json

    from neuroxai.studies import names, read_study

    studies = [read_study(name) for name in names()]
    if as_json:
        typer.echo(json.dumps([{"name": s.name, "title": s.title, "paper": s.paper} for s in studies]))
        return
    width = max(len(s.name) for s in studies)
    for study in studies:
        typer.echo(f"{study.name:<{width}}  {study.title} ({study.paper.split(',')[0]})")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A name of `neuroxai study list`.", autocompletion=opt.studies)],
    as_json: opt.Json = False,
) -> None:
    """Print a study's declaration, to be saved, changed, and run as one's own.

    Example: `neuroxai study show klingenberg2021 > mine.yaml`
    """
    import json

    from neuroxai.studies import text_of
    from neuroxai.studies.reading import load

    if as_json:
        typer.echo(json.dumps(load(text_of(name), name)))
    else:
        typer.echo(text_of(name), nl=False)


@app.command()
def run(
    source: SourceArgument,
    out: Annotated[Path, typer.Option(help="Folder of the study: new, or to go on with.")],
    cohort: CohortOption = None,
    which: Annotated[
        str | None,
        opt.WHICH("--run", help="Which of several runs of a scan in your cohorts: first, last or all."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Of `heatmaps`: one more method, a name or package.module:Class of your own (a captum Attribution; "
            "importing it executes its code); repeatable.",
            autocompletion=opt.methods,
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The small version that runs in minutes.")] = False,
    jobs: Annotated[int, opt.WORK(help="Runs at a time; -1 for one per core.")] = 1,
    gpus: Annotated[str, opt.WORK(help="GPUs to share out, one a run: auto, none, or numbers such as 0,1.")] = "auto",
    scheduler: opt.Scheduler = None,
    retry: Annotated[bool, opt.WORK("--retry", help="Try runs again that failed before.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Count the runs and estimate time and disk from a timed probe; run nothing."),
    ] = False,
    orientation: opt.Orientation = None,
    as_json: opt.Json = False,
) -> None:
    """Run a study: simulate or take cohorts, prepare, split, train, explain, test, and write a report.

    Everything that is finished is kept: run the same command again after an interruption, or with more repetitions.

    Example: `neuroxai study run klingenberg2021 --quick --out study4 --jobs 2`

    Example: `neuroxai study run heatmaps --quick --out heatmaps --method mypackage.module:Class`

    Example: `neuroxai study run boehle2019 --cohort ADNI --out study1 --gpus 0,1`
    """
    import json
    from dataclasses import replace

    from neuroxai.cli._progress import progress_bar
    from neuroxai.errors import InputError
    from neuroxai.io import check_folder
    from neuroxai.studies import RunOptions, read_study, run_study
    from neuroxai.studies.runner import gpus_of

    study = read_study(source, quick)
    if which is not None:
        study = replace(study, cohorts={name: replace(one, run=which) for name, one in study.cohorts.items()})
    if method:
        if "methods" not in study.options:
            raise InputError(f"--method goes with study heatmaps, got {source!r}; declare its explanations in a file")
        more = {name.rpartition(":")[2]: {"method": name} for name in method}
        study = replace(study, options={**study.options, "methods": {**study.options["methods"], **more}})
    folders = _cohorts(cohort)
    if dry_run:
        from neuroxai.studies.estimate import estimate

        found = estimate(study, folders, jobs)
        typer.echo(json.dumps(found.to_dict()) if as_json else found.text())
        return
    check_folder("--out", out, folders.values())
    cards = [] if scheduler else gpus_of(gpus)
    with progress_bar(study.name, quiet=as_json) as bar:
        options = RunOptions(jobs, scheduler, cards, retry, lambda what, done, total: bar(done, total, what))
        summary = run_study(study, out, folders, options)
    for text in summary.scans_failed:
        typer.echo(f"failed: {text}", err=True)
    for item in summary.failed:
        typer.echo(f"failed: {item['title']}: {item['error']} ({item['log']})", err=True)
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        done = summary.runs - len(summary.failed)
        typer.echo(f"{done} of {summary.runs} runs done ({summary.kept} before): {summary.report or summary.folder}")
    if summary.failed or summary.scans_failed:
        raise typer.Exit(1)


@app.command()
def status(
    out: Annotated[Path, typer.Argument(help="Folder of a study.")],
    as_json: opt.Json = False,
) -> None:
    """Say how far a study is: runs done, at work, failed (with their logs).

    Example: `neuroxai study status study4`
    """
    import json

    from neuroxai.studies.runs import status_of

    found = status_of(out)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for run in found["runs"]:
        more = f": {run['error']} ({run['log']})" if run["state"] == "failed" else f" {run['epochs']} epochs"
        typer.echo(f"{run['state']:<8} {run['run']}  {run['title']}{more}")
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items())
    typer.echo(f"{found['study']}: {counts}")


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="Folder of a study.")],
    as_json: opt.Json = False,
) -> None:
    """Make tables, figures and page of a study again, from the runs that are finished.

    Example: `neuroxai study report study4`
    """
    import json

    from neuroxai.studies.page import write_report

    page = str(write_report(out))
    typer.echo(json.dumps({"report": page}) if as_json else f"report: {page}")


def _cohorts(pairs: list[str] | None) -> dict[str, Path]:
    from neuroxai.errors import InputError

    found: dict[str, Path] = {}
    for pair in pairs or []:
        name, sign, folder = pair.partition("=")
        key, path = (name, Path(folder)) if sign else ("main", Path(name))
        if key in found:
            raise InputError(f"--cohort names {key!r} twice; give each cohort one folder")
        found[key] = path
    return found
