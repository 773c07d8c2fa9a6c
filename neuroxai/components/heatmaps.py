"""A handler that writes explanations: `neuroxai.explain.writer` at an evaluator's events."""

from __future__ import annotations

from ignite.engine import Engine, Events

from neuroxai.explain.attribute import Attributed
from neuroxai.explain.predict import prediction_rows
from neuroxai.explain.writer import FolderWriter
from neuroxai.space import Space


class HeatmapSaver(FolderWriter):
    """Write heatmaps in the network's space and in the scan's own, with sidecar and region scores.

    See `neuroxai.explain.writer.FolderWriter`, whose parameters it takes; the inferer takes the same options.
    """

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose inferer is an `AttributionInferer` (``decollate`` off)."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._take_batch)
        engine.add_event_handler(Events.COMPLETED, self._write_tables)

    def _take_batch(self, engine: Engine) -> None:
        output, batch = engine.state.output["pred"], engine.state.batch
        rows = prediction_rows(batch, output["logits"], self.classes, output["target"])
        scans = [Space(n.tolist(), a.numpy()) for n, a in zip(batch["scan_shape"], batch["scan_affine"], strict=True)]
        self.write(Attributed(**output), rows, scans, batch["source"])

    def _write_tables(self, engine: Engine) -> None:
        self.finish([one.__dict__ for one in getattr(engine.data_loader, "failures", [])])
