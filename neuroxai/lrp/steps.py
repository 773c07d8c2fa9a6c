"""The steps of a traced network: each runs forward and takes relevance back.

A step holds no tensors of a call, so one plan serves any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuroxai.lrp.operators import Conv, Dense, Operator, Scale
from neuroxai.lrp.pooling import MaxPool, Winners
from neuroxai.lrp.propagate import Kept, collect, part_signals, piece_of, share_out
from neuroxai.lrp.rules import Rule, Term

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
        """Inputs and sizes."""
        return (*self.inputs, *self.also_reads)

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """By kind of activation."""
        return self.gives == "nonnegative" or (self.gives == "keeps" and all(inputs))

    def renamed(self, old: str, new: str) -> Step:
        """Read another value; the recorded call still asks for the old name."""
        call = self.call
        base = super().renamed(old, new)
        also = tuple(new if name == old else name for name in self.also_reads)
        return replace(base, call=lambda values: call({**values, old: values[new]}), also_reads=also)  # type: ignore[call-arg]


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
        return relevance.split(kept, self.axis)


@dataclass(frozen=True)
class SumStep(Step):
    """Addition of tensors: a linear layer whose weights are one, under the same rules."""

    rule: Rule = field(default_factory=Rule)

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """Sums of values >= 0 are >= 0."""
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
    return piece_of(x, term.input) * (term.weight.whole + term.weight.positive)


@dataclass(frozen=True)
class PoolStep(Step):
    """Max-pooling."""

    pool: MaxPool = field(default=MaxPool(1, (), (), (), (), False))

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """A maximum of values >= 0 is >= 0."""
        return all(inputs)

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Pool; the winners are kept."""
        return self.pool(values[self.inputs[0]])

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Give all to the winners."""
        return (kept.scatter(relevance),)


@dataclass(frozen=True)
class LinearStep(Step):
    """A layer with weights, with the normalisation folded into it and the pooling that follows, if any.

    With `pool`, the elementwise steps of `between` run on the full grid, the pooling picks its winners, and only the
    winners' denominators are kept; the result is the same as step by step, in less memory.
    """

    module: nn.Module = field(default_factory=nn.Identity)
    rule: Rule = field(default_factory=Rule)
    operator: Operator = field(default=Dense())
    norm: nn.Module | None = None
    between: tuple[PassStep, ...] = ()
    pool: MaxPool | None = None

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """As the steps behind it say."""
        sign = False
        for step in self.between:
            sign = step.nonnegative((sign,))
        return sign

    def parameters(self) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias with the normalisation folded in (new tensors; the layers keep theirs)."""
        if isinstance(self.operator, Scale):
            return normalisation_as_scale(self.module)
        weight, bias = self.module.weight, self.module.bias
        if self.norm is not None:
            factor, offset = normalisation_as_scale(self.norm)
            weight = weight * factor.view(-1, *(1,) * (weight.ndim - 1))
            bias = offset if bias is None else bias * factor + offset
        return weight, bias  # type: ignore[return-value]

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run the layer (and pooling); denominators are kept."""
        x = values[self.inputs[0]]
        weight, bias = self.parameters()
        self.operator.check(x, weight)
        if isinstance(self.operator, Conv) and x.ndim == 5:
            x = x.contiguous(memory_format=torch.channels_last_3d)
            weight = weight.contiguous(memory_format=torch.channels_last_3d)
        output, kept = share_out(self.rule, self.operator, x, weight, bias, nonnegative[0])
        if self.pool is None:
            return output, (kept, None)
        full = output
        for step in self.between:
            full = step.call({name: full for name in step.inputs})
        pooled, winners = self.pool(full)
        kept.denominators = [winners.gather(d) for d in kept.denominators]
        kept.output = None if kept.output is None else winners.gather(kept.output)
        return pooled, (kept, winners)

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Apply the rule."""
        of_layer: Kept = kept[0]
        winners: Winners | None = kept[1]
        if winners is None:
            return (collect(self.rule, self.operator, of_layer, relevance),)

        def spread(stacked: Tensor, count: int) -> Tensor:
            return winners.scatter(stacked, self.operator.stack([winners.indices] * count))

        return (collect(self.rule, self.operator, of_layer, relevance, spread),)


def normalisation_as_scale(norm: Any) -> tuple[Tensor, Tensor]:
    """Return factor and offset, both (channels,), of a batch normalisation with running statistics."""
    factor = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight
    offset = -norm.running_mean * factor
    return factor, offset if norm.bias is None else offset + norm.bias


def recorded(node: fx.Node, function: Callable[..., Any], **changed: Any) -> Callable[[Values], Any]:
    """Return a call of `function` with the arguments that the traced node recorded."""
    kwargs = {**node.kwargs, **changed}

    def call(values: Values) -> Any:
        def pick(n: fx.Node) -> Any:
            return values[n.name]

        return function(*fx.node.map_arg(node.args, pick), **fx.node.map_arg(kwargs, pick))

    return call
