"""Layers with weights, the normalisation folded into them, and the pooling that follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuroxai.graph.operations import arguments
from neuroxai.lrp.engine import propagate
from neuroxai.lrp.engine.operators import Conv, ConvTranspose, Dense, Operator, Patchwise, Product, Scale
from neuroxai.lrp.engine.propagate import Saved
from neuroxai.lrp.engine.space_to_depth import PooledConv
from neuroxai.lrp.rules import Pass, Rule
from neuroxai.lrp.steps.base import PassStep, Step, Values
from neuroxai.lrp.steps.context import Context
from neuroxai.lrp.steps.maxima import PoolStep


@dataclass(frozen=True)
class LinearStep(Step):
    """A layer with weights, with the normalisation folded into it and the pooling that follows, if any.

    With `pool`, the elementwise steps of `between` run on the full grid, the pooling picks its winners, and only the
    winners' denominators are saved; the result is the same as step by step, in less memory.
    """

    weight: str | None = None  # names of the values that hold them; a normalisation on its own has none
    bias: str | None = None
    rule: Rule = field(default_factory=Rule)
    operator: Operator = field(default=Dense())
    # whether a normalisation of axis 1 and a pooling behind it may be run with it: its outputs stand on that axis
    fuses: bool = True
    # of a normalisation by running statistics, folded in or on its own, and of constants folded in: takes the values by
    # name and returns factor and offset, both (channels,)
    fixed: Callable[[Values], tuple[Tensor, Tensor | None]] | None = None
    behind: tuple[Any, ...] = ()  # steps that move and average its output, folded in: sums of it, not of its parts
    merged: LinearStep | None = None  # the same before the last of what was folded into it, but for a normalisation
    between: tuple[PassStep, ...] = ()
    pool: PoolStep | None = None

    def nonnegative(self, inputs: Sequence[bool]) -> bool:
        """As the steps behind it say."""
        sign = False
        for step in self.between:
            sign = step.nonnegative((sign,))
        return sign

    def parameters(self, values: Values) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias with the normalisation folded in (new tensors; the layers keep theirs)."""
        if self.weight is None and self.fixed is not None:
            return self.fixed(values)
        weight = self.operator.outputs_first(values[str(self.weight)])
        bias: Tensor | None = None if self.bias is None else values[self.bias]
        if self.fixed is not None:
            factor, offset = self.fixed(values)
            weight = weight * factor.view(-1, *(1,) * (weight.ndim - 1))
            bias = None if bias is None else bias * factor
            bias = bias if offset is None else offset if bias is None else bias + offset
        return weight, bias

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Run the layer (and pooling); saved are denominators, how to go back, and whether samples have no axis."""
        x = values[self.inputs[0]]
        if x.ndim == 1 or isinstance(self.operator, Product):
            output, saved, back = self._run(values, x[None], nonnegative[0])
            return output[0], (saved, back, True)
        output, saved, back = self._run(values, x, nonnegative[0])
        return output, (saved, back, False)

    def _run(self, values: Values, x: Tensor, nonnegative: bool) -> tuple[Tensor, Saved, Callable[[Tensor], Tensor]]:
        weight, bias = self.parameters(values)
        if self.pool is not None and isinstance(self.operator, Conv) and self.pool.blocks is not None:
            fast = PooledConv.of(self.operator, weight, self.pool.pool, self.pool.blocks, self.rule)
            if fast is not None:
                between = partial(self._between, values)
                output, saved, index = fast.forward(self.rule, x, weight, bias, nonnegative, between)
                return output, saved, partial(fast.backward, self.rule, saved, index)
        if isinstance(self.operator, Conv) and x.ndim == 5:
            x = x.contiguous(memory_format=torch.channels_last_3d)
            weight = weight.contiguous(memory_format=torch.channels_last_3d)
        output, saved = propagate.forward(self.rule, self.operator, x, weight, bias, nonnegative)
        back = partial(propagate.backward, self.rule, self.operator, saved)
        if self.behind:
            shape = output.shape
            saved.denominators = [self._behind(d) for d in saved.denominators]
            saved.output = None if saved.output is None else self._behind(saved.output)
            return self._behind(output), saved, partial(back, spread=partial(self._spread, shape))
        if self.pool is None:
            return output, saved, back
        pooled, winners = self.pool.pool(self._between(values, output))
        saved.denominators = [winners.gather(d) for d in saved.denominators]
        saved.output = None if saved.output is None else winners.gather(saved.output)

        def spread(stacked: Tensor, count: int) -> Tensor:
            return winners.scatter(stacked, self.operator.stack([winners.indices] * count))

        return pooled, saved, partial(back, spread=spread)

    def _behind(self, output: Tensor) -> Tensor:
        for step in self.behind:
            output = step.call({step.inputs[0]: output})
        return output

    def _spread(self, shape: torch.Size, stacked: Tensor, count: int) -> Tensor:
        """Take signals of what was moved and averaged back to the layer's own outputs."""
        found, graph = list[Tensor](), torch.is_grad_enabled()
        for signal in self.operator.split(stacked, count):
            with torch.enable_grad():
                x = signal.new_zeros(shape).requires_grad_(True)
                found += torch.autograd.grad(self._behind(x), x, signal, create_graph=graph)
        return self.operator.stack(found)

    def of_outputs(self, saved: Any, relevance: Tensor) -> dict[str, Tensor]:
        """Return that of what is averaged place by place: each place's part of the average's denominators."""
        layer, (own, *_) = self, saved
        while layer.behind and layer.merged is not None:
            layer = layer.merged
        found = dict.fromkeys(reversed(self.labels[len(layer.labels) :]), relevance)
        if self.behind:
            _, places = propagate.forward(self.rule, self.operator, own.x, own.weight, own.bias, own.nonnegative)
            signals = propagate.signals(self.rule, own.denominators, relevance, own.output)
            parts = zip(places.denominators, signals, strict=True)
            shares = [whole * self._spread(whole.shape, signal, 1) for whole, signal in parts]
            relevance = sum(shares[1:], shares[0])
        return found | dict.fromkeys(reversed(layer.labels), relevance)

    def _between(self, values: Values, output: Tensor) -> Tensor:
        for step in self.between:
            output = step.call({**{name: values[name] for name in step.also_reads}, step.inputs[0]: output})
        return output

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Apply the rule."""
        _, back, alone = saved
        return (back(relevance[None])[0] if alone else back(relevance),)


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
        """Run the strains; denominators are saved."""
        layer: Any = self.module
        x, axis = values[self.inputs[0]], 1 if layer.reassemble else 2
        runs = [propagate.forward(self.rule, op, x, w, b, nonnegative[0]) for op, w, b in self._strains()]
        outputs, saved = zip(*runs, strict=True)
        return torch.cat(outputs, axis), (axis, [output.shape[axis] for output in outputs], saved)

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Apply the rule to each strain's part; average or add up."""
        axis, widths, of_strains = saved
        strains = zip(self._strains(), of_strains, torch.split(relevance, widths, axis), strict=True)
        found = [propagate.backward(self.rule, operator, own, part) for (operator, *_), own, part in strains]
        total = sum(found[1:], found[0])
        return (total if self.conserve else total / len(found),)


