"""Checks of options that several methods share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from neuroxai.errors import InputError

MOST = 100_000  # passes of a network for one scan: days


def positive_integer(name: str, value: object, least: int = 1, most: int = 2**63 - 1) -> None:
    """Refuse anything but an integer of at least `least` and at most `most`.

    Raises
    ------
    InputError
        Naming the option.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        expected = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise InputError(f"{name} is {value!r}; {expected} is expected")
    if value > most:
        raise InputError(f"{name} is {value}; at most {most} is expected")


def nonnegative_number(name: str, value: object) -> None:
    """Refuse anything but a finite number >= 0.

    Raises
    ------
    InputError
        Naming the option.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise InputError(f"{name} is {value!r}; a finite number >= 0 is expected")


Baselines = float | Tensor | tuple[float | Tensor, ...]


def check_baselines(baselines: object) -> None:
    """Refuse baselines that are neither finite numbers nor finite images.

    Raises
    ------
    InputError
        Saying what is expected.
    """
    expected = "a finite number or one image as a torch.Tensor (channels, *spatial) is expected"
    for one in baselines if isinstance(baselines, tuple) else (baselines,):
        if isinstance(one, Tensor):
            if not bool(torch.isfinite(one).all()):
                raise InputError(f"baselines of shape {tuple(one.shape)} hold NaN or infinite values; {expected}")
        elif not isinstance(one, int | float) or isinstance(one, bool) or not math.isfinite(one):
            raise InputError(f"baselines are {one!r}; {expected}")


def baselines_for(inputs: Sequence[Tensor], baselines: Baselines) -> tuple[Tensor, ...]:
    """Return the baseline of each input of a batch, shaped like it.

    Raises
    ------
    InputError
        If an image does not have the inputs' channels and grid.
    """
    each = baselines if isinstance(baselines, tuple) else (baselines,) * len(inputs)
    if len(each) != len(inputs):
        raise InputError(f"baselines are {len(each)} for {len(inputs)} inputs; one per input is expected")
    return tuple(_baseline_for(x, one) for x, one in zip(inputs, each, strict=True))


def _baseline_for(x: Tensor, baseline: float | Tensor) -> Tensor:
    if not isinstance(baseline, Tensor):
        return torch.full_like(x, float(baseline), requires_grad=False)
    if baseline.shape != x.shape[1:]:
        raise InputError(
            f"baselines have shape {tuple(baseline.shape)}; the inputs' channels and grid {tuple(x.shape[1:])} are "
            "expected"
        )
    return baseline.detach().to(x).expand_as(x).clone()
