"""Max-pooling, with where each maximum lies: the winner takes all relevance, of equals the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.errors import InputError
from neuroxai.lrp.engine.operators import each


@dataclass(frozen=True)
class MaxPool:
    """Max-pooling over 1, 2 or 3 axes: by windows, or adaptive to a given output grid."""

    operation: str  # "max_pool3d", "adaptive_max_pool1d" and so on
    options: dict[str, Any]  # the function's arguments by name, but for the input and whether indices are returned

    @classmethod
    def of(cls, operation: str, given: Mapping[str, Any]) -> MaxPool:
        """Take the arguments of a recorded call."""
        left_out = ("input", "return_indices")
        return cls(operation, {k: v for k, v in given.items() if k not in left_out and not k.startswith("_")})

    @property
    def blocks(self) -> tuple[int, ...] | None:
        """Size of the windows where they lie side by side, without padding; None otherwise."""
        axes, given = int(self.operation[-2]), self.options
        if "kernel_size" not in given:
            return None
        kernel = each(given["kernel_size"], axes)
        plain = each(given.get("stride") or kernel, axes) == kernel and not given.get("ceil_mode")
        return kernel if plain and not any(each(given.get("padding", 0), axes)) and self._dilation == 1 else None

    @property
    def _dilation(self) -> int:
        return max(each(self.options.get("dilation", 1), 1))

    def __call__(self, x: Tensor) -> tuple[Tensor, Winners]:
        """Pool, and remember the winners."""
        run: Any = getattr(F, self.operation)
        out, indices = run(x, **self.options, return_indices=True)
        if self._dilation > 1 and bool(torch.isneginf(out).any()):  # torch's winner is outside, too
            raise InputError(
                f"a dilated max-pooling window lies wholly outside the grid {tuple(x.shape[2:])} that arrives, and has "
                "no winner; give a larger scan"
            )
        return out, Winners(indices, x.shape, _format_of(x))


@dataclass(frozen=True)
class Winners:
    """Where the maxima of one pooling lay: indices in the flattened grid of an input of this shape."""

    indices: Tensor
    shape: torch.Size
    memory_format: torch.memory_format

    def gather(self, values: Tensor) -> Tensor:
        """Read values of the full grid at the winners; result shaped like the pooled output."""
        axis = self._axis
        found = self._flat(values).gather(axis, self._flat(self.indices))
        if axis == 2:
            return found.view(self.indices.shape)
        return found.view(self.indices.movedim(1, -1).shape).movedim(-1, 1)

    def scatter(self, values: Tensor, indices: Tensor | None = None) -> Tensor:
        """Add values at the winners into zeros of the full grid; `indices` stands in for stacked channels."""
        indices = self.indices if indices is None else indices
        shape = (self.shape[0], values.shape[1], *self.shape[2:])
        out = torch.empty(shape, dtype=values.dtype, device=values.device, memory_format=self.memory_format).zero_()
        self._flat(out).scatter_add_(self._axis, self._flat(indices), self._flat(values))  # of out it is a view
        return out

    @property
    def _axis(self) -> int:
        return 2 if self.memory_format == torch.contiguous_format else 1

    def _flat(self, x: Tensor) -> Tensor:
        """Flatten the grid as it lies in memory, so that nothing is copied."""
        return x.flatten(2) if self._axis == 2 else x.movedim(1, -1).flatten(1, -2)


def _format_of(x: Tensor) -> torch.memory_format:
    if x.is_contiguous():
        return torch.contiguous_format
    last = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
    return last if x.is_contiguous(memory_format=last) else torch.contiguous_format
