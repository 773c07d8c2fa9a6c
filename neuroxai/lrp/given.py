"""What a model is called with: the inputs that are explained, and what else its forward takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from neuroxai.errors import InputError
from neuroxai.graph.eval_copy import HALF, unwrapped
from neuroxai.lrp.targets import checked_input

Inputs = Tensor | tuple[Tensor, ...]


def checked_inputs(inputs: Inputs, model: nn.Module, half: bool = False) -> tuple[Tensor, ...]:
    """Return the inputs as a tuple, each checked by `checked_input`, after refusing other numbers of samples."""
    checked = tuple(checked_input(x, model, half) for x in (inputs if isinstance(inputs, tuple) else (inputs,)))
    if not checked:
        raise InputError("inputs are an empty tuple; at least one torch.Tensor is expected")
    if len({len(x) for x in checked}) > 1:
        raise InputError(f"inputs hold {', '.join(str(len(x)) for x in checked)} samples; as many in each are expected")
    return checked


def as_arguments(more: Any) -> tuple[Any, ...]:
    """Return captum's ``additional_forward_args`` as a tuple."""
    return more if isinstance(more, tuple) else () if more is None else (more,)


@dataclass(frozen=True)
class Given:
    """What the model is called with.

    Attributes
    ----------
    tensors : tuple of torch.Tensor
        The inputs that are explained, then all other tensors.
    explained : int
        How many are explained.
    rest : tuple
        The model's arguments, with the numbers of tensors in their places.
    """

    tensors: tuple[Tensor, ...]
    explained: int
    rest: tuple[Any, ...]

    @classmethod
    def of(cls, inputs: Inputs, model: nn.Module, more: Any = None) -> Given:
        """Check the inputs and put them in order."""
        checked, others = checked_inputs(inputs, model, half=True), as_arguments(more)
        extra = [value.detach() for value in others if isinstance(value, Tensor)]
        numbers = iter(range(len(checked), len(checked) + len(extra)))
        rest = tuple(_Place(next(numbers)) if isinstance(value, Tensor) else value for value in others)
        tensors = tuple(x.clone() if x.is_inference() else x for x in (*checked, *extra))
        return cls(tensors, len(checked), rest)

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return self.tensors[0].device

    @property
    def half(self) -> bool:
        """Whether the inputs are in half precision."""
        return self.tensors[0].dtype in HALF

    def in_single(self) -> Given:
        """Return the same in single precision, where it is in half."""
        if not self.half:
            return self
        return replace(self, tensors=tuple(x.float() if x.dtype in HALF else x for x in self.tensors))

    def arguments(self) -> tuple[Any, ...]:
        """Return the arguments of the model's forward."""
        rest = (self.tensors[value.number] if isinstance(value, _Place) else value for value in self.rest)
        return (*self.tensors[: self.explained], *rest)

    def key(self, model: nn.Module) -> tuple[Any, ...] | None:
        """Return what a record belongs to: shapes, types, devices, parameters; None where that cannot be told."""
        model = unwrapped(model)
        shapes = tuple((x.shape, x.dtype, x.device) for x in self.tensors)
        key = (shapes, self.rest, tuple(map(id, (*model.parameters(), *model.buffers()))))
        try:
            hash(key)
        except TypeError:
            return None
        return key


@dataclass(frozen=True)
class _Place:
    """Where a tensor stands among the arguments."""

    number: int


@contextmanager
def calm(device: torch.device) -> Iterator[None]:
    """Run without gradients, autocast or inference mode, whatever the caller runs in."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield
