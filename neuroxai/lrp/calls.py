"""Steps of recorded calls, by operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.names import label
from neuroxai.graph.operations import OPERATIONS, arguments, kind_of
from neuroxai.lrp import axes, norms
from neuroxai.lrp.combining import of_matrix_product, of_negative, of_product, of_quotient, of_sum
from neuroxai.lrp.context import Context, sign_of, with_input
from neuroxai.lrp.held import SoftmaxStep
from neuroxai.lrp.linear import FixedNorm, LinearStep
from neuroxai.lrp.makers import SOFTMAX, call_options, mix, norm
from neuroxai.lrp.norms import Statistics
from neuroxai.lrp.operators import Conv, Dense, Operator, Scale
from neuroxai.lrp.parts import Rule
from neuroxai.lrp.patchwise import PatchStep
from neuroxai.lrp.pooling import AdaptiveMaxPool, MaxPool
from neuroxai.lrp.rules import Pass
from neuroxai.lrp.steps import MoveStep, PassStep, PoolStep, Step, Values, WinnerStep
from neuroxai.lrp.transposed import ConvTranspose


def of_call(context: Context, node: fx.Node) -> Step:
    """Return the step of a call.

    Raises
    ------
    UnsupportedLayerError
        If it has no rule.
    """
    operation = node.meta["operation"]
    maker = _MAKERS.get(operation) or _KINDS.get(kind_of(node))
    if maker is None:
        raise context.refuse(node)
    return maker(context, node)


def _rule(context: Context, node: fx.Node) -> Rule:
    rule = context.rule_for(node)
    if isinstance(rule, Pass):
        raise context.refuse(node, "Pass is no rule for a layer that mixes its inputs; use another")
    return rule


def _filter(make: Callable[[dict[str, Any]], Operator], context: Context, node: fx.Node) -> Step:
    """Return the step of a convolution or linear layer, whose weights may be made by other calls."""
    source, given = context.only_input(node), arguments(node)
    weight, bias = given["weight"], given.get("bias")
    given["kernel_size"] = weight.meta["shape"][2:]
    try:
        operator = make(given)
    except UnsupportedLayerError as error:
        raise context.refuse(node, str(error)) from error
    parameters = {"weight": weight.name, "bias": None if bias is None else bias.name}
    return LinearStep(
        node.name, (source.name,), (label(node),), **parameters, rule=_rule(context, node), operator=operator
    )


def _patches(context: Context, node: fx.Node) -> Step:
    source: Any = node.args[0]
    module = context.record.root.get_submodule(str(node.target))
    conserve = context.composite.strains == "sum"
    return PatchStep(
        node.name, (source.name,), (label(node),), module=module, rule=_rule(context, node), conserve=conserve
    )


def _batch_norm(context: Context, node: fx.Node) -> Step:
    given = arguments(node)
    source = context.only_input(node)
    if given.get("training") or given.get("running_mean") is None:
        raise context.refuse(node, "it takes its statistics from the batch (no running statistics, or training=True)")
    return _fixed_norm(context, node, source, given, context.rule_for(node))


def _fixed_norm(context: Context, node: fx.Node, source: fx.Node, given: dict[str, Any], rule: Rule) -> Step:
    if isinstance(rule, Pass):
        return PassStep(**call_options(context, node))
    weight, bias = (None if given.get(key) is None else given[key].name for key in ("weight", "bias"))
    fixed = FixedNorm(given["running_mean"].name, given["running_var"].name, weight, bias, given.get("eps", 1e-5))
    return LinearStep(node.name, (source.name,), (label(node),), rule=rule, operator=Scale(), fixed=fixed)


def _instance_norm(context: Context, node: fx.Node) -> Step:
    given = arguments(node)
    if given.get("use_input_stats", True):
        return norm(context, node, with_input(norms.instance_norm, node))
    rule = context.chosen_rule(node) or context.composite.find("", torch.nn.BatchNorm3d) or context.composite.sums
    return _fixed_norm(context, node, context.only_input(node), given, rule)


def _normalisation(make: Callable[..., Statistics], context: Context, node: fx.Node) -> Step:
    return norm(context, node, with_input(make, node))


def _activation(context: Context, node: fx.Node) -> Step:
    known = OPERATIONS[node.meta["operation"]]
    return PassStep(**call_options(context, node), gives=known.sign, offset=known.offset)


def _power(context: Context, node: fx.Node) -> Step:
    exponent = arguments(node).get("exponent")
    if not isinstance(exponent, int | float) or exponent <= 0 or not context.depends(node.args[0]):
        raise context.refuse(node, f"a power of {exponent} has no relevance rule; a positive number has")
    return PassStep(**call_options(context, node))


def _cast(context: Context, node: fx.Node) -> Step:
    return PassStep(**call_options(context, node), gives="keeps")


def _softmax(context: Context, node: fx.Node) -> Step:
    if context.composite.attention == "attn_lrp" and node.meta["operation"] == "softmax":
        return SoftmaxStep(**call_options(context, node), axis=int(arguments(node)["dim"]))
    raise context.refuse(node, SOFTMAX)


def _move(context: Context, node: fx.Node) -> Step:
    """Return the step of an operation that moves or copies values, with all tensors whose values it moves."""
    if node.args and isinstance(node.args[0], fx.Node) and node.args[0].meta.get("many"):
        return _picked(context, node, node.args[0])
    tensors = context.tensors(node)
    names = tuple(dict.fromkeys(t.name for t in tensors))
    gives = "keeps" if sign_of(node) == "keeps" and not context.others(node, *tensors) else "any"
    return MoveStep(node.name, names, (label(node),), context.caller(node), context.others(node, *tensors), gives=gives)


def _picked(context: Context, node: fx.Node, source: fx.Node) -> Step:
    """Return the step of picking from what an operation with several outputs put out."""
    kind = kind_of(source)
    if kind == "pieces":
        return _piece(context, node)
    if kind != "max" or node.args[1] != 0:
        raise context.refuse(source)
    if source.meta["operation"] == "max":
        return _maximum(context, node)
    return replace(of_call(context, source), name=node.name)


def _piece(context: Context, node: fx.Node) -> Step:
    """Return the step of picking from a tuple of pieces of a tensor."""
    source: Any = node.args[0]
    cut, at = context.caller(source), node.args[1]
    whole = context.only_input(source)
    reads = context.others(source, whole)
    return MoveStep(node.name, (whole.name,), (label(node),), lambda values: cut(values)[at], reads, gives="keeps")


def _window_maximum(kind: Any, count: int, context: Context, node: fx.Node) -> Step:
    given = {name: value for name, value in arguments(node).items() if not name.startswith("_")}
    source = context.only_input(node)
    del given["input"]
    given.pop("return_indices", None)  # who reads them is another matter
    try:
        pool = kind.of(count, **given)
    except (TypeError, UnsupportedLayerError) as error:
        raise context.refuse(node, str(error)) from error
    return PoolStep(node.name, (source.name,), (label(node),), pool)


def _maximum(context: Context, node: fx.Node) -> Step:
    """Return the step of the maximum over axes, or of two tensors: the winner takes all."""
    whole: Any = node.args[0] if node.meta["operation"] == "getitem" else node
    given = arguments(whole)
    if len(context.tensors(whole)) == 2 or (whole.meta["operation"] == "maximum") or (
        isinstance(given.get("dim"), fx.Node)
    ):  # fmt: skip
        tensors = context.tensors(whole)
        others = context.others(whole, *tensors)
        return WinnerStep(node.name, tuple(t.name for t in tensors), (label(node),), context.caller(whole), others)
    source, dim = context.only_input(whole), given.get("dim")
    axes_of = context.check_axes(whole, source, dim)
    if whole is not node and node.args[1] != 0:
        raise context.refuse(node, "where a maximum lies has no relevance rule")
    return WinnerStep(
        node.name, (source.name,), (label(node),), context.caller(node if whole is node else whole), (),
        gives="keeps", dims=axes_of, keepdim=bool(given.get("keepdim", False)),
    )  # fmt: skip


def _averaging(make: Callable[..., axes.AxesMap], context: Context, node: fx.Node) -> Step:
    return mix(context, node, with_input(make, node))


def _pad(context: Context, node: fx.Node) -> Step:
    given = arguments(node)
    mode = given.get("mode", "constant")
    if mode == "constant" or node.meta["operation"] == "constant_pad_nd":
        return _move(context, node)
    if mode not in ("reflect", "replicate", "circular"):
        raise context.refuse(node)
    return mix(context, node, lambda x, values: axes.copying_pad(x, given["pad"], mode), copies=True)


def _interpolate(context: Context, node: fx.Node) -> Step:
    given = arguments(node)
    mode = given.get("mode", "nearest")
    if mode not in (*axes.LINEAR_MODES, *axes.NEAREST_MODES) or given.get("antialias"):
        raise context.refuse(node, f"up-sampling in mode {mode!r} has no relevance rule; use a linear or nearest mode")

    def make(x: Tensor, values: Values) -> axes.AxesMap:
        names = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")
        return axes.interpolate(x, **{name: given[name] for name in names if name in given})

    return mix(context, node, make, copies=mode in axes.NEAREST_MODES)


def _mean(total: bool, context: Context, node: fx.Node) -> Step:
    given = arguments(node)
    dims = given.get("dim")
    context.check_axes(node, context.only_input(node), dims)
    if given.get("dtype") is not None:
        raise context.refuse(node, "it changes the number type")

    def make(x: Tensor, values: Values) -> axes.AxesMap:
        return axes.average(x, dims, total=total)

    return mix(context, node, make)


def _conv(count: int, given: dict[str, Any]) -> Operator:
    return Conv.of(count, given)


def _conv_transpose(count: int, given: dict[str, Any]) -> Operator:
    return ConvTranspose.of(count, given)


Maker = Callable[[Context, fx.Node], Step]
_MAKERS: dict[str, Maker] = {
    **{f"conv{n}d": partial(_filter, partial(_conv, n)) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": partial(_filter, partial(_conv_transpose, n)) for n in (1, 2, 3)},
    "linear": partial(_filter, lambda given: Dense()),
    "patch_individual_filter": _patches,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": partial(_normalisation, norms.group_norm),
    "layer_norm": partial(_normalisation, norms.layer_norm),
    "rms_norm": partial(_normalisation, norms.rms_norm),
    **{f"max_pool{n}d": partial(_window_maximum, MaxPool, n) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": partial(_window_maximum, AdaptiveMaxPool, n) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": partial(_averaging, axes.average_pool) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": partial(_averaging, axes.adaptive_average_pool) for n in (1, 2, 3)},
    "mean": partial(_mean, False),
    "sum": partial(_mean, True),
    "amax": _maximum,
    "maximum": _maximum,
    "max": _maximum,
    "pad": _pad,
    "add": partial(of_sum, 1.0),
    "sub": partial(of_sum, -1.0),
    "rsub": partial(of_sum, -1.0),
    "mul": of_product,
    "div": of_quotient,
    "rdiv": of_quotient,
    "neg": of_negative,
    "pow": _power,
}
_KINDS: dict[str, Maker] = {
    "activation": _activation,
    "softmax": _softmax,
    "cast": _cast,
    "same": _cast,
    "resize": _interpolate,
    "bilinear": of_matrix_product,
    **dict.fromkeys(("reshape", "permute", "pick", "cat"), _move),
}
