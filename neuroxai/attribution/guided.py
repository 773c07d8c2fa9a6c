"""Guided back-propagation through ReLU and ELU, as layers, functions or methods."""

from __future__ import annotations

import warnings

import captum.attr
from captum._utils.common import _register_backward_hook
from torch import Tensor, nn

from neuroxai.attribution.gradients import GradientMethod, Scores
from neuroxai.attribution.traced import Knowledge, Nonlinear
from neuroxai.lrp.pooling import POOLS

_NORMS = (nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm)
_MAXIMA = (*POOLS, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
_KNOWN = Knowledge(
    "guided_backprop",
    activations=("relu", "elu"),
    pools=False,
    layers=(*_NORMS, *_MAXIMA),
    link="keep",
    way_out=(
        "knows ReLU and ELU as the only activations; any other would keep its plain gradient. Use saliency or an lrp "
        "method for this network"
    ),
)


class _Guided(captum.attr.GuidedBackprop):  # type: ignore[misc]  # captum is untyped
    """Captum's, with its rule on the activations that tracing found instead of on ``nn.ReLU`` layers."""

    def _register_hooks(self, module: nn.Module) -> None:
        if isinstance(module, Nonlinear):
            self.backward_hooks.extend(_register_backward_hook(module, self._backward_hook, self))


def guided_backprop(model: nn.Module, *, absolute: bool = False) -> GradientMethod:
    """Guided back-propagation (Springenberg 2015); `absolute`: its size only, as in Boehle 2019.

    At each activation the gradient becomes ``f'(x) max(gradient, 0)``. For ReLU this is Springenberg's rule; for ELU,
    whose slope is positive everywhere, it is that rule with ELU's own slope in place of ReLU's 0 or 1: what comes back
    must be positive, but a unit below zero is dimmed instead of shut.

    Raises
    ------
    UnsupportedLayerError
        If the network has other activations, or cannot be traced.
    """
    survey = _KNOWN.survey(model)

    def run(scores: Scores, x: Tensor, target: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting backward hooks")
            found: Tensor = _Guided(scores).attribute(x, target=target)
        return found.abs() if absolute else found

    return GradientMethod(model, run, rewired=survey.of)
