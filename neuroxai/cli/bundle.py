"""The ``bundle`` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroxai.cli import _options

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The bundles that come with the package, and one's own: copy, check, pack into a zip, open such a zip.",
)
NameArgument = Annotated[
    str, typer.Argument(help="A name of `neuroxai bundle list`, or a bundle's folder.", autocompletion=_options.bundles)
]
_MOST_BYTES = 2 * 2**30


@app.command("list")
def list_(as_json: _options.Json = False) -> None:
    """List the bundles that come with the package.

    Example: `neuroxai bundle list`
    """
    import json

    from neuroxai.bundles.catalogue import described, names

    found = [described(name) for name in names()]
    if as_json:
        typer.echo(json.dumps(found))
        return
    width = max((len(one["name"]) for one in found), default=0)
    for one in found:
        typer.echo(f"{one['name']:<{width}}  {one['task']}")


@app.command()
def copy(
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(help="Where the copy is to lie; absent or empty.")],
    as_json: _options.Json = False,
) -> None:
    """Copy a bundle to a folder of one's own, to be trained there; weights and results are left behind.

    Example: `neuroxai bundle copy brain_t1w_alzheimers_classification mine`
    """
    import json

    from neuroxai.bundles.catalogue import copy_bundle

    copied = copy_bundle(name, folder)
    typer.echo(
        json.dumps({"bundle": str(copied)}) if as_json else f"{copied}: train it with `neuroxai train {copied} COHORT`"
    )


@app.command()
def verify(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names or folders of bundles. [default: all of the package]", autocompletion=_options.bundles
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out killed runs and trainings in several processes.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="One check, by the name in the table; repeatable.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Bundles at a time. [default: one per core]")] = None,
    as_json: _options.Json = False,
) -> None:
    """Run all that a model zoo asks of a bundle, offline, on the CPU and on a copy; print a table.

    Files, metadata and configurations are read; then come a training of two epochs on tiny phantoms, a second call, a
    killed run, evaluation, inference, explanation, exports with equal logits, federated rounds, and trainings in
    several processes. Exit code 1 if a check fails. Needs `pip install 'neuroxai[verify]'`.

    Example: `neuroxai bundle verify brain_t1w_alzheimers_classification --only "file set" --only imports`
    """
    import json
    import os
    from dataclasses import asdict

    from neuroxai.bundles.catalogue import bundle_folder, names
    from neuroxai.bundles.verify import CHECKS, table, verify_all

    folders = [Path(one) if Path(one).is_dir() else bundle_folder(one) for one in name or names()]
    results = verify_all(folders, quick, only or tuple(CHECKS), jobs or os.cpu_count() or 1)
    if as_json:
        typer.echo(json.dumps({one: [asdict(outcome) for outcome in found] for one, found in results.items()}))
    else:
        typer.echo(table(results))
    if any(outcome.problem is not None for found in results.values() for outcome in found):
        raise typer.Exit(1)


@app.command()
def controls(
    bundle: _options.Bundle,
    cohort: Annotated[Path, typer.Argument(help="The cohort that the bundle was trained on.")],
    datalist: Annotated[
        Path | None, typer.Option(help="As it was trained with. [default: datalist.json in the cohort]")
    ] = None,
    healthy: Annotated[str | None, typer.Option(help="The controls' class. [default: the first]")] = None,
    scans: Annotated[
        bool,
        typer.Option("--scans", help="Keep the controls' scans too, for nearest_controls. Ask these people first."),
    ] = False,
    as_json: _options.Json = False,
) -> None:
    """Make the bundle's reference of controls, for `neuroxai explain --against controls`.

    It holds mean and principal components of the training part's controls, and the patients' mean change, on the
    network's grid, and travels with the bundle: models/controls.pt. A bundle that has one explains against controls
    unless another method is asked for, or a hidden layer. Principal components of few scans show something of them.

    Example: `neuroxai bundle controls bundle cohort`
    """
    import json

    from neuroxai.explain.controls import make_controls

    path, made = make_controls(bundle, cohort, datalist, healthy, scans)
    size = path.stat().st_size
    if as_json:
        counts = {"controls": made.controls, "patients": made.patients}
        typer.echo(json.dumps({"reference": str(path), **counts, "bytes": size, "scans": scans}))
        return
    kept = "with their scans" if scans else f"{len(made.components)} components, no scans"
    typer.echo(
        f"{path}: {made.controls} training controls and {made.patients} patients, {kept}, {size / 2**20:.1f} MiB"
    )


@app.command()
def pack(
    bundle: Annotated[Path, typer.Argument(help="Folder of a trained bundle.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The zip file to write.")],
    exports: Annotated[bool, typer.Option("--exports", help="Add the network as .pt2 and TorchScript.")] = False,
    as_json: _options.Json = False,
) -> None:
    """Pack a trained bundle into one zip file with checksums.

    The same bundle gives the same bytes (but for TorchScript, which torch writes in another order each time).

    Example: `neuroxai bundle pack bundle --out bundle.zip`
    """
    import json

    from neuroxai.bundles.packing import pack as packed
    from neuroxai.io import sha256

    notes = packed(bundle, out, exports)
    if as_json:
        typer.echo(json.dumps({"file": str(out), "sha256": sha256(out), "notes": notes}))
        return
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{out}: sha256 {sha256(out)}")


@app.command("open")
def open_(
    file: Annotated[Path, typer.Argument(help="A packed bundle.")],
    folder: Annotated[Path, typer.Argument(help="Where the bundle is to lie; absent or empty.")],
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest size opened.")] = _MOST_BYTES,
    as_json: _options.Json = False,
) -> None:
    """Open a packed bundle, whole or not at all; whatever such a file does not hold is refused.

    A bundle's configurations execute code when they run: open only files from people you trust.

    Example: `neuroxai bundle open bundle.zip opened`
    """
    import json

    from neuroxai.bundles.opening import open_packed

    open_packed(file, folder, max_bytes)
    said = f"{folder}: checksums and weights are right; its configurations execute code when they run"
    typer.echo(json.dumps({"bundle": str(folder)}) if as_json else said)
