"""The ``quickstart`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroxai.cli import _options

BUNDLE = "brain_t1w_alzheimers_classification"
# other than in Boehle 2019: a larger step, less dropout, standardised intensities (which a small cohort learns from
# sooner), shifts of one voxel, as these are coarse, no early stop before the first 25 epochs, and 30 at most
TRAINING = {
    "learning_rate": "0.001",
    "dropout": "0.2",
    "normalisation": "zscore",
    "max_shift": "1",
    "min_epochs": "25",
    "max_epochs": "30",
}


def quickstart(
    out: _options.Out = Path("quickstart"),
    subjects: Annotated[int, typer.Option(help="Participants to simulate.")] = 150,
    # beyond 5 mm the network's layers leave nothing of the grid, which would show after minutes of simulation
    spacing: Annotated[
        float, typer.Option(min=0.5, max=5, help="Voxel size in mm; 2 is the published grid, and takes hours.")
    ] = 4,
    seed: _options.Seed = 1,
    cohort: Annotated[Path | None, typer.Option(help="Train on a cohort that is there. [default: OUT/cohort]")] = None,
    training_seed: Annotated[int | None, typer.Option(help="Seed of the training alone. [default: --seed]")] = None,
    jobs: _options.Jobs = -1,
    as_json: _options.Json = False,
) -> None:
    """Lead from nothing to an explained, scored, held-out scan: simulate a cohort, split, train, explain, report.

    Takes minutes on two cores. Run it again after an interruption: every step goes on where it was.

    Example: `neuroxai quickstart --out quickstart --subjects 24 --spacing 5`
    """
    import contextlib
    import json
    import sys
    import time

    from neuroxai.bundles.catalogue import copy_bundle
    from neuroxai.cli.explain import explain
    from neuroxai.cli.report import report
    from neuroxai.cli.simulate import simulate
    from neuroxai.cli.split import split
    from neuroxai.cli.train import run_training, training_call

    out, begin = out.resolve(), time.monotonic()
    scans, bundle, explained = (cohort or out / "cohort").resolve(), out / "bundle", out / "explained"
    datalist = scans / "datalist.json"

    def step(what: str) -> None:
        typer.echo(f"\n== {what} ({time.monotonic() - begin:.0f} s)")
        sys.stdout.flush()  # the training writes by itself

    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        step(f"simulate {subjects} subjects at {spacing:g} mm: atrophy of known place and dose, and sham controls")
        simulate(scans, "atrophy", subjects=subjects, spacing=spacing, seed=seed, jobs=jobs)
        step("split by subject")
        split(scans, datalist, target="diagnosis", classes="CN,AD", fractions=".6,.2,.2", seed=seed)
        step("train the bundle")
        if not bundle.is_dir():
            copy_bundle(BUNDLE, bundle)
        chance = seed if training_seed is None else training_seed
        options = {"datalist": datalist, "spacing": f"{spacing:g}", "seed": chance, **TRAINING}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        run_training(training_call(bundle, scans, 1, words), quiet=as_json)
        step("explain the held-out scans")
        explain(bundle, scans, explained, part="test", method="lrp_alpha_beta", option=["beta=0"])
        step("report")
        report(explained, dataset_dir=scans)
        step("done")
    page = explained / "report" / "index.html"
    typer.echo(json.dumps({"report": str(page)}) if as_json else f"report: {page}")
