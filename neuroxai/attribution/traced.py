"""A traced network whose nonlinear operations each run as a module of their own.

Captum attaches its rules to modules. In a network as written, that goes wrong without a word: a functional activation
has no module, a module used twice has one set of hooks, and a hook on an activation's input sees the gradient of every
other reader of that tensor, too. Here each nonlinear operation of the graph gets a module and an input tensor of its
own, so that Captum's rules act where they should, however the network is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, fx, nn

from neuroxai.errors import UnsupportedLayerError
from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp import operations as known
from neuroxai.lrp.inplace import refuse_shared_writes
from neuroxai.lrp.pooling import POOLS, MaxPool
from neuroxai.lrp.shadow import shadow, unwrapped
from neuroxai.lrp.trace import bound, describe, trace

_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
_FILTERS = (nn.modules.conv._ConvNd, nn.Linear, PatchIndividualFilter)
_MEANS = tuple(getattr(nn, f"{kind}AvgPool{n}d") for kind in ("", "Adaptive") for n in (1, 2, 3))
PADDINGS = (
    nn.modules.padding._ConstantPadNd,
    nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd,
)
_LINEAR_LAYERS = (*_FILTERS, *_MEANS, *PADDINGS, *known.INACTIVE, *known.RESHAPE_MODULES, nn.Upsample)
DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
_LINEAR_OPERATIONS = {
    *known.RESHAPES, *known.PERMUTES, *known.PICKS, *known.PIECES, *known.AVERAGES, *DROPOUTS, *known.CASTS,
    "contiguous", "clone", "add", "sub", "neg", "cat", "stack", "interpolate", "mean", "sum", "pad", "getitem",
}  # fmt: skip


class Nonlinear(nn.Module):
    """One nonlinear operation of the graph, for hooks to be set on.

    Attributes
    ----------
    pool : MaxPool or None
        The pooling's geometry; None for elementwise activations.
    """

    def __init__(self, call: Callable[[Tensor], Tensor], pool: MaxPool | None = None) -> None:
        super().__init__()
        self._call, self.pool = call, pool

    def forward(self, x: Tensor) -> Tensor:
        """Run the operation."""
        return self._call(x)


class Traced(nn.Module):
    """A model's double, run node by node: each nonlinear operation as a `Nonlinear`, the skipped one not at all."""

    def __init__(
        self, double: nn.Module, graph: fx.Graph, nonlinear: Collection[fx.Node], skipped: fx.Node | None
    ) -> None:
        super().__init__()
        self.model, self._graph = double, graph
        self.own = nn.ModuleDict({node.name: _own(node, self) for node in nonlinear})
        if skipped is not None:
            self.own[skipped.name] = nn.Identity()

    def forward(self, x: Tensor) -> Any:
        """Run the network."""
        return _Run(self.model, self._graph, self.own).run(x)


class Interpreter(fx.Interpreter):
    """Runs a traced network's graph on a double of it."""

    def __init__(self, double: nn.Module, graph: fx.Graph) -> None:
        root = nn.Module()
        root.model = double  # the name that the graph's targets begin with
        super().__init__(root, graph=graph)
        self.extra_traceback = False  # errors are told by the caller
        self.submodules = dict(root.named_modules(remove_duplicate=False))  # shared layers have several names


class _Run(Interpreter):
    def __init__(self, double: nn.Module, graph: fx.Graph, own: nn.ModuleDict) -> None:
        super().__init__(double, graph)
        self.own = own

    def run_node(self, n: fx.Node) -> Any:
        if n.name not in self.own:
            return super().run_node(n)
        x = self.env[_source(n)]
        return self.own[n.name](x.view_as(x))  # a tensor that nobody else reads


def _source(node: fx.Node) -> fx.Node:
    (source,) = node.all_input_nodes
    return source


def _own(node: fx.Node, root: nn.Module) -> Nonlinear:
    """Make the module of a nonlinear node; it calls what the network calls."""
    if node.op == "call_module":
        layer = root.get_submodule(str(node.target))
        return Nonlinear(layer, pool_of(node, {str(node.target): layer}))

    def call(x: Tensor) -> Any:
        def stands(value: Any) -> Any:
            return x.clone() if isinstance(value, fx.Node) else value  # it may be written into

        args, kwargs = [stands(a) for a in node.args], {k: stands(v) for k, v in node.kwargs.items()}
        if isinstance(node.target, str):
            return getattr(args[0], node.target)(*args[1:], **kwargs)
        return node.target(*args, **kwargs)

    return Nonlinear(call, pool_of(node, {}))


