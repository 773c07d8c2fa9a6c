"""What a model is called with: the inputs that are explained, what else its forward takes, and the classes."""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.graph.eval_copy import HALF, unwrapped, warn_if_training
from neuroxai.graph.record import Record

Inputs = Tensor | tuple[Tensor, ...]
Target = int | Sequence[int] | Tensor | None
P = ParamSpec("P")
R = TypeVar("R")
Made = TypeVar("Made")
_MOST_RECORDS = 8  # shapes of input that are kept


def captum_call(function: Callable[P, R]) -> Callable[P, R]:
    """Make an ``attribute`` as captum's own are: its NoiseTunnel asks for the function that was wrapped."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return call


def checked_input(inputs: Tensor, model: nn.Module, half: bool = False) -> Tensor:
    """Return the inputs detached; refuse what no method explains, and half precision unless a method says `half`."""
    if not isinstance(inputs, Tensor):
        raise InputError(f"inputs are a {type(inputs).__name__}; one torch.Tensor (batch, channels, ...) is expected")
    if inputs.ndim < 2 or inputs.numel() == 0:
        shape = tuple(inputs.shape)
        raise InputError(f"inputs have shape {shape}; a non-empty batch (batch, channels, ...) is expected")
    if inputs.dtype not in (torch.float32, torch.float64) and not (half and inputs.dtype in HALF):
        raise InputError(f"inputs are {inputs.dtype}; float32 or float64 is expected: inputs.float(), model.float()")
    for name, parameter in model.named_parameters():
        if parameter.dtype != inputs.dtype or parameter.device != inputs.device:
            raise InputError(
                f"inputs are {inputs.dtype} on {inputs.device}, but parameter {name!r} is {parameter.dtype} on "
                f"{parameter.device}; bring both to the same dtype and device with .to()"
            )
    inputs = inputs.detach()
    low, high = torch.aminmax(inputs)  # one pass; NaN and infinity come through
    if not math.isfinite(low) or not math.isfinite(high):
        count = int((~torch.isfinite(inputs)).sum())
        raise InputError(f"inputs hold {count} values that are NaN or infinite; repair the scan before explaining it")
    return inputs


def class_scores(outputs: object) -> Tensor:
    """Return the network's output as (batch, outputs); refuse what is no tensor of scores, or not finite."""
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"the network returns a {type(outputs).__name__}; wrap it so that it returns one tensor of scores"
        )
    if outputs.ndim == 1:
        outputs = outputs[:, None]
    if outputs.ndim != 2:
        raise InputError(f"the network's output has shape {tuple(outputs.shape)}; (batch, classes) is expected")
    if not bool(torch.isfinite(outputs).all()):
        raise InputError(
            "the network's output is NaN or infinite for this input, or for the baseline or changed scan that the "
            "method gives it; check its weights, and what it divides by"
        )
    return outputs


def probabilities(scores: Tensor, link: str | None) -> Tensor:
    """Return the probabilities of scores (batch, outputs): by the network's own link, else softmax (one: sigmoid)."""
    if link == "average":  # they are
        return scores
    sigmoid = link == "sigmoid" or (link is None and scores.shape[1] == 1)
    return scores.sigmoid() if sigmoid else scores.softmax(1)


def target_indices(target: Target, batch: int, device: torch.device) -> Tensor:
    """Return one class index a sample, shape (batch,), not yet held against the number of outputs."""
    expected = f"an integer or one integer for each of the {batch} samples is expected"
    if target is None:
        return torch.zeros(batch, dtype=torch.long, device=device)
    listed = isinstance(target, list | tuple) and all(is_index(t) for t in target)
    if not listed and not is_index(target) and not isinstance(target, Tensor | np.ndarray):
        raise InputError(f"target is {target!r}; {expected}")
    indices = torch.as_tensor(target, device=device)
    if indices.dtype == torch.bool or indices.is_floating_point() or indices.is_complex():
        raise InputError(f"target has dtype {indices.dtype}; {expected}")
    if indices.ndim == 0:
        indices = indices.expand(batch)
    if indices.shape != (batch,):
        raise InputError(f"target has shape {tuple(indices.shape)}; {expected}")
    return indices.long()


