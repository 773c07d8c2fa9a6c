"""The ``doctor`` command: what this installation can do, and what to install for the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from neuroxai.cli import _options as opt

NEEDED = (
    "torch",
    "monai",
    "pytorch-ignite",
    "captum",
    "nibabel",
    "nilearn",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "matplotlib",
    "joblib",
    "pyyaml",
)
EXTRAS = {
    "antspyx": ("prepare", "non-linear registration"),
    "itk": ("prepare", "registration without ANTs"),
    "pydicom": ("prepare", "DICOM series"),
    "deepbet": ("brain", "brain extraction"),
    "optuna": ("search", "search over hyper-parameters in studies"),
    "distributed": ("cluster", "Dask clusters"),
    "onnx": ("export", "export to ONNX"),
}
LEAST_FREE = 10
"""GB on the disk of the working folder below which a warning is due: a training's cohort and maps take some."""


def doctor(as_json: opt.Json = False) -> None:
    """Say what is installed, which GPUs and atlases are found, and how much room there is.

    Exit code 1 if something that is always needed is absent.

    Example: `neuroxai doctor`
    """
    import json

    found = examined()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for line in _lines(found):
            typer.echo(line)
    if found["absent"]:
        raise typer.Exit(1)


def examined() -> dict[str, Any]:
    """Return plain values: versions, extras, GPUs, atlases, disk, and what of the needed packages is absent."""
    import platform
    import shutil

    from neuroxai._version import __version__
    from neuroxai.atlas import NAMES

    versions = {name: _version(name) for name in NEEDED}
    disk = shutil.disk_usage(Path.cwd())
    return {
        "neuroxai": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "absent": [name for name, version in versions.items() if version is None],
        "extras": {name: _version(name) for name in EXTRAS},
        "gpus": _gpus() if versions["torch"] else [],
        "cores": len(_affinity()),
        "atlases": [name for name in NAMES if _has(name)],
        "atlases_absent": [name for name in NAMES if not _has(name)],
        "free_gb": round(disk.free / 1e9, 1),
    }


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpus() -> list[dict[str, Any]]:
    import torch

    found = []
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        found.append({"number": number, "name": properties.name, "memory_gb": round(properties.total_memory / 1e9, 1)})
    return found


def _affinity() -> set[int]:
    import os

    return os.sched_getaffinity(0) if sys.platform == "linux" else set(range(os.cpu_count() or 1))


def _has(name: str) -> bool:
    from neuroxai.atlas import find
    from neuroxai.errors import InputError

    try:
        return name == "builtin" or bool(find(name))
    except InputError:
        return False


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"neuroxai {found['neuroxai']}, Python {found['python']}, {found['platform']}, {found['cores']} cores"]
    lines += [
        f"  {name:<16}{version or 'ABSENT: run `pip install neuroxai` again'}"
        for name, version in found["packages"].items()
    ]
    lines.append("for more:")
    for name, version in found["extras"].items():
        extra, what = EXTRAS[name]
        lines.append(f"  {name:<16}{version or f'absent: `pip install neuroxai[{extra}]` for {what}'}")
    gpus = [f"{gpu['number']}: {gpu['name']}, {gpu['memory_gb']} GB" for gpu in found["gpus"]]
    lines.append(f"GPUs: {'; '.join(gpus) or 'none that torch sees; everything runs on the CPU'}")
    lines.append(f"atlases: {', '.join(found['atlases'])}; not here: {', '.join(found['atlases_absent']) or 'none'}")
    low = f"; less than {LEAST_FREE} GB, make room" if found["free_gb"] < LEAST_FREE else ""
    lines.append(f"disk: {found['free_gb']} GB free here{low}")
    return lines
