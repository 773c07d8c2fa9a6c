"""Steps of layers (modules)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp import axes, norms
from neuroxai.lrp import operations as known
from neuroxai.lrp.composites import WEIGHTED
from neuroxai.lrp.context import Context
from neuroxai.lrp.linear import LinearStep
from neuroxai.lrp.makers import SOFTMAX, mix, norm, pad
from neuroxai.lrp.operators import Conv, Dense, Scale
from neuroxai.lrp.parts import Rule
from neuroxai.lrp.patchwise import PatchStep
from neuroxai.lrp.pooling import ADAPTIVE_POOLS, POOLS, AdaptiveMaxPool, MaxPool
from neuroxai.lrp.rules import Pass
from neuroxai.lrp.steps import PassStep, PoolStep, ReshapeStep, Step, Values
from neuroxai.lrp.trace import label
from neuroxai.lrp.transposed import ConvTranspose

Maker = Callable[[Context, fx.Node, Any], Step]


def of_layer(context: Context, node: fx.Node) -> Step:
    """Return the step of a layer.

    Raises
    ------
    UnsupportedLayerError
        If it has no rule.
    """
    if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
        raise context.refuse(node, "it is called with more than one tensor")
    module = context.modules[str(node.target)]
    for kinds, maker in _MAKERS:
        if isinstance(module, kinds):
            return maker(context, node, module)
    activations = [gives for kind, gives in known.ACTIVATIONS.items() if isinstance(module, kind)]
    foreign = known.foreign(module)
    gives = activations[0] if activations else foreign
    if gives is None:
        raise context.refuse(node)
    return _pass(context, node, gives)


def _pass(context: Context, node: fx.Node, gives: str = "any") -> PassStep:
    return PassStep(*_names(node), call=context.caller(node), gives=gives)


def _names(node: fx.Node) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    source: Any = node.args[0]
    return node.name, (source.name,), (label(node),)


def _weighted(context: Context, node: fx.Node, module: Any) -> Step:
    rule = context.rule_for(node)
    if isinstance(rule, Pass):
        raise context.refuse(node, "Pass is no rule for a layer that mixes its inputs; use another")
    if isinstance(module, PatchIndividualFilter):
        return PatchStep(*_names(node), module=module, rule=rule, conserve=context.composite.strains == "sum")
    if isinstance(module, nn.Linear):
        return LinearStep(*_names(node), module, rule, Dense())
    kind = ConvTranspose if isinstance(module, nn.modules.conv._ConvTransposeNd) else Conv
    return LinearStep(*_names(node), module, rule, kind.of(module))


def _batch_norm(context: Context, node: fx.Node, module: Any) -> Step:
    if module.running_mean is None:
        raise context.refuse(node, "it has no running statistics (track_running_stats=False)")
    return _running_norm(context, node, module, context.rule_for(node))


def _running_norm(context: Context, node: fx.Node, module: Any, rule: Rule) -> Step:
    if not isinstance(rule, Pass):
        return LinearStep(*_names(node), module, rule, Scale())
    name, (source,), labels = _names(node)

    def call(values: Values) -> Tensor:  # as the module, but on grids of any shape
        statistics = (module.running_mean, module.running_var, module.weight, module.bias)
        return F.batch_norm(values[source], *statistics, training=False, eps=module.eps)

    return PassStep(name, (source,), labels, call)


def _instance_norm(context: Context, node: fx.Node, module: Any) -> Step:
    if module.running_mean is None:

        def make(x: Tensor, values: Values) -> norms.Statistics:
            return norms.instance_norm(x, None, None, module.weight, module.bias, eps=module.eps)

        return norm(context, node, make)
    rule = context.chosen_rule(node) or context.composite.find(label(node), nn.BatchNorm3d) or context.composite.sums
    return _running_norm(context, node, module, rule)


def _group_norm(context: Context, node: fx.Node, m: Any) -> Step:
    return norm(context, node, lambda x, values: norms.group_norm(x, m.num_groups, m.weight, m.bias, m.eps))


def _layer_norm(context: Context, node: fx.Node, m: Any) -> Step:
    return norm(context, node, lambda x, values: norms.layer_norm(x, m.normalized_shape, m.weight, m.bias, m.eps))


def _rms_norm(context: Context, node: fx.Node, m: Any) -> Step:
    return norm(context, node, lambda x, values: norms.rms_norm(x, m.normalized_shape, m.weight, m.eps))


def _max_pool(context: Context, node: fx.Node, m: Any) -> Step:
    count = next(n for kind, n in POOLS.items() if isinstance(m, kind))
    geometry = (m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)
    return PoolStep(*_names(node), MaxPool.of(count, *geometry))


def _adaptive_max_pool(context: Context, node: fx.Node, m: Any) -> Step:
    count = next(n for kind, n in ADAPTIVE_POOLS.items() if isinstance(m, kind))
    return PoolStep(*_names(node), AdaptiveMaxPool.of(count, m.output_size, m.return_indices))


def _average_pool(context: Context, node: fx.Node, m: Any) -> Step:
    options = (m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad)
    divisor = getattr(m, "divisor_override", None)
    return mix(context, node, lambda x, values: axes.average_pool(x, *options, divisor))


def _adaptive_average_pool(context: Context, node: fx.Node, m: Any) -> Step:
    return mix(context, node, lambda x, values: axes.adaptive_average_pool(x, m.output_size))


def _upsample(context: Context, node: fx.Node, m: Any) -> Step:
    if m.mode not in (*axes.LINEAR_MODES, *axes.NEAREST_MODES):
        raise context.refuse(
            node, f"up-sampling in mode {m.mode!r} has no relevance rule; use a linear or nearest mode"
        )

    def make(x: Tensor, values: Values) -> axes.AxesMap:
        return axes.interpolate(x, m.size, m.scale_factor, m.mode, m.align_corners, m.recompute_scale_factor)

    return mix(context, node, make, copies=m.mode in axes.NEAREST_MODES)


def _pad(mode: str) -> Maker:
    return lambda context, node, module: pad(context, node, module.padding, mode)


def _softmax(context: Context, node: fx.Node, module: Any) -> Step:
    raise context.refuse(node, SOFTMAX)


def _inactive(context: Context, node: fx.Node, module: Any) -> Step:
    return _pass(context, node, "keeps")


def _reshape(context: Context, node: fx.Node, module: Any) -> Step:
    return ReshapeStep(*_names(node), call=context.caller(node))


def _kinds(*names: str) -> tuple[type[nn.Module], ...]:
    """Return torch's modules of these names; "1" stands for 1, 2 and 3 axes."""
    spelled = [name.replace("1", str(n)) for name in names for n in (1, 2, 3)]
    return tuple(getattr(nn, name) for name in dict.fromkeys(spelled) if hasattr(nn, name))


