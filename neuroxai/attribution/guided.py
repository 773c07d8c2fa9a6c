"""Guided back-propagation through ReLU and ELU, however they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from neuroxai.attribution.gradients import Found, GradientMethod, sized
from neuroxai.attribution.recorded import Recorded
from neuroxai.graph.execute import call_of
from neuroxai.graph.operations import kind_of
from neuroxai.lrp.given import Given

_WAY_OUT = (
    "guided_backprop knows ReLU and ELU as the only activations; any other would keep its plain gradient. Use saliency "
    "or an lrp method for this network"
)


def guided_backprop(model: nn.Module, *, absolute: bool = False) -> GradientMethod:
    """Guided back-propagation (Springenberg 2015); `absolute`: its size only, as in Boehle 2019.

    At each activation the gradient becomes ``f'(x) max(gradient, 0)``. For ReLU this is Springenberg's rule; for ELU,
    whose slope is positive everywhere, it is that rule with ELU's own slope in place of ReLU's 0 or 1: what comes back
    must be positive, but a unit below zero is dimmed instead of shut. The calls are found by running the network once
    (`neuroxai.graph.record`); other activations are refused when ``attribute`` is called. A softmax or sigmoid at the
    very end keeps its gradient.
    """

    def run(copy: nn.Module, given: Given) -> Found:
        network = Recorded.of(copy, given)
        replaced = {node: rule for node in network.calls if (rule := _rule(network, node)) is not None}
        _, kept = network.run(*network.inputs, replaced=replaced, check=True)
        return Found(sized(given.gradients(kept[network.record.result]), absolute))

    return GradientMethod(model, run)


def _rule(network: Recorded, node: fx.Node) -> Callable[..., Any] | None:
    """Return how an activation is run; None for a call that keeps its gradient."""
    if node.meta["operation"] in ("relu", "elu"):
        call = call_of(network.record, node)

        def positive(*values: Any) -> Any:
            out = call(*values)
            out.register_hook(lambda gradient: gradient.clamp(min=0))
            return out

        return positive
    if not network.is_linear(node) and kind_of(node) not in ("norm", "max"):
        raise network.refuse(node, _WAY_OUT)
    return None
