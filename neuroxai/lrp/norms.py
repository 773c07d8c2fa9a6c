"""Normalisations by statistics of the sample: instance, group, layer and root-mean-square normalisation.

``y = factor (x - mean(x)) / std(x) + bias``. The scale ``1 / std(x)`` is taken as a constant, and what is left, taking
the mean away, is linear (Ali et al. 2022, ICML, "XAI for Transformers", section 4.2): the epsilon rule on that map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from neuroxai.errors import InputError
from neuroxai.lrp.parts import Rule
from neuroxai.lrp.propagate import Saved, part_signals
from neuroxai.lrp.rules import Epsilon
from neuroxai.lrp.steps import CallStep, Values


@dataclass(frozen=True)
class Statistics:
    """Over which values a normalisation takes its statistics, and its parameters.

    Attributes
    ----------
    groups : tuple of int
        Shape of the input that gives each group of values axes of its own.
    axes : tuple of int
        Those axes.
    factor, bias : torch.Tensor or None
        Shaped so that they broadcast to the input.
    eps : float
        Added to the variance.
    centred : bool
        Whether the mean is taken away.
    """

    groups: tuple[int, ...]
    axes: tuple[int, ...]
    factor: Tensor | None
    bias: Tensor | None
    eps: float
    centred: bool = True

    def mean(self, x: Tensor) -> Tensor:
        """Return each value's group mean, shaped like `x`."""
        grouped = x.reshape(self.groups)
        return grouped.mean(self.axes, keepdim=True).expand_as(grouped).reshape(x.shape)

    def centre(self, x: Tensor) -> Tensor:
        """Take the mean away; this map is its own transpose."""
        return x - self.mean(x) if self.centred else x

    def scale(self, x: Tensor) -> Tensor:
        """Return ``factor / std(x)``, shaped like `x`."""
        scale = torch.rsqrt(self.mean(self.centre(x).square()) + self.eps)
        return scale if self.factor is None else scale * self.factor


def _channelwise(parameter: Tensor | None, x: Tensor) -> Tensor | None:
    return None if parameter is None else parameter.view(-1, *(1,) * (x.ndim - 2))


def instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Statistics:
    """Statistics of each channel, as ``torch.nn.functional.instance_norm``; running statistics are refused."""
    if not use_input_stats:
        raise InputError("running statistics in a functional instance_norm; use torch.nn.InstanceNorm")
    if x.ndim < 3:
        raise InputError(f"a tensor of shape {tuple(x.shape)} arrives; (batch, channels, *grid) is wanted")
    axes = tuple(range(2, x.ndim))
    return Statistics(tuple(x.shape), axes, _channelwise(weight, x), _channelwise(bias, x), eps)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Statistics:
    """Statistics of each group of channels, as ``torch.nn.functional.group_norm``."""
    groups = (len(x), num_groups, x.shape[1:].numel() // num_groups)
    return Statistics(groups, (2,), _channelwise(weight, x), _channelwise(bias, x), eps)


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Statistics:
    """Statistics over the last axes, as ``torch.nn.functional.layer_norm``."""
    count = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
    return Statistics(tuple(x.shape), tuple(range(x.ndim - count, x.ndim)), weight, bias, eps)


def rms_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Statistics:
    """Root mean square over the last axes, as ``torch.nn.functional.rms_norm``: nothing is taken away."""
    axes = layer_norm(x, normalized_shape).axes
    smallest = torch.finfo(x.dtype).eps if eps is None else eps
    return Statistics(tuple(x.shape), axes, weight, None, smallest, centred=False)


@dataclass(frozen=True)
class NormStep(CallStep):
    """A normalisation by statistics of the sample, under the epsilon rule.

    Attributes
    ----------
    make : callable
        Takes the input and the values by name; returns the statistics.
    rule : Epsilon or Zero
        Stabiliser and treatment of the bias.
    """

    make: Callable[[Tensor, Values], Statistics] = field(default=lambda x, values: layer_norm(x, x.shape[-1:]))
    rule: Rule = field(default_factory=Epsilon)

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run the network's own operation; the input is kept."""
        x = values[self.inputs[0]]
        return self.call(values), (x, self.make(x, values))

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Epsilon rule: ``R_i = x_i sum_j w_ij R_j / (z_j + epsilon sign z_j)``, w the centring times the scale."""
        x, statistics = kept
        scale, bias = statistics.scale(x), statistics.bias
        z = statistics.centre(x) * scale
        if bias is not None and self.rule.bias != "ignore":
            z = z + bias
        (signal,) = part_signals(self.rule, Saved(x, scale, bias, False, [z]), relevance)
        back = x * statistics.centre(signal * scale)
        if bias is not None and self.rule.bias == "distribute":  # a neuron reads the values of its group
            back = back + (statistics.mean(signal * bias) if statistics.centred else signal * bias)
        return (back,)
