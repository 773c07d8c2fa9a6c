"""What came of a training: predictions of each part, and figures of the training itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from neuroxai import io
from neuroxai.cohort import class_groups
from neuroxai.components import ScanDataset, open_part
from neuroxai.components.data import Failure
from neuroxai.derivatives.predictions import FIT_COLUMNS, Prediction, write_predictions
from neuroxai.errors import InputError
from neuroxai.evaluation import classification_metrics
from neuroxai.explain.bundle import open_workflow
from neuroxai.explain.predict import prediction_rows

TAIL = 10
"""Last validations whose mean ranks the draws of a search (Eitel 2021)."""


class TrainedRun:
    """A run's trained network and its scans, as the network takes them.

    Parameters
    ----------
    bundle : pathlib.Path
        The run's own.
    facts : dict
        Of ``run.json``.
    """

    def __init__(self, bundle: Path, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.workflow = open_workflow(
            bundle, ["inference.json"], dataset_dir=facts["cohort"], scans=(), accept_unfit=True
        )
        parser = self.workflow.parser
        self.network: torch.nn.Module = parser.get_parsed_content("network")
        self.space = parser.get_parsed_content("space")
        self.classes: list[str] = parser.get_parsed_content("classes")
        self.device: torch.device = parser.get_parsed_content("device")
        self.failures: dict[tuple[str, str], str] = {}
        self._prepare = parser.get_parsed_content("preprocessing")
        # scans that do not fit are flagged, and stay in a study that was made with them
        self._check = parser.get_parsed_content("fit_check") if "fit_check" in parser else None

    def items(self, part: str) -> list[dict[str, Any]]:
        """Return the items of a part of the split."""
        return open_part(self.facts["datalist"], part, self.facts["cohort"], self.classes)

    def scans(self, part: str) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
        """Yield each item with its scan, shape (1, 1, x, y, z), on the network's device.

        A scan that cannot be read is left out and added to `failures`.
        """
        items = self.items(part)
        dataset = ScanDataset(items, self._prepare, check=self._check)
        for number, item in enumerate(items):
            loaded = dataset[number]
            if isinstance(loaded, Failure):
                self.failures[loaded.participant_id, loaded.session_id] = loaded.error
                continue
            image = loaded["image"]
            plain = image.as_tensor() if hasattr(image, "as_tensor") else image
            yield {**item, **{name: loaded.get(name, "") for name in FIT_COLUMNS}}, plain[None].to(self.device)

    def row(self, item: dict[str, Any], logits: torch.Tensor) -> Prediction:
        """Return an item's row of ``predictions.tsv``."""
        keys = ("participant_id", "session_id", "label", *FIT_COLUMNS)
        return prediction_rows({key: [item[key]] for key in keys if key in item}, logits, self.classes)[0]


def write_result(folder: Path, bundle: Path, facts: dict[str, Any]) -> None:
    """Predict every part asked for, and write the run's figures last, which makes it a finished one."""
    opened = TrainedRun(bundle, facts)
    figures: dict[str, Any] = {}
    for part in dict.fromkeys(["test", *facts["parts"]]):
        rows = []
        with torch.no_grad():
            for item, scan in opened.scans(part):
                rows.append(opened.row(item, opened.network(scan)))
        if not rows:
            raise InputError(f"no scan of part {part!r} can be read; the first: {next(iter(opened.failures.values()))}")
        write_predictions(folder / f"predictions_{part}.tsv", rows, opened.classes)
        positive = class_groups(opened.classes)[1]
        found = classification_metrics(
            [row.true == positive for row in rows],
            [row.probabilities[positive] for row in rows],
            [row.predicted == positive for row in rows],
            [row.participant_id for row in rows],
            replicates=100,  # the interval is not kept: intervals over runs are the analysis's
        )
        figures[part] = {name: estimate.value for name, estimate in found.items()} | {"scans": len(rows)}
    # training and validation leave out and note what cannot be read
    record = io.read_object(bundle / "models" / "model.json", "record of a training")
    opened.failures.update(
        {(str(item["participant_id"]), str(item["session_id"])): item["error"] for item in record.get("left_out", [])}
    )
    failed = [{"participant_id": who[0], "session_id": who[1], "error": text} for who, text in opened.failures.items()]
    io.write_json(folder / "result.json", {**training_figures(bundle), **figures, "failed": failed})


def training_figures(bundle: Path) -> dict[str, Any]:
    """Return epochs, steps and validation figures of a training; none of a network that was not trained."""
    models = bundle / "models"
    if not (models / "history.tsv").is_file():
        return {"epochs": 0, "steps": 0, "best_epoch": 0, "validation_score": None}
    history, times = io.read_tsv(models / "history.tsv"), io.read_tsv(models / "times.tsv")
    tail = float(history["balanced_accuracy"].tail(TAIL).mean())
    return {
        "epochs": int(history["epoch"].max()),
        "steps": int(times["steps"].max()),
        "best_epoch": io.read_object(models / "model.json", "record of a training", {"epoch": int})["epoch"],
        # what a search ranks its draws by
        "validation_score": tail if math.isfinite(tail) else None,
    }
