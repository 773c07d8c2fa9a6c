"""Gradient methods, on an evaluation-mode copy of the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroxai.attribution.base import Given, Inputs, Method, Scores, captum_call, differentiable
from neuroxai.attribution.options import Baselines, baselines_for, check_baselines, nonnegative_number, positive_integer
from neuroxai.attribution.recorded import Recorded
from neuroxai.graph.checks import out_of_memory
from neuroxai.graph.eval_copy import eval_copy
from neuroxai.lrp.targets import Target

Run = Callable[[nn.Module, Given], tuple[Tensor, ...]]
# Returns the attributions, and the classes' scores of the inputs and of the baselines, (batch,) each.
CompleteRun = Callable[[nn.Module, Given], tuple[tuple[Tensor, ...], Tensor, Tensor]]
GAP = 0.05  # part of the score's difference that attributions may miss without a word


class GradientMethod(Method):
    """A method that takes gradients.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    run : callable
        Takes an evaluation-mode copy of it and the inputs, and returns the attribution of each.
    """

    def __init__(self, model: nn.Module, run: Run) -> None:
        super().__init__(model)
        self._run = run

    @captum_call
    def attribute(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Inputs:
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
            If the model is in training mode; it is explained as in evaluation mode.
        """
        given = Given.of(self.model, inputs, target, additional_forward_args)
        with differentiable(given.tensors[0].device):
            return given.formatted(self._run(eval_copy(self.model), given.own()))


class CompleteMethod(Method):
    """A gradient method whose attributions add up to the score's difference from a baseline, and which says how nearly.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    run : callable
        As `GradientMethod` takes it; returns the scores of the inputs and of the baselines, too.
    """

    def __init__(self, model: nn.Module, run: CompleteRun) -> None:
        super().__init__(model)
        self._run = run

    @captum_call
    def attribute(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None, *,
        return_convergence_delta: bool = False,
    ) -> Any:  # fmt: skip
        """Compute the attribution of each input value to one class; see `GradientMethod.attribute`.

        Parameters
        ----------
        inputs, target, additional_forward_args
            As `GradientMethod.attribute` takes them.
        return_convergence_delta : bool
            Also return, for each sample, the sum of its attributions less the score's difference from the baseline.

        Warns
        -----
        UserWarning
            If the sum misses more than 5 % of the score's difference; if the model is in training mode.
        """
        given = Given.of(self.model, inputs, target, additional_forward_args)
        with differentiable(given.tensors[0].device):
            found, score, start = self._run(eval_copy(self.model), given.own())
            delta = gap(found, score, start)
            worst = missed(delta, score, start)
        if worst:
            warnings.warn(
                f"the attributions {worst}: read them with care, and take more n_steps or another baseline or method",
                UserWarning,
                stacklevel=3,
            )
        return (given.formatted(found), delta) if return_convergence_delta else given.formatted(found)

    def has_convergence_delta(self) -> bool:
        """Whether ``attribute`` takes `return_convergence_delta`."""
        return True


def gap(found: tuple[Tensor, ...], score: Tensor, start: Tensor) -> Tensor:
    """Return by how much each sample's attributions miss the score's difference from the baseline, (batch,)."""
    total = torch.stack([one.flatten(1).sum(1) for one in found]).sum(0)
    return (total - (score - start)).detach()


def missed(delta: Tensor, score: Tensor, start: Tensor) -> str:
    """Say how far attributions are from adding up, or "" where they do but for 5 % and rounding."""
    difference = (score - start).detach()
    rounding = 1e-4 * torch.maximum(score.abs(), start.abs()).detach()
    beyond = delta.abs() - GAP * difference.abs() - rounding
    worst = int(beyond.argmax())
    if beyond[worst] <= 0:
        return ""
    total = float(delta[worst] + difference[worst])
    return (
        f"of sample {worst} add up to {total:.4g}, but the score differs from the baseline's by {difference[worst]:.4g}"
    )


def plain_gradients(copy: nn.Module, given: Given) -> tuple[Tensor, ...]:
    """Return the gradients of the classes' scores.

    Where torch cannot take them (checkpointing by re-entering), they are those of what was recorded.
    """
    scores = Scores(copy, given)(*given.tensors, *given.more)
    try:
        return given.gradients(scores)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        network = Recorded.of(eval_copy(copy), given)
        _, kept = network.run(*network.inputs, keep=(network.record.result,), check=True)
        return given.gradients(kept[network.record.result])


