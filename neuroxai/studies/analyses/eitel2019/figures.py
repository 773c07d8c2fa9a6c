"""Figures of Eitel 2019: models, lesion relevance, its sum, regions, mean maps of the networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from neuroxai import io
from neuroxai.cohort import class_groups
from neuroxai.pictures.maps import map_rows
from neuroxai.report.plots import charts as draw
from neuroxai.report.plots.charts import interval_panels
from neuroxai.space import Volume
from neuroxai.studies.analyses.eitel2019.baselines import LOAD, VOXELS
from neuroxai.studies.analyses.eitel2019.relevance import subjects
from neuroxai.studies.findings import Finding, Picture
from neuroxai.studies.results import Results


def pictures(
    results: Results,
    figures: Sequence[Finding],
    regions: dict[str, pd.DataFrame],
    roles: dict[str, str],
    looked_at: Sequence[str],
) -> list[Picture]:
    """Return the figures that the finished runs allow, in the order of the page."""
    study = results.study
    first = next(iter(study.explain))
    controls, patients = study.cohorts[study.arms[roles["scratch"]].cohort].classes
    arms = [arm for arm in study.arms if study.arms[arm].cohort == study.arms[roles["scratch"]].cohort]
    found = [_models(results, figures, arms)]
    # the order of the paper's figure 6, and the filled one last
    shown = sorted(
        looked_at, key=lambda arm: (arm == roles.get("filled"), arm == roles["transfer"], study.arms[arm].train)
    )
    if looked_at:
        found.append(_in_lesions(results, figures, shown, first))
    transfer, filled = roles["transfer"], roles.get("filled")
    if transfer in looked_at:
        found.append(_sums(results, transfer, first, (controls, patients)))
        top = int(study.options.get("top", 30))
        for label, table in regions.items():
            found.append(_regions(table, transfer, label, top, (controls, patients)))
            if filled in looked_at:
                found.append(_shift(table, (transfer, str(filled)), label, patients))
    if study.options.get("maps", True) and looked_at:
        found += _maps(results, shown, first, patients)
    return found


def _models(results: Results, figures: Sequence[Finding], arms: Sequence[str]) -> Picture:
    table = results.runs[results.runs["chosen"]]
    panels = []
    for quantity, column in (("balanced accuracy", "balanced_accuracy"), ("ROC area", "roc_auc")):
        rows = [f for m in (LOAD, VOXELS, *arms) for f in figures if (f.quantity, f.group) == (quantity, m)]
        points = {arm: (table[table["arm"] == arm][column] * 100).tolist() for arm in arms}
        panels.append((f"{quantity}, %", _frame(rows), points))
    return Picture(
        "models",
        "Held-out balanced accuracy and ROC area of the support vector machines and the networks, %, with intervals; "
        "grey points are single trainings. Intervals of a machine are over test subjects, of networks over trainings.",
        partial(interval_panels, panels),
    )


def _in_lesions(results: Results, figures: Sequence[Finding], arms: Sequence[str], explanation: str) -> Picture:
    quantity = "lesion relevance in patients"
    rows = [f for arm in arms for f in figures if (f.quantity, f.group) == (quantity, arm)]
    room = [
        f.value
        for f in figures
        if f.quantity == "lesion coverage in patients" and f.group in arms and f.value is not None
    ]
    patients = class_groups(results.study.cohorts[results.study.arms[arms[0]].cohort].classes)[1]
    points = {}
    for arm in arms:
        table = subjects(results, arm, explanation)
        points[arm] = (table[(table["true"] == patients) & (table["voxels"] > 0)]["relevance"].dropna() * 100).tolist()
    return Picture(
        "lesion_relevance",
        f"Share of the positive relevance ({explanation}) that lies in lesions, %, mean over patients with interval; "
        "grey points are patients. Dashed: lesions' share of the brain, the uninformative baseline.",
        partial(interval_panels, [("positive relevance in lesions, %", _frame(rows), points)],
                float(np.mean(room)) if room else None),
    )  # fmt: skip


def _sums(results: Results, arm: str, explanation: str, classes: tuple[str, str]) -> Picture:
    groups = {}
    for part in results.study.parts:
        table = subjects(results, arm, explanation, part)
        for name in classes:
            own = table[table["true"] == name]
            if len(own):
                title = f"{name}, {part}" if len(results.study.parts) > 1 else name
                groups[title] = (own["voxels"].tolist(), own["sum"].tolist())
    return Picture(
        "lesion_sum",
        f"Lesion voxels on the network's grid against the sum of relevance ({explanation}, {arm}), in standard "
        "deviations of the run, means over runs; a point is a subject.",
        partial(draw.scatter, groups, "lesion voxels", "sum of relevance, SD of the run"),
    )


def _regions(table: pd.DataFrame, arm: str, label: str, top: int, classes: tuple[str, str]) -> Picture:
    own = table[table["arm"] == arm].sort_values("leads").head(top)
    groups = {name: own[f"mean_{name}"].tolist() for name in reversed(classes)}
    return Picture(
        f"regions_{label}",
        f"Mean relevance per voxel of the {len(own)} leading regions ({label}, {arm}, hemispheres merged) in patients "
        "and controls, in multiples of the run's mean absolute relevance per voxel; positive supports patients.",
        partial(draw.bars, own["region"].tolist(), groups, "mean relevance per voxel (1: average size)"),
    )


def _shift(table: pd.DataFrame, arms: tuple[str, str], label: str, patients: str) -> Picture:
    wide = table.pivot(index="region", columns="arm", values=f"mean_{patients}")[list(arms)].dropna()
    wide = wide.loc[wide.abs().max(axis=1).sort_values(ascending=False, kind="stable").index].head(10)
    return Picture(
        f"filled_{label}",
        f"Mean relevance per voxel in patients with and without filled lesions ({label}): the ten regions that lead in "
        "either network, in multiples of the run's mean absolute relevance per voxel.",
        partial(draw.bars, wide.index.tolist(), {arm: wide[arm].tolist() for arm in arms},
                "mean relevance per voxel (1: average size)"),
    )  # fmt: skip


def _maps(results: Results, arms: Sequence[str], explanation: str, patients: str) -> list[Picture]:
    found: dict[str, Volume] = {}
    for arm in arms:
        scaled = []
        for done in results.chosen(arm):
            mean = results.mean_map(done, explanation, f"class-{patients}")
            if mean is not None and (size := float(np.abs(mean.data).max())) > 0:
                scaled.append(Volume(mean.data / size, mean.space))
        if scaled:
            # each run by its own largest value: the scale of relevance is the run's
            found[arm] = Volume(np.mean([m.data for m in scaled], axis=0), scaled[0].space)
    if not found:
        return []
    space = next(iter(found.values())).space
    title = ", ".join(found)
    return [Picture(
        "maps",
        f"Mean relevance of held-out patients over one scan, a row per network ({title}), mean of the runs, each "
        "divided by its largest value; orange supports patients, blue controls. Colours run to half "
        "of each row's largest value.",
        _drawing(found, _background(results, arms[0], space)),
    )]  # fmt: skip


def _drawing(found: dict[str, Volume], scan: Volume | None) -> Callable[[], Any]:
    return partial(map_rows, found, scan)


def _background(results: Results, arm: str, space: Any) -> Volume | None:
    done = results.chosen(arm)[0]
    for item in results.datalist(done).get("test", []):
        path = done.run.folder / item["image"]
        if path.is_file():
            return io.read_volume(path).resampled_to(space)
    return None


def _frame(rows: Sequence[Finding]) -> pd.DataFrame:
    return pd.DataFrame([{"group": f.group, "value": f.value, "low": f.low, "high": f.high} for f in rows],
                        columns=["group", "value", "low", "high"])  # fmt: skip
