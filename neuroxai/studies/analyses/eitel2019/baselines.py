"""Support vector machines on lesion load and on voxels, trained and tested on the networks' own split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroxai import io
from neuroxai.errors import InputError
from neuroxai.evaluation import SvmOptions, lesion_load, svm_holdout
from neuroxai.space import Space, mni152
from neuroxai.statistics import Estimate
from neuroxai.studies.analyses.shared import WORDS, limits
from neuroxai.studies.cohort_folder import truth_file
from neuroxai.studies.findings import Finding
from neuroxai.studies.results import FinishedRun, Results
from neuroxai.studies.spec import Study

LOAD, VOXELS = "SVM, lesion load", "SVM, FLAIR"
SHOWN = ("balanced_accuracy", "sensitivity", "specificity", "roc_auc")


def check_baselines(study: Study) -> None:
    """Refuse numbers of components that are none."""
    for n in study.options.get("svm_components", [None]):
        if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
            raise InputError(f"options: svm_components has {n!r}, expected whole numbers from 1, or null for no PCA")


def baseline_findings(results: Results, arm: str) -> tuple[list[Finding], list[str]]:
    """Train both machines on each split of an arm's scans; returns figures, and what could not be done."""
    splits = {done.run.split: done for done in reversed(results.chosen(arm))}
    found: dict[str, list[dict[str, Estimate]]] = {LOAD: [], VOXELS: []}
    problems: list[str] = []
    for split in sorted(splits):
        scans = _scans(results, splits[split])
        for name, features in ((LOAD, _loads), (VOXELS, _voxels)):
            try:
                found[name].append(_metrics(results, scans, features(results, scans, arm), name))
            except InputError as error:
                problems.append(f"{name}, split {split}: {error}")
    return [row for name, metrics in found.items() if metrics for row in _rows(results, name, metrics)], problems


def _scans(results: Results, done: FinishedRun) -> pd.DataFrame:
    """Return all scans of a split that can be read, a row each: participant_id, session_id, image, label, test."""
    datalist = results.datalist(done)
    rows = [
        {"participant_id": item["participant_id"], "session_id": item.get("session_id"), "label": item["label"],
         "image": done.run.folder / item["image"], "test": part == "test"}
        for part in ("training", "validation", "test") for item in datalist.get(part, [])
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _loads(results: Results, scans: pd.DataFrame, arm: str) -> NDArray[np.float64]:
    """Lesion volume of each scan in ml, on the mask's own grid; 0 where there is no mask."""
    lesions = results.study.cohorts[results.study.arms[arm].cohort].lesions
    values = []
    for row in scans.to_dict("records"):
        path = truth_file(Path(row["image"]), row["participant_id"], row["session_id"], lesions)
        mask = io.read_labels(path) if path else None
        values.append(0.0 if mask is None else float(lesion_load([mask.data], mask.space.voxel_volume)[0]))
    if not any(values):
        raise InputError("no scan has a lesion mask; name them by the cohort's key lesions")
    return np.array(values)


def _voxels(results: Results, scans: pd.DataFrame, arm: str) -> NDArray[np.float32]:
    """Voxels of each scan on the network's grid, divided by their maximum, where any scan has brain."""
    settings = {**results.study.settings, **results.study.arms[arm].settings}
    space: Space = mni152(float(settings.get("spacing", 2.0)))
    table = np.empty((len(scans), int(np.prod(space.shape))), dtype=np.float32)
    for number_, image in enumerate(scans["image"]):
        values = io.read_volume(image).resampled_to(space).data.ravel()
        table[number_] = values / max(float(values.max()), np.finfo(np.float32).tiny)
    return np.asarray(table[:, (table != 0).any(axis=0)])


def _metrics(results: Results, scans: pd.DataFrame, features: NDArray[Any], name: str) -> dict[str, Estimate]:
    study = results.study
    whole = name == VOXELS
    chosen = SvmOptions(
        components=study.options.get("svm_components", [None]) if whole else (None,),
        standardise=not whole,
        seed=study.seed,
    )
    people, test = scans["participant_id"].tolist(), scans["test"].to_numpy()
    found = svm_holdout(features, scans["label"].to_numpy() == 1, people, test, chosen)
    return found.metrics(**study.statistics.bootstrap())


def _rows(results: Results, name: str, found: list[dict[str, Estimate]]) -> list[Finding]:
    rows: list[Finding] = []
    for metric in SHOWN:
        known = [e[metric] for e in found if e[metric].value is not None]
        if not known:
            continue
        values = np.array([e.value for e in known], dtype=np.float64) * 100
        one = known[0]
        low, high = (None if v is None else 100 * v for v in (one.low, one.high))
        method, note = f"{one.method} over test subjects of the split", "one machine: the same split gives the same"
        if len(values) > 1:
            low, high = limits(values, results.study.statistics)
            method, note = f"BCa bootstrap over {len(values)} splits", ""
        rows.append(Finding(WORDS[metric], name, float(values.mean()), low, high, len(values), "%", method, note=note))
    return rows