_MAKERS: tuple[tuple[tuple[type[nn.Module], ...], Maker], ...] = (
    (WEIGHTED, _weighted),
    ((_BatchNorm,), _batch_norm),
    (_kinds("InstanceNorm1d"), _instance_norm),
    (_kinds("GroupNorm"), _group_norm),
    (_kinds("LayerNorm"), _layer_norm),
    (_kinds("RMSNorm"), _rms_norm),
    (tuple(POOLS), _max_pool),
    (tuple(ADAPTIVE_POOLS), _adaptive_max_pool),
    (_kinds("AvgPool1d"), _average_pool),
    (_kinds("AdaptiveAvgPool1d"), _adaptive_average_pool),
    (_kinds("Upsample"), _upsample),
    (_kinds("ConstantPad1d", "ZeroPad1d"), lambda context, node, m: pad(context, node, m.padding, "constant")),
    (_kinds("ReflectionPad1d"), _pad("reflect")),
    (_kinds("ReplicationPad1d"), _pad("replicate")),
    (_kinds("CircularPad1d"), _pad("circular")),
    (_kinds("Softmax", "LogSoftmax", "Softmin", "Softmax2d"), _softmax),
    (known.INACTIVE, _inactive),
    (known.RESHAPE_MODULES, _reshape),
)
