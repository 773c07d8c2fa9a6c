"""A handler that writes what hidden filters look at: `neuroxai.explain.filters` at an evaluator's events."""

from __future__ import annotations

from ignite.engine import Engine, Events

from neuroxai.explain.filters import GroupWriter


class FilterHeatmapSaver(GroupWriter):
    """Write the mean heatmap of each neuron of a hidden layer over all scans (Eitel 2021, figure 9).

    See `neuroxai.explain.filters.GroupWriter`, whose parameters it takes; the inferer takes the same options.
    """

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose inferer is a `FilterInferer` (``decollate`` off)."""
        engine.add_event_handler(Events.STARTED, lambda _: self.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)
        engine.add_event_handler(Events.COMPLETED, self._write_group)

    def _add_batch(self, engine: Engine) -> None:
        batch = engine.state.batch
        people = [(str(p), str(s)) for p, s in zip(batch["participant_id"], batch["session_id"], strict=True)]
        self.add(people, batch["image"], engine.state.output["pred"]["hidden"])

    def _write_group(self, engine: Engine) -> None:
        self.finish(engine.network, [failure.__dict__ for failure in getattr(engine.data_loader, "failures", [])])