def is_index(value: object) -> bool:
    """Whether a value is an integer (True and False are none)."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


@dataclass(frozen=True)
class Given:
    """What one call of ``attribute`` is given, checked."""

    inputs: tuple[Tensor, ...]  # that are explained, detached
    more: tuple[Any, ...]  # further arguments of the model's forward; tensors among them detached
    target: Target  # as the caller gave it, for messages
    indices: Tensor  # (batch,): the classes
    single: bool  # whether one tensor was given, not a tuple

    @classmethod
    def of(
        cls, model: nn.Module, inputs: Inputs, more: Any = None, target: Target = None, half: bool = False,
        training: bool = False,
    ) -> Given:  # fmt: skip
        """Check what captum's ``attribute`` was given, and warn where the model is in training mode unexpectedly."""
        if not training:
            warn_if_training(model)
        single = not isinstance(inputs, tuple)
        checked = tuple(checked_input(x, model, half) for x in (inputs if isinstance(inputs, tuple) else (inputs,)))
        if not checked:
            raise InputError("inputs are an empty tuple; at least one torch.Tensor is expected")
        if len({len(x) for x in checked}) > 1:
            sizes = ", ".join(str(len(x)) for x in checked)
            raise InputError(f"inputs hold {sizes} samples; as many in each are expected")
        others = more if isinstance(more, tuple) else () if more is None else (more,)
        given = cls(checked, others, target, target_indices(target, len(checked[0]), checked[0].device), single)
        with torch.inference_mode(False):
            return given.each(lambda x: x.clone() if x.is_inference() else x.detach())

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return self.inputs[0].device

    @property
    def half(self) -> bool:
        """Whether the inputs are in half precision."""
        return self.inputs[0].dtype in HALF

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments of the model's forward."""
        return (*self.inputs, *self.more)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors among them: the inputs that are explained first."""
        return tuple(value for value in self.arguments if isinstance(value, Tensor))

    def each(self, function: Callable[[Tensor], Tensor]) -> Given:
        """Return the same with each tensor of the arguments passed through a function."""
        more = tuple(function(value) if isinstance(value, Tensor) else value for value in self.more)
        return replace(self, inputs=tuple(map(function, self.inputs)), more=more)

    def own(self, gradients: bool = True) -> Given:
        """Return the same with tensors that nobody else holds or writes into; gradients reach the inputs."""
        own = replace(self.each(torch.clone), indices=self.indices.clone())
        return replace(own, inputs=tuple(x.requires_grad_(gradients) for x in own.inputs))

    def in_single(self) -> Given:
        """Return the same in single precision, where it is in half."""
        return self.each(lambda x: x.float() if x.dtype in HALF else x) if self.half else self

    def sample(self, index: int) -> Given:
        """Return one sample; arguments of another length than the batch belong to all."""
        batch = len(self.inputs[0])
        one = self.each(lambda x: x[index : index + 1] if x.ndim and len(x) == batch else x)
        return replace(one, indices=self.indices[index : index + 1])

    def key(self, model: nn.Module) -> tuple[Any, ...] | None:
        """Return what a record belongs to: shapes, types, devices, parameters; None where that cannot be told.

        How many samples there are comes first; what follows is the same for any number.
        """
        model, tensors = unwrapped(model), self.tensors
        rest = tuple(Tensor if isinstance(value, Tensor) else value for value in self.more)
        layouts = tuple((x.shape[1:], x.dtype, x.device) for x in tensors)
        parameters = tuple(map(id, (*model.parameters(), *model.buffers())))
        key = (tuple(x.shape[:1] for x in tensors), len(self.inputs), layouts, rest, parameters)
        try:
            hash(key)
        except TypeError:
            return None
        return key

    def scores(self, outputs: object) -> Tensor:
        """Return a network's output as (batch, classes), after refusing targets that it does not have."""
        scores = class_scores(outputs)
        count = scores.shape[1]
        if self.target is None and count > 1:
            raise InputError(f"target is None, but the network has {count} outputs; give target=0 to {count - 1}")
        wrong = self.indices[(self.indices < 0) | (self.indices >= count)]
        if wrong.numel():
            has = "1 output: target must be 0 or None" if count == 1 else f"{count} outputs: 0 to {count - 1}"
            raise InputError(f"target {int(wrong[0])} does not exist; the network has {has}")
        return scores

    def chosen(self, outputs: object) -> Tensor:
        """Return the sum of the classes' scores, to take gradients of."""
        chosen = self.scores(outputs).gather(1, self.indices[:, None]).sum()
        if not chosen.requires_grad:
            raise _no_gradient()
        _check_backward(chosen)
        return chosen

    def gradients(self, outputs: object) -> tuple[Tensor, ...]:
        """Return the gradients of the classes' scores by the inputs; zeros for an input that the scores do not use."""
        found = torch.autograd.grad(self.chosen(outputs), self.inputs, allow_unused=True)
        if all(g is None for g in found):  # the gradient ends at parameters: a frozen backbone under no_grad
            raise _no_gradient()
        return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(self.inputs, found, strict=True))

    def formatted(self, found: Sequence[Tensor], graph: bool = False) -> Inputs:
        """Return attributions as the inputs were given; without their graph unless asked for."""
        made = tuple(one if graph else one.detach() for one in found)
        return made[0] if self.single else made


