"""The ``doctor`` command: what this installation can do, and what to install for the rest."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neuroxai.cli import _options as opt

if TYPE_CHECKING:
    from packaging.requirements import Requirement

CORE = "simulate, split, predict, explain, score, compare, report and study on prepared scans"
TASKS = {
    "train": "`neuroxai train` and `quickstart`",
    "prepare": "preparing scans, and DICOM series",
    "brain": "brain extraction by deepbet (the template's mask does without)",
    "dicom": "DICOM objects",
    "search": "search over hyper-parameters in studies",
    "cluster": "Dask clusters",
    "verify": "`neuroxai bundle verify`",
    "export": "export to ONNX",
    "tracking": "tracking by MLflow",
}
"""What the package's extras are for; which packages they are is in its metadata."""
LEAST_FREE = 10
"""GB on the disk of the working folder below which a warning is due: a training's cohort and maps take some."""


def doctor(as_json: opt.Json = False) -> None:
    """Say what is installed, which GPUs and atlases are found, how much room there is, and what all is ready for.

    Exit code 1 if something that is always needed is absent or of an unsuitable version.

    Example: `neuroxai doctor`
    """
    import json

    found = examined()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for line in _lines(found):
            typer.echo(line)
    if found["absent"] or found["unsuitable"]:
        raise typer.Exit(1)


def examined() -> dict[str, Any]:
    """Return plain values: versions, GPUs, atlases, disk, what is absent or unsuitable, and the verdict.

    Raises
    ------
    InputError
        If neuroxai itself is not installed, so that there is no list of what it needs.
    """
    import platform
    import shutil

    from neuroxai._version import __version__
    from neuroxai.atlas import NAMES

    core, extras = _requirements()
    versions = {need.name: _version(need.name) for need in core}
    more = {need.name: _version(need.name) for needs in extras.values() for need in needs}
    disk = shutil.disk_usage(Path.cwd())
    found = {
        "neuroxai": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "absent": [name for name, version in versions.items() if version is None],
        "unsuitable": [said for need in core if (said := _unsuitable(need))],
        "extras": more,
        "extra_of": {need.name: extra for extra, needs in reversed(extras.items()) for need in needs},
        "gpus": _gpus() if versions.get("torch") else [],
        "cores": len(_affinity()),
        "atlases": [name for name in NAMES if _has(name)],
        "atlases_absent": [name for name in NAMES if not _has(name)],
        "free_gb": round(disk.free / 1e9, 1),
    }
    lacks = {
        extra: [need.name for need in needs if more[need.name] is None]
        + [s for need in needs if (s := _unsuitable(need))]
        for extra, needs in extras.items()
    }
    return {**found, **_verdict(found, lacks)}


def _requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """Return what the package needs always, and for each of `TASKS`, by its metadata."""
    from importlib import metadata

    from packaging.requirements import Requirement

    from neuroxai.errors import InputError

    try:
        needs = [Requirement(text) for text in metadata.requires("neuroxai") or ()]
    except metadata.PackageNotFoundError:
        raise InputError(
            "neuroxai runs from a folder here and is not installed, so that nothing tells what it needs; run "
            "`pip install neuroxai`, or `source scripts/env.sh` in a clone"
        ) from None

    def of(extra: str) -> list[Requirement]:
        return [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]

    core = of("")
    names = {need.name for need in core}
    extras = {extra: [need for need in of(extra) if need.name not in names] for extra in TASKS}
    return core, {extra: found for extra, found in extras.items() if found}


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _unsuitable(need: Requirement) -> str:
    version = _version(need.name)
    fits = version is None or need.specifier.contains(version, prereleases=True)
    return "" if fits else f"{need.name} is {version}, expected {need.specifier}"


def _verdict(found: Mapping[str, Any], lacks: Mapping[str, list[str]]) -> dict[str, Any]:
    """Say what all this is ready for, and what not: why, and the way out."""
    broken = [*(f"{name} is absent" for name in found["absent"]), *found["unsuitable"]]
    if broken:
        return {"ready_for": [], "not_for": [_not_for("anything", broken, "run `pip install --upgrade neuroxai`")]}
    ready, not_for = [CORE], []
    for extra, names in lacks.items():
        if not names:
            ready.append(TASKS[extra])
            continue
        because = [name if " " in name else f"{name} is absent" for name in names]
        not_for.append(_not_for(TASKS[extra], because, f"run `pip install 'neuroxai[{extra}]'`"))
    if not found["gpus"]:
        what, why = "training at 1 or 2 mm in less than hours", ["torch sees no GPU"]
        not_for.append(_not_for(what, why, "train where there is one; --spacing 4 takes minutes on a CPU"))
    if found["free_gb"] < LEAST_FREE:
        not_for.append(_not_for("cohorts and trainings of any size", [f"{found['free_gb']} GB are free"], "make room"))
    return {"ready_for": ready, "not_for": not_for}


def _not_for(what: str, because: list[str], do: str) -> dict[str, str]:
    return {"what": what, "because": ", ".join(because), "do": do}


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
        f"  {name:<17} {version or 'ABSENT: run `pip install neuroxai` again'}"
        for name, version in found["packages"].items()
    ]
    lines.append("for more:")
    for name, version in found["extras"].items():
        extra = found["extra_of"][name]
        lines.append(f"  {name:<17} {version or f'absent: `pip install neuroxai[{extra}]` for {TASKS[extra]}'}")
    gpus = [f"{gpu['number']}: {gpu['name']}, {gpu['memory_gb']} GB" for gpu in found["gpus"]]
    lines.append(f"GPUs: {'; '.join(gpus) or 'none that torch sees; everything runs on the CPU'}")
    lines.append(f"atlases: {', '.join(found['atlases'])}; not here: {', '.join(found['atlases_absent']) or 'none'}")
    low = f"; less than {LEAST_FREE} GB, make room" if found["free_gb"] < LEAST_FREE else ""
    lines.append(f"disk: {found['free_gb']} GB free here{low}")
    lines += [f"ready for: {what}" for what in found["ready_for"]]
    return [*lines, *(f"not for: {one['what']}, because {one['because']}; {one['do']}" for one in found["not_for"])]
