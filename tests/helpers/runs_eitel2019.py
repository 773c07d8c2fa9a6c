"""Folders as runs of the study leave them, of known answers, without any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuroxai import io
from neuroxai.space import Volume, mni152
from neuroxai.studies import FinishedRun, Results, Study
from neuroxai.studies.reading import study_of
from neuroxai.studies.runs import Run

SPACE = mni152(12.0)
LEFT, RIGHT, OTHER = "Left thalamus", "Right thalamus", "Brain stem"

DECLARED: dict[str, Any] = {
    "name": "eitel2019",
    "title": "T",
    "analysis": "eitel2019",
    "bundle": "brain_flair_ms_classification",
    "cohorts": {"main": {"path": "", "classes": ["HC", "MS"]}},
    "arms": {
        "adni": {"explain": False},
        "scratch": {},
        "transfer": {"pretrained": "adni"},
        "filled": {"pretrained": "adni", "fill_lesions": "valverde"},
        "untrained": {"train": False},
    },
    "settings": {"spacing": 12.0},
    "explain": {"lrp": {"method": "lrp_epsilon"}},
    "statistics": {"permutations": 199, "replicates": 200, "top": 1},
    "options": {"top": 5, "filled": "filled"},
}


def declared(**changes: Any) -> Study:
    """Return the declaration with some keys changed."""
    return study_of({**DECLARED, **changes}, "test")


def make_cohort(folder: Path, subjects: int = 30) -> dict[str, Any]:
    """Write scans, every second a patient's with one bright voxel more than the last; return their datalist."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(subjects):
        name, patient = f"sub-{number:02d}", number % 2
        image, mask = rng.uniform(0.4, 0.6, SPACE.shape).astype(np.float32), np.zeros(SPACE.shape, np.uint8)
        if patient:
            mask[4, 4, 2 : 3 + number // 2 % 10] = 1
            image[mask > 0] = 1.0
        stem = folder / name / "anat" / f"{name}_space-MNI152_desc"
        io.write_volume(f"{stem}-brain_FLAIR.nii.gz", Volume(image, SPACE))
        io.write_volume(f"{stem}-effect_mask.nii.gz", Volume(mask, SPACE), dtype=np.uint8)
        relative = f"{name}/anat/{name}_space-MNI152_desc-brain_FLAIR.nii.gz"
        items.append({"participant_id": name, "session_id": None, "image": relative, "label": patient})
    held_out = subjects // 3 * 2
    return {"training": items[:held_out], "validation": [], "test": items[held_out:], "left_out": []}


def scans_of(datalist: dict[str, Any], excess: float, part: str = "test") -> pd.DataFrame:
    """Return a run's scans.tsv: patients have `excess` times the coverage in lesions, and sums grow with them."""
    rows = []
    for n, item in enumerate(datalist[part]):
        sick = item["label"] == 1
        coverage = 0.001 * (n + 1)
        rows.append({
            "participant_id": item["participant_id"], "session_id": None, "true": "MS" if sick else "HC",
            "predicted": "MS", "cell": "TP" if sick else "FP", "probability": 0.7,
            "sum": 10.0 * (n + 1) if sick else -5.0 + n, "positive": 30.0,
            "truth_voxels": 10.0 * (n + 1) if sick else np.nan, "coverage": coverage if sick else np.nan,
            "relevance_in_truth": excess * coverage if sick else np.nan,
            "roc_auc": np.nan, "density_ratio": np.nan, "relevance_mass": np.nan,
        })  # fmt: skip
    return pd.DataFrame(rows)


def regions_of(datalist: dict[str, Any], lead: float) -> pd.DataFrame:
    """Return regions_builtin.tsv: the thalamus of patients has `lead`, that of controls 1, the brain stem 2 a voxel."""
    rows = []
    for item in datalist["test"]:
        value = lead if item["label"] == 1 else 1.0
        parts = ((LEFT, 10, value), (RIGHT, 30, value), (OTHER, 20, 2.0), ("Void", 0, 0.0))
        for index, (name, voxels, each) in enumerate(parts):
            rows.append({
                "participant_id": item["participant_id"], "session_id": None, "index": index, "name": name,
                "sum": each * voxels, "absolute": abs(each) * voxels, "positive": max(each, 0) * voxels,
                "negative": min(each, 0) * voxels, "density": each, "voxels": voxels,
            })  # fmt: skip
    return pd.DataFrame(rows)


def make_results(
    folder: Path,
    metrics: dict[str, list[float]],
    excess: dict[str, float],
    study: Study | None = None,
    splits: int = 1,
) -> Results:
    """Write runs of each arm, one a balanced accuracy; explained arms have an `excess` of relevance in lesions."""
    study = study or declared()
    cohort = folder / "cohort"
    datalist = make_cohort(cohort)
    path = io.write_json(folder / "datalist.json", datalist)
    done = []
    for arm, values in metrics.items():
        for number, value in enumerate(values):
            split, repetition = (number % splits, number // splits)
            place = folder / "runs" / f"{arm}-{number}"
            figures = dict.fromkeys(("balanced_accuracy", "sensitivity", "specificity", "accuracy", "roc_auc"), value)
            tested = {**figures, "scans": len(datalist["test"])}
            result = {"epochs": 1, "steps": 1, "best_epoch": 1, "validation_score": 0.5, "test": tested, "failed": []}
            io.write_json(place / "result.json", result)
            name, trained = f"{arm}-{number}", study.arms[arm].train
            run = Run(arm, split, repetition, None, {}, folder, cohort, path, {}, "", trained, name)
            done.append(FinishedRun(run, place))
            if arm not in excess:
                continue
            for part in study.parts:
                there = place / "explained" / part / "lrp"
                # the scale of a run must not matter
                table = scans_of(datalist, excess[arm], part)
                io.write_tsv(there / "scans.tsv", table.assign(sum=table["sum"] * 10.0**number))
            there = place / "explained" / "test" / "lrp"
            regions = regions_of(datalist, 5.0 if excess[arm] > 1 else 1.0)
            for column in ("sum", "absolute", "positive", "negative", "density"):
                regions[column] *= 10.0**number
            io.write_tsv(there / "regions_builtin.tsv", regions)
            heat = np.zeros(SPACE.shape, np.float32)
            heat[4, 4, 2:6] = excess[arm]
            io.write_volume(there / "mean_class-MS.nii.gz", Volume(heat, SPACE))
    return Results(study, folder, done, {"main": cohort})
