"""``neuroxai-bidsapp``: prepare and explain a BIDS dataset as BIDS Apps are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroxai.cli import _options as opt

LEVELS = ("participant", "group")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def bidsapp(
    bids_dir: Annotated[Path, typer.Argument(help="BIDS dataset, as the scanner left it.")],
    output_dir: Annotated[Path, typer.Argument(help="Folder for the derivatives.")],
    analysis_level: Annotated[
        str, typer.Argument(help="participant: prepare and explain. group: tables and report over all participants.")
    ],
    bundle: Annotated[Path, typer.Option(help="Folder of a trained bundle (its configurations run as code).")],
    participant_label: opt.Participants = None,
    arm: Annotated[str, typer.Option(help="Registration: none, linear or nonlinear.")] = "linear",
    run: opt.Run = None,
    jobs: opt.Jobs = 1,
    device: opt.Device = "auto",
    accept_unfit: opt.Accept = False,
) -> None:
    """Prepare the scans of a BIDS dataset for a trained bundle, and explain each decision; for research use only.

    OUTPUT_DIR holds the explanations, OUTPUT_DIR/prepared the prepared scans, OUTPUT_DIR/report the pages of `group`.
    Participants may be worked on by several calls at a time, one label each; `group` comes after all of them.

    Example: `neuroxai-bidsapp bids derivatives participant --bundle bundle --participant-label 01`
    """
    from neuroxai.cli.explain import explain
    from neuroxai.cli.prepare import prepare
    from neuroxai.cli.report import report
    from neuroxai.errors import InputError, one_of

    if analysis_level not in LEVELS:
        raise one_of("analysis level", analysis_level, LEVELS)
    prepared = output_dir / "prepared"
    if analysis_level == "group":
        if participant_label:
            raise InputError("group is about all participants; leave out --participant-label")
        if not prepared.is_dir():
            raise InputError(f"{prepared}: no such folder; run the level `participant` first")
        # finished scans are kept: of calls at a time, the tables of the last one may lack the others' scans
        explain(bundle, prepared, output_dir, device=device, accept_unfit=accept_unfit)
        report(output_dir, dataset_dir=prepared, jobs=jobs)
        return
    prepare(bids_dir, prepared, arm=arm, bundle=str(bundle), participant_label=participant_label, run=run, jobs=jobs)
    explain(bundle, prepared, output_dir, participant_label=participant_label, device=device, accept_unfit=accept_unfit)


def main() -> None:
    """Run it; entry point of the ``neuroxai-bidsapp`` script."""
    from neuroxai.cli.main import run

    run(app)
