"""Handlers that write predictions and figures, each file whole or not at all."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ignite.engine import Engine, Events

from neuroxai import io
from neuroxai.cohort.seen import SeenScans
from neuroxai.derivatives.predictions import Prediction, write_predictions
from neuroxai.explain.predict import prediction_rows
from neuroxai.explain.weights import read_record

_log = logging.getLogger("neuroxai")


class PredictionSaver:
    """Write ``predictions.tsv``, one row per scan and one probability column per class, and what its columns mean.

    Parameters
    ----------
    output_dir : str
        Where to write.
    classes : sequence of str
        Class names in the order of labels.
    target : int
        Class whose logit is the score (for two logits); 1 as a rule.
    checkpoint, dataset_dir : str
        The weights' path and the cohort's folder, by which is told whether the network had seen a scan; without the
        former it is not.
    """

    def __init__(
        self, output_dir: str, classes: Sequence[str], target: int = 1, checkpoint: str = "", dataset_dir: str = ""
    ) -> None:
        self.path = Path(output_dir) / "predictions.tsv"
        self.classes = list(classes)
        self.target = target
        folder = Path(dataset_dir).resolve() if dataset_dir else None
        self.record = read_record(checkpoint) if checkpoint else {}
        self.seen = SeenScans(self.record, folder) if checkpoint else None
        self.rows: list[Prediction] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose ``pred`` are logits (``decollate`` off)."""
        engine.add_event_handler(Events.STARTED, lambda _: self.rows.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        batch = engine.state.batch
        rows = prediction_rows(batch, engine.state.output["pred"], self.classes, self.target)
        if self.seen is not None:
            rows = [
                replace(row, seen=self.seen.part(row.participant_id, io.sha256(source)))
                for row, source in zip(rows, batch["source"], strict=True)
            ]
        self.rows.extend(rows)

    def _write(self, engine: Engine) -> None:
        write_predictions(self.path, self.rows, self.classes, self.record)


class MetricSaver:
    """Write the figures of an evaluation as ``metrics_SPLIT.json``.

    Parameters
    ----------
    output_dir : str
        Where to write.
    split : str
        Part of the datalist that is evaluated.
    checkpoint : str
        The weights' path, for the checksum.

    The file says over how many scans the figures are taken, and which were left out.
    """

    def __init__(self, output_dir: str, split: str, checkpoint: str) -> None:
        self.path = Path(output_dir) / f"metrics_{split}.json"
        self.provenance = {"part": split, "checkpoint_sha256": io.sha256(checkpoint)}

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator with metrics."""
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        # the data set of a bundle's evaluation knows the scans that it left out
        dataset = getattr(engine.data_loader, "dataset", None)
        left_out = [one.__dict__ for one in getattr(dataset, "failures", ())]
        scans = {} if dataset is None else {"scans": len(dataset), "left_out": left_out}
        figures = {k: float(v) if math.isfinite(v) else None for k, v in engine.state.metrics.items()}
        io.write_json(self.path, {**self.provenance, **scans, **figures})
        _log.info("  ".join(f"{k} {v:.4g}" for k, v in engine.state.metrics.items()))
