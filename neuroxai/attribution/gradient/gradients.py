"""Gradient methods, on an evaluation-mode copy of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from neuroxai.attribution.base import (
    MOST,
    Method,
    Recorded,
    Scores,
    check_option,
)
from neuroxai.attribution.baselines import Baselines, baselines_for, check_baselines
from neuroxai.checks import whole
from neuroxai.errors import InputError, warn
from neuroxai.graph.checks import out_of_memory, refuse_quantised
from neuroxai.graph.eval_copy import eval_copy, own_buffers
from neuroxai.graph.execute import call_of
from neuroxai.graph.operations import kind_of
from neuroxai.lrp.given import Given, Inputs, Target, captum_call, with_gradients

_WAY_OUT = (
    "guided_backprop knows ReLU and ELU as the only activations; any other would keep its plain gradient. Use saliency "
    "or an lrp method for this network"
)
GAP = 0.05  # part of the score's difference that attributions may miss without a word


@dataclass(frozen=True)
class Found:
    """What a method found: attributions and, where these add up to a difference of scores, both scores, (batch,)."""

    attributions: tuple[Tensor, ...]
    score: Tensor | None = None
    start: Tensor | None = None

    def delta(self) -> Tensor:
        """Return by how much each sample's attributions miss the score's difference from the baseline, (batch,)."""
        total: Any = sum(one.flatten(1).sum(1) for one in self.attributions)
        return (total - (self.score - self.start)).detach()  # type: ignore[no-any-return, operator]  # if it has both

    def missed(self) -> str:
        """Say how far attributions are from adding up, or "" where they do but for 5 % and rounding."""
        if self.score is None or self.start is None:
            return ""
        delta, difference = self.delta(), (self.score - self.start).detach()
        rounding = 1e3 * torch.finfo(delta.dtype).eps * torch.maximum(self.score.abs(), self.start.abs()).detach()
        beyond = delta.abs() - GAP * difference.abs() - rounding
        worst = int(beyond.argmax())
        if beyond[worst] <= 0:
            return ""
        total, due = float(delta[worst] + difference[worst]), float(difference[worst])
        return f"of sample {worst} add up to {total:.4g}, but the score differs from the baseline's by {due:.4g}"


def averaged(each: Sequence[Found]) -> Found:
    """Return the mean of attributions from several baselines; the start is their mean score."""
    if len(each) == 1:
        return each[0]
    total = [torch.stack(parts).mean(0) for parts in zip(*(one.attributions for one in each), strict=True)]
    return Found(tuple(total), each[0].score, torch.stack([one.start for one in each if one.start is not None]).mean(0))


Run = Callable[[Method, nn.Module, Given], Found]


class GradientMethod(Method):
    """A method that takes gradients.

    `run` takes this method, an evaluation-mode copy of the model and the inputs, and returns what it finds; `complete`
    attributions add up to the score's difference from a baseline; of `absolute` ones the sizes only are returned.
    """

    def __init__(self, model: nn.Module, run: Run, complete: bool = False, absolute: bool = False) -> None:
        super().__init__(model)
        self.run, self._complete, self._absolute = run, complete, absolute

    @captum_call
    def attribute(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, *,
        return_convergence_delta: bool = False,
    ) -> Any:  # fmt: skip
        """Compute the attribution of each input value to one class.

        Parameters
        ----------
        inputs : torch.Tensor or tuple of torch.Tensor
            (batch, channels, *spatial) or (batch, features), float32 or float64, finite; several where the model's
            forward takes several.
        target : int, sequence of int or torch.Tensor, optional
            Class index, one for all or one per sample. May be None (or 0) where the network has one output.
        additional_forward_args : any or tuple, optional
            Further arguments of the model's forward, which are not explained.
        return_convergence_delta : bool
            Also return, for each sample, the sum of its attributions less the score's difference from the baseline
            (integrated gradients and DeepLIFT).

        Returns
        -------
        torch.Tensor or tuple of torch.Tensor
            Shaped like `inputs`, same dtype and device.

        Raises
        ------
        InputError
            For inputs or targets that do not fit the network.

        Warns
        -----
        UserWarning
            If the sum misses more than 5 % of the score's difference; if the model is in training mode, for it is
            explained as in evaluation mode.
        """
        if return_convergence_delta and not self._complete:
            raise InputError("attributions of this method need not add up: it has no convergence delta to return")
        given = Given.of(self.model, inputs, additional_forward_args, target)
        with with_gradients(given.device):
            copy = eval_copy(self.model)
            own_buffers(copy)
            refuse_quantised(copy)
            found = self.run(self, copy, given.own())
        formatted = given.formatted([one.abs() for one in found.attributions] if self._absolute else found.attributions)
        worst = found.missed()
        if worst:
            warn(
                f"the attributions {worst}: read them with care, and take more n_steps (or n_samples), or another "
                "baseline or method"
            )
        return (formatted, found.delta()) if return_convergence_delta else formatted

    def has_convergence_delta(self) -> bool:
        """Whether ``attribute`` takes `return_convergence_delta`."""
        return self._complete


def plain_gradients(method: Method, copy: nn.Module, given: Given) -> tuple[Tensor, ...]:
    """Return the gradients of the classes' scores; from a record where the network itself gives none."""
    try:
        return given.gradients(Scores(copy, given)(*given.arguments))
    except (RuntimeError, InputError) as error:  # reentrant checkpoints refuse, and what is written in place
        if out_of_memory(error) or not isinstance(error.__cause__ or error, RuntimeError):
            raise
        network = method.recorded(given)
        return given.gradients(network.run(*given.tensors, check=True)[1][network.record.result])


