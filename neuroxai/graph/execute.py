"""Run a record again: on other inputs of the same shape, with the parameters as they are now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, fx

from neuroxai.graph.record import Record


class Executor(fx.Interpreter):
    """Runs a record's calls; values that nobody reads again are let go.

    Parameters
    ----------
    record : Record
        What is run.
    replaced : mapping of torch.fx.Node to callable, optional
        Takes the values of the nodes that a call reads, and returns its value.
    """

    def __init__(self, record: Record, replaced: Mapping[fx.Node, Callable[..., Any]] | None = None) -> None:
        super().__init__(record.root, graph=record.graph)
        self.extra_traceback = False  # errors are reported by the caller
        self.submodules = dict(record.root.named_modules(remove_duplicate=False))  # shared layers have several names
        self.replaced = replaced or {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one call."""
        if n in self.replaced:
            return self.replaced[n](*(self.env[source] for source in n.all_input_nodes))
        return super().run_node(n)


def execute(record: Record, *inputs: Tensor) -> Tensor:
    """Return a record's output for other inputs."""
    output: Tensor = Executor(record).run(*inputs)
    return output
