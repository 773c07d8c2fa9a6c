"""What explanations note of themselves: scan, preparation, atlas, and what decides the colour scale."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neuroxai import attribution, io
from neuroxai.derivatives.heatmaps import Run
from neuroxai.derivatives.prepared import record_of
from neuroxai.derivatives.records import to_json
from neuroxai.derivatives.trust import TrustCard, card_of, claim, learnt


def relative_source(source: str, dataset_dir: Path | None) -> str:
    """Return a scan's path relative to the (resolved) cohort's folder where it is named inside, links or not."""
    for path in (Path(os.path.abspath(source)), io.named_path(source)):
        if dataset_dir and dataset_dir in path.parents:
            return path.relative_to(dataset_dir).as_posix()
    return str(io.named_path(source))


def prepared_provenance(scan: str) -> dict[str, Any] | None:
    """Return how a scan was prepared, and from which file; None where `neuroxai prepare` did not write it."""
    record = record_of(Path(scan))
    if record is None:
        return None
    return {
        "Parameters": record.parameters,
        "BrainFrom": record.brain_from,
        "Inputs": record.inputs,
        "Flags": record.flags,
        "Sources": {role: Path(file).name for role, file in record.sources.items()},
    }


def scale_key(run: Run) -> dict[str, Any]:
    """Return what is noted of a run with all options of its method, so that defaults left out are no other choice."""
    return {**to_json(run), "options": attribution.complete(run.method, run.options or {})}


def trust_in(weights: Path, run: Run) -> str | None:
    """Return what the trust card beside the weights says of a run's method and options; None where it says nothing."""
    card, name = _on_card(weights, run)
    return None if card is None else claim(card, name) or None


def stability_in(weights: Path, run: Run) -> dict[str, Any] | None:
    """Return how alike this method's heatmaps are between trainings, by the trust card; None where it says nothing."""
    card, name = _on_card(weights, run)
    found = {} if card is None else card.methods[name].repeats.get("between_trainings", {})
    if card is None or not learnt(card.roc_auc) or found.get("value") is None:
        return None
    return {"correlation": found["value"], **{key: found[key] for key in ("low", "high")}, "trainings": card.networks}


def _on_card(weights: Path, run: Run) -> tuple[TrustCard | None, str]:
    """Return the trust card, and under which name it has a run's method with its options; no card without them."""
    card = card_of(weights / "model.pt", run.checkpoint_sha256)
    own = attribution.complete(run.method, run.options or {})
    for name, one in ({} if card is None else card.methods).items():
        if one.method == run.method and dict(one.options) == own:
            return card, name
    return None, ""


def atlas_noted(atlas: str | None) -> Any:
    """Return what is noted of an atlas: its name, file and checksum."""
    from neuroxai.atlas.named import find, is_name

    if atlas is None or atlas == "builtin":
        return atlas
    named = is_name(atlas)
    file = find(atlas)[0] if named else Path(atlas)
    return {**({"name": atlas} if named else {}), "file": file.name, "sha256": io.sha256(file)}
