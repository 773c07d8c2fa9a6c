"""DeepLIFT by the rescale rule, for any elementwise activation and any max-pooling."""

from __future__ import annotations

import warnings
from typing import Any

import captum.attr
import torch
from captum._utils.common import _register_backward_hook
from torch import Tensor, nn

from neuroxai.attribution.gradients import GradientMethod, Scores
from neuroxai.attribution.options import baseline_for, check_baseline
from neuroxai.attribution.traced import Knowledge, Nonlinear
from neuroxai.lrp import operations as known

_LAYERS = {kind.__name__.lower() for kind in known.ACTIVATIONS}
_KNOWN = Knowledge(
    "deep_lift",
    activations=_LAYERS | set(known.ACTIVATION_NAMES) | {"foreign"},
    pools=True,
    layers=(),
    link="skip",
    way_out=(
        "has no rule for it: it knows linear layers, batch norm with running statistics, elementwise activations, "
        "max-pooling and sums; anything else would break the sum of the contributions. Use integrated_gradients for "
        "this network"
    ),
)
_SMALLEST = {torch.float32: 1e-6, torch.float64: 1e-10}  # below it a quotient of differences is rounding


def deep_lift(model: nn.Module, *, baseline: float | Tensor = 0.0) -> GradientMethod:
    """DeepLIFT's rescale rule (Shrikumar 2017): what each value contributes to the difference from a baseline.

    The contributions add up to the score of the scan minus that of the baseline. A softmax or sigmoid at the very end
    is looked through (Shrikumar 2017, section 3.6). Where an activation's input does not differ from the baseline's,
    its gradient stands in for the quotient, the mean of both.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    baseline : float or torch.Tensor
        A constant image, or one image, shape (channels, *spatial), for all samples.

    Raises
    ------
    UnsupportedLayerError
        If the network has a layer or operation without a rule, or cannot be traced.
    InputError
        If `baseline` is not a finite number or image.
    """
    check_baseline(baseline)
    survey = _KNOWN.survey(model)

    def run(scores: Scores, x: Tensor, target: Tensor) -> Tensor:
        method = _DeepLift(scores, eps=_SMALLEST[x.dtype])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
            found: Tensor = method.attribute(x, baselines=baseline_for(x, baseline), target=target)
        return found

    return GradientMethod(model, run, rewired=survey.of)


class _DeepLift(captum.attr.DeepLift):  # type: ignore[misc]  # captum is untyped
    """Captum's, with its rules on what tracing found, and a rule for max-pooling that loses nothing.

    Captum 0.9 overwrites contributions where pooling windows overlap, and where an input equals its baseline takes the
    first sample's gradient for all. Both rules here give the scan's half of the batch and the baseline's the same
    multipliers, which the rescale rule rests on.
    """

    def _register_hooks(self, module: nn.Module, attribute_to_layer_input: bool = True) -> None:
        if not isinstance(module, Nonlinear):
            return
        self.forward_handles.append(module.register_forward_pre_hook(self._forward_pre_hook))
        self.forward_handles.append(module.register_forward_hook(self._forward_hook))
        self.backward_handles.extend(_register_backward_hook(module, self._backward_hook, self))

    def _backward_hook(self, module: Any, grad_input: Tensor, grad_output: Tensor) -> Tensor:
        difference, ours = _difference(module.input), _mean(grad_input)
        if module.pool is None:
            arrived = _mean(grad_output) * _difference(module.output)
        else:
            arrived = _pooled(module, grad_output)
        near = difference.abs() < self.eps
        multipliers = torch.where(near, ours, arrived / torch.where(near, torch.ones_like(difference), difference))
        del module.input, module.output
        return torch.cat([multipliers, multipliers])


def _difference(both: Tensor) -> Tensor:
    scan, baseline = both.chunk(2)
    return scan - baseline


def _mean(both: Tensor) -> Tensor:
    scan, baseline = both.chunk(2)
    return (scan + baseline) / 2


def _pooled(module: Any, grad_output: Tensor) -> Tensor:
    """Share each window's difference between the scan's winner and the baseline's, by who is larger."""
    _, winners = module.pool(module.input)
    scan, baseline = module.output.chunk(2)
    larger = torch.maximum(scan, baseline)
    gradient = _mean(grad_output)
    parts = torch.cat([gradient * (larger - baseline), gradient * (scan - larger)])
    return torch.stack(winners.scatter(parts).chunk(2)).sum(dim=0)
