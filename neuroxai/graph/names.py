"""How calls are named for people: the layer, the operation, the line of the user's code."""

from __future__ import annotations

import linecache
import sys
import types
from typing import Any

import torch
from torch import fx

_NOT_THE_USERS = ("/torch/", "/neuroxai/graph/", "/neuroxai/lrp/", "/neuroxai/attribution/")
_APPLY = torch.autograd.Function.apply.__func__.__code__  # type: ignore[attr-defined]


def describe(node: fx.Node) -> str:
    """Name a call for a message: what it is and where it stands."""
    layer, kind, operation = node.meta["layer"], node.meta["type"], node.meta["operation"]
    if node.meta["label"] == layer and layer:
        return f"layer {layer!r} ({kind.__name__})"
    if operation == "get_attr":
        return f"tensor {node.meta['label']!r}"
    place = f"in module {layer!r} ({kind.__name__})" if layer else "in the network" if kind is None else (
        f"in {kind.__name__}")  # fmt: skip
    return f"operation {operation!r} (node {node.name!r}) {place}"


def at_line(node: fx.Node) -> str:
    """Name a call for a message, with the line of the user's code that makes it."""
    return f"{describe(node)}, {node.meta['line']}" if node.meta.get("line") else describe(node)


def label(node: fx.Node) -> str:
    """Return the user's name for a call: the layer's qualified name, or the call's name inside its module."""
    return str(node.meta["label"])


def line_of_the_user(last: types.CodeType) -> str:
    """Return the line of code outside torch and the package that runs now, within a call of the function `last`."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code is not last:
        file = frame.f_code.co_filename
        if not any(part in file for part in _NOT_THE_USERS) and not file.startswith("<"):
            text = linecache.getline(file, frame.f_lineno).strip()
            return f"line {frame.f_lineno} of {file.rpartition('/')[2]}: {text}" if text else ""
        frame = frame.f_back
    return ""


def in_own_function(last: types.CodeType) -> bool:
    """Whether an autograd function that is not torch's own runs now, within a call of the function `last`."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code is not last:
        if frame.f_code is _APPLY:
            return not str(frame.f_locals["cls"].__module__).startswith("torch.")
        frame = frame.f_back
    return False
