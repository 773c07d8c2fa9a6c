"""What is occluded, and how: parts of the input, options, and which parts are computed together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor

from neuroxai.attribution.options import positive_integer
from neuroxai.errors import InputError, one_of
from neuroxai.lrp.starts import STARTS

Recompute = Literal["auto", "cone", "all"]
_RECOMPUTE = ("auto", "cone", "all")
_SLACK = 1.5  # how much larger than needed a box may be so that it is computed together with others


class Parts(Protocol):
    """Parts of the input that are occluded one at a time."""

    @property
    def low(self) -> Tensor:
        """First voxel of each part's bounding box, (parts, axes)."""

    @property
    def high(self) -> Tensor:
        """One past its last voxel, (parts, axes)."""

    def mask(self, which: Tensor, start: Tensor, size: Sequence[int]) -> Tensor:
        """Return which voxels of windows belong to the parts `which`, (parts, 1, *size)."""


P = TypeVar("P", bound=Parts)


@dataclass(frozen=True)
class Options:
    """Options that patch and region occlusion share.

    Raises
    ------
    InputError
        Naming the option that does not fit.
    """

    value: float | str
    score: str
    positive: bool
    per_pass: int | None
    recompute: str

    def __post_init__(self) -> None:
        number = isinstance(self.value, int | float) and not isinstance(self.value, bool) and math.isfinite(self.value)
        if not number and self.value != "mean":
            raise InputError(f"value is {self.value!r}; a finite number or 'mean' (of each scan) is wanted")
        if self.score not in STARTS:
            raise one_of("score", self.score, STARTS)
        if not isinstance(self.positive, bool):
            raise InputError(f"positive is {self.positive!r}; true or false is wanted")
        if self.per_pass is not None:
            positive_integer("per_pass", self.per_pass)
        if self.recompute not in _RECOMPUTE:
            raise one_of("recompute", self.recompute, _RECOMPUTE)

    def fill(self, x: Tensor) -> Tensor:
        """Return what replaces the voxels of one input (1, channels, *grid): (channels, 1, ...)."""
        axes = tuple(range(2, x.ndim))
        if isinstance(self.value, str):
            return x.mean(axes, keepdim=True)[0]
        return x.new_full((1,) * (x.ndim - 1), self.value)


def groups(parts: Parts, which: Tensor) -> list[Tensor]:
    """Sort parts into groups whose boxes are of about one size, so that little is computed in vain."""
    sizes = (parts.high - parts.low)[which]
    order = sizes.prod(1).argsort(descending=True, stable=True)
    found: list[list[int]] = []
    largest: list[int] = []
    for part, size in zip(which[order].tolist(), sizes[order].tolist(), strict=True):
        together = [max(a, b) for a, b in zip(largest or size, size, strict=True)]
        if not found or math.prod(together) > _SLACK * math.prod(size):
            found.append([])
            together = size
        found[-1].append(part)
        largest = together
    return [torch.tensor(group) for group in found]
