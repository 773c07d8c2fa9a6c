"""The ``predict`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroxai.cli._orientation import OrientationOption

BundleArgument = Annotated[Path, typer.Argument(help="Folder of a trained bundle (its configurations run as code).")]
InputArgument = Annotated[Path, typer.Argument(help="A cohort's folder, or one NIfTI scan.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
DatalistOption = Annotated[Path | None, typer.Option(help="Datalist of `neuroxai split`.")]
PartOption = Annotated[str | None, typer.Option(help="Part of the datalist: test, validation or training.")]
SuffixOption = Annotated[str | None, typer.Option(help="Scans of a folder: BIDS suffix, such as T1w.")]
DescOption = Annotated[str | None, typer.Option(help="Scans of a folder: BIDS desc entity, such as brain.")]
RunOption = Annotated[
    str | None, typer.Option(help="Which of several runs of a scan: first, last or all; left out and named if left.")
]
BatchOption = Annotated[int, typer.Option(min=1, max=4096, help="Scans at a time.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
PrepareOption = Annotated[
    str | None,
    typer.Option(help="Prepare a scan as the scanner left it on the way, into OUT/prepared: linear, nonlinear, none."),
]
AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-unfit", help="Take scans that are far from those the network was trained on; they stay flagged."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a summary for machines, and no progress.")]


def predict(
    bundle: BundleArgument,
    source: InputArgument,
    out: OutOption,
    datalist: DatalistOption = None,
    part: PartOption = None,
    suffix: SuffixOption = None,
    desc: DescOption = None,
    run: RunOption = None,
    batch_size: BatchOption = 4,
    device: DeviceOption = "auto",
    orientation: OrientationOption = None,
    prepare: PrepareOption = None,
    accept_unfit: AcceptOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict the class of each scan; writes OUT/predictions.tsv, with how each scan fits the network.

    Example: `neuroxai predict bundle cohort --part test --out predictions`
    """
    from neuroxai.cli._bundle import check_results, device_of, find_scans, finish, run_evaluator
    from neuroxai.cli._series import prepared_on_the_way
    from neuroxai.explain.bundle import open_workflow

    check_results(out, [bundle, source, datalist], explaining=False)
    if prepare is not None:
        source = prepared_on_the_way(source, prepare, out, bundle)
    scans = find_scans(source, datalist, part, {"suffix": suffix, "desc": desc, "run": run}, bundle)
    workflow = open_workflow(
        bundle,
        ["inference.json"],
        dataset_dir=str(scans.folder),
        output_dir=str(out.resolve()),
        items=tuple(scans.items),
        batch_size=batch_size,
        device=device_of(device),
        accept_unfit=accept_unfit,
    )
    failed = run_evaluator(workflow.evaluator, len(scans.items), as_json, scans)
    finish(out / "predictions.tsv", scans, failed, as_json)
