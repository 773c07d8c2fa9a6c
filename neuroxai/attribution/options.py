"""Checks of options that several methods share."""

from __future__ import annotations

import math

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
        wanted = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise InputError(f"{name} is {value!r}; {wanted} is wanted")
    if value > most:
        raise InputError(f"{name} is {value}; at most {most} is wanted")


def nonnegative_number(name: str, value: object) -> None:
    """Refuse anything but a finite number >= 0.

    Raises
    ------
    InputError
        Naming the option.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise InputError(f"{name} is {value!r}; a finite number >= 0 is wanted")


def check_baseline(baseline: object) -> None:
    """Refuse a baseline that is neither a finite number nor a finite image.

    Raises
    ------
    InputError
        Saying what is wanted.
    """
    wanted = "a finite number or one image as a torch.Tensor (channels, *spatial) is wanted"
    if isinstance(baseline, Tensor):
        if not bool(torch.isfinite(baseline).all()):
            raise InputError(f"baseline of shape {tuple(baseline.shape)} holds NaN or infinite values; {wanted}")
    elif not isinstance(baseline, int | float) or isinstance(baseline, bool) or not math.isfinite(baseline):
        raise InputError(f"baseline is {baseline!r}; {wanted}")


def baseline_for(x: Tensor, baseline: float | Tensor) -> Tensor:
    """Return the baseline of a batch, shaped like it.

    Raises
    ------
    InputError
        If an image does not have the inputs' channels and grid.
    """
    if not isinstance(baseline, Tensor):
        return torch.full_like(x, float(baseline), requires_grad=False)
    if baseline.shape != x.shape[1:]:
        raise InputError(
            f"baseline has shape {tuple(baseline.shape)}; the inputs' channels and grid {tuple(x.shape[1:])} are wanted"
        )
    return baseline.detach().to(x).expand_as(x).clone()
