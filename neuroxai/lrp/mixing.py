"""Layers without weights that mix values: average pooling, means, up-sampling, copying padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from neuroxai.lrp.arithmetic import added
from neuroxai.lrp.axes import AxesMap
from neuroxai.lrp.parts import Piece, Rule
from neuroxai.lrp.propagate import Saved, part_signals, piece_of
from neuroxai.lrp.steps import CallStep, Values


@dataclass(frozen=True)
class MixStep(CallStep):
    """A linear map whose fixed weights are all >= 0, under the rule of sums.

    Attributes
    ----------
    make : callable
        Takes the input and the values by name; returns the map.
    rule : Rule or None
        None: each output copies one input, and relevance goes back to where the value came from.
    """

    make: Callable[[Tensor, Values], AxesMap] = field(default=lambda x, values: AxesMap({}))
    rule: Rule | None = None

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run the network's own operation, and keep each part's sums."""
        x = values[self.inputs[0]]
        mixing = self.make(x, values)
        output = self.call(values)
        if self.rule is None:
            return output, (mixing, mixing.shape(x), None)
        sums = []
        for part in range(len(self.rule.parts)):
            found = [mapped.forward(source) * f for mapped, source, f in self._terms(part, mixing, x, nonnegative[0])]
            sums.append(added(found) if found else mixing.forward(x) * 0)
        whole = mixing.forward(x) if any(part.where != "always" for part in self.rule.parts) else None
        sums = [s.expand(mixing.shape(x)) for s in sums]
        kept = Saved(x, x.new_zeros(0), None, nonnegative[0], sums, whole)
        return output, (mixing, mixing.shape(x), kept)

    def backward(self, kept: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Share out in proportion to the contributions."""
        mixing, shape, state = kept
        relevance = relevance.reshape(shape)  # means may have dropped their axes
        if self.rule is None:
            return (mixing.transpose(relevance),)
        signals = part_signals(self.rule, state, relevance)
        total = torch.zeros_like(state.x)
        for part, signal in enumerate(signals):
            for mapped, source, factor in self._terms(part, mixing, state.x, state.nonnegative):
                total += source * mapped.transpose(signal) * factor
        return (total,)

    def _terms(
        self, part: int, mixing: AxesMap, x: Tensor, nonnegative: bool
    ) -> Iterator[tuple[AxesMap, Tensor, float]]:
        """Yield map, piece of the input and factor of each term that does not vanish."""
        if self.rule is None:
            return
        for term in self.rule.parts[part].terms:
            mapped, factor = mixing.piece(term.weight)
            if factor and not (nonnegative and term.input == "negative"):
                piece: Piece = "all" if nonnegative and term.input == "positive" else term.input
                yield mapped, piece_of(x, piece), factor
