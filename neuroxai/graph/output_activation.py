"""The scores of a network that ends in probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from neuroxai.graph.operations import MOVES, arguments, kind_of
from neuroxai.graph.record import Record

_LINKS = {"softmax": "softmax", "log_softmax": "softmax", "sigmoid": "sigmoid", "logsigmoid": "sigmoid"}
_RISING = {"clamp", "clamp_min", "clamp_max", "clip", "nan_to_num", "log", "log2", "log10", "log1p", "exp", "expm1",
           "sqrt", "logit"}  # fmt: skip
_PICKED = {"getitem", "select", "narrow", "expand"}
_Rebuild = Callable[[fx.Node], fx.Node]  # makes a value anew of the node that holds its scores


@dataclass(frozen=True)
class _Seen:
    """Scores behind a value, the output activation between them, and how the value is made of them."""

    scores: fx.Node
    link: str
    rebuild: _Rebuild


def scores_of(record: Record) -> tuple[fx.Node, str | None, fx.Node]:
    """Find the scores, in front of the softmax or sigmoid that ends the network, whatever monotone follows it.

    Looked through are other shapes and types, inactive dropout, sums and products with numbers, limits, logarithms, and
    probabilities side by side, such as ``cat([1 - p, p], 1)``. Where a probability falls with its score, as 1 - p does,
    the score is that of the other class, -z.

    Returns
    -------
    scores : torch.fx.Node
        What relevance starts from; a call that is added to the graph where none of the network's own holds it.
    link : {"softmax", "sigmoid", "average", None}
        The output activation; "average": the scores are probabilities already, an average or maximum of several.
    end : torch.fx.Node
        The network's output, made of the scores.
    """
    (output,) = (node for node in record.graph.nodes if node.op == "output")
    own = set(record.graph.nodes)
    with record.graph.inserting_before(output):
        seen = _seen(record.result)
        if seen is None:
            return record.result, "average" if _averages(record.result) else None, record.result
        return seen.scores, seen.link, record.result if seen.scores in own else seen.rebuild(seen.scores)


def _seen(node: fx.Node) -> _Seen | None:
    """Look through a value, from its end on; None where it is no monotone function of scores."""
    operation, kind = node.meta["operation"], kind_of(node)
    sources = [source for source in node.all_input_nodes if source.meta["depends"]]
    if operation in _LINKS and len(sources) == 1:
        link, dim = _LINKS[operation], arguments(node).get("dim")
        dim = (0 if node.meta["rank"] in (1, 3) else 1) if dim is None else dim  # what torch takes where none is named
        if link == "softmax" and not _over_classes(node, dim):
            return None
        function: Any = getattr(torch.nn.functional, operation)
        given = (dim,) if link == "softmax" else ()
        return _Seen(sources[0], link, lambda scores: _new(function, (scores, *given), node, operation))
    if operation in ("cat", "stack"):
        return _side_by_side(node)
    if len(sources) != 1:
        return None
    (source,) = sources
    rises = _rises(node, operation, source)
    if rises is None and kind not in MOVES and operation not in _PICKED:
        return None
    seen = _seen(source)
    if seen is None or (seen.link != "sigmoid" and (rises is False or operation in _PICKED)):
        return None
    if rises is None:
        moved = node.meta.get("shape") != source.meta.get("shape")
        return _Seen(_again(node, {source: seen.scores}), seen.link, seen.rebuild) if moved else seen

    def turned(scores: fx.Node) -> fx.Node:
        return scores if rises else _new(torch.neg, (scores,), scores, "neg")

    return _Seen(turned(seen.scores), seen.link, lambda scores: _again(node, {source: seen.rebuild(turned(scores))}))


def _averages(node: fx.Node) -> bool:
    """Whether a value is an average or maximum of probabilities, as of several crops or networks."""
    if node.meta["operation"] in ("sigmoid", "softmax"):
        return True
    sources, kind = [source for source in node.all_input_nodes if source.meta["depends"]], kind_of(node)
    averages = (kind in ("average", "max") and node.meta["operation"] != "sum") or kind in {*MOVES, "pick", "cat"}
    return averages and bool(sources) and all(map(_averages, sources))


def read_out(scores: fx.Node) -> tuple[fx.Node, ...]:
    """Return the calls that make scores of probabilities, as an expected age is made; none where that is not linear.

    The softmaxes are among them, and come first where the calls are in the order they run.
    """
    found, ahead = dict[fx.Node, None](), [scores]
    while ahead:
        node = ahead.pop()
        found[node] = None
        sources = [source for source in node.all_input_nodes if source.meta["carries"]]
        operation, kind = node.meta["operation"], kind_of(node)
        if not sources or ((kind == "softmax" or operation in ("mean", "sum")) and _may_mix_samples(node, sources[0])):
            return ()
        if kind == "softmax" and sources[0].op != "placeholder":
            continue
        first = sources[0] is (node.args[0] if node.args else None)
        scales = kind in ("product", "bilinear", "filter") and len(sources) == 1 and operation != "rdiv"
        scales = scales and (first or operation in ("mul", "matmul", "mm", "mv", "einsum", "tensordot"))
        undone = operation == "exp" and _is_log_of_softmax(sources[0])
        if not (scales or undone or kind in ("average", "sum", "cat", "pick", *MOVES)):
            return ()
        ahead += sources
    return tuple(node for node in scores.graph.nodes if node in found)


def _is_log_of_softmax(node: fx.Node) -> bool:
    while kind_of(node) in {*MOVES, "pick"}:
        node = node.all_input_nodes[0]
    return bool(node.meta["operation"] == "log_softmax")


def _may_mix_samples(node: fx.Node, source: fx.Node) -> bool:
    dims = arguments(node).get("dim")
    listed = dims if isinstance(dims, list | tuple) else [dims]
    return any(not isinstance(d, int) or d % len(source.meta["shape"]) == 0 for d in listed)


def _over_classes(node: fx.Node, dim: Any) -> bool:
    """Whether a softmax is over the last axis, or over the only one but the first that is longer than 1."""
    if not isinstance(dim, int):
        return False
    shape: tuple[int, ...] = tuple(node.meta["shape"])
    axis = dim % len(shape)
    return axis == len(shape) - 1 or (axis > 0 and math.prod(shape[1:]) == shape[axis])


def _side_by_side(node: fx.Node) -> _Seen | None:
    """Look through probabilities put side by side, each with scores of its own."""
    given: Any = arguments(node)
    parts, axis = list(given.get("tensors", node.args[0])), int(given.get("dim", 0))
    found = [_seen(part) for part in parts if isinstance(part, fx.Node) and part.meta["depends"]]
    seen = [one for one in found if one is not None and one.link == "sigmoid"]
    if not seen or len(seen) < len(parts):
        return None
    sizes = [part.meta["shape"][axis] for part in parts] if node.meta["operation"] == "cat" else [1] * len(parts)

    def rebuild(scores: fx.Node) -> fx.Node:
        made, start = {}, 0
        for part, one, size in zip(parts, seen, sizes, strict=True):
            piece = _new(torch.narrow, (scores, axis, start, size), scores, "narrow")
            if node.meta["operation"] == "stack":
                piece = _new(torch.squeeze, (piece, axis), scores, "squeeze")
            made[part], start = one.rebuild(piece), start + size
        return _again(node, made)

    scores: Any = torch.stack if node.meta["operation"] == "stack" else torch.cat
    return _Seen(_new(scores, ([one.scores for one in seen], axis), node, node.meta["operation"]), "sigmoid", rebuild)


def _rises(node: fx.Node, operation: str, source: fx.Node) -> bool | None:
    """Whether a call's value rises with what it reads, place by place; None where that cannot be told."""
    others = [value for value in (*node.args, *node.kwargs.values()) if value is not source]
    if node.meta.get("shape") != source.meta.get("shape"):
        return None
    if operation in _RISING:
        return True
    if operation == "neg":
        return False
    if operation in ("add", "sub", "rsub") and len(others) == 1 and len(node.args) == 2:
        taken = {"add": None, "sub": node.args[1], "rsub": node.args[0]}[operation]
        return taken is not source
    if operation in ("mul", "div") and len(others) == 1 and isinstance(others[0], int | float) and others[0]:
        return others[0] > 0 if operation == "mul" or node.args[0] is source else None
    return None


def _again(node: fx.Node, instead: dict[fx.Node, fx.Node]) -> fx.Node:
    """Add a call once more, with other values to read."""
    made = node.graph.node_copy(node, lambda value: instead.get(value, value))
    made.meta = {**node.meta, "label": made.name}
    return made


def _new(function: Callable[..., Any], args: tuple[Any, ...], like: fx.Node, operation: str) -> fx.Node:
    made = like.graph.call_function(function, args)
    made.meta = {**like.meta, "operation": operation, "label": made.name}
    return made
