"""The ``trust`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroxai.cli import _options as opt

_PLANTED = opt.group("What is planted")
_MEASURED = opt.group("What is trained and measured")


def trust(
    bundle: opt.Bundle,
    cohort: Annotated[
        Path,
        typer.Argument(help="Prepared scans with participants.tsv; twins of `neuroxai simulate --from` as they are."),
    ],
    out: opt.Out,
    attach: Annotated[
        bool,
        typer.Option(
            "--attach", help="Put the card into the bundle: models/trust.json, and a section of docs/README.md."
        ),
    ] = False,
    effect: Annotated[str, _PLANTED(help="atrophy (T1w) or lesions (FLAIR).")] = "atrophy",
    loss: Annotated[float, _PLANTED(help="Percent of its volume that each region loses, 1 to 50.")] = 25.0,
    region: Annotated[
        list[str] | None,
        _PLANTED(help="A region that shrinks; repeatable. [default: hippocampus; also amygdala, parahippocampal]"),
    ] = None,
    healthy: Annotated[
        list[str] | None, opt.WHICH(help="A class that is healthy; repeatable. [default: controls]")
    ] = None,
    target: opt.ClassColumn = None,
    suffix: opt.Suffix = None,
    desc: opt.Desc = None,
    run: opt.Run = None,
    anatomies: Annotated[
        int, _PLANTED(min=8, help="Healthy people at most, those that the bundle was not trained on first.")
    ] = 24,
    trainings: Annotated[int, _MEASURED(min=1, help="Repeats of the training, by seed.")] = 3,
    epochs: Annotated[int, _MEASURED(min=1, help="Of each.")] = 60,
    scans: Annotated[int, _MEASURED(min=1, help="Planted effects explained at most.")] = 8,
    method: Annotated[
        list[str] | None,
        _MEASURED(
            help="A method, or package.module:Class of your own (importing it executes its code); repeatable; all for "
            "all. [default: the bundle's and some of each family]",
            autocompletion=opt.methods,
        ),
    ] = None,
    jobs: Annotated[int, opt.WORK(help="Trainings, scans and methods at a time; -1 for one per core.")] = -1,
    gpus: Annotated[
        str, opt.WORK(help="GPUs to share out, one a training: auto, none, or numbers such as 0,1.")
    ] = "auto",
    retry: Annotated[bool, opt.WORK("--retry", help="Try trainings again that failed before.")] = False,
    atlas: opt.Atlas = None,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Measure how far each method's heatmaps can be believed, for this bundle's network, grid and preparation.

    Effects of known place are planted in your own healthy scans, each with a twin that has none; small repeats of the
    bundle's training learn to tell them apart, and every method is measured on held-out twins: whether it finds the
    effect and the regions that the network uses, whether scores fall without what it marks, whether it holds over
    trainings and changes when the network forgets, whether it adds up, what it flags in healthy scans. What knows
    nothing is measured beside it. A page (`index.html`) and `trust.json` are written.

    Run it again after an interruption: what is finished is kept. Exit code 1 if a scan, a training or a method failed.

    Example: `neuroxai trust bundle cohort --out card --anatomies 12 --trainings 2`

    Example: `neuroxai trust bundle prepared --out card --method lrp_epsilon --method mypackage.mine:Method --attach`
    """
    import json

    from neuroxai.cli._bundle import located
    from neuroxai.cli._progress import progress_bar
    from neuroxai.derivatives.trust import hardly, learnt
    from neuroxai.io import check_folder
    from neuroxai.studies import RunOptions
    from neuroxai.studies.runner import gpus_of
    from neuroxai.studies.trust import TrustOptions, make_card
    from neuroxai.studies.trust import attach as put_into

    check_folder("--out", out, [cohort, bundle], apart=[bundle])
    options = TrustOptions(
        effect, loss, tuple(region or ()), tuple(healthy or ()), target, suffix, desc, run, anatomies, trainings,
        epochs, scans, tuple(method or ()), seed, located(atlas),
    )  # fmt: skip
    with progress_bar("trust card", quiet=as_json) as bar:
        work = RunOptions(jobs, None, gpus_of(gpus), retry, lambda what, done, total: bar(done, total, what))
        summary, card = make_card(bundle, cohort, out, options, work)
    for text in summary.scans_failed:
        typer.echo(f"failed: {text}", err=True)
    for item in summary.failed:
        typer.echo(f"failed: {item['title']}: {item['error']} ({item['log']})", err=True)
    written = put_into(bundle, card) if attach and card is not None else []
    if as_json:
        found = {"report": summary.report, "card": None if card is None else str(out / "trust.json")}
        typer.echo(json.dumps({**summary.to_dict(), **found, "attached": [str(path) for path in written]}))
    else:
        for path in written:
            typer.echo(f"attached: {path}")
        if card is not None and not learnt(card.roc_auc):
            typer.echo(f"nothing is claimed: {hardly(card.roc_auc)} (--anatomies, --epochs, --loss or --region)")
        typer.echo(f"trust card: {summary.report or 'none: nothing could be measured'}")
    if summary.failed or summary.scans_failed or card is None:
        raise typer.Exit(1)
