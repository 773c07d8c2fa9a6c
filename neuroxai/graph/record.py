"""Run a network once and keep the calls that lead from its inputs to its output.

A function mode (`torch.overrides.TorchFunctionMode`) sees every function of torch that runs in its thread, on real
tensors: modules and functions are the same calls, sizes are numbers, and the branch taken is the one that this scan
takes. Nothing is patched, and the model is left alone: what runs is an evaluation-mode copy that shares its parameters.
Calls are kept as a `torch.fx.Graph`; parameters are nodes that are read anew at each run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from neuroxai.errors import InputError, NeuroxaiError, UnsupportedLayerError
from neuroxai.graph.checks import exported, in_compiled, misfit, out_of_memory
from neuroxai.graph.decompositions import DECOMPOSITIONS, lent, opened
from neuroxai.graph.eval_copy import own_buffers
from neuroxai.graph.layers_run import Layers
from neuroxai.graph.operations import OPERATIONS, at_line, line_of_the_user, name_of
from neuroxai.graph.writes import Memory, OutOfPlace, may_write, shares_memory, tensors_in, version_of

# of a tensor they read the shape and type alone
_LIKE = ("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
         "new_tensor")  # fmt: skip
_RANDOM = ("rand_like", "randn_like", "randint_like", "rand", "randn", "randint", "randperm", "normal", "bernoulli",
           "multinomial", "poisson", "uniform")  # fmt: skip
_NO_SIZES = ("dim", "ndim", "dtype", "device", "layout", "is_floating_point", "is_complex", "requires_grad")
_BACKWARD = (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
_RANDOM_IN_TRAINING = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
                       "feature_dropout", "rrelu")  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What one run of a network did.

    Attributes
    ----------
    graph : torch.fx.Graph
        The calls that lead to the output. A node's ``meta`` holds its "operation" (see `neuroxai.graph.operations`),
        the qualified name of the "layer" that called it and that layer's "type", its "label" in messages, the "line" of
        the user's code, whether it "depends" on an input, whether it "carries" relevance: a real value that depends on
        one by real values, as a mask or an index does not, and whether the model may have an "own_gradient" there:
        within an autograd function of the user's, or where autograd does not see a value.
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
    reads_sizes : bool
        Whether forward asked for anything but the type and the number of axes of a tensor made of an input: what Python
        computes may then depend on how many samples there are.
    """

    graph: fx.Graph
    root: nn.Module
    inputs: tuple[fx.Node, ...]
    result: fx.Node
    output: Tensor
    of_one_scan: str = ""
    layers: tuple[tuple[str, fx.Node], ...] = ()
    reads_sizes: bool = True


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
    try:
        return recorder.run(inputs, keywords or {})
    finally:  # hooks on the copy hold the recorder as long as the record lives
        recorder.memory.wholes.clear()


