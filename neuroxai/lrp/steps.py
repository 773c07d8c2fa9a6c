"""The steps of a recorded network: each runs forward and takes relevance back.

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

    An activation that does not vanish at 0 has a share f(0) that comes from nowhere, a bias; what is passed on is
    ``R (f(z) - f(0)) / f(z)``, which keeps the signs.

    Attributes
    ----------
    local : bool
        Whether each output depends on the input value at its place (and channel) only, so that the step may run on a
        piece of the grid.
    offset : float
        f(0).
    """

    local: bool = True
    offset: float = 0.0

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; nothing is kept where f(0) is 0."""
        output = self.call(values)
        return output, output if self.offset else None

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Pass."""
        if not self.offset:
            return (relevance,)
        return (torch.where(kept == 0, 0, relevance * (kept - self.offset) / kept),)


class FreeStep(CallStep):
    """What takes no relevance: shapes, constants, what gates are made of."""

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it."""
        return self.call(values), None

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Nothing goes back."""
        return ()


class MoveStep(CallStep):
    """Values moved, copied, left out or put side by side: each takes back the relevance of all its copies.

    That is the vector-Jacobian product of a map whose entries are 0 and 1, which torch computes for every operation of
    the kind: reshaping, permuting, indexing, splitting, expanding, padding, concatenating.
    """

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; layouts are kept, and what else it reads."""
        layouts = [(x.shape, x.stride(), x.dtype, x.device) for x in (values[name] for name in self.inputs)]
        return self.call(values), (layouts, {name: values[name] for name in self.also_reads})

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Add up what comes back to each place."""
        layouts, others = kept
        with torch.enable_grad():  # of the inputs the layout alone matters
            stand_ins = [
                torch.empty_strided(shape, stride, dtype=dtype, device=device, requires_grad=True)
                for shape, stride, dtype, device in layouts
            ]
            moved = self.call({**others, **dict(zip(self.inputs, stand_ins, strict=True))})
            return torch.autograd.grad(
                moved, stand_ins, relevance.reshape(moved.shape).to(moved.dtype), materialize_grads=True
            )


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


@dataclass(frozen=True)
class WinnerStep(CallStep):
    """The maximum over axes, or of two tensors place by place: the winner takes all, of equals the first.

    Attributes
    ----------
    dims : tuple of int
        The axes; empty for a maximum of two tensors.
    keepdim : bool
        Whether the output keeps them, with size 1.
    """

    dims: tuple[int, ...] = ()
    keepdim: bool = False

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; what it read is kept."""
        output = self.call(values)
        if self.dims and not isinstance(output, Tensor):
            output = output[0]
        return output, {name: values[name] for name in self.reads()}

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Give all to the winners."""
        if not self.dims:
            first, *second = (kept[name] for name in self.reads())
            wins = first >= second[0] if second else torch.ones_like(first, dtype=torch.bool)
            shares = [torch.where(wins, relevance, 0), torch.where(wins, 0, relevance)]
            return [share.sum_to_size(kept[name].shape) for share, name in zip(shares, self.inputs, strict=False)]
        x = kept[self.inputs[0]]
        axes = sorted(axis % x.ndim for axis in self.dims)
        rest = [axis for axis in range(x.ndim) if axis not in axes]
        lines = x.permute(*rest, *axes)
        flat = lines.reshape(*lines.shape[: len(rest)], -1)
        winners = flat.argmax(-1, keepdim=True)
        spread = torch.zeros_like(flat).scatter_(-1, winners, relevance.reshape(winners.shape))
        order = [*rest, *axes]
        return (spread.reshape(lines.shape).permute([order.index(axis) for axis in range(x.ndim)]),)