def _no_gradient() -> UnsupportedLayerError:
    return UnsupportedLayerError(
        "no gradient comes back from the network's scores to its inputs: it cuts it off (torch.no_grad, detach, "
        ".data), rounds, or returns classes (argmax). Return the scores themselves, or use an lrp method, score_cam or "
        "occlusion, which need none"
    )


def _check_backward(chosen: Tensor) -> None:
    """Refuse scores with a call on the way to them that has no backward pass: torch takes its gradient for 0."""
    seen, ahead = {None}, {chosen.grad_fn}
    while ahead := ahead - seen:
        call: Any = ahead.pop()
        if call.name().endswith("NotImplemented"):
            raise UnsupportedLayerError(
                "an operation of the network has no backward pass (it was made outside torch, without autograd), so "
                "that the gradient behind it would be 0; rewrite it with functions of torch, or use occlusion or a "
                "method about regions"
            )
        seen.add(call)
        ahead |= {one for one, _ in call.next_functions}


class Records(Generic[Made]):
    """What was made of the records of a model, for the last few shapes of input."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._made: OrderedDict[tuple[Any, ...], Made] = OrderedDict()

    def find(self, given: Given) -> Made | None:
        """Return what is known for inputs of this shape."""
        key = given.key(self._model)
        return None if key is None else self._made.get(key, self._made.get((None, *key[1:])))

    def keep(self, given: Given, record: Record, made: Made, any_batch: bool = False) -> None:
        """Remember what was made, unless the record belongs to this scan, or to weights that were cast, alone."""
        key = given.key(self._model)
        if key is not None and not record.of_one_scan and not given.half:
            self._made[(None, *key[1:]) if any_batch else key] = made
            while len(self._made) > _MOST_RECORDS:
                self._made.popitem(last=False)


@contextmanager
def without_gradients(device: torch.device) -> Iterator[None]:
    """Run without gradients, autocast or inference mode, whatever the caller runs in."""
    with with_gradients(device), torch.no_grad():
        yield


@contextmanager
def with_gradients(device: torch.device) -> Iterator[None]:
    """Let gradients be taken, in full precision, whatever modes the caller is in."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield
