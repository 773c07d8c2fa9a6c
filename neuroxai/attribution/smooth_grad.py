"""SmoothGrad with noise of its own."""

from __future__ import annotations

import captum.attr
import torch
from torch import Tensor, nn

from neuroxai.attribution.gradients import GradientMethod, Scores
from neuroxai.attribution.options import MOST, nonnegative_number, positive_integer


def smooth_grad(
    model: nn.Module, *, samples: int = 25, noise: float = 0.15, seed: int = 0, absolute: bool = False
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
    samples : int
        Noisy copies.
    noise : float
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
    positive_integer("samples", samples, most=MOST)
    nonnegative_number("noise", noise)
    positive_integer("seed", seed, least=0)

    def run(scores: Scores, x: Tensor, target: Tensor) -> Tensor:
        spread = x.detach().flatten(1)
        level = noise * (spread.amax(dim=1) - spread.amin(dim=1))
        tunnel = _Tunnel(captum.attr.Saliency(scores), level, seed)
        found: Tensor = tunnel.attribute(x, nt_samples=samples, nt_samples_batch_size=1, target=target, abs=False)
        return found.abs() if absolute else found

    return GradientMethod(model, run)


class _Tunnel(captum.attr.NoiseTunnel):  # type: ignore[misc]  # captum is untyped
    """Captum's noise tunnel, drawing from a generator of its own instead of torch's global one."""

    def __init__(self, method: captum.attr.Saliency, level: Tensor, seed: int) -> None:
        super().__init__(method)
        self._level = level
        self._generator = torch.Generator().manual_seed(seed)

    def _add_noise_to_input(self, input: Tensor, stdev: float, nt_samples_partition: int) -> Tensor:
        noise = torch.randn(input.shape[1:], generator=self._generator, dtype=torch.float32).to(input)
        level: Tensor = self._level.view(-1, *[1] * (input.ndim - 1))
        return input + level * noise
