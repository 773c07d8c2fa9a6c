"""Gradient methods over random draws: noisy copies of a scan, and places between it and its baselines.

What is drawn comes from a generator of its own, on the CPU in float32, so that torch's random stream stays where it is
and a seed means the same draws on every device. All scans of a batch see the same draws; so do a cohort's scans, and a
scan's map does not depend on its company. One drawn copy of the batch is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from neuroxai.attribution.base import MOST, Method, Scores, check_option
from neuroxai.attribution.baselines import Baselines, baselines_for, check_baselines
from neuroxai.attribution.gradient.deep_lift import deep_lift
from neuroxai.attribution.gradient.gradients import (
    Found,
    GradientMethod,
    gradient_x_input,
    guided_backprop,
    integrated_gradients,
    plain_gradients,
    saliency,
)
from neuroxai.checks import among, number, whole
from neuroxai.lrp.given import Given

Samples = Iterator[tuple[Tensor, ...]]
_OF: dict[str, Callable[[nn.Module], GradientMethod]] = {
    "gradient": saliency,  # signed: its size is taken behind the run
    "gradient_x_input": gradient_x_input,
    "guided_backprop": guided_backprop,
    "integrated_gradients": integrated_gradients,
    "deep_lift": deep_lift,
}


def smooth_grad(
    model: nn.Module, *, nt_samples: int = 25, stdevs: float = 0.15, seed: int = 0, absolute: bool = False,
    of: str = "gradient",
) -> GradientMethod:  # fmt: skip
    """Mean gradient over noisy copies of the scan (Smilkov 2017).

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
        Return the size of the mean only.
    of : {"gradient", "gradient_x_input", "guided_backprop", "integrated_gradients", "deep_lift"}
        What is taken of each copy, with its own defaults.

    Raises
    ------
    InputError
        If an option's value does not fit.
    """
    return _over_noise(model, _mean, nt_samples, stdevs, seed, of, absolute)


def smooth_grad_squared(
    model: nn.Module, *, nt_samples: int = 25, stdevs: float = 0.15, seed: int = 0, of: str = "gradient"
) -> GradientMethod:
    """Mean squared gradient over noisy copies of the scan (Hooker 2019); options as of `smooth_grad`."""
    return _over_noise(
        model, lambda each: _mean(tuple(g**2 for g in one) for one in each), nt_samples, stdevs, seed, of
    )


def var_grad(
    model: nn.Module, *, nt_samples: int = 25, stdevs: float = 0.15, seed: int = 0, of: str = "gradient"
) -> GradientMethod:
    """Variance of the gradient over noisy copies of the scan (Adebayo 2018; Seo 2018); options as of `smooth_grad`."""
    return _over_noise(model, _variance, nt_samples, stdevs, seed, of)


def gradient_shap(
    model: nn.Module, *, n_samples: int = 50, baselines: Baselines = 0.0, stdevs: float = 0.0, seed: int = 0
) -> GradientMethod:
    """Gradient times difference from a baseline, at random places between them (GradientShap, Lundberg 2017).

    The mean over draws of a baseline, a place on the way from it to the scan, and noise: Shapley values of a score that
    were linear in between. Places are drawn one in each of as many equal parts of the way, and all baselines equally
    often, so that few draws come nearer to the mean than captum's, whose limit is the same.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    n_samples : int
        Draws, one pass each.
    baselines : float, str, torch.Tensor, list, callable or tuple of these
        As `neuroxai.attribution.gradient.gradients.integrated_gradients` takes them; one of several is drawn each time.
    stdevs : float
        Standard deviation of noise added to the scan, as a part of its range.
    seed : int
        Of the draws.

    Raises
    ------
    InputError
        If an option's value does not fit.
    """
    check_option("n_samples", n_samples, whole(1, MOST))
    check_baselines(baselines)
    check_option("stdevs", stdevs, number(0))
    check_option("seed", seed, whole(0))

    def run(method: Method, copy: nn.Module, given: Given) -> Found:
        generator, scores = torch.Generator().manual_seed(seed), Scores(copy, given)
        starts = baselines_for(given.inputs, baselines)
        rounds = -(-n_samples // len(starts))
        which = torch.cat([torch.randperm(len(starts), generator=generator) for _ in range(rounds)])[
            :n_samples
        ].tolist()
        parts = torch.randperm(n_samples, generator=generator) + torch.rand(n_samples, generator=generator)

        def score(inputs: tuple[Tensor, ...]) -> Tensor:
            found: Tensor = scores(*inputs, *given.more)
            return found.gather(1, given.indices[:, None])[:, 0]

        with torch.no_grad():
            end, begin = score(given.inputs), {n: score(starts[n]) for n in set(which)}
        total = [torch.zeros_like(x) for x in given.inputs]
        for start, place in zip((starts[n] for n in which), (parts / n_samples).tolist(), strict=True):
            ways = [x - x0 for x, x0 in zip(_noisy(given, stdevs, generator), start, strict=True)]
            there = (x0 + place * way for x0, way in zip(start, ways, strict=True))
            slopes = plain_gradients(method, copy, _at(given, there))
            total = [a + way * g / n_samples for a, way, g in zip(total, ways, slopes, strict=True)]
        return Found(tuple(total), end, torch.stack([begin[n] for n in which]).mean(0))

    return GradientMethod(model, run, complete=True)


def _over_noise(
    model: nn.Module, gather: Callable[[Samples], list[Tensor]], nt_samples: int, stdevs: float, seed: int, of: str,
    absolute: bool = False,
) -> GradientMethod:  # fmt: skip
    check_option("nt_samples", nt_samples, whole(1, MOST))
    check_option("stdevs", stdevs, number(0))
    check_option("seed", seed, whole(0))
    check_option("of", of, among(tuple(_OF)))
    each = _OF[of](model).run

    def run(method: Method, copy: nn.Module, given: Given) -> Found:
        generator = torch.Generator().manual_seed(seed)
        copies = (_at(given, _noisy(given, stdevs, generator)) for _ in range(nt_samples))
        return Found(tuple(gather(each(method, copy, there).attributions for there in copies)))

    return GradientMethod(model, run, absolute=absolute)


def _noisy(given: Given, stdevs: float, generator: torch.Generator) -> list[Tensor]:
    """Return a noisy copy of each input."""
    found = []
    for x in given.inputs:
        level = stdevs * (x.flatten(1).amax(1) - x.flatten(1).amin(1)).detach()
        noise = torch.randn(x.shape[1:], generator=generator, dtype=torch.float32).to(x)
        found.append(x.detach() + level.view(-1, *[1] * (x.ndim - 1)) * noise)
    return found


def _at(given: Given, inputs: Iterator[Tensor] | list[Tensor]) -> Given:
    return replace(given, inputs=tuple(x.requires_grad_(True) for x in inputs))


def _mean(samples: Samples, of: Callable[[Tensor], Tensor] = torch.Tensor.detach) -> list[Tensor]:
    total, count = [of(x.detach()) for x in next(samples)], 1
    for sample in samples:
        total, count = [a + of(b.detach()) for a, b in zip(total, sample, strict=True)], count + 1
    return [one / count for one in total]


def _mean_square(samples: Samples) -> list[Tensor]:
    return _mean(samples, torch.square)


def _variance(samples: Samples) -> list[Tensor]:
    """Welford 1962, which loses no digits where the mean is far from zero."""
    mean, count = [x.detach() for x in next(samples)], 1
    away = [torch.zeros_like(x) for x in mean]
    for sample in samples:
        count += 1
        steps = [x.detach() - m for x, m in zip(sample, mean, strict=True)]
        mean = [m + step / count for m, step in zip(mean, steps, strict=True)]
        left = [x.detach() - m for x, m in zip(sample, mean, strict=True)]
        away = [a + step * rest for a, step, rest in zip(away, steps, left, strict=True)]
    return [one / count for one in away]