# steps of recorded calls


def of_filter(context: Context, node: fx.Node) -> Step:
    """Return the step of a convolution or linear layer, whose weights may be made by other calls."""
    source, given, operation = context.only_input(node), arguments(node), node.meta["operation"]
    weight, bias = given["weight"], given.get("bias")
    operator: Operator = Dense()
    if operation.startswith("conv_transpose"):
        operator = ConvTranspose.of(int(operation[-2]), given)
    elif operation != "linear":
        operator = Conv.of(int(operation[-2]), given, weight.meta["shape"][2:])
    return of_linear(context, node, source, operator, weight, bias)


def of_linear(
    context: Context, node: fx.Node, source: fx.Node, operator: Operator, weight: fx.Node, bias: fx.Node | None = None
) -> Step:
    """Return the step of a layer with weights of known geometry."""
    rule = context.mixing_rule(node)
    bounded = any(term.input in ("low", "high") for part in rule.parts for term in part.terms)
    if isinstance(operator, Product) and bounded and context.record.inputs[0].meta["shape"][0] > 1:
        raise context.refuse(
            node, "which of its values are of which sample is not known, so that each sample's bounds are not; explain "
            "one sample at a time, or give ZBox low and high"
        )  # fmt: skip
    options = {**context.options(node, source), "rule": rule, "operator": operator}
    fuses = node.meta["rank"] <= 2 if isinstance(operator, Dense) else not isinstance(operator, Product)
    return LinearStep(**options, weight=weight.name, bias=None if bias is None else bias.name, fuses=fuses)


def of_patches(context: Context, node: fx.Node) -> Step:
    """Return the step of a patch-individual filter layer."""
    options = {**context.options(node, node.all_input_nodes[0]), "rule": context.mixing_rule(node)}
    module = context.record.root.get_submodule(str(node.target))
    return PatchStep(**options, module=module, conserve=context.composite.strains == "sum")


def of_batch_norm(context: Context, node: fx.Node) -> Step:
    """Return the step of a batch normalisation."""
    given = arguments(node)
    if given.get("training") or given.get("running_mean") is None:
        raise context.refuse(node, "it takes its statistics from the batch (no running statistics, or training=True)")
    rule = context.rule_for(node)
    if isinstance(rule, Pass) and node in context.end:  # it may turn signs
        rule = context.composite.sums
    return of_fixed_norm(context, node, rule)


def of_fixed_norm(context: Context, node: fx.Node, rule: Rule) -> Step:
    """Return the step of a normalisation by running statistics."""
    source, given = context.only_input(node), arguments(node)
    if isinstance(rule, Pass):
        return context.passing(node, source, local=True)

    def fixed(values: Values) -> tuple[Tensor, Tensor]:
        weight, bias = (None if given.get(key) is None else values[given[key].name] for key in ("weight", "bias"))
        factor = torch.rsqrt(values[given["running_var"].name] + given.get("eps", 1e-5))
        factor = factor if weight is None else factor * weight
        offset = -values[given["running_mean"].name] * factor
        return factor, offset if bias is None else offset + bias

    return LinearStep(**context.options(node, source), rule=rule, operator=Scale(), fixed=fixed)
