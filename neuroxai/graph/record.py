"""Run a network once and keep the calls that lead from its inputs to its output.

A function mode (`torch.overrides.TorchFunctionMode`) sees every function of torch that runs in its thread, on real
tensors: modules and functions are the same calls, sizes are numbers, and the branch taken is the one that this scan
takes. Nothing is patched, and the model is left alone: what runs is an evaluation-mode copy that shares its parameters.
Calls are kept as a `torch.fx.Graph`; parameters are nodes that are read anew at each run.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from neuroxai.errors import InputError, NeuroxaiError, SpaceError, UnsupportedLayerError
from neuroxai.graph.checks import misfit, out_of_memory
from neuroxai.graph.decompositions import DECOMPOSITIONS, opened
from neuroxai.graph.operations import OPERATIONS, name_of
from neuroxai.graph.writes import Memory, OutOfPlace
from neuroxai.layers import PatchIndividualFilter

LEAVES = (PatchIndividualFilter,)  # layers that are one operation
# of a tensor they read the shape and type alone
_LIKE = ("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
         "new_tensor")  # fmt: skip
_RANDOM = (
    "rand_like",
    "randn_like",
    "randint_like",
    "rand",
    "randn",
    "randint",
    "randperm",
    "normal",
    "bernoulli",
    "multinomial",
    "poisson",
    "uniform",
)
_RANDOM_IN_TRAINING = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
                       "feature_dropout", "rrelu")  # fmt: skip
_NOT_THE_USERS = ("/torch/", "/neuroxai/graph/", "/neuroxai/lrp/", "/neuroxai/attribution/")


@dataclass(frozen=True)
class Record:
    """What one run of a network did.

    Attributes
    ----------
    graph : torch.fx.Graph
        The calls that lead to the output. A node's ``meta`` holds its "operation" (see `neuroxai.graph.operations`),
        the qualified name of the "layer" that called it and that layer's "type", its "label" in messages, the "line" of
        the user's code, and whether it "depends" on an input.
    root : torch.nn.Module
        Holds what the graph reads: ``model`` (the evaluation-mode copy) and constants made in forward.
    inputs : tuple of torch.fx.Node
        One for each tensor given.
    result : torch.fx.Node
        The output.
    output : torch.Tensor
        What the model put out.
    of_one_scan : str
        Where a value was taken out of a tensor into Python, so that the record belongs to this input; "" if nowhere.
    layers : tuple of (str, torch.fx.Node)
        Which call made the output of which layer, in the order the layers end; one entry for each run of a layer.
    """

    graph: fx.Graph
    root: nn.Module
    inputs: tuple[fx.Node, ...]
    result: fx.Node
    output: Tensor
    of_one_scan: str = ""
    layers: tuple[tuple[str, fx.Node], ...] = ()


def record(copy: nn.Module, inputs: Sequence[Any], keywords: dict[str, Any] | None = None) -> Record:
    """Run a model's evaluation-mode copy once and keep its calls.

    Parameters
    ----------
    copy : torch.nn.Module
        From `neuroxai.graph.eval_copy.eval_copy`; hooks are set on it, so give a fresh one.
    inputs : sequence
        Arguments of its forward; tensors among them are inputs of the record.
    keywords : dict, optional
        More of them by name.

    Raises
    ------
    UnsupportedLayerError
        If the output cannot be followed back to the input, naming the part that hides it.
    """
    recorder = Recorder(copy)
    return recorder.run(inputs, keywords or {})


@dataclass
class _Frame:
    """A layer that is running."""

    name: str
    module: nn.Module
    tracked: bool = False


@dataclass
class _Books:
    """What the recorder notes besides the graph."""

    of_one_scan: str = ""
    opaque: list[str] = field(default_factory=list)
    misfit: str = ""
    layers: list[tuple[str, fx.Node]] = field(default_factory=list)


class Recorder(TorchFunctionMode):
    """Keeps the calls of one run; see `record`."""

    def __init__(self, copy: nn.Module) -> None:
        super().__init__()
        self.root = nn.Module()
        self.root.model = self.model = copy
        self.graph = fx.Graph()
        self.nodes: Any = WeakIdKeyDictionary()  # tensor -> its node
        self.memory = Memory(self)
        self.books = _Books()
        self.stack: list[_Frame] = []
        self.constants = 0
        self._names = {id(tensor): name for name, tensor in _tensors_of(copy)}
        self._called: list[tuple[fx.Node, str]] = []

    def run(self, inputs: Sequence[Any], keywords: dict[str, Any]) -> Record:
        """Run the copy on its inputs."""
        copy: Any = self.root.model
        self._watch(copy)
        sources: list[fx.Node] = []

        def given(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            own = value.detach().clone()  # the model may write into it
            node = self.graph.placeholder(f"input_{len(sources)}" if sources else "x")
            node.meta = {"operation": "input", "label": "input", "depends": True, "layer": "", "type": None}
            self.memory.made(own, node)
            sources.append(node)
            return own

        try:
            with torch.inference_mode(False), torch.no_grad():
                args = [given(value) for value in inputs]
                named = {key: given(value) for key, value in keywords.items()}
                with self:
                    output = copy(*args, **named)
        except NeuroxaiError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            shapes = ", ".join(str(tuple(node.meta["shape"])) for node in sources)
            why = self.books.misfit or f"the network cannot take an input of shape {shapes}"
            raise InputError(f"{why}: {type(error).__name__}: {error}") from error
        return self._finished(output, tuple(sources))

    def _finished(self, output: Any, sources: tuple[fx.Node, ...]) -> Record:
        model = type(self.root.model).__name__
        if not isinstance(output, Tensor):
            raise UnsupportedLayerError(
                f"the network returns a {type(output).__name__}; wrap it so that it returns one tensor of scores"
            )
        node = self.memory.node_of(output) if output in self.nodes else None
        if node is None or not node.meta["depends"]:
            scripted = [f"layer {name!r} ({type(module).__name__})" for name, module in
                        self.model.named_modules() if isinstance(module, torch.jit.ScriptModule)]  # fmt: skip
            opaque = [*scripted, *self.books.opaque]
            hidden = f" through {opaque[0]}" if opaque else ""
            why = (
                "what runs there cannot be seen (a scripted module or an operation from outside torch); rewrite it in "
                "Python, or use a gradient method" if hidden else "the scores do not depend on the input"
            )  # fmt: skip
            raise UnsupportedLayerError(f"the output of {model} cannot be followed back to the input{hidden}: {why}")
        end = self.graph.output(node)
        end.meta = {"operation": "output", "label": "output", "depends": True, "layer": "", "type": None}
        _prune(self.graph)
        for call in self.graph.nodes:
            if call.meta["operation"] == "random":
                raise UnsupportedLayerError(f"{at_line(call)}: it draws random numbers; the record would not repeat")
        kept = set(self.graph.nodes)
        layers = tuple((name, made) for name, made in self.books.layers if made in kept)
        return Record(self.graph, self.root, sources, node, output, self.books.of_one_scan, layers)

    # the function mode

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one function of torch and keep the call."""
        kwargs = kwargs or {}
        name = name_of(func)
        inner = DECOMPOSITIONS.get(name) or (None if name in OPERATIONS else opened(func))
        if inner is not None and self._follows((args, kwargs)):
            with self:
                return inner(*args, **kwargs)
        if name in _RANDOM or (name in _RANDOM_IN_TRAINING and _training(args, kwargs, func)):
            return self._draw(func, name, args, kwargs)
        tensors = list(_tensors((args, kwargs)))
        if not tensors or name in _LIKE:
            return self._run(func, name, args, kwargs)
        followed = any(t in self.nodes or id(t) in self._names for t in tensors)
        before = [_version(t) for t in tensors]
        writes = _may_write(func, kwargs)
        call = self._call(func, name, args, kwargs, writes) if followed or writes else None
        output = self._run(func, name, args, kwargs)
        changed = [t for t, version in zip(tensors, before, strict=True) if _version(t) != version]
        written = self.memory.only_written(changed, list(_tensors(kwargs.get("out"))) or tensors[:1])
        if written and call is None:  # a write that its name does not tell
            call = self._call(func, name, args, kwargs, True)
        if call is None:
            return output
        self._keep(call, output, written, tensors)
        return output

    def _run(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        try:
            if not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda"):
                return func(*args, **kwargs)
            with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                return func(*args, **kwargs)
        except Exception:
            frame = self.stack[-1] if self.stack else None
            what = f"layer {frame.name!r} ({type(frame.module).__name__})" if frame else "the network"
            self.books.misfit = f"{what}: {misfit(name, args, kwargs)}"
            raise

    def _call(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any, writes: bool) -> Callable[[], fx.Node]:
        """Read the nodes of a call's arguments, before it runs; the node is made afterwards."""
        given = fx.node.map_aggregate(args, self._argument)
        named = fx.node.map_aggregate(kwargs, self._argument)
        if writes:
            for tensor in _tensors((args, kwargs)):
                self.memory.keep(tensor)

        def make() -> fx.Node:
            target = func
            options = named
            if writes:
                options = {k: (False if k == "inplace" else v) for k, v in named.items()}
                target = OutOfPlace(func)
            return self._node("call_function", target, given, options, name)

        return make

    def _keep(self, call: Callable[[], fx.Node], output: Any, written: list[Tensor], tensors: list[Tensor]) -> None:
        made = [t for t in _tensors(output) if not any(t is other for other in tensors)]
        if not made and not written:
            if not isinstance(output, Tensor) and not list(_tensors(output)):
                self._took_out(call)
            return  # the very tensor that was given
        node = call()
        for tensor in written:
            self.memory.wrote(tensor, node)
        self._outputs(node, output, tensors)

    def _took_out(self, call: Callable[[], fx.Node]) -> None:
        node = call()
        kind = OPERATIONS.get(node.meta["operation"])
        if kind is not None and kind.kind == "values" and node.meta["depends"] and not self.books.of_one_scan:
            self.books.of_one_scan = at_line(node)
        self.graph.erase_node(node)

    def _outputs(self, node: fx.Node, output: Any, tensors: Sequence[Tensor]) -> None:
        if isinstance(output, Tensor):
            if not any(output is other for other in tensors):
                self.memory.made(output, node)
        elif isinstance(output, tuple | list):
            node.meta["many"] = True
            for index, item in enumerate(output):
                if isinstance(item, Tensor | tuple | list):
                    picked = self._node("call_function", _pick, (node, index), {}, "getitem")
                    self._outputs(picked, item, tensors)

    def _draw(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        output = self._run(func, name, args, kwargs)
        node = self._node("call_function", func, (), {}, "random")
        node.meta["depends"] = True
        for tensor in _tensors(output):
            self.memory.made(tensor, node)
        return output

    def _node(self, op: str, target: Any, args: Any, kwargs: Any, operation: str) -> fx.Node:
        node = self.graph.create_node(op, target, tuple(args), dict(kwargs), name=operation or None)
        frame = self.stack[-1] if self.stack else None
        node.meta = {
            "operation": operation,
            "layer": frame.name if frame else "",
            "type": type(frame.module) if frame else None,
            "line": _line_of_the_user(),
            "depends": any(n.meta["depends"] for n in node.all_input_nodes),
        }
        node.meta["label"] = f"{node.meta['layer']}.{node.name}" if node.meta["layer"] else node.name
        return node

    def _follows(self, values: Any) -> bool:
        return any(t in self.nodes or id(t) in self._names for t in _tensors(values))

    # what a call's arguments stand for

    def _argument(self, value: Any) -> Any:
        return self.memory.node_of(value) if isinstance(value, Tensor) else value

    def stored(self, tensor: Tensor) -> fx.Node:
        """Return the node of a parameter, a buffer or a constant."""
        name = self._names.get(id(tensor))
        if name is None:
            name, self.constants = f"constant_{self.constants}", self.constants + 1
            self.root.register_buffer(name, tensor.detach(), persistent=False)
        else:
            name = f"model.{name}"
        node = self.graph.create_node("get_attr", name, (), {}, name=name.replace(".", "_"))
        node.meta = {"operation": "get_attr", "layer": "", "type": None, "depends": False, "line": "",
                     "label": name.removeprefix("model."), "constant": not name.startswith("model.")}  # fmt: skip
        return node

    # the layers

    def _watch(self, copy: nn.Module) -> None:
        for name, module in copy.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            if isinstance(module, LEAVES):
                self._make_leaf(name, module)
                continue
            module.register_forward_pre_hook(self._entered(name), prepend=True)
            module.register_forward_hook(self._left(name), always_call=True)

    def _entered(self, name: str) -> Callable[..., None]:
        def enter(module: nn.Module, inputs: Any) -> None:
            self.stack.append(_Frame(name, module, self._follows(inputs)))

        return enter

    def _left(self, name: str) -> Callable[..., None]:
        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            frame = self.stack.pop()
            if output is None and sys.exc_info()[0] is not None:  # it failed, the innermost first
                self.books.misfit = self.books.misfit or f"layer {name!r} ({type(module).__name__})"
                return
            self.books.misfit = ""
            made = list(_tensors(output))
            leaf = not module._modules
            if leaf and len(made) == 1 and any(made[0] is given for given in _tensors(inputs)):
                self._passed(name, module, made[0])
            if frame.tracked and made and not any(t in self.nodes for t in made):
                self.books.opaque.append(f"layer {name!r} ({type(module).__name__})")
            elif leaf and len(made) == 1 and made[0] in self.nodes:
                node = self.nodes[made[0]][0]
                if node.meta["layer"] == name and node.op == "call_function":
                    node.meta["label"] = name or "model"
            if len(made) == 1 and made[0] in self.nodes and self.nodes[made[0]][0] is not None:
                self.books.layers.append((name, self.nodes[made[0]][0]))

        return leave

    def _passed(self, name: str, module: nn.Module, tensor: Tensor) -> None:
        """Give a layer that hands its very input on (dropout) a call, so that it can be named."""
        if tensor not in self.nodes:
            return
        self.stack.append(_Frame(name, module))
        node = self._node("call_function", _same, (self._argument(tensor),), {}, "identity")
        self.stack.pop()
        node.meta["label"] = name or "model"
        self.memory.made(tensor, node)

    def _make_leaf(self, name: str, module: nn.Module) -> None:
        """Let a layer run as one call."""
        own = type(module).forward

        def forward(x: Tensor) -> Any:
            try:
                with torch._C.DisableTorchFunction():
                    output = own(module, x)
            except SpaceError as error:
                raise SpaceError(f"layer {name!r}: {error}") from error
            if x not in self.nodes:
                return output
            self.stack.append(_Frame(name, module))
            node = self._node("call_module", f"model.{name}" if name else "model", (self._argument(x),), {},
                              "patch_individual_filter")  # fmt: skip
            self.stack.pop()
            node.meta["label"] = name or "model"
            self.memory.made(output, node)
            self.books.layers.append((name, node))
            return output

        module.__dict__["forward"] = forward


def describe(node: fx.Node) -> str:
    """Name a call for a message: what it is and where it stands."""
    layer, kind, operation = node.meta["layer"], node.meta["type"], node.meta["operation"]
    if node.meta["label"] == layer and layer:
        return f"layer {layer!r} ({kind.__name__})"
    if operation == "get_attr":
        return f"tensor {node.meta['label']!r}"
    place = f"in module {layer!r} ({kind.__name__})" if layer else "in the network" if kind is None else (
        f"in {kind.__name__}")  # fmt: skip
    return f"operation {operation!r} (node {node.name!r}) {place}"


def at_line(node: fx.Node) -> str:
    """Name a call for a message, with the line of the user's code that makes it."""
    return f"{describe(node)}, {node.meta['line']}" if node.meta.get("line") else describe(node)


def label(node: fx.Node) -> str:
    """Return the user's name for a call: the layer's qualified name, or the call's name inside its module."""
    return str(node.meta["label"])


def _same(x: Any) -> Any:
    return x


def _pick(values: Any, index: int) -> Any:
    return values[index]


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        for value in values.values():
            yield from _tensors(value)


def _tensors_of(copy: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, module in copy.named_modules():
        for home in (module._parameters, module._buffers):
            for key, tensor in home.items():
                if tensor is not None:
                    yield (f"{name}.{key}" if name else key), tensor


def _version(tensor: Tensor) -> int:
    """Return how often a tensor was written into; tensors of an inference mode do not count, and refuse writes."""
    return 0 if tensor.is_inference() else tensor._version


def _may_write(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    name = str(getattr(func, "__name__", ""))
    name = name.partition(".")[0]
    if kwargs.get("inplace") is True or kwargs.get("out") is not None:
        return True
    if name.startswith("__"):
        return (name.startswith("__i") and name not in ("__int__", "__index__", "__invert__")) or name == "__setitem__"
    return name.endswith("_")


def _training(args: Any, kwargs: dict[str, Any], func: Callable[..., Any]) -> bool:
    """Whether a dropout is on."""
    if "training" in kwargs or "train" in kwargs:
        return bool(kwargs.get("training", kwargs.get("train")))
    if len(args) > 2:
        return bool(args[2])
    return "functional" in str(getattr(func, "__module__", ""))  # on by default


def _line_of_the_user() -> str:
    """Return the line of code outside torch and the package that runs now."""
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code is not Recorder.run.__code__:
        file = frame.f_code.co_filename
        if not any(part in file for part in _NOT_THE_USERS) and not file.startswith("<"):
            text = linecache.getline(file, frame.f_lineno).strip()
            return f"line {frame.f_lineno} of {file.rpartition('/')[2]}: {text}" if text else ""
        frame = frame.f_back
    return ""


def _prune(graph: fx.Graph) -> None:
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)