def saliency(model: nn.Module, *, absolute: bool = True) -> GradientMethod:
    """Gradient of the class score (Simonyan 2014); `absolute`: its size only."""

    def run(copy: nn.Module, given: Given) -> tuple[Tensor, ...]:
        found = plain_gradients(copy, given)
        return tuple(one.abs() for one in found) if absolute else found

    return GradientMethod(model, run)


def gradient_x_input(model: nn.Module) -> GradientMethod:
    """Gradient times input (Shrikumar 2016)."""

    def run(copy: nn.Module, given: Given) -> tuple[Tensor, ...]:
        return tuple(g * x for g, x in zip(plain_gradients(copy, given), given.tensors, strict=True))

    return GradientMethod(model, run)


def smooth_grad(
    model: nn.Module, *, nt_samples: int = 25, stdevs: float = 0.15, seed: int = 0, absolute: bool = False
) -> GradientMethod:
    """Mean gradient over noisy copies of the scan (Smilkov 2017).

    Noise comes from a generator of its own, drawn on the CPU in float32, so that torch's random stream stays where it
    is and a seed means the same noise on every device. All scans of a batch see the same noise, each at its own level;
    so do a cohort's scans, and a scan's map does not depend on its company. One noisy copy of the batch is in memory
    at a time.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    nt_samples : int
        Noisy copies.
    stdevs : float
        Standard deviation of the noise, as a part of each scan's range (largest minus smallest value); Smilkov 2017
        takes .1 to .2.
    seed : int
        Seed of the noise.
    absolute : bool
        Return the size of the mean gradient only.

    Raises
    ------
    InputError
        If an option's value does not fit.
    """
    positive_integer("nt_samples", nt_samples)
    nonnegative_number("stdevs", stdevs)
    positive_integer("seed", seed, least=0)

    def run(copy: nn.Module, given: Given) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        levels = [stdevs * (x.flatten(1).amax(1) - x.flatten(1).amin(1)).detach() for x in given.tensors]
        total = [torch.zeros_like(x) for x in given.tensors]
        for _ in range(nt_samples):
            noisy = []
            for x, level in zip(given.tensors, levels, strict=True):
                noise = torch.randn(x.shape[1:], generator=generator, dtype=torch.float32).to(x)
                noisy.append(x.detach() + level.view(-1, *[1] * (x.ndim - 1)) * noise)
            leaves = replace(given, tensors=tuple(x.requires_grad_(True) for x in noisy))
            total = [a + b for a, b in zip(total, plain_gradients(copy, leaves), strict=True)]
        found = tuple(one / nt_samples for one in total)
        return tuple(one.abs() for one in found) if absolute else found

    return GradientMethod(model, run)


def integrated_gradients(model: nn.Module, *, n_steps: int = 50, baselines: Baselines = 0.0) -> CompleteMethod:
    """Integrated gradients (Sundararajan 2017) from a baseline; runs `n_steps` passes of the batch, one at a time.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    n_steps : int
        Points of the path at which the gradient is taken.
    baselines : float, torch.Tensor or tuple of these
        Where the path starts: a constant image, or one image, shape (channels, *spatial), for all samples; a tuple of
        one per input for several inputs.

    Raises
    ------
    InputError
        If `n_steps` is not a positive integer or `baselines` not a finite number or image.
    """
    positive_integer("n_steps", n_steps)
    check_baselines(baselines)

    def run(copy: nn.Module, given: Given) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        scores, start = Scores(copy, given), baselines_for(given.tensors, baselines)
        with torch.no_grad():
            ends = [scores(*x, *given.more).gather(1, given.indices[:, None])[:, 0] for x in (given.tensors, start)]
        found = [torch.zeros_like(x) for x in given.tensors]
        for place, weight in zip(*np.polynomial.legendre.leggauss(n_steps), strict=True):  # on [-1, 1]
            share = (float(place) + 1) / 2
            between = (x0 + share * (x - x0) for x, x0 in zip(given.tensors, start, strict=True))
            leaves = replace(given, tensors=tuple(x.detach().requires_grad_(True) for x in between))
            gradients = plain_gradients(copy, leaves)
            found = [total + float(weight) / 2 * g for total, g in zip(found, gradients, strict=True)]
        found = [g * (x - x0) for g, x, x0 in zip(found, given.tensors, start, strict=True)]
        return tuple(found), ends[0], ends[1]

    return CompleteMethod(model, run)
