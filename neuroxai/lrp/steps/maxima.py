"""Maxima, over windows, axes or of two tensors: the winner takes all. A soft maximum shares by its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from neuroxai.errors import InputError
from neuroxai.graph.operations import arguments, label
from neuroxai.lrp.engine.operators import each
from neuroxai.lrp.engine.propagate import signals
from neuroxai.lrp.rules import Epsilon, Rule
from neuroxai.lrp.steps.base import CallStep, MoveStep, Step, Values
from neuroxai.lrp.steps.context import Context


@dataclass(frozen=True)
class Winners:
    """Where the maxima of one pooling lay: indices in the flattened grid of an input of this shape."""

    indices: Tensor
    shape: torch.Size
    memory_format: torch.memory_format

    def gather(self, values: Tensor) -> Tensor:
        """Read values of the full grid at the winners; result shaped like the pooled output."""
        axis = self._axis
        found = self._flat(values).gather(axis, self._flat(self.indices))
        if axis == 2:
            return found.view(self.indices.shape)
        return found.view(self.indices.movedim(1, -1).shape).movedim(-1, 1)

    def scatter(self, values: Tensor, indices: Tensor | None = None) -> Tensor:
        """Add values at the winners into zeros of the full grid; `indices` stands in for stacked channels."""
        indices = self.indices if indices is None else indices
        shape = (self.shape[0], values.shape[1], *self.shape[2:])
        out = torch.empty(shape, dtype=values.dtype, device=values.device, memory_format=self.memory_format).zero_()
        self._flat(out).scatter_add_(self._axis, self._flat(indices), self._flat(values))  # of out it is a view
        return out

    @property
    def _axis(self) -> int:
        return 2 if self.memory_format == torch.contiguous_format else 1

    def _flat(self, x: Tensor) -> Tensor:
        """Flatten the grid as it lies in memory, so that nothing is copied."""
        return x.flatten(2) if self._axis == 2 else x.movedim(1, -1).flatten(1, -2)


@dataclass(frozen=True)
class PoolStep(Step):
    """Max-pooling over 1, 2 or 3 axes, by windows or adaptive to a given output grid."""

    operation: str = ""  # "max_pool3d", "adaptive_max_pool1d" and so on
    options: dict[str, Any] = field(default_factory=dict)  # the function's other arguments by name

    @property
    def blocks(self) -> tuple[int, ...] | None:
        """Size of the windows where they lie side by side, without padding; None otherwise."""
        axes, given = int(self.operation[-2]), self.options
        if "kernel_size" not in given:
            return None
        kernel = each(given["kernel_size"], axes)
        plain = each(given.get("stride") or kernel, axes) == kernel and not given.get("ceil_mode")
        return kernel if plain and not any(each(given.get("padding", 0), axes)) and self._dilation == 1 else None

    @property
    def _dilation(self) -> int:
        return max(each(self.options.get("dilation", 1), 1))

    def pool(self, x: Tensor) -> tuple[Tensor, Winners]:
        """Pool, and remember the winners."""
        run: Any = getattr(F, self.operation)
        out, indices = run(x, **self.options, return_indices=True)
        if self._dilation > 1 and bool(torch.isneginf(out).any()):  # torch's winner is outside, too
            raise InputError(
                f"a dilated max-pooling window lies wholly outside the grid {tuple(x.shape[2:])} that arrives, and has "
                "no winner; give a larger scan"
            )
        last = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
        lies_last = not x.is_contiguous() and x.ndim > 3 and x.is_contiguous(memory_format=last)
        return out, Winners(indices, x.shape, last if lies_last else torch.contiguous_format)

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Take the maxima; the winners are saved."""
        return self.pool(values[self.inputs[0]])

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Give all to the winners."""
        return (saved.scatter(relevance),)


@dataclass(frozen=True)
class SoftMaximumStep(CallStep):
    """``logsumexp`` over axes: the winner's share made soft, by the softmax ``s`` of the values, held constant.

    ``y = sum_j s_j x_j + H(s)``, where the entropy H of the softmax comes from nowhere, and is a bias: ``R_i = s_i x_i
    R / y``. To layers that share by the positive contributions goes ``s_i R``, all of it, as the winner of a maximum
    has it: with a value below 0 there what supports the class would be negative.
    """

    rule: Rule = field(default_factory=Epsilon)  # stabiliser of the denominators
    proportional: bool = True  # whether the layers in front share in proportion to all contributions
    dims: tuple[int, ...] = (-1,)  # the axes

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run it; what it read is saved."""
        x = values[self.inputs[0]]
        return self.call(values), x

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Share out by the weights; what is masked out takes nothing."""
        y = saved.logsumexp(self.dims, keepdim=True)
        weights, relevance = torch.exp(saved - y), relevance.reshape(y.shape)
        if not self.proportional:
            return (weights * relevance,)
        (signal,) = signals(self.rule, [y], relevance)
        return (torch.where(torch.isneginf(saved), 0, saved) * weights * signal,)


# steps of recorded calls


def of_max_pool(context: Context, node: fx.Node) -> Step:
    """Return the step of a max-pooling, by windows or adaptive; who reads its indices is another matter."""
    given = {key: value for key, value in arguments(node).items() if not key.startswith("_")}
    options = {key: value for key, value in given.items() if key not in ("input", "return_indices")}
    return PoolStep(**context.options(node), gives="keeps", operation=node.meta["operation"], options=options)


def of_maximum(context: Context, node: fx.Node) -> Step:
    """Return the step of the maximum over axes, or of two tensors: of equals the first is the winner."""
    whole: Any = node.args[0] if node.meta["operation"] == "getitem" else node
    given, tensors, shape = arguments(whole), context.tensors(whole), node.meta["shape"]
    dims: tuple[int, ...] = ()
    if len(tensors) == 1 and whole.meta["operation"] != "maximum" and not isinstance(given.get("dim"), fx.Node):
        dims = context.check_axes(whole, context.only_input(whole), given.get("dim"))
        if whole is not node and node.args[1] != 0:
            raise context.refuse(node, "where a maximum lies has no relevance rule")
    options = {**context.options(whole, *tensors), "name": node.name, "labels": (label(node),)}
    read, inner = (*options["inputs"], *options["also_reads"]), tuple(range(-len(dims), 0))

    def call(values: Values) -> Tensor:
        first, *others = [values[name] for name in read]
        if dims:
            lines = first.movedim(dims, inner).flatten(-len(dims))
        else:
            lines = torch.stack(torch.broadcast_tensors(first, *others), -1)  # type: ignore[no-untyped-call]
        winners: Tensor = lines.gather(-1, lines.argmax(-1, keepdim=True))
        return winners.reshape(shape)

    return MoveStep(**options, call=call, chosen=True, gives="keeps" if dims else "any")


def of_chosen(context: Context, whole: fx.Node, node: fx.Node | None = None) -> Step:
    """Return the step of values chosen by their order, or of picking these where places come along."""
    given, tensors, run = arguments(whole), context.tensors(whole), context.caller(whole)
    options = {**context.options(whole, *tensors), "gives": "keeps", "call": run}
    if node is not None:
        at: Any = node.args[1]
        options |= {"name": node.name, "labels": (label(node),), "call": lambda values: run(values)[at]}
    if len(tensors) == 1 and "other" not in given and not isinstance(given.get("dim"), fx.Node):
        last = whole.meta["operation"] in ("topk", "sort", "kthvalue")
        first = whole.meta["operation"] == "msort"
        context.check_axes(whole, tensors[0], 0 if first else given.get("dim", -1 if last else None))
    return MoveStep(**options, chosen=True)


def of_soft_maximum(context: Context, node: fx.Node) -> Step:
    """Return the step of ``logsumexp``."""
    source, rule = context.only_input(node), Epsilon(context.composite.sums.epsilon)
    dims = context.check_axes(node, source, arguments(node).get("dim"))
    options = {**context.options(node, source), "call": context.caller(node), "gives": "keeps"}
    return SoftMaximumStep(**options, rule=rule, dims=dims)
