"""What the makers of steps know of the recorded network around a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.execute import call_of
from neuroxai.graph.operations import GATES, MOVES, OPERATIONS, THROUGH, arguments, describe, kind_of, label
from neuroxai.graph.output_activation import read_out
from neuroxai.graph.record import Record
from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp.composites import Composite
from neuroxai.lrp.rules import Pass, Rule
from neuroxai.lrp.steps.base import Constant, FreeStep, PassStep, ScaleStep, Step, Values

_WAY_OUT = (
    "it has no relevance rule. Supported: convolutions and transposed convolutions, linear layers, "
    "PatchIndividualFilter, normalisations, pooling, maxima, up-sampling, padding, activations, dropout, reshaping, "
    "indexing, sums, products, matrix products, attention and recurrent layers. A gradient method explains this "
    "network: neuroxai.attribution.create('integrated_gradients', model)"
)
# of a call that is no layer of torch: the layer that would make it
_LAYERS: dict[str, type[nn.Module]] = {
    **{f"conv{n}d": getattr(nn, f"Conv{n}d") for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": getattr(nn, f"ConvTranspose{n}d") for n in (1, 2, 3)},
    **dict.fromkeys(("linear", *(name for name, known in OPERATIONS.items() if known.kind == "bilinear")), nn.Linear),
    "patch_individual_filter": PatchIndividualFilter,
    "batch_norm": _BatchNorm, "instance_norm": _InstanceNorm, "group_norm": nn.GroupNorm,
    "layer_norm": nn.LayerNorm, "rms_norm": nn.RMSNorm,
}  # fmt: skip
_STEADY = {"clamp", "clamp_min", "add", "expand", "unsqueeze"}


@dataclass
class Context:
    """A record and a composite."""

    record: Record  # the network
    composite: Composite  # which layer gets which rule
    scores: fx.Node

    def __post_init__(self) -> None:
        self.end = [self.scores]  # the scores, and what they are moved copies of
        while kind_of(self.end[-1]) in {*MOVES, "pick"}:
            self.end += self.tensors(self.end[-1])
        self.read_out = read_out(self.scores)
        calls = [
            node for node in self.record.graph.nodes
            if node.meta["depends"] and node.op.startswith("call_") and node not in self.read_out
        ]  # fmt: skip
        weighted = [node for node in calls if self.is_weighted(node)]
        self.positions = {node: index for index, node in enumerate(weighted)}
        # the layers with weights that read an input without another such layer between
        self.first, behind = set[fx.Node](), set[fx.Node]()
        for node in self.record.graph.nodes:
            if any(source in behind for source in self.tensors(node)):
                behind.add(node)
            elif node in self.positions:
                self.first.add(node)
                behind.add(node)
        self.composite.check([label(node) for node in calls if self.has_name(node)], len(weighted))

    def is_weighted(self, node: fx.Node) -> bool:
        """Whether a call is a layer with weights: a filter, or a product of one tensor and one constant."""
        if kind_of(node) == "filter" or self.summed_product(node) is not None:
            return True
        flat: list[Any] = []
        fx.node.map_aggregate(node.args, flat.append)
        return kind_of(node) == "bilinear" and 1 == len(self.constants(node)) == sum(map(self.depends, flat))

    def summed_product(self, node: fx.Node) -> fx.Node | None:
        """Return the product that a call sums up along an axis of its constant factor: a linear layer, written out."""
        product: Any = arguments(node).get("input") if node.meta["operation"] in ("sum", "mean") else None
        if not self.depends(product) or product.meta["operation"] != "mul":
            return None
        dims, constants, rank = arguments(node).get("dim"), self.constants(product), product.meta["rank"]
        if len(constants) != 1 or len(self.tensors(product)) != 1 or dims is None or not self._learnt(constants[0]):
            return None  # a mask has no weights
        sizes = dict(enumerate(reversed(constants[0].meta.get("shape", ())), 1))  # counted from the end
        along = (rank - int(d) % rank for d in (dims if isinstance(dims, list | tuple) else (dims,)))
        return product if any(sizes.get(axis, 1) > 1 for axis in along) else None

    def _learnt(self, node: fx.Node) -> bool:
        """Whether a value is made of parameters."""
        if node.op == "get_attr":
            return isinstance(attrgetter(str(node.target))(self.record.root), nn.Parameter)
        return not node.meta["depends"] and any(map(self._learnt, node.all_input_nodes))

    def has_name(self, node: fx.Node) -> bool:
        """Whether a composite may name a call: it is a layer, or a filter of a layer that is the user's own."""
        return label(node) == node.meta["layer"] or node.meta["layer"] == "" or self.is_weighted(node)

    def refuse(self, node: fx.Node, why: str = _WAY_OUT) -> UnsupportedLayerError:
        """Return the error that names a call."""
        line = f" ({node.meta['line']})" if node.meta.get("line") else ""
        return UnsupportedLayerError(f"{describe(node)}: {why}{line}")

    def depends(self, value: Any) -> bool:
        """Whether an argument is a call's value that may take relevance."""
        return isinstance(value, fx.Node) and bool(value.meta["carries"])

    def tensors(self, node: fx.Node) -> list[fx.Node]:
        """Return the calls that a call reads whose values may take relevance."""
        return [n for n in node.all_input_nodes if n.meta["carries"]]

    def constants(self, node: fx.Node) -> list[fx.Node]:
        """Return the calls that a call reads whose values take no relevance."""
        return [n for n in node.all_input_nodes if not n.meta["carries"]]

    def only_input(self, node: fx.Node) -> fx.Node:
        """Return a call's first argument, where nothing else in it depends on the network's input."""
        tensors = self.tensors(node)
        first = arguments(node).get("input") if node.op == "call_function" else node.args[0]
        if len(tensors) != 1 or tensors[0] is not first:
            raise self.refuse(node)
        return tensors[0]

    def check_axes(self, node: fx.Node, source: fx.Node, dims: Any) -> tuple[int, ...]:
        """Return the axes that a call reduces, after refusing those that mix samples.

        Where the first axis is as long as the batch it is taken for that of the samples, unless ``stack`` has just made
        it.
        """
        shape = source.meta["shape"]
        listed = tuple(dims) if isinstance(dims, list | tuple) else () if dims is None else (int(dims),)
        stacked = source.meta["operation"] == "stack" and arguments(source).get("dim", 0) == 0
        batch = -1 if stacked else self.record.inputs[0].meta["shape"][0]
        if not listed or any(d % len(shape) == 0 and shape[0] == batch for d in listed):
            raise self.refuse(node, f"over the axes {dims} it mixes the samples of a batch; name other axes")
        return listed

    # rules

    def type_of(self, node: fx.Node) -> type[nn.Module]:
        """Return the type of the layer that a call is, or would be."""
        base = _LAYERS.get(node.meta["operation"], nn.Linear if self.is_weighted(node) else nn.Module)
        own: type[nn.Module] | None = node.meta["type"]
        return own if own is not None and label(node) == node.meta["layer"] and issubclass(own, base) else base

    def find_rule(self, node: fx.Node) -> Rule | None:
        """Return the rule that the composite names for a call, or None."""
        position, count = self.positions.get(node), len(self.positions)
        named = position is not None and not {position, position - count}.isdisjoint(self.composite.rules)
        if node in self.first and not named:
            position = 0  # both halves of a shared encoder read the scan
        name = label(node) if self.has_name(node) or node.meta["operation"] == "batch_norm" else ""
        return self.composite.find(name, self.type_of(node), position, count)

    def rule_for(self, node: fx.Node, default: Rule | None = None) -> Rule:
        """Return the composite's rule for a call; without a default it must name one."""
        rule = self.find_rule(node) or default
        if rule is None:
            kind = self.type_of(node).__name__
            raise UnsupportedLayerError(
                f"the composite has no rule for layer {label(node)!r} ({kind}); add one, for example "
                f"{{nn.{kind}: Epsilon()}}"
            )
        return rule

    def mixing_rule(self, node: fx.Node) -> Rule:
        """Return the rule of a call that mixes its inputs: of a layer with weights its own, of others that of sums."""
        rule = self.rule_for(node, None if self.is_weighted(node) else self.composite.sums)
        if isinstance(rule, Pass):
            raise self.refuse(node, "Pass is no rule for a layer that mixes its inputs; use another")
        return rule

    # steps

    def options(self, node: fx.Node, *signals: fx.Node) -> dict[str, Any]:
        """Return what a `Step` takes: of the calls that it reads, `signals` take relevance; by default the only one."""
        signals = signals or (self.only_input(node),)
        names = tuple(dict.fromkeys(signal.name for signal in signals))
        others = tuple(n.name for n in node.all_input_nodes if n not in signals)
        return {"name": node.name, "inputs": names, "labels": (label(node),), "also_reads": others}

    def passing(self, node: fx.Node, *signals: fx.Node, **options: Any) -> Step:
        """Return the step of a call that hands relevance through."""
        return PassStep(**self.options(node, *signals), call=self.caller(node), **options)

    def free(self, node: fx.Node) -> Step:
        """Return the step of a call that takes no relevance."""
        reads = tuple(n.name for n in node.all_input_nodes)
        return FreeStep(node.name, (), (label(node),), reads, call=self.caller(node))

    def constant(self, value: Any, rank: int) -> Constant | None:
        """Return a number or constant as what scales or shifts a tensor of that rank along one axis at most."""
        if isinstance(value, int | float):
            return Constant(float(value))
        if not isinstance(value, fx.Node) or value.meta["depends"] or value.meta.get("shape") is None:
            return None
        long = [axis - len(value.meta["shape"]) for axis, n in enumerate(value.meta["shape"]) if n != 1]
        fits = len(long) <= 1 and len(value.meta["shape"]) <= rank
        return Constant(value.name, long[0] if long else None) if fits else None

    def scaling(self, node: fx.Node, signal: fx.Node, factor: Any, *, divides: bool = False) -> Step:
        """Return the step of a signal times a constant or gate, or divided by it."""
        constant = self.constant(factor, node.meta["rank"])
        if constant is None or node.meta["shape"] != signal.meta["shape"]:
            return self.passing(node, signal)
        options = self.options(node, signal)
        return ScaleStep(**options, call=self.caller(node), factor=constant, divides=divides)

    def caller(self, node: fx.Node) -> Callable[[Values], Any]:
        """Return a call that runs a node as the network did."""
        call, reads = call_of(self.record, node), [source.name for source in node.all_input_nodes]
        return lambda values: call(*(values[name] for name in reads))

    def is_gate(self, value: Any) -> bool:
        """Whether a value only scales: it comes out of a sigmoid, a softmax or a deviation of the sample."""
        while self.depends(value):
            operation, kind = value.meta["operation"], kind_of(value)
            if operation == "softmax":
                return self.composite.attention == "cp_lrp"
            if operation in GATES or kind == "deviation" or operation == "rdiv":  # what is divided by is held
                return True
            if operation == "div" and self._is_share(value):
                return self.composite.attention == "cp_lrp"
            tensors = self.tensors(value)
            passes = kind in THROUGH or operation in ("clamp", "clamp_min", "pow", "amax")
            if not passes or len(tensors) != 1:
                divides = len(tensors) > 1 and kind == "product"
                return bool(operation == "var") or (divides and all(map(self.is_gate, tensors)))
            value = tensors[0]
        return False

    def _is_share(self, node: fx.Node) -> bool:
        """Whether a quotient is a softmax by hand: values divided by their sum."""
        divisor: Any = node.args[1]
        while self.depends(divisor) and divisor.meta["operation"] in _STEADY:
            divisor = divisor.args[0]
        if not self.depends(divisor) or divisor.meta["operation"] != "sum":
            return False
        whole: Any = divisor.args[0]
        share: Any = node.args[0]
        return whole is share or (whole.target, whole.args, whole.kwargs) == (share.target, share.args, share.kwargs)