def pool_of(node: fx.Node, modules: dict[str, nn.Module]) -> MaxPool | None:
    """Return the geometry of a max-pooling, or None for any other operation."""
    layer: Any = modules.get(str(node.target)) if node.op == "call_module" else None
    for kind, axes in POOLS.items():
        if isinstance(layer, kind):
            m: Any = layer
            return MaxPool.of(axes, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)
    if node.op == "call_function" and node.target in known.POOL_FUNCTIONS:
        (_, *rest), named = bound(node)
        return MaxPool.of(known.POOL_FUNCTIONS[node.target], *rest, **named)
    return None


def activation_of(node: fx.Node, modules: dict[str, nn.Module]) -> str | None:
    """Return an elementwise activation's name in lower case, "foreign" for one from outside torch, else None."""
    if node.op == "call_module":
        layer = modules[str(node.target)]
        kinds = [kind.__name__ for kind in known.ACTIVATIONS if isinstance(layer, kind)]
        return kinds[0].lower() if kinds else "foreign" if known.foreign(layer) is not None else None
    name = known.operation(node)
    return name if name in known.ACTIVATION_NAMES else None


@dataclass(frozen=True)
class Knowledge:
    """What a method can explain.

    Attributes
    ----------
    method : str
        Its name, for messages.
    activations : collection of str
        Activations that it has a rule for; they become modules of their own.
    pools : bool
        Whether it has a rule for max-pooling, which then becomes a module, too.
    layers : tuple of type
        Nonlinear layers that simply keep their gradient.
    link : {"keep", "skip"}
        A softmax or sigmoid at the very end: keep its gradient, or explain the scores that it is given.
    way_out : str
        What to do about any other.
    """

    method: str
    activations: Collection[str]
    pools: bool
    layers: tuple[type[nn.Module], ...]
    link: Literal["keep", "skip"]
    way_out: str

    def survey(self, model: nn.Module) -> Survey:
        """Trace a model and find its nonlinear operations.

        Raises
        ------
        UnsupportedLayerError
            Naming the first layer or operation that the method has no rule for.
        """
        graph, modules = trace(shadow(unwrapped(model), inplace=True))
        refuse_shared_writes(graph, modules)
        link = _link(graph, modules)
        nonlinear, sizes = [], set[object]()
        for node in graph.nodes:
            inputs = node.all_input_nodes
            if _reads_size(node) or (inputs and sizes.issuperset(inputs)):
                sizes.add(node)
            elif node.op in ("placeholder", "output") or not node.users or node is link:
                continue
            elif self._has_rule(node, modules):
                nonlinear.append(node)
            elif not self._keeps_gradient(node, modules, sizes):
                raise UnsupportedLayerError(f"{describe(node, modules)}: {self.method} {self.way_out}")
        return Survey(graph, tuple(nonlinear), link if self.link == "skip" else None)

    def _has_rule(self, node: fx.Node, modules: dict[str, nn.Module]) -> bool:
        pooled = self.pools and pool_of(node, modules) is not None
        return (pooled or activation_of(node, modules) in self.activations) and len(node.all_input_nodes) == 1

    def _keeps_gradient(self, node: fx.Node, modules: dict[str, nn.Module], sizes: set[Any]) -> bool:
        if node.op == "call_module":
            layer: Any = modules[str(node.target)]
            fixed = isinstance(layer, _BATCH_NORMS) and layer.running_mean is not None
            return fixed or isinstance(layer, (*_LINEAR_LAYERS, *self.layers))
        if not self.pools and node.op == "call_function" and node.target in known.POOL_FUNCTIONS:
            return True
        operation = known.operation(node)
        if operation in ("mul", "div"):  # by a number
            tensors = [n for n in (*node.args, *node.kwargs.values()) if isinstance(n, fx.Node) and n not in sizes]
            return len(tensors) == 1 and (operation == "mul" or tensors[0] is node.args[0])
        return operation in _LINEAR_OPERATIONS


def _reads_size(node: fx.Node) -> bool:
    if node.target is getattr:
        return node.args[1] in known.ATTRIBUTES
    return node.op == "call_method" and node.target in known.SIZES


@dataclass(frozen=True)
class Survey:
    """A network's graph, the operations that become modules of their own, and the one that is left out, if any."""

    graph: fx.Graph
    nonlinear: tuple[fx.Node, ...]
    skipped: fx.Node | None

    def of(self, double: nn.Module) -> Traced:
        """Return a double of the surveyed model, rewired."""
        return Traced(double, self.graph, self.nonlinear, self.skipped)


def _link(graph: fx.Graph, modules: dict[str, nn.Module]) -> fx.Node | None:
    """Find the softmax or sigmoid that ends the network, also before a reshape."""
    node: Any = next(n for n in graph.nodes if n.op == "output").args[0]
    while isinstance(node, fx.Node) and node.op.startswith("call_") and len(node.users) == 1:
        if known.probability(node, modules) is not None:
            return node
        if not known.reshapes(node, modules):
            break
        node = node.args[0]
    return None
