"""In the place of a run's process: what it would leave in its folder, without any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from neuroxai import io
from neuroxai.derivatives.predictions import Prediction, write_predictions
from neuroxai.evaluation import classification_metrics
from neuroxai.studies.runner import Outcome
from neuroxai.studies.trained import explanation_digest

CLASSES = ["CN", "AD"]


class Launcher:
    """Stands in for `neuroxai.studies.runner.start`; counts what it was asked for.

    Parameters
    ----------
    broken : mapping of str to str
        Beginnings of titles of runs that fail, with what they say.
    unreadable : collection of str
        Participants whose scans cannot be read.
    """

    def __init__(self, broken: dict[str, str] | None = None, unreadable: tuple[str, ...] = ()) -> None:
        self.broken, self.unreadable = broken or {}, unreadable
        self.asked: list[dict[str, object]] = []

    def __call__(self, folder: str, environment: object = None, children: object = None) -> Outcome:
        place = Path(folder)
        facts = io.read_json(place / "run.json")
        self.asked.append(facts)
        for title, error in self.broken.items():
            if facts["title"].startswith(title):
                io.write_json(place / "error.json", {"error": error})
                return Outcome(place, error)
        (place / "error.json").unlink(missing_ok=True)
        if not (place / "result.json").is_file():
            self._train(place, facts)
        datalist = io.read_json(facts["datalist"])
        figures = {
            part: self._predict(place, facts, part, datalist) for part in {"test": 0, **dict.fromkeys(facts["parts"])}
        }
        failed = [
            {"participant_id": who, "session_id": "", "error": "truncated"}
            for part in ("training", "test") for who in self.unreadable
            if who in {item["participant_id"] for item in datalist[part]}
        ]  # fmt: skip
        epochs = facts["settings"]["max_epochs"] if facts["train"] else 0
        score = figures["test"]["balanced_accuracy"] if facts["train"] else None
        training = {"epochs": epochs, "steps": 3 * epochs, "best_epoch": epochs, "validation_score": score}
        io.write_json(place / "result.json", {**training, **figures, "failed": failed})
        for part in facts["parts"]:
            for name, spec in facts["explain"].items():
                self._explain(place / "explained" / part / name, spec, facts, datalist[part])
        return Outcome(place)

    def _train(self, place: Path, facts: dict) -> None:
        models = place / "bundle" / "models"
        models.mkdir(parents=True)
        (models / "model.pt").write_bytes(facts["identifier"].encode())
        io.write_tsv(models / "times.tsv", pd.DataFrame([{"epoch": 1, "steps": 3, "seconds": 1.0}]))

    def _predict(self, place: Path, facts: dict, part: str, datalist: dict) -> dict:
        """Other seeds and settings, other predictions; the same, the same."""
        items = [item for item in datalist[part] if item["participant_id"] not in self.unreadable]
        decided = repr(sorted(facts["settings"].items())).encode()
        rng = np.random.default_rng([*decided, len(part)])
        true = np.array([item["label"] == 1 for item in items])
        probability = np.clip(0.3 + 0.4 * true + rng.normal(0, 0.3, len(items)), 0.01, 0.99)
        rows = [
            Prediction(
                item["participant_id"], item.get("session_id"), CLASSES[label], CLASSES[int(p > 0.5)],
                {"CN": 1 - p, "AD": p}, p,
            )
            for item, label, p in zip(items, true.astype(int), probability, strict=True)
        ]  # fmt: skip
        write_predictions(place / f"predictions_{part}.tsv", rows, CLASSES)
        found = classification_metrics(true, probability, replicates=10)
        return {name: estimate.value for name, estimate in found.items()} | {"scans": len(rows)}

    def _explain(self, place: Path, spec: dict, facts: dict, items: list[dict]) -> None:
        if (place / "explanation.json").is_file():
            return
        who = [{"participant_id": item["participant_id"], "session_id": None} for item in items]
        io.write_tsv(place / "scans.tsv", pd.DataFrame([{**one, "cell": "TP", "sum": 1.0} for one in who]))
        io.write_tsv(place / "regions_builtin.tsv", pd.DataFrame([{**one, "index": 1, "sum": 1.0} for one in who]))
        record = {**spec, "atlases": facts["atlases"], "digest": explanation_digest(spec, facts["atlases"])}
        io.write_json(place / "explanation.json", record)
