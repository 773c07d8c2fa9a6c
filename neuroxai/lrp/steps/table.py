"""Which step each recorded call becomes, by its operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from neuroxai.graph.operations import OPERATIONS, arguments, kind_of
from neuroxai.lrp.steps.base import MoveStep, Step
from neuroxai.lrp.steps.context import Context
from neuroxai.lrp.steps.filters import of_batch_norm, of_filter, of_patches
from neuroxai.lrp.steps.maxima import of_chosen, of_max_pool, of_maximum, of_soft_maximum
from neuroxai.lrp.steps.norms import of_norm
from neuroxai.lrp.steps.products import (
    HeldStep,
    held,
    of_matrix_product,
    of_product,
    of_quotient,
    of_read_out,
    of_softmax,
    of_summed_product,
)
from neuroxai.lrp.steps.sums import of_average, of_mean, of_move, of_pad, of_resize, of_sum


def of_call(context: Context, node: fx.Node) -> Step:
    """Return the step of a call."""
    if node is context.scores and context.read_out:
        return of_read_out(context)
    maker = _MAKERS.get(node.meta["operation"]) or _KINDS.get(kind_of(node))
    if maker is None:
        raise context.refuse(node)
    return maker(context, node)


def _activation(context: Context, node: fx.Node) -> Step:
    call, reads = context.caller(node), context.options(node)
    vanishes = node.meta["operation"] == "prelu"
    if not reads["also_reads"]:  # slopes, but also bounds
        vanishes = not call({reads["inputs"][0]: torch.zeros(1)}).any()
    return context.passing(node, local=True, gives=OPERATIONS[node.meta["operation"]].sign, vanishes=vanishes)


def _power(context: Context, node: fx.Node) -> Step:
    exponent: Any = arguments(node).get("exponent")
    constant = isinstance(exponent, fx.Node) and not exponent.meta["depends"]
    if not (constant or (isinstance(exponent, int | float) and exponent > 0)) or not context.depends(node.args[0]):
        raise context.refuse(node, f"a power of {exponent} has no relevance rule; a positive number or parameter has")
    return context.passing(node, local=True)


def _moved(context: Context, node: fx.Node) -> Step:
    """Return the step of moving values, or of picking from what an operation with several outputs put out."""
    source: Any = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or not source.meta.get("many"):
        return of_move(context, node)
    if kind_of(source) == "pieces":
        cut, at = context.caller(source), node.args[1]
        options = context.options(source) | {"name": node.name, "labels": context.options(node, source)["labels"]}
        return MoveStep(**options, call=lambda values: cut(values)[at], gives="keeps")
    if kind_of(source) == "chosen":
        return of_chosen(context, source, node)
    if kind_of(source) != "max" or node.args[1] != 0:
        raise context.refuse(source)
    if source.meta["operation"] == "max":
        return of_maximum(context, node)
    return replace(of_call(context, source), name=node.name)


def _added(context: Context, node: fx.Node) -> Step:
    product = context.summed_product(node)
    return of_mean(context, node) if product is None else of_summed_product(context, node, product)


def _of_lines(context: Context, node: fx.Node) -> HeldStep:
    """Return the step of a number that each line of values has: its length, how far they spread, a quantile."""
    if any(isinstance(value, fx.Node) for value in (*node.args[1:], *node.kwargs.values())):
        raise context.refuse(node)
    place = (
        2 if node.meta["operation"] in ("norm", "linalg_norm", "linalg_vector_norm", "vector_norm", "quantile") else 1
    )
    dims: Any = node.kwargs.get("dim", node.args[place] if len(node.args) > place else None)
    context.check_axes(node, context.only_input(node), dims)
    return held(context, node)


def _put(context: Context, node: fx.Node) -> Step:
    """Return the step of values put at places, or added to what is there."""
    adds = arguments(node).get("accumulate") or (len(node.args) > 3 and node.args[3])
    return held(context, node) if adds else of_move(context, node)


Maker = Callable[[Context, fx.Node], Step]
_MAKERS: dict[str, Maker] = {
    **{f"{name}max_pool{n}d": of_max_pool for name in ("", "adaptive_") for n in (1, 2, 3)},
    **{f"{name}avg_pool{n}d": of_average for name in ("", "adaptive_") for n in (1, 2, 3)},
    **dict.fromkeys(("mean", "sum"), _added),
    **dict.fromkeys(("amax", "maximum", "max"), of_maximum),
    "index_put": _put,
    "logsumexp": of_soft_maximum,
    "patch_individual_filter": of_patches,
    "batch_norm": of_batch_norm,
    **dict.fromkeys(("add", "sub", "rsub"), of_sum),
    "neg": lambda context, node: context.scaling(node, context.only_input(node), -1.0),
    # lengths and deviations, where they are no gates: of one degree in all that they read, so that nothing is lost
    **dict.fromkeys(("std", "norm", "linalg_norm", "linalg_vector_norm", "vector_norm", "quantile"), _of_lines),
    "var": lambda context, node: replace(_of_lines(context, node), factors=2),  # of two
    "pow": _power,
    "sqrt": _activation,
    "mul": of_product,
    **dict.fromkeys(("div", "rdiv"), of_quotient),
}
_KINDS: dict[str, Maker] = {
    "filter": of_filter,
    "norm": of_norm,
    "activation": _activation,
    "softmax": of_softmax,
    **dict.fromkeys(("cast", "same"), lambda context, node: context.passing(node, local=True, gives="keeps")),
    "resize": of_resize,
    "pad": of_pad,
    "bilinear": of_matrix_product,
    "linear": held,
    "chosen": of_chosen,
    **dict.fromkeys(("reshape", "permute", "pick", "cat"), _moved),
}
