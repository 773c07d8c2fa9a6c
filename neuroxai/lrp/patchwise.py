"""Patch-individual filter layers: each strain of patches is a linear operator of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from neuroxai.errors import InputError
from neuroxai.layers import Strain
from neuroxai.lrp.parts import Rule
from neuroxai.lrp.propagate import collect, share_out
from neuroxai.lrp.steps import Step, Values


@dataclass(frozen=True)
class Patchwise:
    """One strain of a `PatchIndividualFilter`: weights (patches, outputs, inputs, *kernel), bias (patches, outputs)."""

    strain: Strain

    def check(self, x: Tensor, weight: Tensor) -> None:
        """Refuse other channels or another grid."""
        wanted = (weight.shape[2], *self.strain.inputs.shape)
        if tuple(x.shape[1:]) != wanted:
            raise InputError(
                f"a tensor of shape {tuple(x.shape)} arrives; (batch, {', '.join(map(str, wanted))}) is wanted: the "
                "layer's patches belong to places, so the network takes no other grid"
            )

    def stack_weights(self, weights: Sequence[Tensor]) -> Tensor:
        """Stack along each patch's outputs."""
        return weights[0] if len(weights) == 1 else torch.cat(list(weights), 1)

    def stack(self, signals: Sequence[Tensor]) -> Tensor:
        """Stack along the channels."""
        return signals[0] if len(signals) == 1 else torch.cat(list(signals), 1)

    def split(self, stacked: Tensor, count: int) -> Sequence[Tensor]:
        """Split the channels."""
        return stacked.chunk(count, 1)

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Filter each patch."""
        return self.strain.forward(x, weight, bias)

    def transpose(self, signal: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """Take a signal back through the patches."""
        return self.strain.transpose(signal, weight, shape)

    def spread_bias(self, bias: Tensor, like: Tensor) -> Tensor:
        """Put each patch's bias where its outputs stand."""
        patch = self.strain.outputs.patch
        spread = bias[None].reshape(1, *bias.shape, *(1,) * len(patch)).expand(1, *bias.shape, *patch)
        return self.strain.outputs.join(spread) if self.strain.reassemble else spread.transpose(1, 2)


@dataclass(frozen=True)
class PatchStep(Step):
    """A patch-individual filter layer; relevance of its two strains is averaged (Eitel 2021).

    Both strains see the same input, and each could explain all of it; the published heatmaps are the mean of the two.
    So half of what arrives at the layer goes on, unless `conserve`: then the strains' relevance is added up, as that of
    any layer with several filters.
    """

    module: nn.Module = field(default_factory=nn.Identity)
    rule: Rule = field(default_factory=Rule)
    conserve: bool = False

    def _strains(self) -> Iterator[tuple[Patchwise, Tensor, Tensor | None]]:
        layer: Any = self.module
        for strain in layer.strains:
            bias = None if layer.bias is None else layer.bias[strain.patches]
            yield Patchwise(strain), layer.weight[strain.patches], bias

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run the strains; denominators are kept."""
        layer: Any = self.module
        x = values[self.inputs[0]]
        outputs, kept = [], []
        for operator, weight, bias in self._strains():
            operator.check(x, weight)
            output, own = share_out(self.rule, operator, x, weight, bias, nonnegative[0])
            outputs.append(output)
            kept.append(own)
        axis = 1 if layer.reassemble else 2
        return torch.cat(outputs, axis), (axis, [output.shape[axis] for output in outputs], kept)

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Apply the rule to each strain's part; average or add up."""
        axis, widths, of_strains = kept
        parts = torch.split(relevance, widths, axis)
        found = [
            collect(self.rule, operator, own, part)
            for (operator, _, _), own, part in zip(self._strains(), of_strains, parts, strict=True)
        ]
        total = found[0] if len(found) == 1 else found[0] + found[1]
        return (total if self.conserve or len(found) == 1 else total / len(found),)
