"""Finished runs without any training: what the analyses of studies read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from neuroxai import io
from neuroxai.space import Volume, mni152
from neuroxai.studies import FinishedRun, Results
from neuroxai.studies.runs import Run

SPACE = mni152(8)
REGIONS = ("Left Hippocampus", "Right Hippocampus", "Left parahippocampal gyrus", "Thalamus", "Left Insula", "Nowhere")
VOXELS = np.array([4, 5, 10, 20, 8, 0])


class Runs:
    """Gather runs of a study; `results` opens them."""

    def __init__(self, folder: Path, study) -> None:
        self.folder, self.study, self.done = folder, study, []
        self.bundle = folder / "bundle"
        io.write_json(self.bundle / "configs" / "train.json", {"max_epochs": 30})
        (folder / "cohort").mkdir()

    def add(self, arm, split=0, repetition=0, draw=None, *, true, probability, chosen=True, steps=10, seconds=1.0,
            epochs=5, drawn=None, explained=None, maps=None, truth=None):  # fmt: skip
        """Add a run whose test scans have these true labels (0, 1) and probabilities of class 1."""
        name = f"{arm}-{split}-{repetition}-{draw}"
        place = self.folder / "runs" / name
        classes = self.study.cohorts[self.study.arms[arm].cohort].classes
        true, probability = np.asarray(true, bool), np.asarray(probability, float)
        said = probability > 0.5
        people = [f"sub-{split}{n:02d}" for n in range(len(true))]
        table = pd.DataFrame({
            "participant_id": people, "session_id": None,
            "true": [classes[int(t)] for t in true], "predicted": [classes[int(s)] for s in said],
            f"probability_{classes[0]}": 1 - probability, f"probability_{classes[1]}": probability,
            "score": probability,
        })  # fmt: skip
        io.write_tsv(place / "predictions_test.tsv", table)
        from neuroxai.evaluation import classification_metrics

        found = classification_metrics(true, probability, replicates=10)
        metrics = {key: value.value for key, value in found.items()} | {"scans": len(true)}
        facts = {
            "epochs": epochs,
            "best_epoch": 1,
            "steps": steps,
            "validation_score": 0.5,
            "test": metrics,
            "failed": [],
        }
        io.write_json(place / "result.json", facts)
        io.write_tsv(
            place / "bundle" / "models" / "times.tsv", pd.DataFrame([{"epoch": 1, "steps": steps, "seconds": seconds}])
        )
        cells = [("T" if t == s else "F") + ("P" if s else "N") for t, s in zip(true, said, strict=True)]
        for explanation, sums in (explained or {}).items():
            self._explain(
                place,
                explanation,
                table,
                cells,
                np.asarray(sums, float),
                probability,
                (maps or {}).get(explanation),
                truth,
            )
        datalist = self.folder / "none.json"
        values = (drawn or {}, self.bundle, self.folder / "cohort", datalist, {})
        run = Run(arm, split, repetition, draw, *values, identifier=name)
        self.done.append(FinishedRun(run, place, chosen))

    def _explain(self, place, explanation, table, cells, sums, probability, volumes, truth):
        """Region sums (scans, regions) of an explanation, and mean maps by group."""
        folder = place / "explained" / "test" / explanation
        scans = table[["participant_id", "session_id", "true", "predicted"]].assign(
            cell=cells, probability=probability, sum=sums.sum(1), positive=np.maximum(sums, 0).sum(1)
        )
        for column, values in (truth or {}).items():
            scans[column] = values
        io.write_tsv(folder / "scans.tsv", scans)
        rows = []
        for who, own in zip(table["participant_id"], sums, strict=True):
            for n, region in enumerate(REGIONS):
                value = own[n]
                rows.append({
                    "participant_id": who, "session_id": None, "index": n + 1, "name": region, "sum": value,
                    "absolute": abs(value), "positive": max(value, 0), "negative": min(value, 0),
                    "density": value / VOXELS[n] if VOXELS[n] else np.nan, "voxels": VOXELS[n],
                })  # fmt: skip
        io.write_tsv(folder / "regions_builtin.tsv", pd.DataFrame(rows))
        for group, data in (volumes or {}).items():
            io.write_volume(folder / f"mean_{group}.nii.gz", Volume(np.asarray(data, np.float32), SPACE))

    def people(self, **columns):
        """Write the cohort's participants.tsv."""
        io.write_tsv(self.folder / "cohort" / "participants.tsv", pd.DataFrame(columns))

    @property
    def results(self) -> Results:
        return Results(self.study, self.folder, self.done, dict.fromkeys(self.study.cohorts, self.folder / "cohort"))
