"""Run a record again: on other inputs of the same shape, with the parameters as they are now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import fx

from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.checks import out_of_memory
from neuroxai.graph.operations import at_line
from neuroxai.graph.record import Record


class Executor(fx.Interpreter):
    """Runs a record's calls; values that nobody reads again are let go.

    Parameters
    ----------
    record : Record
        What is run.
    replaced : mapping of torch.fx.Node to callable, optional
        Takes the values of the nodes that a call reads, and returns its value.
    keep : collection of torch.fx.Node
        Calls whose values are in `kept` after a run.
    """

    def __init__(
        self,
        record: Record,
        replaced: Mapping[fx.Node, Callable[..., Any]] | None = None,
        keep: Collection[fx.Node] = (),
    ) -> None:
        super().__init__(record.root, graph=record.graph)
        self.extra_traceback = False  # errors are reported by the caller
        self.submodules = dict(record.root.named_modules(remove_duplicate=False))  # shared layers have several names
        self.replaced = replaced or {}
        self.keep = set(keep)
        self.kept: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one call."""
        if n in self.replaced:
            value = self.replaced[n](*(self.env[source] for source in n.all_input_nodes))
        else:
            try:
                value = super().run_node(n)
            except RuntimeError as error:
                if out_of_memory(error):
                    raise
                why = f"it cannot be run as it was recorded ({error}); use an lrp method, occlusion or saliency"
                raise UnsupportedLayerError(f"{at_line(n)}: {why}") from error
        if n in self.keep:
            self.kept[n] = value
        return value


def call_of(record: Record, node: fx.Node) -> Callable[..., Any]:
    """Return a call as a function of the values of the nodes that it reads, in the order of ``all_input_nodes``."""
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        home = record.root.get_submodule(owner)
        return lambda: getattr(home, name)
    target: Any = node.target if node.op == "call_function" else record.root.get_submodule(str(node.target))
    sources = node.all_input_nodes

    def call(*values: Any) -> Any:
        value_of = dict(zip(sources, values, strict=True)).__getitem__
        return target(*fx.node.map_arg(node.args, value_of), **fx.node.map_arg(node.kwargs, value_of))

    return call