class Recorder(TorchFunctionMode):
    """Keeps the calls of one run; see `record`."""

    def __init__(self, copy: nn.Module) -> None:
        super().__init__()
        self.copy: Any = copy
        self.shared = own_buffers(copy)
        self.memory = Memory(copy, Recorder.run.__code__)
        self.layers = Layers(self.memory)
        self.of_one_scan = ""
        self.reads_sizes = False

    def run(self, inputs: Sequence[Any], keywords: dict[str, Any]) -> Record:
        """Run the copy on its inputs."""
        copy, memory = self.copy, self.memory
        self.layers.watch(copy)
        try:
            with torch.inference_mode(False), torch.no_grad():
                args = [memory.given(value) for value in inputs]
                named = {key: memory.given(value) for key, value in keywords.items()}
                with self:
                    output = copy(*args, **named)
        except NeuroxaiError:
            raise
        except Exception as error:  # whatever the user's code raises; it is the cause of what is raised here
            if out_of_memory(error):
                raise
            if in_compiled(error):
                raise UnsupportedLayerError(
                    "a function compiled by torch.compile runs in forward, and cannot be recorded; take the decorator "
                    "off (compiled modules are unwrapped), or use a gradient method"
                ) from error
            shapes = ", ".join(str(tuple(node.meta["shape"])) for node in memory.sources)
            why = self.layers.misfit or f"the network cannot take an input of shape {shapes}"
            raise InputError(f"{why}: {type(error).__name__}: {error}{exported(copy)}") from error
        finally:
            for module, buffers in self.shared.items():
                module.__dict__["_buffers"] = buffers
        return self._finished(output)

    def _finished(self, output: Any) -> Record:
        memory = self.memory
        if not isinstance(output, Tensor):
            raise UnsupportedLayerError(
                f"the network returns a {type(output).__name__}; wrap it so that it returns one tensor of scores"
            )
        node = memory.node_of(output) if output in memory.nodes else None
        if node is None or not node.meta["depends"]:
            raise self._hidden()
        end = memory.graph.output(node)
        end.meta = {"operation": "output", "label": "output", "depends": True, "layer": "", "type": None}
        _prune(memory.graph)
        for call in memory.graph.nodes:
            if call.meta["operation"] == "random":
                raise UnsupportedLayerError(f"{at_line(call)}: it draws random numbers; the record would not repeat")
        kept = set(memory.graph.nodes)
        layers = tuple((name, made) for name, made in self.layers.outputs if made in kept)
        sources, of_one_scan = tuple(memory.sources), self.of_one_scan
        return Record(memory.graph, memory.root, sources, node, output, of_one_scan, layers, self.reads_sizes)

    def _hidden(self) -> UnsupportedLayerError:
        """Return the error that names what hides how the output is made of the input."""
        scripted = [f"layer {name!r} ({type(module).__name__})" for name, module in self.copy.named_modules()
                    if isinstance(module, torch.jit.ScriptModule)]  # fmt: skip
        opaque = [*scripted, *self.layers.opaque]
        hidden = f" through {opaque[0].removeprefix('layer ' + repr('') + ' ')}" if opaque else ""
        taken = f" ({self.of_one_scan} takes values out of a tensor)" if self.of_one_scan else ""
        why = (
            "what runs there cannot be seen (a scripted module or an operation from outside torch); rewrite it in "
            "Python, or use a gradient method"
            if hidden
            else "the scores do not depend on the input, as far as can be seen; what is not torch in Python (numpy, a "
            "scripted function) hides it: rewrite that, or use a gradient method"
        )
        model = type(self.copy).__name__
        return UnsupportedLayerError(
            f"the output of {model} cannot be followed back to the input{hidden}{taken}: {why}"
        )

    # the function mode

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one function of torch and keep the call."""
        func, args, kwargs = lent(func, args, dict(kwargs or {}))
        name = name_of(func)
        if func in _BACKWARD or any(_transformed(t) for t in tensors_in((args, kwargs))):
            what = "it takes gradients in forward" if func in _BACKWARD else "it runs inside a transform of torch.func"
            raise UnsupportedLayerError(
                f"operation {name!r}, {line_of_the_user(Recorder.run.__code__)}: {what} (vmap, grad), which cannot be "
                "recorded; write it as a loop over slices, or use a method that needs no record (saliency, "
                "integrated_gradients)"
            )
        inner = DECOMPOSITIONS.get(name) or (None if name in OPERATIONS else opened(func))
        if inner is not None and self.memory.follows((args, kwargs)):
            home = kwargs.pop("out", args[0] if name in DECOMPOSITIONS and may_write(func, kwargs) else None)
            if name in ("addmm", "baddbmm") and any(shares_memory(home, t) for t in tensors_in((args[1:], kwargs))):
                raise UnsupportedLayerError(
                    f"operation {name!r}, {line_of_the_user(Recorder.run.__code__)}: it writes into what its matrix "
                    "product reads, and what torch makes of that depends on the sizes; write out of place there"
                )
            with self:
                found = inner(*args, **kwargs)
                return found if home is None else home.copy_(found)
        if name in _RANDOM or (name in _RANDOM_IN_TRAINING and _training(args, kwargs, func)):
            return self._draw(func, name, args, kwargs)
        tensors = list(tensors_in((args, kwargs)))
        if not tensors or name in _LIKE:
            self.reads_sizes |= self.memory.follows(tensors)
            return self._run(func, name, args, kwargs)
        followed = self.memory.follows(tensors)
        before = [version_of(t) for t in tensors]
        writes = may_write(func, kwargs)
        call = self._call(func, name, args, kwargs, writes) if followed or writes else None
        output = self._run(func, name, args, kwargs)
        changed = [t for t, version in zip(tensors, before, strict=True) if version_of(t) != version]
        written = self.memory.only_written(changed, list(tensors_in(kwargs.get("out"))) or tensors[:1])
        if call is not None:
            self._keep(partial(call, writes or bool(written)), output, written, tensors)
        return output

    def _run(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        try:
            if not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda"):
                return func(*args, **kwargs)
            with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                return func(*args, **kwargs)
        except Exception:  # noted for the message, and raised on
            running = self.memory.running
            what = f"layer {running[-1][0]!r} ({type(running[-1][1]).__name__})" if running else "the network"
            self.layers.misfit = f"{what}: {misfit(name, args, kwargs)}"
            raise

    def _call(
        self, func: Callable[..., Any], name: str, args: Any, kwargs: Any, writes: bool
    ) -> Callable[[bool], fx.Node]:
        """Read the nodes of a call's arguments, before it runs; the node is made once it is known whether it wrote."""
        given = fx.node.map_aggregate(args, self.memory.argument)
        named = fx.node.map_aggregate(kwargs, self.memory.argument)
        if writes:
            for tensor in tensors_in((args, kwargs)):
                self.memory.keep(tensor)

        def make(wrote: bool) -> fx.Node:
            options = {k: (False if k == "inplace" else v) for k, v in named.items()}
            if name == "view" and not any(isinstance(v, torch.dtype) for v in (*args, *kwargs.values())):
                # a value, whose strides are whatever the methods' own calls give it, has no memory to be viewed
                run: Callable[..., Any] = _reshape
            elif isinstance(options.get("out"), fx.Node):  # where it is written, not what
                del options["out"]
                run = func
            else:
                run = OutOfPlace(func) if wrote else func
            return self.memory.node("call_function", run, given, options, name)

        return make

    def _keep(self, call: Callable[[], fx.Node], output: Any, written: list[Tensor], tensors: list[Tensor]) -> None:
        made = [t for t in tensors_in(output) if not any(t is other for other in tensors)]
        if not made and not written:
            if not isinstance(output, Tensor) and not list(tensors_in(output)):
                self._took_out(call)
            return  # the very tensor that was given
        node = call()
        for tensor in written:
            self.memory.wrote(tensor, node)
        self._outputs(node, output, tensors)

    def _took_out(self, call: Callable[[], fx.Node]) -> None:
        node = call()
        self.reads_sizes |= node.meta["depends"] and node.meta["operation"] not in _NO_SIZES
        kind = OPERATIONS.get(node.meta["operation"])
        if kind is not None and kind.kind == "values" and node.meta["depends"] and not self.of_one_scan:
            self.of_one_scan = at_line(node)
        self.memory.graph.erase_node(node)

    def _outputs(self, node: fx.Node, output: Any, tensors: Sequence[Tensor]) -> None:
        if isinstance(output, Tensor):
            if not any(output is other for other in tensors):
                self.memory.made(output, node)
        elif isinstance(output, tuple | list):
            node.meta["many"] = True
            for index, item in enumerate(output):
                if isinstance(item, Tensor | tuple | list):
                    picked = self.memory.node("call_function", _pick, (node, index), {}, "getitem")
                    self._outputs(picked, item, tensors)

    def _draw(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        output = self._run(func, name, args, kwargs)
        node = self.memory.node("call_function", func, (), {}, "random")
        node.meta["depends"] = True
        for tensor in tensors_in(output):
            self.memory.made(tensor, node)
        return output


def _transformed(tensor: Tensor) -> bool:
    """Whether a tensor is a transform's (torch.func): it has no memory of its own."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def _reshape(x: Tensor, *size: Any, **named: Any) -> Tensor:
    return x.reshape(*size, *named.values())


def _pick(values: Any, index: int) -> Any:
    return values[index]


def _training(args: Any, kwargs: dict[str, Any], func: Callable[..., Any]) -> bool:
    """Whether a dropout is on."""
    if (args[1] if len(args) > 1 else kwargs.get("p")) == 0:
        return False
    if "training" in kwargs or "train" in kwargs:
        return bool(kwargs.get("training", kwargs.get("train")))
    if len(args) > 2:
        return bool(args[2])
    return "functional" in str(getattr(func, "__module__", ""))  # on by default


def _prune(graph: fx.Graph) -> None:
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)
