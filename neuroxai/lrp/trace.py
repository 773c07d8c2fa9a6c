"""Trace a model into a graph of layers and functional calls, without touching it."""

from __future__ import annotations

import inspect
import threading
from typing import Any

from torch import fx, nn

from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp.operations import foreign

_PREFIX = "model"
_LEAVES = ("torch.nn", "neuroxai.layers")
_ONE_AT_A_TIME = threading.Lock()  # torch.fx patches torch.nn.Module while it traces


class _Root(nn.Module):
    """Gives the model one input, so that its other arguments keep their defaults."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        """Call the model."""
        return self.model(x)


class _Tracer(fx.Tracer):
    """Stops at layers whose computation is known: torch's own, the package's, and a few of others."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether to record the module as one node."""
        if isinstance(m, nn.Sequential):
            return False
        methods = [getattr(type(m), name, None) for name in ("forward", "_conv_forward")]
        ours = all(method is None or method.__module__.startswith(_LEAVES) for method in methods)
        return ours or foreign(m) is not None


def trace(double: nn.Module) -> tuple[fx.Graph, dict[str, nn.Module]]:
    """Trace a model's evaluation-mode double (`neuroxai.lrp.shadow.shadow`).

    Returns
    -------
    graph : torch.fx.Graph
        Nodes in the order they run.
    modules : dict
        The layers by the names that the nodes use.

    Raises
    ------
    UnsupportedLayerError
        If the forward pass depends on values, or otherwise cannot be traced.
    """
    root = _Root(double)
    try:
        with _ONE_AT_A_TIME:
            graph = _Tracer().trace(root)
    except Exception as error:
        raise UnsupportedLayerError(
            f"{type(double).__name__} cannot be traced by torch.fx ({type(error).__name__}: {error}); its forward must "
            "take one tensor and must not branch on values"
        ) from error
    return graph, dict(root.named_modules(remove_duplicate=False))


def label(node: fx.Node) -> str:
    """Return the user's name for a node: the layer's qualified name, or the node's name inside its module."""
    if node.op == "call_module":
        target = str(node.target)
        return target.removeprefix(_PREFIX).removeprefix(".") or "model"
    owner = _owner(node)[0]
    return f"{owner}.{node.name}" if owner else node.name


def describe(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """Name a node for a message: what it is and where it stands."""
    if node.op == "call_module":
        return f"layer {label(node)!r} ({type(modules[str(node.target)]).__name__})"
    name, kind = _owner(node)
    place = f"in module {name!r} ({kind})" if name else f"in {kind}"
    if node.op == "get_attr":
        return f"tensor {str(node.target).removeprefix(_PREFIX + '.')!r} used directly {place}"
    function = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return f"operation {function!r} (node {node.name!r}) {place}"


def _owner(node: fx.Node) -> tuple[str, str]:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return "", "the network"
    path, kind = stack[-1]
    return str(path).removeprefix(_PREFIX).removeprefix("."), getattr(kind, "__name__", str(kind))


def bound(node: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a functional call's arguments, those with names by name."""
    try:
        arguments = inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # built-ins tell no signature
        return node.args, dict(node.kwargs)
    first, *rest = arguments.arguments.items()
    named = dict(rest)
    if any(isinstance(v, tuple) and k in ("args", "kwargs") for k, v in arguments.arguments.items()):
        return node.args, dict(node.kwargs)
    return (first[1],), named
