"""The steps of a traced network: each runs forward and takes relevance back.

A step holds no tensors of a call, so one plan serves any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx

from neuroxai.lrp.parts import Rule, Term
from neuroxai.lrp.pooling import MaxPool
from neuroxai.lrp.propagate import Kept, part_signals, piece_of

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

    def renamed(self, old: str, new: str) -> Step:
        """Read another value instead of one that went away."""
        return replace(self, inputs=tuple(new if name == old else name for name in self.inputs))


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

    def renamed(self, old: str, new: str) -> Step:
        """Read another value; the recorded call still asks for the old name."""
        call = self.call
        base = super().renamed(old, new)
        also = tuple(new if name == old else name for name in self.also_reads)
        again: Any = {"call": lambda values: call({**values, old: values[new]}), "also_reads": also}
        return replace(base, **again)


class PassStep(CallStep):
    """Activations, dropout, identity: relevance goes through unchanged."""

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; nothing is kept."""
        return self.call(values), None

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Pass."""
        return (relevance,)


class SizeStep(CallStep):
    """Arithmetic on shapes; carries no relevance."""

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
    """Concatenation: relevance is split at the seams."""

    axis: int = 0

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Concatenate; the widths are kept."""
        tensors = [values[name] for name in self.inputs]
        return torch.cat(tensors, self.axis), [t.shape[self.axis] for t in tensors]

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Split."""
        return torch.split(relevance, kept, self.axis)


@dataclass(frozen=True)
class SumStep(Step):
    """Addition of tensors: a linear layer whose weights are one, under the same rules."""

    rule: Rule = field(default_factory=Rule)

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """Tell that sums of values >= 0 are >= 0."""
        return all(inputs)

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Add; the summands are kept."""
        tensors = [values[name] for name in self.inputs]
        return torch.add(*tensors), tensors

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Share out in proportion to the summands' contributions."""
        output = torch.add(*kept)
        parts = self.rule.parts
        contributions = [[sum(_unit(t, x) for t in part.terms) for part in parts] for x in kept]
        sums = [torch.add(*(of_one[index] for of_one in contributions)) for index in range(len(parts))]
        empty = output.new_zeros(0)
        back = []
        signals = part_signals(self.rule, Kept(empty, empty, None, False, sums, output), relevance)
        for x, of_one in zip(kept, contributions, strict=True):
            share = torch.stack([c * s for c, s in zip(of_one, signals, strict=True)]).sum(0)
            back.append(share.sum_to_size(x.shape))  # undoes broadcasting
        return back


def _unit(term: Term, x: Tensor) -> Tensor:
    return piece_of(x, term.input) * term.weight.at_one


@dataclass(frozen=True)
class PoolStep(Step):
    """Max-pooling."""

    pool: MaxPool = field(default=MaxPool(1, (), (), (), (), False))

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """Tell that a maximum of values >= 0 is >= 0."""
        return all(inputs)

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Pool; the winners are kept."""
        return self.pool(values[self.inputs[0]])

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Give all to the winners."""
        return (kept.scatter(relevance),)


def recorded(node: fx.Node, function: Callable[..., Any], **changed: Any) -> Callable[[Values], Any]:
    """Return a call of `function` with the arguments that the traced node recorded."""
    kwargs = {**node.kwargs, **changed}

    def call(values: Values) -> Any:
        def pick(n: fx.Node) -> Any:
            return values[n.name]

        return function(*fx.node.map_arg(node.args, pick), **fx.node.map_arg(kwargs, pick))

    return call
