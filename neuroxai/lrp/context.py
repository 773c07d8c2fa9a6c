"""What the makers of steps know of the traced network around a node."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from neuroxai.errors import UnsupportedLayerError
from neuroxai.lrp import operations as known
from neuroxai.lrp.composites import WEIGHTED, Composite
from neuroxai.lrp.parts import Rule
from neuroxai.lrp.steps import Values
from neuroxai.lrp.trace import bound, describe, label

_WAY_OUT = (
    "it has no relevance rule. Supported: convolutions and transposed convolutions, Linear, PatchIndividualFilter, "
    "normalisations, pooling, up-sampling, padding, activations, dropout, reshaping, slicing, sums and concatenations "
    "of tensors, products with constants or gates"
)
_NOT_IN_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
_THROUGH = {*known.RESHAPES, *known.PERMUTES, *known.SAME, *known.CASTS, *known.PICKS, "interpolate", "getitem"}


@dataclass
class Context:
    """A traced network and its composite.

    Attributes
    ----------
    graph, modules
        From `neuroxai.lrp.trace.trace`.
    composite : Composite
        Which layer gets which rule.
    """

    graph: fx.Graph
    modules: dict[str, nn.Module]
    composite: Composite

    def __post_init__(self) -> None:
        calls = [node for node in self.graph.nodes if node.op == "call_module"]
        weighted = [node for node in calls if isinstance(self.modules[node.target], WEIGHTED)]
        self.positions = {node: index for index, node in enumerate(weighted)}
        self.composite.check([label(node) for node in calls], len(weighted))
        self.constants: set[fx.Node] = set()
        for node in self.graph.nodes:
            if self._is_constant(node):
                self.constants.add(node)

    def _is_constant(self, node: fx.Node) -> bool:
        """Whether a node's value depends on shapes and parameters only, not on the values of the input."""
        if node.op in ("get_attr", "placeholder", "output"):
            return node.op == "get_attr"
        if node.op == "call_method" and node.target in known.SIZES:
            return True
        if node.op == "call_function" and node.target is getattr and node.args[1] in known.ATTRIBUTES:
            return True
        if node.op == "call_function" and node.target in known.LIKES:
            return True
        random = "rand" in str(getattr(node.target, "__name__", "")) or node.target in ("normal", "bernoulli")
        return node.op != "call_module" and not random and all(n in self.constants for n in node.all_input_nodes)

    def refuse(self, node: fx.Node, why: str = _WAY_OUT) -> UnsupportedLayerError:
        """Return the error that names a node."""
        return UnsupportedLayerError(f"{describe(node, self.modules)}: {why}")

    def tensors(self, node: fx.Node) -> list[fx.Node]:
        """Return the inputs of a node that depend on the network's input."""
        return [n for n in node.all_input_nodes if n not in self.constants]

    def others(self, node: fx.Node, *relevant: fx.Node) -> tuple[str, ...]:
        """Return the names of the inputs of a node that take no relevance."""
        return tuple(n.name for n in node.all_input_nodes if n not in relevant)

    def only_input(self, node: fx.Node) -> fx.Node:
        """Return a node's first argument, where nothing else in its call depends on the network's input."""
        tensors = self.tensors(node)
        if len(tensors) != 1 or not node.args or tensors[0] is not node.args[0]:
            raise self.refuse(node)
        return tensors[0]

    def rule_for(self, node: fx.Node) -> Rule:
        """Return the composite's rule for a layer with weights or a batch normalisation."""
        return self.composite.rule_for(
            label(node), self.modules[str(node.target)], self.positions.get(node), len(self.positions)
        )

    def chosen_rule(self, node: fx.Node) -> Rule | None:
        """Return the rule that the composite names for a layer, or None; functional calls have no name."""
        if node.op != "call_module":
            return None
        return self.composite.find(label(node), type(self.modules[str(node.target)]))

    def argument(self, node: fx.Node, place: int, name: str, default: Any = None) -> Any:
        """Return a call's argument as it was recorded, by place (0 is the tensor) or name."""
        return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)

    def caller(self, node: fx.Node) -> Callable[[Values], Any]:
        """Return a call that runs a node as the network wrote it, but never writes into its inputs."""
        target: Any = node.target
        args, kwargs = node.args, dict(node.kwargs)
        if node.op == "get_attr":
            owner, _, name = str(target).rpartition(".")
            home = self.modules[owner]
            return lambda values: getattr(home, name)
        if node.op == "call_module":
            return _recorded(self.modules[str(target)], args, kwargs)
        written = False
        if node.op == "call_function":
            target = _NOT_IN_PLACE.get(target, target)
            written = _writes(getattr(target, "__name__", ""))
            if "inplace" in bound(node)[1]:
                first, kwargs = bound(node)
                args, kwargs = first, {**kwargs, "inplace": False}
            function = target
        else:
            written = _writes(target)

            def function(x: Any, *rest: Any, **named: Any) -> Any:
                return getattr(x, target)(*rest, **named)

        if not written:
            return _recorded(function, args, kwargs)
        return _recorded(lambda x, *rest, **named: function(x.clone(), *rest, **named), args, kwargs)

    def is_gate(self, value: Any) -> bool:
        """Whether a value comes out of a sigmoid or softmax, through shapes, copies and arithmetic with constants."""
        while isinstance(value, fx.Node) and value not in self.constants:
            if value.op == "call_module":
                module: Any = self.modules[str(value.target)]
                if isinstance(module, nn.Sigmoid | nn.Hardsigmoid | nn.Softmax):
                    return True
                through = isinstance(module, (*known.INACTIVE, *known.RESHAPE_MODULES, nn.Upsample))
            else:
                operation = known.operation(value)
                if operation in known.GATES:
                    return True
                through = operation in _THROUGH or value.target in known.DROPOUT_FUNCTIONS
                through = through or (operation in known.ARITHMETIC and operation != "div")
            tensors = self.tensors(value)
            if not through or len(tensors) != 1:
                return False
            value = tensors[0]
        return False


def _writes(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


def _recorded(function: Callable[..., Any], args: Any, kwargs: Any) -> Callable[[Values], Any]:
    """Return a call of `function` with recorded arguments, whose nodes stand for values."""

    def call(values: Values) -> Any:
        def pick(node: fx.Node) -> Any:
            return values[node.name]

        return function(*fx.node.map_arg(args, pick), **fx.node.map_arg(kwargs, pick))

    return call


def with_input(make: Callable[..., Any], node: fx.Node) -> Callable[[Tensor, Values], Any]:
    """Return a call of `make` with the input given and the node's other recorded arguments."""
    call = _recorded(lambda *args, **kwargs: (args, kwargs), node.args[1:], dict(node.kwargs))

    def made(x: Tensor, values: Values) -> Any:
        args, kwargs = call(values)
        return make(x, *args, **kwargs)

    return made
