"""Uninformative baselines: maps that do not depend on the network, beside which every method is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from neuroxai.evaluation.heatmaps.randomisation import Explanation


class Noise:
    """White noise, or noise smoothed by a Gaussian of `sigma` voxels; drawn anew at each call.

    Parameters
    ----------
    sigma : float
        0 for white noise.
    seed : int
        Of the first draw.
    """

    def __init__(self, sigma: float = 0.0, seed: int = 0) -> None:
        import torch

        self._sigma, self._generator = sigma, torch.Generator().manual_seed(seed)

    def attribute(self, inputs: Tensor, target: Any = None) -> Tensor:
        """Draw maps shaped like the inputs."""
        import torch
        from monai.networks.layers import GaussianFilter

        drawn = torch.randn(inputs.shape, generator=self._generator).to(inputs)
        if self._sigma == 0:
            return drawn
        smooth: Tensor = GaussianFilter(inputs.ndim - 2, self._sigma, approx="sampled").to(inputs)(drawn)
        return smooth.detach()


class Intensity:
    """The scan's own magnitude: an anatomical picture that every network shares."""

    def attribute(self, inputs: Tensor, target: Any = None) -> Tensor:
        """Return the inputs' magnitude."""
        return inputs.detach().abs()


class _Seeds:
    """A seed of its own for each model that a control is made for."""

    def __init__(self, sigma: float, first: int) -> None:
        self._sigma, self._next = sigma, first

    def __call__(self, model: nn.Module) -> Explanation:
        self._next += 1
        return Noise(self._sigma, self._next)


def controls(seed: int = 0) -> dict[str, Callable[[nn.Module], Explanation]]:
    """Return the controls by name: white noise, smooth noise, and the scan itself."""
    return {"noise": _Seeds(0.0, seed), "smooth noise": _Seeds(3.0, seed + 10**6), "scan": lambda model: Intensity()}


CONTROLS = tuple(controls())
