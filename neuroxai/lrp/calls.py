"""Steps of functional calls and tensor methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, fx

from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import axes, norms
from neuroxai.lrp import operations as known
from neuroxai.lrp.combining import of_negative, of_product, of_quotient, of_sum
from neuroxai.lrp.context import Context, with_input
from neuroxai.lrp.makers import SOFTMAX, call_options, mix, norm, pad
from neuroxai.lrp.norms import Statistics
from neuroxai.lrp.pooling import AdaptiveMaxPool, MaxPool
from neuroxai.lrp.routes import RouteStep
from neuroxai.lrp.steps import CatStep, PassStep, PermuteStep, PoolStep, ReshapeStep, Step, Values
from neuroxai.lrp.trace import label


def of_call(context: Context, node: fx.Node) -> Step:
    """Return the step of a functional call or tensor method.

    Raises
    ------
    UnsupportedLayerError
        If it has no rule.
    """
    maker = _MAKERS.get(known.operation(node) or "")
    if maker is None:
        raise context.refuse(node)
    return maker(context, node)


def _pad(context: Context, node: fx.Node) -> Step:
    mode = context.argument(node, 2, "mode", "constant")
    sides = context.argument(node, 1, "pad")
    if not isinstance(sides, list | tuple) or mode not in ("constant", "reflect", "replicate", "circular"):
        raise context.refuse(node)
    return pad(context, node, sides, mode)


def _activation(context: Context, node: fx.Node) -> Step:
    gives = known.ACTIVATION_NAMES[str(known.operation(node))]
    return PassStep(**call_options(context, node), gives=gives)


def _softmax(context: Context, node: fx.Node) -> Step:
    raise context.refuse(node, SOFTMAX)


def _dropout(context: Context, node: fx.Node) -> Step:
    options = call_options(context, node)
    (source,) = options["inputs"]
    return PassStep(**{**options, "call": lambda values: values[source]}, gives="keeps")


def _calls(kind: Any, context: Context, node: fx.Node) -> Step:
    step: Step = kind(**call_options(context, node))
    return step


def _expand_as(context: Context, node: fx.Node) -> Step:
    source: Any = node.args[0]
    return RouteStep(**call_options(context, node, source))  # of the other tensor it reads the shape only


def _piece(context: Context, node: fx.Node) -> Step:
    """Index a tensor, or pick from a tuple of pieces of one."""
    source: Any = node.args[0]
    if known.operation(source) not in known.PIECES:
        return RouteStep(**call_options(context, node))
    cut, at = context.caller(source), node.args[1]
    whole = context.only_input(source)
    reads = context.others(source, whole)
    if not isinstance(at, int):
        raise context.refuse(node)
    return RouteStep(node.name, (whole.name,), (label(node),), lambda values: cut(values)[at], reads)


def _cat(context: Context, node: fx.Node) -> Step:
    listed = context.argument(node, 0, "tensors")
    axis = context.argument(node, 1, "dim", node.kwargs.get("axis", 0))
    if not isinstance(listed, list | tuple) or not isinstance(axis, int):
        raise context.refuse(node)
    tensors = tuple(n for n in listed if n not in context.constants)
    others = context.others(node, *tensors)
    stacks = known.operation(node) == "stack"
    names, parts = tuple(n.name for n in tensors), tuple(n.name for n in listed)
    keeps = "any" if others else "keeps"
    return CatStep(
        node.name, names, (label(node),), also_reads=others, gives=keeps, axis=axis, parts=parts, stacks=stacks
    )


def _max_pool(kind: Any, count: int, context: Context, node: fx.Node) -> Step:
    options = call_options(context, node)
    if options["also_reads"]:
        raise context.refuse(node, "its geometry depends on the input's shape; give it as numbers")
    try:
        pool = kind.of(count, *node.args[1:], **node.kwargs)
    except (TypeError, UnsupportedLayerError) as error:
        raise context.refuse(node, str(error)) from error
    return PoolStep(options["name"], options["inputs"], options["labels"], pool)


def _averaging(make: Callable[..., axes.AxesMap], context: Context, node: fx.Node) -> Step:
    return mix(context, node, with_input(make, node))


def _normalisation(make: Callable[..., Statistics], context: Context, node: fx.Node) -> Step:
    if context.argument(node, 5, "use_input_stats", True) is not True and known.operation(node) == "instance_norm":
        raise context.refuse(node, "running statistics in a functional call; use torch.nn.InstanceNorm")
    return norm(context, node, with_input(make, node))


def _interpolate(context: Context, node: fx.Node) -> Step:
    mode = context.argument(node, 3, "mode", "nearest")
    if mode not in (*axes.LINEAR_MODES, *axes.NEAREST_MODES) or node.kwargs.get("antialias"):
        raise context.refuse(node, f"up-sampling in mode {mode!r} has no relevance rule; use a linear or nearest mode")

    def make(x: Tensor, *args: Any, antialias: bool = False, **kwargs: Any) -> axes.AxesMap:
        return axes.interpolate(x, *args[:5], **kwargs)

    return mix(context, node, with_input(make, node), copies=mode in axes.NEAREST_MODES)


def _mean(total: bool, context: Context, node: fx.Node) -> Step:
    dims = context.argument(node, 1, "dim", node.kwargs.get("axis"))
    listed = dims if isinstance(dims, list | tuple) else [dims]
    if dims is None or 0 in listed:
        raise context.refuse(node, f"a mean or sum over the axes {dims} mixes the samples of a batch; name other axes")
    if node.kwargs.get("dtype") is not None:
        raise context.refuse(node, "it changes the number type")

    def make(x: Tensor, values: Values) -> axes.AxesMap:
        return axes.average(x, dims, total=total)

    return mix(context, node, make)


_MAKERS: dict[str, Callable[[Context, fx.Node], Step]] = {
    **dict.fromkeys(known.ACTIVATION_NAMES, _activation),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **dict.fromkeys({known.NAMED[f] for f in known.DROPOUT_FUNCTIONS} | known.SAME, _dropout),
    **dict.fromkeys(known.CASTS, partial(_calls, PassStep)),
    **dict.fromkeys(known.RESHAPES, partial(_calls, ReshapeStep)),
    **dict.fromkeys(known.PERMUTES, partial(_calls, PermuteStep)),
    **dict.fromkeys(known.PICKS, partial(_calls, RouteStep)),
    "expand_as": _expand_as,
    "getitem": _piece,
    "cat": _cat,
    "stack": _cat,
    "pad": _pad,
    **{known.NAMED[f]: partial(_max_pool, MaxPool, n) for f, n in known.POOL_FUNCTIONS.items()},
    **{name: partial(_max_pool, AdaptiveMaxPool, n) for name, n in known.MAXIMA.items()},
    **{name: partial(_averaging, axes.average_pool) for name in known.AVERAGES if "adaptive" not in name},
    **{name: partial(_averaging, axes.adaptive_average_pool) for name in known.AVERAGES if "adaptive" in name},
    "interpolate": _interpolate,
    "mean": partial(_mean, False),
    "sum": partial(_mean, True),
    "layer_norm": partial(_normalisation, norms.layer_norm),
    "group_norm": partial(_normalisation, norms.group_norm),
    "instance_norm": partial(_normalisation, norms.instance_norm),
    "rms_norm": partial(_normalisation, norms.rms_norm),
    "add": partial(of_sum, 1.0),
    "sub": partial(of_sum, -1.0),
    "rsub": partial(of_sum, -1.0),
    "mul": of_product,
    "div": of_quotient,
    "neg": of_negative,
}
