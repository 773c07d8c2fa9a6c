"""The scores of a network that ends in probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from neuroxai.graph.operations import arguments, kind_of
from neuroxai.graph.record import Record

_LINKS = {"softmax": "softmax", "log_softmax": "softmax", "sigmoid": "sigmoid", "logsigmoid": "sigmoid"}
_LOOKED_THROUGH = {"reshape", "permute", "cast", "same"}


def scores_of(record: Record) -> tuple[fx.Node, str | None, fx.Node]:
    """Find the scores, in front of the softmax or sigmoid that ends the network, whatever gives it another shape.

    Returns
    -------
    scores : torch.fx.Node
        What relevance starts from.
    link : {"softmax", "sigmoid", None}
        The output activation.
    end : torch.fx.Node
        The network's output.
    """
    node = record.result
    while True:
        operation = node.meta["operation"]
        if operation in _LINKS and len(node.all_input_nodes) == 1:
            return node.all_input_nodes[0], _LINKS[operation], record.result
        pair = _pair_of(node)
        if pair is not None:
            scores, probabilities = _opposites(record.graph, pair, node)
            return scores, "sigmoid", probabilities if node is record.result else record.result
        sources = [n for n in node.all_input_nodes if n.meta["depends"]]
        scales = operation in ("mul", "div") and isinstance(node.args[1], int | float) and node.args[1] > 0
        if len(sources) != 1 or not (kind_of(node) in _LOOKED_THROUGH or scales):
            return record.result, None, record.result
        node = sources[0]


def _pair_of(node: fx.Node) -> fx.Node | None:
    """Return z of ``cat([1 - p, p], 1)`` with p = sigmoid(z), (batch, 1)."""
    if node.meta["operation"] != "cat":
        return None
    given = arguments(node)
    parts: Any = given.get("tensors", node.args[0])
    if given.get("dim", 0) not in (1, -1) or len(parts) != 2:
        return None
    other, p = parts
    if p.meta["operation"] != "sigmoid" or other.meta["operation"] not in ("rsub", "sub"):
        return None
    named = arguments(other)
    minus: Any = named["input"] if other.meta["operation"] == "rsub" else named["other"]
    plus: Any = named["other"] if other.meta["operation"] == "rsub" else named["input"]
    if not isinstance(minus, fx.Node) or minus.meta["operation"] != "sigmoid" or plus != 1:
        return None
    (z,) = p.all_input_nodes
    return z if minus.all_input_nodes == [z] else None


def _opposites(graph: fx.Graph, z: fx.Node, pair: fx.Node) -> tuple[fx.Node, fx.Node]:
    """Put sigmoids of -z and z, which are 1 - p and p, in the place of a pair of them."""
    with graph.inserting_before(pair):
        negative = graph.call_function(torch.neg, (z,))
        negative.meta = {**z.meta, "operation": "neg", "label": negative.name}
        both = graph.call_function(torch.cat, ([negative, z], 1))
        both.meta = {**pair.meta, "operation": "cat", "label": both.name}
        probabilities = graph.call_function(torch.sigmoid, (both,))
        probabilities.meta = {**pair.meta, "operation": "sigmoid", "label": probabilities.name}
    pair.replace_all_uses_with(probabilities)
    return both, probabilities
