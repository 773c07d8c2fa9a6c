"""Adebayo 2018: whether heatmaps change when the network forgets, layer by layer, what it learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from neuroxai import attribution
from neuroxai.atlas import builtin
from neuroxai.cohort import class_groups
from neuroxai.derivatives.study_runs import read_run
from neuroxai.errors import InputError
from neuroxai.evaluation import MapComparison, randomisation_test
from neuroxai.explain.attribute import completed_options
from neuroxai.report.plots.charts import curves
from neuroxai.studies.analyses.shared import known_options, limits, metric_findings, runs_doubt
from neuroxai.studies.findings import Finding, Findings, Picture
from neuroxai.studies.results import FinishedRun, Results
from neuroxai.studies.spec import Study
from neuroxai.studies.trained import TrainedRun

SCANS = 8
"""Patients whose maps are compared, where the declaration's options do not say how many."""


def check(study: Study) -> None:
    """Refuse a study without explanations of a class, or with options that are none of these.

    Raises
    ------
    InputError
        Naming the key.
    """
    if not study.explain:
        raise InputError("explain: there is none; name the methods whose maps are to be compared")
    for name, spec in study.explain.items():
        if spec.layer is not None:
            raise InputError(f"explain: {name}: begins at a layer; the check is of explanations of a class")
    known_options(study, ("scans",))
    count = study.options.get("scans", SCANS)
    if type(count) is not int or count < 1:
        raise InputError(f"options: scans is {count!r}, expected a whole number of 1 or more")


def analyse(results: Results) -> Findings:
    """Rank correlation of each method's maps with those of the network whose upper layers are random."""
    table = pd.concat([_of_run(results, done) for done in results.chosen()], ignore_index=True)
    findings = Findings(metric_findings(results, ("balanced_accuracy",)), doubts=[runs_doubt(results)])
    means = table.groupby(["method", "step", "layer"], sort=False)["rank_correlation"].mean().reset_index()
    findings.tables["rank_correlations"] = means
    last = {}
    for name in results.study.explain:
        for step, what in ((1, "last layer random"), (int(table["step"].max()), "all layers random")):
            own = table[(table["method"] == name) & (table["step"] == step)]
            values = own.groupby("scan")["rank_correlation"].mean().dropna().to_numpy()
            if not len(values):
                findings.figures.append(Finding(f"rank correlation, {what}", name, None, note="maps are constant"))
                continue
            low, high = limits(values, results.study.statistics)
            last[name, step] = float(values.mean())
            findings.figures.append(
                Finding(f"rank correlation, {what}", name, float(values.mean()), low, high, len(values),
                        method="BCa bootstrap over patients", note="of magnitudes, in the brain; n are patients")
            )  # fmt: skip
    lines = {
        str(name): ([0, *own["step"]], [1.0, *own["rank_correlation"]], None)
        for name, own in means.groupby("method", sort=False)
    }
    layers = means.drop_duplicates("step")["layer"].tolist()
    findings.pictures.append(
        Picture(
            "forgetting",
            "Spearman's rank correlation of heatmaps with the trained network's, by how many layers were drawn "
            f"anew from the top: {', '.join(f'{n} {layer}' for n, layer in enumerate(layers, 1))}. A map that stays "
            "near 1 does not show what the network learnt.",
            lambda: curves(lines, "layers drawn anew, from the top", "rank correlation with the trained network's map"),
        )
    )
    steps = int(table["step"].max())
    ends = {name: last[name, steps] for name in results.study.explain if (name, steps) in last}
    if ends:
        most, least = max(ends, key=lambda n: abs(ends[n])), min(ends, key=lambda n: abs(ends[n]))
        findings.answers.append(
            f"With all layers random, maps of {least} keep a rank correlation of {ends[least]:.2f} with the trained "
            f"network's, those of {most} {ends[most]:.2f}: what is left is the scan and the architecture, not what was "
            "learnt."
        )
    findings.doubts.append(
        "Rules that share positive contributions alone change little by their formula (Sixt 2020). Magnitudes are "
        "compared: a map whose sign flips counts as unchanged."
    )
    return findings


def _of_run(results: Results, done: FinishedRun) -> pd.DataFrame:
    opened = TrainedRun(done.folder / "bundle", read_run(done.folder))
    scans = _patients(opened, int(results.study.options.get("scans", SCANS)))
    target = 0 if _outputs(opened, scans) == 1 else opened.classes.index(class_groups(opened.classes)[1])
    rows: list[dict[str, Any]] = []
    for name, spec in results.study.explain.items():
        regional = attribution.takes_regions(spec.method) or attribution.takes_baselines(spec.method)
        regions = builtin(opened.space) if regional else None
        options = completed_options(spec.method, spec.options, regions, lambda: opened.controls)
        steps = randomisation_test(
            opened.network,
            lambda m, method=spec.method, chosen=options: attribution.create(method, m, **chosen),  # type: ignore[misc]
            scans,
            target,
            compare=MapComparison((scans != 0).any(dim=0)),
            seed=results.study.statistics.seed,
        )
        rows.extend(
            {"run": done.run.identifier, "method": name, "step": number, "layer": step.layer, "scan": place,
             "rank_correlation": value}
            for number, step in enumerate(steps, start=1)
            for place, value in enumerate(step.rank_correlations)
        )  # fmt: skip
    return pd.DataFrame(rows)


def _patients(opened: TrainedRun, count: int) -> torch.Tensor:
    found = []
    for item, scan in opened.scans("test"):
        if opened.classes[item["label"]] == class_groups(opened.classes)[1]:
            found.append(scan)
        if len(found) == count:
            break
    if not found:
        raise InputError("no patient of the test part can be read; there is nothing to compare")
    return torch.cat(found)


def _outputs(opened: TrainedRun, scans: torch.Tensor) -> int:
    with torch.no_grad():
        return int(np.shape(opened.network(scans[:1]))[1])
