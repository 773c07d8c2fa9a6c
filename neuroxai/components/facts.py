"""What explanations note of themselves: method, weights, space, sources."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.derivatives.heatmaps import Run
from neuroxai.derivatives.records import to_json
from neuroxai.preprocess.records import record_of
from neuroxai.space import Space


def relative_source(source: str, dataset_dir: Path | None) -> str:
    """Return a scan's path relative to the (resolved) cohort's folder where it is named inside, links or not."""
    for path in (Path(os.path.abspath(source)), io.named_path(source)):
        if dataset_dir and dataset_dir in path.parents:
            return path.relative_to(dataset_dir).as_posix()
    return str(io.named_path(source))


def prepared_facts(scan: str) -> dict[str, Any] | None:
    """Return how a scan was prepared, and from which file; None where `neuroxai prepare` did not write it."""
    record = record_of(Path(scan))
    if not record:
        return None
    kept: dict[str, Any] = {key: record[key] for key in ("Parameters", "BrainFrom", "Inputs", "Flags") if key in record}
    return {**kept, "Sources": {role: Path(file).name for role, file in record.get("Sources", {}).items()}}


def atlas_of(atlas: str | None, labels: str | None) -> Any:
    """Return an atlas (a name of `neuroxai.atlas.NAMES` or a label image's path); None without."""
    from neuroxai.atlas import get

    return None if atlas is None else get(atlas, labels)


def atlas_facts(atlas: str | None) -> Any:
    """Return what is noted of an atlas: its name, file and checksum."""
    from neuroxai.atlas.named import find, is_name

    if atlas is None or atlas == "builtin":
        return atlas
    named = is_name(atlas)
    file = find(atlas)[0] if named else Path(atlas)
    return {**({"name": atlas} if named else {}), "file": file.name, "sha256": io.sha256(file)}


def provenance(
    method: str, options: Mapping[str, Any] | None, checkpoint: str, bundle: str, atlas: str | None, space: Space
) -> dict[str, Any]:
    """Return the fields of `neuroxai.derivatives.heatmaps.Provenance` for an explanation made here and now."""
    return {
        "method": method,
        "options": dict(options or {}),
        "checkpoint_sha256": io.sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else None,
        "bundle": bundle,
        "atlas": atlas_facts(atlas),
        "network_space": space.to_dict(),
        "versions": {"neuroxai": __version__, "torch": torch.__version__},
    }


def scale_key(run: Run) -> dict[str, Any]:
    """Return what is noted of a run with all options of its method, so that defaults left out are no other choice."""
    from neuroxai.attribution import complete

    return {**to_json(run), "options": complete(run.method, run.options or {})}


def hidden_facts(layer: str | None, neuron: Any, conditions: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a hidden start as JSON gives it back: lists, plain dicts."""
    one = isinstance(neuron, Mapping)
    return {
        "layer": layer,
        "neuron": dict(neuron) if one else list(neuron) if isinstance(neuron, list | tuple) else neuron,
        "conditions": {
            str(name): [int(c) for c in (channels if isinstance(channels, list | tuple) else [channels])]
            for name, channels in (conditions or {}).items()
        }
        or None,
    }
