"""The ``neuroxai`` command: gathers the commands, turns errors into one line and an exit code.

Exit codes: 0 all done, 1 some items of a cohort failed, 2 input that cannot be used.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from neuroxai._version import __version__
from neuroxai.cli import (
    atlas,
    bundle,
    cohort,
    compare,
    doctor,
    explain,
    label,
    predict,
    prepare,
    quickstart,
    report,
    score,
    simulate,
    split,
    study,
    train,
    trust,
)
from neuroxai.errors import check_arguments, ours, refused_by_the_system

app = typer.Typer(
    name="neuroxai",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train 3D classifiers on brain MRI as MONAI bundles and explain every decision. For research use only.",
)
app.command("quickstart")(quickstart.quickstart)
app.command("simulate")(simulate.simulate)
app.command("prepare")(prepare.prepare)
app.command("split")(split.split)
app.command("train", context_settings=train.PASSED_ON)(train.train)
app.command("predict")(predict.predict)
app.command("explain")(explain.explain)
app.command("score")(score.score)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("trust")(trust.trust)
app.command("doctor")(doctor.doctor)
app.add_typer(label.app, name="label")
app.add_typer(cohort.app, name="cohort")
app.add_typer(study.app, name="study")
app.add_typer(atlas.app, name="atlas")
app.add_typer(bundle.app, name="bundle")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"neuroxai {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Train 3D classifiers on brain MRI as MONAI bundles and explain every decision. For research use only."""


def main() -> None:
    """Run the command line; entry point of the ``neuroxai`` script."""
    run(app)


def run(application: Callable[[], object]) -> None:
    """Run a command line; an error that is known ends it with one line and exit code 2."""
    # a person is told what is wrong, not which line of code has noticed
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        check_arguments(sys.argv[1:])
        application()
    except Exception as error:
        known = ours(error) or refused_by_the_system(error)
        if known is None:
            raise
        sys.stderr.write(f"error: {known}\n")
        sys.exit(2)
