"""What all methods here share: captum's way of being called, and the scores of an evaluation-mode copy of the model.

The copy shares the parameters but has its own hooks and training flags, so that nothing reaches the model, BatchNorm's
running statistics never move, and one instance serves many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

from neuroxai.errors import InputError, NeuroxaiError
from neuroxai.graph.eval_copy import eval_copy, warn_if_training
from neuroxai.lrp.given import Inputs, as_arguments, checked_inputs
from neuroxai.lrp.targets import Target, check_target, class_scores, out_of_memory, target_indices


@dataclass(frozen=True)
class Given:
    """What one call of ``attribute`` was given, checked.

    Attributes
    ----------
    tensors : tuple of torch.Tensor
        The inputs that are explained, detached.
    more : tuple
        Further arguments of the model's forward.
    target : int, sequence of int, torch.Tensor or None
        As the caller gave it, for messages.
    indices : torch.Tensor, shape (batch,)
        The classes.
    single : bool
        Whether one tensor was given, not a tuple.
    """

    tensors: tuple[Tensor, ...]
    more: tuple[Any, ...]
    target: Target
    indices: Tensor
    single: bool

    @classmethod
    def of(cls, model: nn.Module, inputs: Inputs, target: Target, more: Any = None) -> Given:
        """Check what was given, and warn where the model is in training mode."""
        warn_if_training(model)
        tensors = checked_inputs(inputs, model)
        indices = target_indices(target, len(tensors[0]), tensors[0].device)
        return cls(tensors, as_arguments(more), target, indices, not isinstance(inputs, tuple))

    def own(self) -> Given:
        """Return the same with tensors of its own that gradients reach: the caller's may be of an inference mode."""
        tensors = tuple(x.clone().requires_grad_(True) for x in self.tensors)
        more = tuple(v.clone() if isinstance(v, Tensor) else v for v in self.more)
        return Given(tensors, more, self.target, self.indices.clone(), self.single)

    def sample(self, index: int) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
        """Return one sample's inputs and further arguments."""
        batch = len(self.tensors[0])
        more = tuple(v[index : index + 1] if isinstance(v, Tensor) and v.ndim and len(v) == batch else v for v in
                     self.more)  # fmt: skip
        return tuple(x[index : index + 1] for x in self.tensors), more

    def scores(self, outputs: object) -> Tensor:
        """Return a network's output as (batch, classes), the targets held against it."""
        scores = class_scores(outputs)
        check_target(self.target, self.indices, scores.shape[1])
        return scores

    def gradients(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of the classes' scores by the inputs."""
        chosen = self.scores(scores).gather(1, self.indices[:, None]).sum()
        found = torch.autograd.grad(chosen, self.tensors, allow_unused=True)
        return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(self.tensors, found, strict=True))

    def formatted(self, found: Sequence[Tensor]) -> Inputs:
        """Return attributions as the inputs were given."""
        made = tuple(one.detach() for one in found)
        return made[0] if self.single else made


class Scores(nn.Module):
    """The scores of a copy, (batch, classes), with the target held against their number."""

    def __init__(self, copy: nn.Module, given: Given) -> None:
        super().__init__()
        self.network, self._given = copy, given

    def forward(self, *args: Any) -> Tensor:
        """Return the scores."""
        batch = len(args[0])
        scores = self._given.scores(run_network(self.network, args))
        if len(scores) != batch:
            raise InputError(f"the network makes {len(scores)} scores of {batch} samples; (batch, classes) is expected")
        return scores


def run_network(network: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Run a network; what it cannot take is an error of the input."""
    try:
        return network(*args)
    except NeuroxaiError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
        if out_of_memory(error):
            raise
        shapes = ", ".join(str(tuple(x.shape)) for x in args if isinstance(x, Tensor))
        raise InputError(f"the network cannot take an input of shape {shapes}: {error}") from error


@contextmanager
def differentiable(device: torch.device) -> Iterator[None]:
    """Let gradients be taken, in full precision, whatever modes the caller is in."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield


class Method(captum.attr.Attribution):  # type: ignore[misc]  # captum is untyped
    """An attribution method that leaves the model as it is.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    """

    def __init__(self, model: nn.Module) -> None:
        eval_copy(model)  # refuse what cannot be copied now, not at the first call
        super().__init__(model)
        self.model = model
