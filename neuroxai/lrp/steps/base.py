"""The steps of a recorded network: each runs forward and takes relevance back.

A step holds no tensors of a call, so one plan serves any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One node of the network."""

    name: str  # name of the value it makes
    inputs: tuple[str, ...]  # names of the values it reads and returns relevance for
    # qualified names of the layers it stands for (several after folding), for reports and messages
    labels: tuple[str, ...]
    also_reads: tuple[str, ...] = ()  # names of the other values it reads
    gives: str = "any"  # {"nonnegative", "keeps", "any"}: sign of its output: >= 0, that of its inputs, or not known

    def reads(self) -> tuple[str, ...]:
        """Names of all values it reads."""
        return (*self.inputs, *self.also_reads)

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """Whether the output is >= 0, given which inputs are."""
        return self.gives == "nonnegative" or (self.gives == "keeps" and all(inputs))

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Return the output and what the backward pass needs."""
        raise NotImplementedError

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Return the relevance of each input."""
        raise NotImplementedError

    def of_outputs(self, saved: Any, relevance: Tensor) -> dict[str, Tensor]:
        """Return the relevance of the output of each layer that it stands for, by name, the last first."""
        return dict.fromkeys(reversed(self.labels), relevance)


def variable(value: Tensor) -> Tensor:
    """Return a tensor to take gradients by: another than the value, which what is held constant may be made of."""
    found = value.view_as(value)
    return found if torch.is_grad_enabled() and found.requires_grad else value.detach().requires_grad_(True)


@dataclass(frozen=True)
class CallStep(Step):
    """A step that runs as the network wrote it; `call` takes the values by name."""

    call: Callable[[Values], Any] = field(default=lambda values: None)


class FreeStep(CallStep):
    """What takes no relevance: shapes, constants, what gates are made of."""

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it."""
        return self.call(values), None

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Nothing goes back."""
        return ()


@dataclass(frozen=True)
class PassStep(CallStep):
    """Relevance goes through unchanged: activations, dropout, products with constants and gates (Arras 2017).

    An activation that does not vanish at 0 has a share f(0) that comes from nowhere, a bias; what is passed on is
    ``R (f(z) - f(0)) / f(z)``, which keeps the signs where the layer in front shares in proportion.
    """

    # whether each output depends on the input value at its place (and channel) only, so that the step may run on a
    # piece of the grid
    local: bool = False
    vanishes: bool = True  # whether f(0) is known to be 0, or taken for it

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; the output and f(0) are saved where that is not 0."""
        output, x = self.call(values), values[self.inputs[0]]
        of_zero = None if self.vanishes else (output, self.call({**values, self.inputs[0]: torch.zeros_like(x)}))
        return output, (x.shape, of_zero)

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Pass."""
        shape, of_zero = saved
        if of_zero is not None:
            output, zero = of_zero
            nothing = output == 0
            relevance = torch.where(nothing, 0, relevance * (output - zero) / torch.where(nothing, 1, output))
        return (relevance.sum_to_size(shape),)  # undoes broadcasting


@dataclass(frozen=True)
class Constant:
    """A number, or a value that takes no relevance, which scales or shifts another one."""

    value: float | str  # the number, or the value's name
    # the only axis of the other that it differs along, counted from the end: None where it is one number
    axis: int | None = None

    def of(self, values: Values) -> Any:
        """Return the number, or the value's numbers one after the other."""
        return values[self.value].reshape(-1) if isinstance(self.value, str) else self.value


@dataclass(frozen=True)
class ScaleStep(PassStep):
    """A product with a constant, or a quotient by one."""

    factor: Constant = field(default=Constant(1.0))
    divides: bool = False

    @property
    def turns(self) -> bool:
        """Whether it is known to be a product with a number below 0."""
        return not isinstance(self.factor.value, str) and self.factor.value < 0

    def scale(self, values: Values) -> Any:
        """Return what the value is multiplied by."""
        factor = self.factor.of(values)
        return 1 / factor if self.divides else factor


@dataclass(frozen=True)
class MoveStep(CallStep):
    """Values moved, copied, left out, chosen or put side by side: each takes back the relevance of all its copies.

    That is the vector-Jacobian product of a map whose entries are 0 and 1, which torch computes for every operation of
    the kind: reshaping, indexing, padding, concatenating, sorting, maxima (the winner takes all).
    """

    chosen: bool = False  # whether the values themselves say which are copied; of others the layout alone matters

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; layouts are saved, or values, and what else it reads."""
        inputs = [values[name] for name in self.inputs]
        saved = inputs if self.chosen else [(x.shape, x.stride(), x.dtype, x.device) for x in inputs]
        return self.call(values), (saved, {name: values[name] for name in self.also_reads})

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Add up what comes back to each place."""
        (inputs, others), graph = saved, torch.is_grad_enabled()
        with torch.enable_grad():
            stand_ins = [
                x.detach() if self.chosen else torch.empty_strided(x[0], x[1], dtype=x[2], device=x[3]) for x in inputs
            ]
            values = dict(zip(self.inputs, (x.requires_grad_(True) for x in stand_ins), strict=True))
            moved = self.call({**others, **values})
            seeded = _Seed.apply(moved, relevance.reshape(moved.shape).to(moved.dtype))  # type: ignore[no-untyped-call]
            return torch.autograd.grad(seeded, stand_ins, materialize_grads=True, create_graph=graph)


class _Seed(torch.autograd.Function):
    """A number whose gradient is what is given: torch imports sympy, half a second, where gradients are handed in."""

    @staticmethod
    def forward(ctx: Any, moved: Tensor, gradient: Tensor) -> Tensor:
        """Keep the gradient."""
        ctx.save_for_backward(gradient)
        return moved.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """Return it."""
        return ctx.saved_tensors[0], None
