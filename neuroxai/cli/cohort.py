"""The ``cohort`` commands: public data as cohort folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroxai.cli import _options as opt

if TYPE_CHECKING:
    from neuroxai.cohort.public import PublicSummary

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Public data as folders that every command takes."
)

OutArgument = Annotated[Path, typer.Argument(help="Folder of the cohort: new, or of an interrupted run.")]


@app.command()
def oasis(
    out: OutArgument,
    subjects: Annotated[int | None, typer.Option(help="The first so many. [default: all]")] = None,
    data: Annotated[Path | None, typer.Option(help="nilearn's data folder. [default: where nilearn looks]")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch what is not there; by this you agree to OASIS's terms.")
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """OASIS-1: grey-matter maps in MNI152 space, controls (rating 0) and patients (above 0).

    Example: `neuroxai cohort oasis oasis --download`
    """
    from neuroxai.io import check_folder

    check_folder("OUT", out, [data])
    from neuroxai.cohort.public.oasis import ABOUT, oasis_entries

    entries, left_out = oasis_entries(subjects, data, download)
    _write(out, entries, left_out, [], ABOUT, {"source": "oasis1", "subjects": subjects}, as_json)


@app.command()
def adni(
    source: Annotated[Path, typer.Argument(help="Clinica's BIDS folder, or CAPS folder with t1-linear results.")],
    out: OutArgument,
    table: Annotated[
        Path | None, typer.Option(help="ADNIMERGE.csv, or a BIDS folder with sessions files. [default: SOURCE]")
    ] = None,
    diagnoses: Annotated[str, typer.Option(help="Kept, by the visit's diagnosis.")] = "CN,AD",
    as_json: opt.Json = False,
) -> None:
    """ADNI: scans with the diagnosis of their visit.

    Example: `neuroxai cohort adni CAPS adni --table ADNIMERGE.csv --diagnoses CN,AD`
    """
    from neuroxai.io import check_folder

    check_folder("OUT", out, [source, table])
    from neuroxai.cohort.public.adni import ABOUT, adni_entries

    kept = [name.strip() for name in diagnoses.split(",") if name.strip()]
    entries, left_out, absent = adni_entries(source, table, kept)
    _write(out, entries, left_out, absent, ABOUT, {"source": "adni", "diagnoses": kept}, as_json)


def _write(
    out: Path, entries: Any, left_out: Any, absent: Any, about: Any, choices: dict[str, Any], as_json: bool
) -> None:
    from neuroxai.cli._progress import progress_bar
    from neuroxai.cohort.public import write_cohort

    with progress_bar("scans", quiet=as_json) as progress:
        _report(write_cohort(out, entries, left_out, absent, about, choices, progress), as_json)


def _report(summary: PublicSummary, as_json: bool) -> None:
    import json

    for text in summary.failed:
        typer.echo(f"failed: {text}", err=True)
    for reason, count in summary.left_out.items():
        typer.echo(f"left out: {count} scans {reason}", err=True)
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        classes = ", ".join(f"{count} {name}" for name, count in sorted(summary.classes.items()))
        typer.echo(f"{summary.folder}: {summary.scans} scans ({classes})")
    if summary.failed:
        raise typer.Exit(1)
