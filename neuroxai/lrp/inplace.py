"""In-place operations: harmless where nobody reads the old value, refused where someone does.

The engine never writes into a tensor, so ``relu_(x)`` is run as ``relu(x)``. That is the same network only if nothing
that runs later reads x (or a view of it) under its old name.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import operations as known
from neuroxai.lrp.trace import bound, describe

_VIEWS = {*known.PERMUTES, *known.SAME, *known.CASTS, *known.PICKS, *known.PIECES, "getitem"}


def refuse_shared_writes(graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
    """Refuse in-place operations whose input is read again later.

    Raises
    ------
    UnsupportedLayerError
        Naming the operation and the later reader.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if not _writes(node, modules):
            continue
        at: Any = node.args[0]
        through = node
        while isinstance(at, fx.Node):
            later = [u for u in at.users if u is not through and order[u] > order[node]]
            if later:
                raise UnsupportedLayerError(
                    f"{describe(node, modules)} writes into a tensor that {describe(later[0], modules)} reads later; "
                    "use inplace=False"
                )
            if at.op == "placeholder" or not _same_memory(at, modules):
                break
            through, at = at, at.args[0] if at.args else None


def _writes(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return bool(getattr(modules[str(node.target)], "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        return (name.endswith("_") and not name.endswith("__")) or bool(bound(node)[1].get("inplace", False))
    return False


def _same_memory(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node's output may share memory with its input."""
    if _writes(node, modules) or (node.op.startswith("call_") and known.reshapes(node, modules)):
        return True
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], known.INACTIVE)
    if node.op == "call_function" and node.target in known.DROPOUT_FUNCTIONS:
        return True
    return known.operation(node) in _VIEWS
