"""Normalisations by statistics of the sample: instance, group, layer and root-mean-square normalisation.

``y = factor (x - mean(x)) / std(x) + bias``. The scale ``1 / std(x)`` is taken as a constant, and what is left, taking
the mean away, is linear (Ali et al. 2022, ICML, "XAI for Transformers", section 4.2): the epsilon rule on that map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuroxai.graph.operations import arguments
from neuroxai.lrp.engine.propagate import signals
from neuroxai.lrp.rules import Epsilon, Pass, Rule, Zero
from neuroxai.lrp.steps.base import CallStep, Step, Values
from neuroxai.lrp.steps.context import Context
from neuroxai.lrp.steps.filters import of_fixed_norm


@dataclass(frozen=True)
class NormStep(CallStep):
    """A normalisation by statistics of the sample, under the epsilon rule."""

    operation: str = ""  # "instance_norm", "group_norm", "layer_norm" or "rms_norm", which takes no mean away
    given: dict[str, Any] = field(default_factory=dict)  # the call's arguments by name; values of other calls as nodes
    rule: Rule = field(default_factory=Epsilon)  # stabiliser and treatment of the bias

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run the network's own operation; the input is saved."""
        given = fx.node.map_arg(self.given, lambda read: values[read.name])
        return self.call(values), (values[self.inputs[0]], given)

    def _layout(self, x: Tensor, given: dict[str, Any]) -> tuple[int, Tensor | None, Tensor | None]:
        """Return how many values, side by side in memory, have statistics of their own; factor and bias for `x`."""
        factor, bias, shape = given.get("weight"), given.get("bias"), given.get("normalized_shape")
        if shape is not None:
            return x.shape[-1 if isinstance(shape, int) else -len(shape) :].numel(), factor, bias
        channels = x.shape[1] if self.operation == "instance_norm" else int(given["num_groups"])
        factor, bias = (None if p is None else p.view(-1, *(1,) * (x.ndim - 2)) for p in (factor, bias))
        return x.shape[1:].numel() // channels, factor, bias

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Epsilon rule: ``R_i = x_i sum_j w_ij R_j / (z_j + epsilon sign z_j)``, w the centring times the scale."""
        x, given = saved
        width, factor, bias = self._layout(x, given)
        centred = self.operation != "rms_norm"
        eps = given.get("eps", 1e-5 if centred else None)

        def mean(values: Tensor) -> Tensor:
            grouped = values.reshape(-1, width)
            return grouped.mean(1, keepdim=True).expand_as(grouped).reshape(x.shape)

        def centre(values: Tensor) -> Tensor:  # this map is its own transpose
            return values - mean(values) if centred else values

        scale = torch.rsqrt(mean(centre(x).square()) + (torch.finfo(x.dtype).eps if eps is None else eps))
        scale = scale if factor is None else scale * factor
        z = centre(x) * scale
        if bias is not None and self.rule.bias != "ignore":
            z = z + bias
        (signal,) = signals(self.rule, [z], relevance)
        back = x * centre(signal * scale)
        if bias is not None and self.rule.bias == "distribute":  # a neuron reads the values of its group
            back = back + (mean(signal * bias) if centred else signal * bias)
        return (back,)


# steps of recorded calls


def of_norm(context: Context, node: fx.Node) -> Step:
    """Return the step of a normalisation by statistics of the sample, or of an instance norm by running ones."""
    given, rule = arguments(node), context.find_rule(node)
    if not given.get("use_input_stats", True):
        rule = rule or context.composite.find("", nn.BatchNorm3d) or context.composite.sums
        return of_fixed_norm(context, node, rule)
    if rule is None:
        rule = Epsilon(context.composite.sums.epsilon, context.composite.sums.bias)
    if isinstance(rule, Pass):
        return context.passing(node)
    if not isinstance(rule, Epsilon | Zero):
        raise context.refuse(
            node,
            f"the composite names {type(rule).__name__} for it, but a normalisation by statistics of the sample has "
            "the rules Epsilon, Zero and Pass; name one of these, or none (Epsilon, then)",
        )
    call, operation = context.caller(node), node.meta["operation"]
    return NormStep(**context.options(node), call=call, operation=operation, given=given, rule=rule)
