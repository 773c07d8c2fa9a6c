"""Eitel 2022: what does each filter respond to? An input that excites it, by gradient ascent from noise."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from neuroxai.attribution.feature_visualisation import AscentOptions, visualise
from neuroxai.derivatives.study_runs import read_run
from neuroxai.errors import InputError, one_of
from neuroxai.pictures.maps import maps
from neuroxai.space import Volume
from neuroxai.studies.analyses.shared import known_options, metric_findings, runs_doubt
from neuroxai.studies.findings import Findings, Picture
from neuroxai.studies.results import FinishedRun, Results
from neuroxai.studies.spec import Study
from neuroxai.studies.trained import TrainedRun

OPTIONS = ("layer", "filters", "steps", "weight_decay", "total_variation", "blur")


def check(study: Study) -> None:
    """Refuse options that are unknown, and a study that names no layer.

    Raises
    ------
    InputError
        Naming the key.
    """
    known_options(study, OPTIONS)
    if not isinstance(study.options.get("layer"), str):
        raise InputError(f"options: layer is {study.options.get('layer')!r}, expected a layer such as features.conv4")
    filters = study.options.get("filters", 4)
    wrong = type(filters) is not int or filters < 1
    if wrong:
        raise InputError(f"options: filters is {filters!r}, expected a whole number of 1 or more: how many are shown")


def analyse(results: Results) -> Findings:
    """Visualise the filters of one layer that the decision on the test scans uses most.

    Filters are ranked by their mean activation over the test scans, since a filter that is silent on all scans has
    nothing to show.
    """
    findings = Findings(metric_findings(results, ("balanced_accuracy",)), doubts=[runs_doubt(results)])
    rows: list[dict[str, Any]] = []
    for done in results.chosen():
        if results.study.arms[done.run.arm].explain:
            _of_run(results, done, rows, findings)
    table = pd.DataFrame(rows)
    findings.tables["filters"] = table
    findings.answers.append(
        f"In {len(table)} filters of {results.study.options['layer']} the ascent raised the activation to "
        f"{table['excited'].median():.3g} (median), where test scans give {table['mean_on_scans'].median():.3g}."
    )
    findings.doubts.append(
        "An input that excites a filter most need not look like a brain, and no scan need be like it."
    )
    return findings


def _of_run(results: Results, done: FinishedRun, rows: list[dict[str, Any]], findings: Findings) -> None:
    options = dict(results.study.options)
    layer, count = options.pop("layer"), options.pop("filters", 4)
    ascent = AscentOptions(**options)
    opened = TrainedRun(done.folder / "bundle", read_run(done.folder))
    means = _activations(opened, layer)
    mean_scan = np.mean([scan[0, 0].cpu().numpy() for _, scan in opened.scans("test")], axis=0)
    for number in np.argsort(-means, kind="stable")[:count].tolist():
        image = visualise(opened.network, layer, number, (1, *opened.space.shape), ascent, seed=results.study.seed)
        excited = float(_values(opened.network, layer, image)[number])
        rows.append({"run": done.run.identifier, "arm": done.run.arm, "filter": number,
                     "mean_on_scans": float(means[number]), "excited": excited})  # fmt: skip
        found = image[0, 0].detach().cpu().numpy().astype(np.float32)
        limit = float(np.percentile(np.abs(found), 99.9)) or 1.0
        findings.pictures.append(
            Picture(
                f"filter_{done.run.arm}_{done.run.split}-{done.run.repetition}_{number:03d}",
                f"Input that excites filter {number} of {layer} ({done.run.title}), over the mean test scan; its "
                f"activation is {excited:.3g}, on test scans {means[number]:.3g} on average.",
                partial(maps, Volume(found, opened.space), Volume(mean_scan, opened.space), limit, 5, ("", "")),
            )
        )


def _activations(opened: TrainedRun, layer: str) -> np.ndarray:
    return np.asarray(np.mean([_values(opened.network, layer, scan) for _, scan in opened.scans("test")], axis=0))


def _values(network: torch.nn.Module, layer: str, scan: torch.Tensor) -> np.ndarray:
    """Mean over positions of each filter's output, as `visualise` climbs it."""
    modules = dict(network.named_modules())
    if layer not in modules:
        raise one_of("layer in options", layer, [name for name in modules if name])
    kept: list[torch.Tensor] = []
    handle = modules[layer].register_forward_hook(lambda module, args, output: kept.append(output.detach()))
    try:
        with torch.no_grad():
            network(scan)
    finally:
        handle.remove()
    return np.asarray(kept[0][0].flatten(1).mean(dim=1).double().cpu().numpy())
