"""The steps of a traced network: each runs forward and takes relevance back.

A step holds no tensors of a call, so one plan serves any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from neuroxai.lrp.pooling import MaxPool, Pool

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One node of the network.

    Attributes
    ----------
    name : str
        Name of the value it makes.
    inputs : tuple of str
        Names of the values it reads and returns relevance for.
    labels : tuple of str
        Qualified names of the layers it stands for (several after folding), for reports and messages.
    """

    name: str
    inputs: tuple[str, ...]
    labels: tuple[str, ...]

    def reads(self) -> tuple[str, ...]:
        """Names of all values it reads."""
        return self.inputs

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """Whether the output is >= 0, given which inputs are."""
        return False

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Return the output and what the way back needs."""
        raise NotImplementedError

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Return the relevance of each input."""
        raise NotImplementedError


@dataclass(frozen=True)
class CallStep(Step):
    """A step that runs as the network wrote it; `call` takes the values by name."""

    call: Callable[[Values], Any] = field(default=lambda values: None)
    also_reads: tuple[str, ...] = ()
    gives: str = "any"  # "nonnegative", "keeps" (the sign of its input) or "any"

    def reads(self) -> tuple[str, ...]:
        """Return inputs and sizes."""
        return (*self.inputs, *self.also_reads)

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """By kind of activation."""
        return self.gives == "nonnegative" or (self.gives == "keeps" and all(inputs))


@dataclass(frozen=True)
class PassStep(CallStep):
    """Activations, dropout, identity: relevance goes through unchanged.

    Attributes
    ----------
    local : bool
        Whether each output depends on the input value at its place (and channel) only, so that the step may run on a
        piece of the grid.
    """

    local: bool = True

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; nothing is kept."""
        return self.call(values), None

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Pass."""
        return (relevance,)


class FreeStep(CallStep):
    """What takes no relevance: shapes, constants, what gates are made of."""

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it."""
        return self.call(values), None

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Nothing goes back."""
        return ()


class ReshapeStep(CallStep):
    """Flatten, view, squeeze: relevance gets the input's shape back."""

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; the shape is kept."""
        return self.call(values), values[self.inputs[0]].shape

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Reshape."""
        return (relevance.reshape(kept),)


class PermuteStep(CallStep):
    """Permute and transpose: the axes go back."""

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; the order of axes is found by permuting a tensor whose axes are numbered by their sizes."""
        x = values[self.inputs[0]]
        numbered = torch.empty(tuple(range(1, x.ndim + 1)), device="meta")
        moved = self.call({**values, self.inputs[0]: numbered})
        return self.call(values), [size - 1 for size in moved.shape]

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Permute back."""
        return (relevance.permute([kept.index(axis) for axis in range(len(kept))]),)


@dataclass(frozen=True)
class CatStep(CallStep):
    """Concatenation or stacking: relevance is split at the seams; constants take none.

    Attributes
    ----------
    axis : int
        The axis of the output.
    parts : tuple of str
        Names of all tensors in order; those that are no `inputs` are constants.
    stacks : bool
        Whether the axis is new.
    """

    axis: int = 0
    parts: tuple[str, ...] = ()
    stacks: bool = False

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Concatenate; the widths are kept."""
        tensors = [values[name] for name in self.parts]
        if self.stacks:
            return torch.stack(tensors, self.axis), [1] * len(tensors)
        return torch.cat(tensors, self.axis), [t.shape[self.axis] for t in tensors]

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Split."""
        pieces = relevance.unbind(self.axis) if self.stacks else torch.split(relevance, kept, self.axis)
        return [piece for name, piece in zip(self.parts, pieces, strict=True) if name not in self.also_reads]


@dataclass(frozen=True)
class PoolStep(Step):
    """Max-pooling, by windows or adaptive."""

    pool: Pool = field(default=MaxPool(1, (), (), (), (), False))

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """Tell that a maximum of values >= 0 is >= 0."""
        return all(inputs)

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Pool; the winners are kept."""
        return self.pool(values[self.inputs[0]])

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Give all to the winners."""
        return (kept.scatter(relevance),)
