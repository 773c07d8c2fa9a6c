"""Operations that only move or copy values: relevance goes back to where each value came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.lrp.steps import CallStep, Values


class RouteStep(CallStep):
    """Indexing, slicing, splitting, expanding, repeating, flipping."""

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; what it read is kept, so that it can be run again on the places' numbers."""
        return self.call(values), {name: values[name] for name in self.reads()}

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Add up what comes back to each place."""
        x = kept[self.inputs[0]]
        # whole numbers are exact in float64, which every operation takes; 0 is what comes from nowhere
        numbers = torch.arange(1, x.numel() + 1, dtype=torch.float64, device=x.device).view(x.shape)
        places = self.call({**kept, self.inputs[0]: numbers}).long()
        back = relevance.new_zeros(x.numel() + 1).index_add_(0, places.reshape(-1), relevance.reshape(-1))
        return (back[1:].view(x.shape),)


@dataclass(frozen=True)
class PadStep(CallStep):
    """Padding with a constant, which takes no relevance; negative padding crops.

    Attributes
    ----------
    sides : callable
        Takes the values by name; returns the padding as ``torch.nn.functional.pad`` takes it.
    """

    sides: Callable[[Values], Sequence[int]] = field(default=lambda values: ())

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Pad; the sides are kept."""
        return self.call(values), self.sides(values)

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Crop."""
        return (F.pad(relevance, [-side for side in kept]),)
