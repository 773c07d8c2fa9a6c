"""The ``label`` commands: explanations in 3D Slicer and OHIF through MONAI Label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroxai.cli import _options as opt

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Show explanations in 3D Slicer or OHIF, through a MONAI Label server.",
)


@app.callback()
def _label() -> None:
    """Keep `start` a command of its own: typer makes one command alone the whole."""


@app.command("start")
def start(
    bundles: Annotated[Path, typer.Argument(help="A trained bundle, or a folder of trained bundles.")],
    scans: Annotated[
        Path,
        typer.Argument(
            help="What the server offers: a folder of NIfTI files or a BIDS cohort, or https://ARCHIVE/dicom-web."
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; others than this machine reach it elsewhere.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8000,
    device: opt.Device = "auto",
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Web page that may speak to the server, such as http://localhost:3000; repeatable."),
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="Of an archive the MR series whose description holds this. [default: all]")
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Send DICOM Segmentations that viewers ask for to the archive too.")
    ] = False,
    orientation: opt.Orientation = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for all that the server writes. [default: one in ~/.cache]")
    ] = None,
) -> None:
    """Start a MONAI Label server that lists every trained bundle of a folder; stop it with Ctrl-C.

    It needs an environment of its own, which `scripts/label_env.sh` makes once. Your scans are only read; what viewers
    send lies below --work until an hour after it was last asked for, or until the server stops. There is no log-in:
    whoever reaches the address reads the scans, so it is this machine's alone unless --host says otherwise.

    Of an archive the MR series are fetched at the start, and lie beside --work until the server stops.

    Example: `bash scripts/label_env.sh neuroxai label start bundle cohort`
    """
    import shutil
    import signal
    import subprocess
    from contextlib import nullcontext

    from neuroxai.errors import InputError
    from neuroxai.io.dicom.web import Address
    from neuroxai.label_app.launch import LOOPBACK, command, fetched_scans

    # whoever ends this process (a service manager, a closed terminal) ends the server, as Ctrl-C does
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    folder = work or Path.home() / ".cache" / "neuroxai" / "label"
    archive = Address.of(scans)
    if archive is None and (description or store):
        raise InputError(f"{scans}: is no archive, but --description and --store are about one; leave them out")
    with nullcontext(scans) if archive is None else fetched_scans(archive, description, folder, host, port) as offered:
        service = archive.service if archive is not None and store else ""
        words, environment = command(bundles, offered, folder, host, port, device, allow_origin or [], service)
        typer.echo(
            f"MONAI Label on http://{host}:{port}; in 3D Slicer, give this address to the MONAI Label module", err=True
        )
        if host not in LOOPBACK:
            typer.echo(f"warning: {host} can be reached from other machines, and nobody has to log in", err=True)
        try:
            raise typer.Exit(subprocess.run(words, env=environment, cwd=folder, check=False).returncode)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None
        finally:
            shutil.rmtree(environment["TMPDIR"], ignore_errors=True)
