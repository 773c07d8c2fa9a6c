"""Options and arguments that several commands share: name, help, completion, and what giving one does, said once."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer


def group(heading: str) -> Callable[..., Any]:
    """Return what declares an option under this heading of ``--help``."""
    return partial(typer.Option, rich_help_panel=heading)


WHICH = group("Which scans")
READING = group("Reading and preparing")
REGIONS = group("Regions")
WORK = group("How the work is done")


def methods(incomplete: str) -> list[str]:
    """Attribution methods that begin so, for the shell; nothing heavy is imported for it."""
    from neuroxai.attribution import names

    return [name for name in names() if name.startswith(incomplete)]


def atlases(incomplete: str) -> list[str]:
    """Named atlases that begin so."""
    from neuroxai.atlas import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def studies(incomplete: str) -> list[str]:
    """Studies of the package that begin so."""
    from neuroxai.studies import names

    return [name for name in names() if name.startswith(incomplete)]


def bundles(incomplete: str) -> list[str]:
    """Bundles of the package that begin so."""
    from neuroxai.bundles.catalogue import names

    return [name for name in names() if name.startswith(incomplete)]


def _set_orientation(codes: str | None) -> str | None:
    if codes is not None:
        from neuroxai.cli._start import import_readers

        import_readers()
        from neuroxai.io.orientation import VARIABLE, check_codes

        os.environ[VARIABLE] = check_codes(codes)  # where images are read, in worker processes too
    return codes


Bundle = Annotated[Path, typer.Argument(help="Folder of a trained bundle (its configurations run as code).")]
Input = Annotated[Path, typer.Argument(help="A cohort's folder, or one NIfTI scan.")]
Explained = Annotated[Path, typer.Argument(help="Output folder of `neuroxai explain`.")]

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text, and no progress.")]

# which scans of a folder
Datalist = Annotated[Path | None, WHICH(help="Datalist of `neuroxai split`.")]
Part = Annotated[str | None, WHICH(help="Part of the datalist: test, validation or training.")]
Participants = Annotated[
    list[str] | None,
    WHICH(
        "--participant-label",
        help="Of a folder these participants alone, with or without sub-; repeatable, or parted by commas.",
    ),
]
Suffix = Annotated[str | None, WHICH(help="Scans of a folder: BIDS suffix, such as T1w.")]
Desc = Annotated[str | None, WHICH(help="Scans of a folder: BIDS desc entity, such as brain.")]
Run = Annotated[
    str | None,
    WHICH(
        help="Which of several runs of a scan: first, last or all. [default: none; such a scan is left out and named]"
    ),
]
Series = Annotated[
    str | None, WHICH(help="Which DICOM series, where the folder holds several: UID, number or description.")
]
ClassColumn = Annotated[
    str | None, WHICH(help="Column with the class. [default: diagnosis, else group]", show_default=False)
]

# how scans are read, prepared and taken
Orientation = Annotated[
    str | None,
    READING(
        "--orientation",
        callback=_set_orientation,
        help="How the axes run in images whose headers do not say (Analyze), such as LAS: towards left, anterior and "
        "superior.",
    ),
]
Prepare = Annotated[
    str | None,
    READING(help="Prepare a scan as the scanner left it on the way, into OUT/prepared: linear, nonlinear, none."),
]
Accept = Annotated[
    bool,
    READING("--accept-unfit", help="Take scans that are far from those the network was trained on; they stay flagged."),
]

Atlas = Annotated[
    str | None,
    REGIONS(
        help="Atlas of the regions: a name (`neuroxai atlas list`) or a label image. [default: the built-in]",
        autocompletion=atlases,
    ),
]
Labels = Annotated[Path | None, REGIONS(help="Names of the label image (TSV, CSV, XML, LUT, JSON, text).")]

# how the work is done
Batch = Annotated[int, WORK(min=1, max=4096, help="Scans at a time.")]
Device = Annotated[str, WORK(help="auto, cpu or cuda.")]
Jobs = Annotated[int, WORK(help="Processes, one thread each; -1 for one per core.")]
Scheduler = Annotated[
    str | None,
    WORK(
        help="Workers that see the same folders: address of a Dask scheduler, "
        "slurm://QUEUE?jobs=16&cores=4&memory=16GB (or pbs, lsf, sge), or a YAML file that says so."
    ),
]
Seed = Annotated[int, WORK(min=0, help="Same seed, same result.")]
