"""Layers with weights, the normalisation folded into them, and the pooling that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp.operators import Conv, Dense, Operator, Scale
from neuroxai.lrp.parts import Rule
from neuroxai.lrp.phases import PooledConv
from neuroxai.lrp.pooling import MaxPool, Winners
from neuroxai.lrp.propagate import Kept, collect, share_out
from neuroxai.lrp.steps import PassStep, Step, Values
from neuroxai.lrp.transposed import scaled


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
        layer: Any = self.module
        weight, bias = layer.weight, layer.bias
        if self.norm is not None:
            factor, offset = normalisation_as_scale(self.norm)
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
        if self.norm is not None and isinstance(self.operator, Dense) and x.ndim > 2:
            raise UnsupportedLayerError(
                f"layer {self.labels[0]!r} (Linear) makes a tensor of {x.ndim} axes for {self.labels[-1]!r} "
                f"({type(self.norm).__name__}), which normalises along axis 1 and cannot be folded into it; "
                "flatten before the linear layer, or name Pass for the normalisation"
            )
        weight, bias = self.parameters()
        self.operator.check(x, weight)
        if self.pool is not None and isinstance(self.operator, Conv):
            phases = PooledConv.of(self.operator, weight, self.pool, self.rule)
            if phases is not None:
                output, kept, index = phases.share_out(self.rule, x, weight, bias, nonnegative[0], self._between)
                return output, (kept, (phases, index))
        if isinstance(self.operator, Conv) and x.ndim == 5:
            x = x.contiguous(memory_format=torch.channels_last_3d)
            weight = weight.contiguous(memory_format=torch.channels_last_3d)
        output, kept = share_out(self.rule, self.operator, x, weight, bias, nonnegative[0])
        if self.pool is None:
            return output, (kept, None)
        pooled, winners = self.pool(self._between(output))
        kept.denominators = [winners.gather(d) for d in kept.denominators]
        kept.output = None if kept.output is None else winners.gather(kept.output)
        return pooled, (kept, winners)

    def _between(self, output: Tensor) -> Tensor:
        for step in self.between:
            output = step.call(dict.fromkeys(step.inputs, output))
        return output

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Apply the rule."""
        of_layer: Kept = kept[0]
        if isinstance(kept[1], tuple):
            phases, index = kept[1]
            return (phases.collect(self.rule, of_layer, index, relevance),)
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
