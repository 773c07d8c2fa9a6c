"""Gradient methods, done by Captum on an evaluation-mode double of the model.

The double shares the parameters but has its own hooks and training flags, so nothing that Captum attaches reaches the
model, BatchNorm's running statistics never move, and one instance serves many threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

from neuroxai.attribution.options import MOST, baseline_for, check_baseline, positive_integer
from neuroxai.errors import InputError
from neuroxai.lrp.shadow import shadow, unwrapped, warn_if_training
from neuroxai.lrp.targets import Target, check_target, checked_input, class_scores, out_of_memory, target_indices

Run = Callable[["Scores", Tensor, Tensor], Tensor]


class Scores(nn.Module):
    """The double's scores, (batch, classes), with the target held against their number."""

    def __init__(self, double: nn.Module, target: Target, indices: Tensor) -> None:
        super().__init__()
        self.network = double
        self._target, self._indices = target, indices

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores."""
        try:
            outputs = self.network(x)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise InputError(f"the network cannot take an input of shape {tuple(x.shape)}: {error}") from error
        scores = class_scores(outputs)
        if len(scores) != len(x):
            raise InputError(f"the network makes {len(scores)} scores of {len(x)} samples; (batch, classes) is wanted")
        check_target(self._target, self._indices, scores.shape[1])
        return scores


class GradientMethod(captum.attr.Attribution):  # type: ignore[misc]  # captum is untyped
    """A Captum method that leaves the model as it is.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    run : callable
        Takes the scores module, inputs and target indices, and returns Captum's attribution.
    rewired : callable, optional
        Takes the double, whose activations then never write into their input, and returns the network that Captum sees;
        the double as it is if left out.
    """

    def __init__(self, model: nn.Module, run: Run, rewired: Callable[[nn.Module], nn.Module] | None = None) -> None:
        shadow(unwrapped(model))  # refuse what cannot be doubled now, not at the first call
        super().__init__(model)
        self.model = model
        self._run, self._rewired = run, rewired

    def attribute(self, inputs: Tensor, target: Target = None) -> Tensor:
        """Compute the attribution of each input value to one class.

        Parameters
        ----------
        inputs : torch.Tensor
            (batch, channels, *spatial) or (batch, features), float32 or float64, finite.
        target : int, sequence of int or torch.Tensor, optional
            Class index, one for all or one a sample. May be None (or 0) where the network has one output.

        Returns
        -------
        torch.Tensor
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
        return self._attribute(inputs, target, self._run)

    def _attribute(self, inputs: Tensor, target: Target, run: Run) -> Tensor:
        warn_if_training(self.model)
        x = checked_input(inputs, self.model)
        indices = target_indices(target, len(x), x.device)
        network = shadow(unwrapped(self.model), inplace=self._rewired is None)
        if self._rewired is not None:
            network = self._rewired(network)
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
            x, indices = x.clone().requires_grad_(True), indices.clone()  # the caller's may be inference tensors
            return run(Scores(network, target, indices), x, indices).detach()


def saliency(model: nn.Module, *, absolute: bool = True) -> GradientMethod:
    """Gradient of the class score (Simonyan 2014); `absolute`: its size only."""

    def run(scores: Scores, x: Tensor, target: Tensor) -> Tensor:
        found: Tensor = captum.attr.Saliency(scores).attribute(x, target=target, abs=absolute)
        return found

    return GradientMethod(model, run)


def gradient_x_input(model: nn.Module) -> GradientMethod:
    """Gradient times input (Shrikumar 2016)."""

    def run(scores: Scores, x: Tensor, target: Tensor) -> Tensor:
        found: Tensor = captum.attr.InputXGradient(scores).attribute(x, target=target)
        return found

    return GradientMethod(model, run)


def integrated_gradients(model: nn.Module, *, steps: int = 50, baseline: float | Tensor = 0.0) -> GradientMethod:
    """Integrated gradients (Sundararajan 2017) from a baseline; runs `steps` passes of the batch, one at a time.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    steps : int
        Points of the path at which the gradient is taken.
    baseline : float or torch.Tensor
        Where the path starts: a constant image, or one image, shape (channels, *spatial), for all samples.

    Raises
    ------
    InputError
        If `steps` is not a positive integer or `baseline` not a finite number or image.
    """
    positive_integer("steps", steps, most=MOST)
    check_baseline(baseline)

    def run(scores: Scores, x: Tensor, target: Tensor) -> Tensor:
        options: dict[str, Any] = {"n_steps": steps, "internal_batch_size": len(x)}
        options["baselines"] = baseline_for(x, baseline)
        found: Tensor = captum.attr.IntegratedGradients(scores).attribute(x, target=target, **options)
        return found

    return GradientMethod(model, run)
