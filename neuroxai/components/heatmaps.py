"""A handler that writes explanations: a thin adapter of `neuroxai.explain.writer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ignite.engine import Engine, Events

from neuroxai.atlas import Atlas
from neuroxai.explain.attribute import Attributed
from neuroxai.explain.options import ExplainOptions
from neuroxai.explain.predict import prediction_rows
from neuroxai.explain.writer import FolderWriter
from neuroxai.space import Space


class HeatmapSaver:
    """Write heatmaps in the network's space and in the scan's own, with sidecar and region scores.

    See `neuroxai.explain.writer.FolderWriter`, whose parameters it takes; method, options, target, start, layer,
    neuron, conditions, atlas, labels, native, maps, score_space and accept_unfit are those of
    `neuroxai.explain.ExplainOptions`, and the first seven as the inferer has them.
    """

    def __init__(
        self,
        output_dir: str,
        space: Space,
        classes: Sequence[str],
        method: str,
        options: Mapping[str, Any] | None = None,
        target: int | str = 1,
        start: str | None = None,
        checkpoint: str = "",
        dataset_dir: str = "",
        datalist: str | None = None,
        split: str | None = None,
        bundle: str = "",
        **choices: Any,
    ) -> None:
        asked = {"method": method, "options": options or {}, "target": target, "start": start, **choices}
        self.writer = FolderWriter(
            output_dir,
            ExplainOptions.of(asked),
            space,
            classes,
            checkpoint,
            bundle,
            dataset_dir,
            datalist,
            split,
        )

    @property
    def regions(self) -> Atlas | None:
        """The atlas on the network's grid, or None where no regions are scored."""
        return self.writer.regions

    @property
    def failures(self) -> list[dict[str, str]]:
        """Scans that could not be explained, of all processes; known at the end."""
        return self.writer.failures

    def pending(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the scans of this process that are not finished with these settings."""
        return self.writer.pending(items)

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose inferer is an `AttributionInferer` (``decollate`` off)."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _write(self, engine: Engine) -> None:
        output, batch = engine.state.output["pred"], engine.state.batch
        rows = prediction_rows(batch, output["logits"], self.writer.classes, output["target"])
        scans = [Space(n.tolist(), a.numpy()) for n, a in zip(batch["scan_shape"], batch["scan_affine"], strict=True)]
        self.writer.write(Attributed(**output), rows, scans, batch["source"])

    def _finish(self, engine: Engine) -> None:
        self.writer.finish([one.__dict__ for one in getattr(engine.data_loader, "failures", [])])
