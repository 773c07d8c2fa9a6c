"""The ``train`` command, which spells MONAI's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from neuroxai.cli import _options

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}
"""How the command is to be registered: what it does not know is an option of the bundle's training."""


def train(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle, such as `neuroxai bundle copy` makes.")],
    cohort: Annotated[Path, typer.Argument(help="The cohort's folder (the bundle's `dataset_dir`).")],
    processes: Annotated[
        int, typer.Option(min=1, help="Processes on this machine, one GPU each (torchrun, multi_gpu_train.json).")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the call and leave.")] = False,
    as_json: _options.Json = False,
) -> None:
    """Train a bundle: spells `python -m monai.bundle run training` with its configuration files.

    Every other option is one of the bundle's training and handed on as it is: --max_epochs, --batch_size,
    --learning_rate, --seed, --datalist and so on, see train.json. A training that was interrupted goes on when the
    same command is run again. Needs `pip install 'neuroxai[train]'`.

    Example: `neuroxai train bundle cohort --spacing 4 --max_epochs 1 --dry-run`
    """
    import json
    import shlex

    call = training_call(bundle, cohort, processes, context.args)
    if dry_run:
        typer.echo(json.dumps({"call": call}) if as_json else shlex.join(call))
        return
    run_training(call, quiet=as_json)
    if as_json:
        typer.echo(json.dumps({"call": call}))


def run_training(call: Sequence[str], quiet: bool) -> None:
    """Run a call of `training_call`; leave with its exit code where it fails. `quiet`: standard output stays free."""
    import subprocess

    code = subprocess.run(call, check=False, stdout=2 if quiet else None).returncode
    if code:
        raise typer.Exit(code if code > 0 else 128 - code)  # as shells have it, where a signal ended it


def training_call(bundle: Path, cohort: Path, processes: int, options: Sequence[str]) -> list[str]:
    """Return the words of the call.

    Raises
    ------
    InputError
        If the folder is no bundle, or what MONAI's command line needs is absent.
    """
    import importlib.util
    import sys

    from neuroxai.errors import InputError

    files = [str(bundle / "configs" / name) for name in ("train.json", "multi_gpu_train.json")[: 1 + (processes > 1)]]
    for file in files:
        if not Path(file).is_file():
            raise InputError(f"{file}: no such file; give a bundle's folder, such as `neuroxai bundle copy` makes")
    if importlib.util.find_spec("fire") is None:
        raise InputError("MONAI's command line needs python-fire; run `pip install 'neuroxai[train]'`")
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    given = files[0] if len(files) == 1 else "[" + ",".join(f"'{file}'" for file in files) + "]"
    words = ["-m", "monai.bundle", "run", "training", "--config_file", given]
    words += ["--bundle_root", str(bundle), "--dataset_dir", str(cohort), *options]
    return [sys.executable, *(several if processes > 1 else ()), *words]
