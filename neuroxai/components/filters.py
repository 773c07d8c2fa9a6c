"""A handler that writes what hidden filters look at: a thin adapter of `neuroxai.explain.filters`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ignite.engine import Engine, Events

from neuroxai.explain.filters import GroupWriter
from neuroxai.explain.options import ExplainOptions
from neuroxai.space import Space


class FilterHeatmapSaver:
    """Write the mean heatmap of each neuron of a hidden layer over all scans (Eitel 2021, figure 9).

    See `neuroxai.explain.filters.GroupWriter`.

    Parameters
    ----------
    output_dir, space, checkpoint, dataset_dir, bundle
        As `GroupWriter` has them.
    method, options, layer, neurons, conditions : optional
        As the `FilterInferer` has them.
    atlas, labels : str or None
        Regions to score for each scan and neuron, in one table a scan.
    """

    def __init__(
        self,
        output_dir: str,
        space: Space,
        method: str,
        layer: str,
        neurons: str | Sequence[Any] = "all",
        options: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
        checkpoint: str = "",
        dataset_dir: str = "",
        bundle: str = "",
        atlas: str | None = None,
        labels: str | None = None,
    ) -> None:
        asked = ExplainOptions(method, options or {}, layer=layer, conditions=conditions, atlas=atlas, labels=labels)
        self.writer = GroupWriter(output_dir, asked, neurons, space, checkpoint, bundle, dataset_dir)

    def pending(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return all scans, or none where the group was finished with these scans and settings."""
        return self.writer.pending(items)

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose inferer is a `FilterInferer` (``decollate`` off)."""
        engine.add_event_handler(Events.STARTED, lambda _: self.writer.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _add(self, engine: Engine) -> None:
        batch = engine.state.batch
        people = [(str(p), str(s)) for p, s in zip(batch["participant_id"], batch["session_id"], strict=True)]
        self.writer.add(people, batch["image"], engine.state.output["pred"]["hidden"])

    def _finish(self, engine: Engine) -> None:
        failures = [failure.__dict__ for failure in getattr(engine.data_loader, "failures", [])]
        self.writer.finish(engine.network, failures)
