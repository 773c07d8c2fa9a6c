"""The ``report`` command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroxai.cli import _options as opt

_BESIDE = opt.group("Shown beside the heatmaps")
_FILES = opt.group("Files")


def report(
    explain_dir: opt.Explained,
    out: Annotated[Path | None, typer.Option(help="Where to write. [default: EXPLAIN_DIR/report]")] = None,
    dataset_dir: Annotated[
        Path | None, opt.WHICH(help="The cohort's folder. [default: the one that the explain run noted]")
    ] = None,
    truth: Annotated[
        bool | None,
        _BESIDE(help="Compare with the planted effect of a simulated cohort. [default: where masks are]"),
    ] = None,
    subject: Annotated[
        str | None, opt.WHICH(help="Write the pages of this participant alone, and leave the others as they are.")
    ] = None,
    reference: Annotated[
        Path | None,
        _BESIDE(help="Healthy controls from `neuroxai compare --save-reference`. [default: the report's own]"),
    ] = None,
    calibration: Annotated[
        Path | None,
        _BESIDE(help="Output of `neuroxai predict` on the validation part, to calibrate probabilities with."),
    ] = None,
    also: Annotated[
        list[Path] | None,
        _BESIDE(help="Output of `neuroxai explain` on the same scans by another training; repeatable."),
    ] = None,
    jobs: opt.Jobs = 1,
    slides: Annotated[
        bool, _FILES("--slides", help="Write the mean heatmaps as glass brains, PNG and SVG, to OUT/slides.")
    ] = False,
    orientation: opt.Orientation = None,
    as_json: opt.Json = False,
) -> None:
    """Write one HTML page per scan, one for the cohort (`index.html`) and all figures (`metrics.json`).

    Where `neuroxai explain --neuron all` was run, a picture of each layer's filters (`filters_*.png`) is drawn too.

    Exit code 1 if some scans could not be shown. Example: `neuroxai report explained --dataset-dir cohort`
    """
    from neuroxai.cli._start import import_readers

    import_readers("neuroxai.report")
    import json
    import sys

    from neuroxai.cli._progress import progress_bar
    from neuroxai.report import Beside, build_report, filter_figures

    filters = filter_figures(explain_dir, out)
    if filters and not (explain_dir / "predictions.tsv").is_file():  # no class was explained: there are no pages
        typer.echo(json.dumps({"filters": [str(path) for path in filters]}) if as_json else _named(filters))
        return
    with progress_bar("pages", quiet=as_json, transient=True) as progress:
        built = build_report(
            explain_dir,
            out,
            dataset_dir,
            truth,
            on_scan=progress,
            beside=Beside(reference, calibration, tuple(also or ())),
            only=subject,
            jobs=jobs,
            slides=slides,
        )
    for failure in built.failures:
        sys.stderr.write(f"failed: {failure.title}: {failure.error}\n")
    if as_json:
        typer.echo(json.dumps(built.metrics, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        for line in _lines(built.metrics) if subject is None else ():
            typer.echo(line)
        typer.echo(f"report: {built.index}")
        if filters:
            typer.echo(_named(filters))
    if built.failures:
        raise typer.Exit(1)


def _named(filters: Sequence[Path]) -> str:
    return "\n".join(f"filters: {path}" for path in filters)


def _lines(metrics: Mapping[str, Any]) -> list[str]:
    """Say the main figures in plain lines."""
    lines = [
        f"{metrics['scans']} scans of {metrics['participants']} participants, {metrics['labelled']} with a true label"
    ]
    for name, item in metrics["classification"].items():
        if item["value"] is None:
            lines.append(f"{name.replace('_', ' ')}: undefined, {item['reason']}")
        else:
            interval = f"95 % interval {item['low']:.3f} to {item['high']:.3f}"
            lines.append(
                f"{name.replace('_', ' ')}: {item['value']:.3f} ({interval}, n = {item['n']}, {item['method']})"
            )
    truth = metrics["known_truth"]
    if truth:
        ratio, mass = truth["density_ratio"], truth["relevance_mass"]
        lines.append("known truth, planted effect against the rest of the brain (1 is chance):")
        for group in ("patients", "controls"):
            value = ratio[group]["value"]
            text = f"{value:.2f}" if value is not None else f"undefined, {ratio[group]['reason']}"
            lines.append(f"  density of positive relevance, mean heatmap of {group}: {text}")
        for group in ("patients", "controls"):
            item = mass[group]
            if item["n"]:
                lines.append(f"  share of positive relevance inside, {group}: {item['mean']:.1%} (n = {item['n']})")
        if truth["effect_share_of_brain"] is not None:
            lines.append(f"  the effect's share of the brain (chance): {truth['effect_share_of_brain']:.1%}")
        for row in truth["dose"]:
            span = f"{row['min']:.3g} to {row['max']:.3g} (n = {row['n']})"
            lines.append(f"  planted {row['column']}: mean {row['mean']:.3g}, {span}")
    return lines
