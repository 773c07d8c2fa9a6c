"""Layers with weights, the normalisation folded into them, and the pooling that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neuroxai.lrp.operators import Conv, Dense, Operator
from neuroxai.lrp.parts import Rule
from neuroxai.lrp.phases import PooledConv
from neuroxai.lrp.pooling import MaxPool, Winners
from neuroxai.lrp.propagate import Saved, collect, share_out
from neuroxai.lrp.steps import PassStep, Step, Values
from neuroxai.lrp.transposed import scaled


@dataclass(frozen=True)
class FixedNorm:
    """A normalisation by running statistics: names of the values it reads.

    Attributes
    ----------
    mean, variance : str
        Running statistics, (channels,).
    weight, bias : str or None
        Its own parameters.
    eps : float
        Added to the variance.
    """

    mean: str
    variance: str
    weight: str | None
    bias: str | None
    eps: float

    def reads(self) -> tuple[str, ...]:
        """Return the names of all values it reads."""
        return tuple(name for name in (self.mean, self.variance, self.weight, self.bias) if name is not None)

    def as_scale(self, values: Values) -> tuple[Tensor, Tensor]:
        """Return factor and offset, both (channels,)."""
        factor = torch.rsqrt(values[self.variance] + self.eps)
        if self.weight is not None:
            factor = factor * values[self.weight]
        offset = -values[self.mean] * factor
        return factor, offset if self.bias is None else offset + values[self.bias]


@dataclass(frozen=True)
class LinearStep(Step):
    """A layer with weights, with the normalisation folded into it and the pooling that follows, if any.

    With `pool`, the elementwise steps of `between` run on the full grid, the pooling picks its winners, and only the
    winners' denominators are kept; the result is the same as step by step, in less memory.

    Attributes
    ----------
    weight, bias : str or None
        Names of the values that hold them; a normalisation on its own has none.
    turned : bool
        The weight stands on the right of a matrix product, (inputs, outputs).
    fixed : FixedNorm or None
        A normalisation folded in, or on its own.
    """

    weight: str | None = None
    bias: str | None = None
    rule: Rule = field(default_factory=Rule)
    operator: Operator = field(default=Dense())
    turned: bool = False
    fixed: FixedNorm | None = None
    between: tuple[PassStep, ...] = ()
    pool: MaxPool | None = None

    def reads(self) -> tuple[str, ...]:
        """Return the input and what holds its parameters."""
        parameters = [name for name in (self.weight, self.bias) if name is not None]
        fixed = () if self.fixed is None else self.fixed.reads()
        return (*self.inputs, *parameters, *fixed, *(name for step in self.between for name in step.also_reads))

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """As the steps behind it say."""
        sign = False
        for step in self.between:
            sign = step.nonnegative((sign,))
        return sign

    def parameters(self, values: Values) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias with the normalisation folded in (new tensors; the layers keep theirs)."""
        if self.weight is None and self.fixed is not None:
            return self.fixed.as_scale(values)
        weight: Tensor = values[str(self.weight)]
        weight = weight.T if self.turned else weight
        bias: Tensor | None = None if self.bias is None else values[self.bias]
        if self.fixed is not None:
            factor, offset = self.fixed.as_scale(values)
            weight = scaled(self.operator, weight, factor)
            bias = offset if bias is None else bias * factor + offset
        return weight, bias

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run the layer (and pooling); denominators are kept.

        Raises
        ------
        UnsupportedLayerError
            If the normalisation folded into a linear layer does not act on its features.
        """
        x = values[self.inputs[0]]
        if x.ndim == 1:  # a network that lets go of the axis of the batch
            output, kept = self.forward({**values, self.inputs[0]: x[None]}, nonnegative)
            return output[0], ("alone", kept)
        weight, bias = self.parameters(values)
        self.operator.check(x, weight)
        if self.pool is not None and isinstance(self.operator, Conv):
            phases = PooledConv.of(self.operator, weight, self.pool, self.rule)
            if phases is not None:
                between = partial(self._between, values)
                output, kept, index = phases.share_out(self.rule, x, weight, bias, nonnegative[0], between)
                return output, (kept, (phases, index))
        if isinstance(self.operator, Conv) and x.ndim == 5:
            x = x.contiguous(memory_format=torch.channels_last_3d)
            weight = weight.contiguous(memory_format=torch.channels_last_3d)
        output, kept = share_out(self.rule, self.operator, x, weight, bias, nonnegative[0])
        if self.pool is None:
            return output, (kept, None)
        pooled, winners = self.pool(self._between(values, output))
        kept.denominators = [winners.gather(d) for d in kept.denominators]
        kept.output = None if kept.output is None else winners.gather(kept.output)
        return pooled, (kept, winners)

    def _between(self, values: Values, output: Tensor) -> Tensor:
        for step in self.between:
            output = step.call({**{name: values[name] for name in step.also_reads}, step.inputs[0]: output})
        return output

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Apply the rule."""
        if kept[0] == "alone":
            return (self.backward(kept[1], relevance[None])[0][0],)
        of_layer: Saved = kept[0]
        if isinstance(kept[1], tuple):
            phases, index = kept[1]
            return (phases.collect(self.rule, of_layer, index, relevance),)
        winners: Winners | None = kept[1]
        if winners is None:
            return (collect(self.rule, self.operator, of_layer, relevance),)

        def spread(stacked: Tensor, count: int) -> Tensor:
            return winners.scatter(stacked, self.operator.stack([winners.indices] * count))

        return (collect(self.rule, self.operator, of_layer, relevance, spread),)