def summed_gradients(
    method: Method, copy: nn.Module, given: Given, points: Iterable[tuple[float, Iterable[Tensor]]]
) -> list[Tensor]:
    """Return the sum of the gradients at points, of pairs (weight, inputs)."""
    total = [torch.zeros_like(x) for x in given.inputs]
    for weight, inputs in points:
        there = replace(given, inputs=tuple(x.requires_grad_(True) for x in inputs))
        total = [a + weight * b for a, b in zip(total, plain_gradients(method, copy, there), strict=True)]
    return total


def saliency(model: nn.Module, *, absolute: bool = True) -> GradientMethod:
    """Gradient of the class score (Simonyan 2014); `absolute`: its size only."""
    return GradientMethod(model, lambda *given: Found(plain_gradients(*given)), absolute=absolute)


def gradient_x_input(model: nn.Module) -> GradientMethod:
    """Gradient times input (Shrikumar 2016)."""

    def run(method: Method, copy: nn.Module, given: Given) -> Found:
        return Found(tuple(g * x for g, x in zip(plain_gradients(method, copy, given), given.inputs, strict=True)))

    return GradientMethod(model, run)


def integrated_gradients(model: nn.Module, *, n_steps: int = 50, baselines: Baselines = 0.0) -> GradientMethod:
    """Integrated gradients (Sundararajan 2017) from a baseline, by Gauss and Legendre's sum as captum takes it.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    n_steps : int
        Points of the path at which the gradient is taken, one pass of the batch each.
    baselines : float, str, torch.Tensor, list, callable or tuple of these
        Where the path starts: a constant image, or one image, shape (channels, *spatial), for all samples; of a list
        of images, or what `neuroxai.attribution.ControlReference.baselines` makes, the mean of the attributions from
        each; a tuple of one per input for several inputs.

    Raises
    ------
    InputError
        If `n_steps` is not a whole number above 0 or `baselines` not a finite number or image.
    """
    check_option("n_steps", n_steps, whole(1, MOST))
    check_baselines(baselines)

    def run(method: Method, copy: nn.Module, given: Given) -> Found:
        return averaged([along(copy, method, given, start) for start in baselines_for(given.inputs, baselines)])

    def along(copy: nn.Module, method: Method, given: Given, start: tuple[Tensor, ...]) -> Found:
        scores = Scores(copy, given)
        with torch.no_grad():
            ends = [scores(*x, *given.more).gather(1, given.indices[:, None])[:, 0] for x in (given.inputs, start)]

        def point(place: float) -> Iterator[Tensor]:
            return (x0 + (1 + place) / 2 * (x.detach() - x0) for x, x0 in zip(given.inputs, start, strict=True))

        path = zip(*np.polynomial.legendre.leggauss(n_steps), strict=True)
        points = ((float(weight) / 2, point(float(place))) for place, weight in path)
        total = summed_gradients(method, copy, given, points)
        found = tuple(a * (x.detach() - x0) for a, x, x0 in zip(total, given.inputs, start, strict=True))
        return Found(found, *ends)

    return GradientMethod(model, run, complete=True)


def guided_backprop(model: nn.Module, *, absolute: bool = False) -> GradientMethod:
    """Guided back-propagation (Springenberg 2015); `absolute`: its size only, as in Boehle 2019.

    At each activation the gradient becomes ``f'(x) max(gradient, 0)``. For ReLU this is Springenberg's rule; for ELU,
    whose slope is positive everywhere, it is that rule with ELU's own slope in place of ReLU's 0 or 1: what comes back
    must be positive, but a unit below zero is dimmed instead of shut. The calls are found by running the network once
    (`neuroxai.graph.record`); other activations are refused when ``attribute`` is called. A softmax or sigmoid at the
    very end keeps its gradient.
    """

    def run(method: Method, copy: nn.Module, given: Given) -> Found:
        network = method.recorded(given)
        network.check_gradient(copy, given)
        replaced = {node: rule for node in network.calls if (rule := _positive(network, node)) is not None}
        _, kept = network.run(*given.tensors, replaced=replaced, check=True)
        return Found(given.gradients(kept[network.record.result]))

    return GradientMethod(model, run, absolute=absolute)


def _positive(network: Recorded, node: fx.Node) -> Callable[..., Any] | None:
    """Return how an activation is run; None for a call that keeps its gradient."""
    if node.meta["operation"] not in ("relu", "elu"):
        if not network.is_linear(node) and kind_of(node) not in ("norm", "max"):
            raise network.refuse(node, _WAY_OUT)
        return None
    call = call_of(network.record, node)

    def rule(*values: Any) -> Any:
        out = call(*values)
        if out.requires_grad:  # of a backbone that gives no gradients there is nothing to clamp
            out.register_hook(lambda gradient: gradient.clamp(min=0))
        return out

    return rule
