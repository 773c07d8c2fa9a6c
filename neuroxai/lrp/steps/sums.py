"""Linear maps whose weights are fixed: sums and differences, average pooling, means, up-sampling, copying padding.

They follow the same rules as layers with weights; constants in a sum are its bias. Each axis that is averaged or
resized has a small matrix (outputs, inputs) with entries >= 0, found by applying torch's own operation on one axis to
unit vectors. So transpose, squares and patterns of the whole map are exact, whatever the options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from neuroxai.graph.operations import OPERATIONS, arguments
from neuroxai.lrp.engine.propagate import piece_of, signals
from neuroxai.lrp.rules import Rule, Weight
from neuroxai.lrp.steps.base import Constant, MoveStep, Step, Values
from neuroxai.lrp.steps.context import Context

Matrices = dict[int, Tensor]  # a linear map: for each axis that changes (outputs, inputs), entries >= 0
_NEAREST_MODES = ("nearest", "nearest-exact")
_MODES = ("linear", "bilinear", "trilinear", "area", *_NEAREST_MODES)


def _mapped(x: Tensor, matrices: Matrices) -> Tensor:
    """Apply a map to a tensor."""
    for axis, matrix in matrices.items():
        lines = x.reshape(-1, x.shape[axis], x.shape[axis + 1 :].numel())
        x = (matrix @ lines).reshape(*x.shape[:axis], len(matrix), *x.shape[axis + 1 :])
    return x


def _piece(matrices: Matrices, weight: Weight) -> Matrices:
    """Return the map of the squared weights, or of ones where weights are, if the piece asks for them."""
    if weight.squared:
        return {axis: m.square() for axis, m in matrices.items()}
    return {axis: (m > 0).to(m.dtype) for axis, m in matrices.items()} if weight.one else matrices


def by_axis(x: Tensor, axes: Sequence[int], run: Callable[..., Tensor], **options: Any) -> Matrices:
    """Return the map of an operation that acts on each axis of `x` by itself; options may hold one value an axis."""
    matrices = {}
    for number, axis in enumerate(axes):
        of_axis = {k: v[number % len(v)] if isinstance(v, list | tuple) else v for k, v in options.items()}
        units = torch.eye(x.shape[axis], dtype=x.dtype, device=x.device)[None]
        matrices[axis] = run(units, **of_axis)[0].T
    return matrices


@dataclass(frozen=True)
class SumStep(Step):
    """Weighted sum of tensors, each through a map with entries >= 0, plus a constant."""

    rule: Rule = field(default_factory=Rule)  # the composite's rule for sums
    weights: tuple[float, ...] = (1.0,)  # one for each input. A difference is a sum with a weight of -1
    make: Callable[[Tensor], Matrices] = field(default=lambda x: {})  # the map of an input
    constant: Callable[[Values], Any] | None = None  # takes the values by name; returns a number or tensor to add
    shift: Constant | None = None  # the constant, but for its weight, where it differs along one axis at most
    # takes the values by name and returns the output as the network makes it, if not by adding up
    call: Callable[[Values], Any] | None = None

    def forward(self, values: Values, nonnegative: Sequence[bool]) -> tuple[Any, Any]:
        """Add; the summands are saved."""
        tensors = [values[name] for name in self.inputs]
        maps = [self.make(x) for x in tensors]
        bias = None
        if self.constant is not None:
            bias = torch.as_tensor(self.constant(values), dtype=tensors[0].dtype, device=tensors[0].device)
        if self.call is not None:  # a mean may drop its axes
            shape = [len(maps[0][axis]) if axis in maps[0] else n for axis, n in enumerate(tensors[0].shape)]
            return self.call(values), (tensors, maps, bias, shape)
        output = self._output(tensors, maps, bias)
        return output, (tensors, maps, bias, output.shape)

    def _output(self, tensors: Sequence[Tensor], maps: Sequence[Matrices], bias: Tensor | None) -> Tensor:
        mapped = [_mapped(x if w == 1 else x * w, m) for x, m, w in zip(tensors, maps, self.weights, strict=True)]
        return _added([*mapped, *([] if bias is None else [bias])])

    def backward(self, saved: Any, relevance: Tensor) -> Sequence[Tensor]:
        """Share out in proportion to the contributions."""
        tensors, maps, bias, shape = saved
        parts, inside = self.rule.parts, self.rule.bias != "ignore"
        pieces = [None if bias is None else part.bias.of(bias) for part in parts]
        terms = [list(self._terms(x, m, w)) for x, m, w in zip(tensors, maps, self.weights, strict=True)]
        sums = []
        for number, piece in enumerate(pieces):
            found = [_mapped(c, m) for of_input in terms for index, c, m in of_input if index == number]
            sums.append(_added([*found, *([] if piece is None or not inside else [piece])]).expand(shape))
        gated = any(part.where != "always" for part in parts)
        output = self._output(tensors, maps, bias) if gated else None
        signal = signals(self.rule, sums, relevance.reshape(shape), output)
        shared: Any = 0.0
        if self.rule.bias == "distribute":
            shared = sum(s * p for p, s in zip(pieces, signal, strict=True) if p is not None) / len(tensors)
        shares = []
        for x, of_input in zip(tensors, terms, strict=True):
            back = [c * _mapped(signal[i], {axis: t.T for axis, t in m.items()}) for i, c, m in of_input]
            shares.append((_added(back) + shared).sum_to_size(x.shape))  # undoes broadcasting
        return shares

    def _terms(self, x: Tensor, matrices: Matrices, weight: float) -> Iterator[tuple[int, Tensor, Matrices]]:
        """Yield each term of the rule that does not vanish: its part, its piece of the input, its map."""
        for index, part in enumerate(self.rule.parts):
            for term in part.terms:
                factor = float(term.weight.of(torch.tensor(weight, dtype=torch.float64)))
                if factor:
                    piece = piece_of(x, term.input)
                    yield index, piece if factor == 1 else piece * factor, _piece(matrices, term.weight)


def _added(tensors: Sequence[Tensor]) -> Tensor:
    return sum(tensors[1:], tensors[0])


# steps of recorded calls


def of_sum(context: Context, node: fx.Node) -> Step:
    """Return the step of ``a + b`` or ``a - b``, either of which may be a constant."""
    given, operation = arguments(node), node.meta["operation"]
    alpha: Any = given.get("alpha", 1)
    if not isinstance(alpha, int | float):
        raise context.refuse(node, "alpha must be a number")
    first, second = (-1.0 * alpha, 1.0) if operation == "rsub" else (1.0, alpha if operation == "add" else -1.0 * alpha)
    operands = [(given["input"], first), (given["other"], second)]
    tensors = [(a, w) for a, w in operands if context.depends(a)]
    constants = [(a, w) for a, w in operands if not context.depends(a)]
    if any(isinstance(c, int | float) and c == 0 for c, _ in constants) and tensors[0][1] == 1:
        return context.passing(node, tensors[0][0], local=True, gives="keeps")  # sum() begins with 0 + x
    options = context.options(node, *(t for t, _ in tensors)) | {"inputs": tuple(t.name for t, _ in tensors)}
    weights, rule = tuple(float(w) for _, w in tensors), context.composite.sums
    if not constants:
        gives = "keeps" if min(weights) >= 0 else "any"
        return SumStep(**options, rule=rule, weights=weights, gives=gives)
    (constant, weight) = constants[0]

    def value(values: Values) -> Any:
        return weight * (values[constant.name] if isinstance(constant, fx.Node) else constant)

    same = node.meta["shape"] == tensors[0][0].meta["shape"]  # it may be what makes several values of one
    shift = context.constant(constant, node.meta["rank"]) if same else None
    return SumStep(**options, rule=rule, weights=weights, constant=value, shift=shift)


def of_average(context: Context, node: fx.Node) -> Step:
    """Return the step of an average pooling, by windows or adaptive."""
    operation, given = node.meta["operation"], arguments(node)
    twin: Any = getattr(F, f"{operation[:-2]}1d")
    divisor, axes = given.get("divisor_override"), range(2, 2 + int(operation[-2]))
    names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "output_size")
    options = {name: given[name] for name in names if given.get(name) not in (None, (), [])}

    def run(units: Tensor, **of_axis: Any) -> Any:
        return units if of_axis.get("output_size", 0) is None else twin(units, **of_axis)

    def make(x: Tensor) -> Matrices:
        averages = by_axis(x, axes, run, **options)
        if divisor is None:
            return averages
        sums = _piece(averages, Weight(one=1.0))
        return {axis: m / divisor if axis == 2 else m for axis, m in sums.items()}

    return _mixing(context, node, make)


def of_mean(context: Context, node: fx.Node) -> Step:
    """Return the step of ``mean`` or ``sum`` over axes."""
    given, total = arguments(node), node.meta["operation"] == "sum"
    dims = context.check_axes(node, context.only_input(node), given.get("dim"))
    if given.get("dtype") is not None:
        raise context.refuse(node, "it changes the number type")

    def make(x: Tensor) -> Matrices:
        sizes = {int(d) % x.ndim: x.shape[int(d)] for d in dims}
        return {axis: x.new_full((1, n), 1.0 if total else 1.0 / n) for axis, n in sizes.items()}

    return _mixing(context, node, make)


def of_resize(context: Context, node: fx.Node) -> Step:
    """Return the step of up-sampling; the nearest modes copy values."""
    given = arguments(node)
    mode = given.get("mode", "nearest")
    if mode not in _MODES or given.get("antialias"):
        raise context.refuse(node, f"up-sampling in mode {mode!r} has no relevance rule; use a linear or nearest mode")
    if mode in _NEAREST_MODES:
        return of_move(context, node, copies=True)
    names = ("size", "scale_factor", "align_corners", "recompute_scale_factor")
    options = {name: given[name] for name in names if name in given} | {"mode": "area" if mode == "area" else "linear"}
    return _mixing(context, node, lambda x: by_axis(x, range(2, x.ndim), F.interpolate, **options))


def of_pad(context: Context, node: fx.Node) -> Step:
    """Return the step of padding: zeros are left out, copies go back to where they came from."""
    mode = arguments(node).get("mode", "constant")
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise context.refuse(node)
    return of_move(context, node, copies=mode != "constant")


def of_move(context: Context, node: fx.Node, *, copies: bool = False) -> Step:
    """Return the step of an operation that moves values, or (`copies`) fills up with values of its one input."""
    tensors = [context.only_input(node)] if copies else context.tensors(node)
    if copies:
        context.mixing_rule(node)  # refuses Pass
    options = context.options(node, *tensors)
    keeps = copies or (OPERATIONS[node.meta["operation"]].sign == "keeps" and not options["also_reads"])
    return MoveStep(**options, call=context.caller(node), gives="keeps" if keeps else "any")


def _mixing(context: Context, node: fx.Node, make: Callable[[Tensor], Matrices]) -> Step:
    options = context.options(node)
    return SumStep(**options, rule=context.mixing_rule(node), make=make, call=context.caller(node), gives="keeps")
