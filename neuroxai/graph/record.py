"""Run a network once and keep the calls that lead from its inputs to its output.

A function mode (`torch.overrides.TorchFunctionMode`) sees every function of torch that runs in its thread, on real
tensors: modules and functions are the same calls, sizes are numbers, and the branch taken is the one that this scan
takes. Nothing is patched, and the model is left alone: what runs is an evaluation-mode copy that shares its parameters.
Calls are kept as a `torch.fx.Graph`; parameters are nodes that are read anew at each run.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from neuroxai.errors import InputError, NeuroxaiError, SpaceError, UnsupportedLayerError
from neuroxai.graph.checks import exported, misfit, out_of_memory
from neuroxai.graph.decompositions import DECOMPOSITIONS, lent, opened
from neuroxai.graph.eval_copy import own_buffers
from neuroxai.graph.operations import COMPILED, OPERATIONS, at_line, compiles, line_of_the_user, name_of
from neuroxai.graph.writes import Memory, OutOfPlace, may_write, shares_memory, tensors_in, version_of
from neuroxai.layers import PatchIndividualFilter

_NO_SIZES = ("dim", "ndim", "dtype", "device", "layout", "is_floating_point", "is_complex", "is_cuda", "requires_grad")
_BACKWARD = (torch.autograd.grad, torch.autograd.backward, Tensor.backward)


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
        From `neuroxai.graph.eval_copy.eval_copy`; its layers are watched from then on, so give a fresh one.
    inputs : sequence
        Arguments of its forward; tensors among them are inputs of the record.
    keywords : dict, optional
        More of them by name.

    Raises
    ------
    UnsupportedLayerError
        If the output cannot be followed back to the input, naming the part that hides it.
    """
    return Recorder(copy).run(inputs, keywords or {})


class Recorder(TorchFunctionMode):
    """Keeps the calls of one run; see `record`."""

    def __init__(self, copy: nn.Module) -> None:
        super().__init__()
        self.copy: Any = copy
        self.shared = own_buffers(copy)
        self.memory = Memory(copy, Recorder.run.__code__)
        self.layers: list[tuple[str, fx.Node]] = []  # which call made the output of which layer, as the layers end
        self.opaque: list[str] = []  # layers whose output cannot be followed back to their input, the innermost first
        self.misfit, self.of_one_scan, self.reads_sizes = "", "", False  # misfit: which layer failed, and at what

    def run(self, inputs: Sequence[Any], keywords: dict[str, Any]) -> Record:
        """Run the copy on its inputs."""
        copy, memory = self.copy, self.memory
        layers = [
            (name, module) for name, module in copy.named_modules() if not isinstance(module, torch.jit.ScriptModule)
        ]
        before = [(module, module.__dict__.get("forward")) for _, module in layers]
        for name, module in layers:
            module.__dict__["forward"] = self._watched(name, module)
        with torch.inference_mode(False):
            args = [memory.given(value) for value in inputs]
            named = {key: memory.given(value) for key, value in keywords.items()}
        try:
            with torch.inference_mode(False), torch.enable_grad(), self:
                output = copy(*args, **named)
        except NeuroxaiError:
            raise
        except Exception as error:  # whatever the user's code raises; it is the cause of what is raised here
            if out_of_memory(error):
                raise
            if any(compiles(frame.f_code) for frame, _ in traceback.walk_tb(error.__traceback__)):
                raise UnsupportedLayerError(COMPILED) from error
            shapes = ", ".join(str(tuple(node.meta["shape"])) for node in memory.sources)
            why = self.misfit or f"the network cannot take an input of shape {shapes}"
            told = exported(copy, error, (*args, *named.values())) or f"{why}: {type(error).__name__}: {error}"
            raise InputError(told) from error
        finally:
            for module, buffers in self.shared.items():
                module.__dict__["_buffers"] = buffers
            for module, forward in before:  # for those that run the record
                del module.__dict__["forward"]
                module.__dict__.update({} if forward is None else {"forward": forward})
        return self._finished(output)

    def _finished(self, output: Any) -> Record:
        memory = self.memory
        if not isinstance(output, Tensor) or output.ndim == 0:
            returned = f"the network returns a {'lone number' if isinstance(output, Tensor) else type(output).__name__}"
            raise UnsupportedLayerError(f"{returned}; wrap it so that it returns one tensor of scores")
        node = memory.node_of(output) if memory.known(output) else None
        if node is None or not node.meta["depends"]:
            raise self._hidden()
        end = memory.graph.output(node)
        end.meta = {"operation": "output", "label": "output", "depends": True, "layer": "", "type": None}
        for call in reversed(memory.graph.nodes):
            if not call.users and call.op not in ("placeholder", "output"):
                memory.graph.erase_node(call)
            elif call.meta["operation"] == "random":
                raise UnsupportedLayerError(f"{at_line(call)}: it draws random numbers; the record would not repeat")
        kept = set(memory.graph.nodes)
        layers = tuple((name, made) for name, made in self.layers if made in kept)
        sources, of_one_scan = tuple(memory.sources), self.of_one_scan
        return Record(memory.graph, memory.root, sources, node, output, of_one_scan, layers, self.reads_sizes)

    def _hidden(self) -> UnsupportedLayerError:
        """Return the error that names what hides how the output is made of the input."""
        scripted = [f"layer {name!r} ({type(module).__name__})" for name, module in self.copy.named_modules()
                    if isinstance(module, torch.jit.ScriptModule)]  # fmt: skip
        opaque = [*scripted, *self.opaque]
        hidden = f" through {opaque[0].removeprefix('layer ' + repr('') + ' ')}" if opaque else ""
        taken = f" ({self.of_one_scan} takes values out of a tensor)" if self.of_one_scan else ""
        why = (
            "what runs there cannot be seen (a scripted module or an operation from outside torch); rewrite it in "
            "Python, or use a gradient method"
            if hidden
            else "the scores do not depend on the input, as far as can be seen; what is not torch in Python (numpy, a "
            "scripted function) hides it: rewrite that, or use a gradient method"
        )
        output = f"the output of {type(self.copy).__name__} cannot be followed back to the input"
        return UnsupportedLayerError(f"{output}{hidden}{taken}: {why}")

    # layers

    def _watched(self, name: str, module: nn.Module) -> Any:
        """Return a layer's forward that notes what it takes and puts out; patch-individual filters are one call."""
        own, running = module.forward, self.memory.running
        leaf, shown = isinstance(module, PatchIndividualFilter), f"layer {name!r} ({type(module).__name__})"

        @wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            running.append((name, module))
            try:
                with torch._C.DisableTorchFunction():
                    tracked = self.memory.follows(args)
                    if leaf:
                        with torch.no_grad():
                            output = own(*args, **kwargs)
                if not leaf:
                    output = own(*args, **kwargs)
            except Exception as error:  # noted for the message, the innermost layer first, and raised on
                self.misfit = self.misfit or shown
                if leaf and isinstance(error, SpaceError):
                    raise SpaceError(f"layer {name!r}: {error}") from error
                raise
            finally:
                running.pop()
            self.misfit = ""
            with torch._C.DisableTorchFunction():
                if leaf and tracked:
                    self._call(name, module, f"model.{name}" if name else "model", args, output)
                self._ended(name, module, args, output, tracked)
            return output

        return forward

    def _ended(self, name: str, module: nn.Module, inputs: Any, output: Any, tracked: bool) -> None:
        made, leaf = tensors_in(output), not module._modules
        nodes = [self.memory.made_by(tensor) for tensor in made]
        if tracked and made and not any(nodes):
            self.opaque.append(f"layer {name!r} ({type(module).__name__})")
        if len(made) != 1 or nodes[0] is None:
            return
        node = nodes[0]
        if leaf and node.meta["layer"] != name and any(made[0] is given for given in tensors_in(inputs)):
            node = self._call(name, module, _same, made, made[0])  # handed on (dropout): a call, to be named by
        if leaf and node.meta["layer"] == name and node.op.startswith("call_"):
            node.meta["label"] = name or "model"
        self.layers.append((name, node))

    def _call(self, name: str, module: nn.Module, target: Any, inputs: Any, output: Any) -> fx.Node:
        """Add a call that makes a layer's output."""
        self.memory.running.append((name, module))
        kind = ("call_function", "identity") if target is _same else ("call_module", "patch_individual_filter")
        node = self.memory.node(kind[0], target, [self.memory.argument(x) for x in inputs], {}, kind[1])
        self.memory.running.pop()
        self.memory.made(output, node)
        return node

    # the function mode

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one function of torch and keep the call."""
        if func is torch._C._set_grad_enabled:
            return func(*args)
        func, args, kwargs = lent(func, args, dict(kwargs or {}))
        name = name_of(func)
        kind = OPERATIONS[name].kind if name in OPERATIONS else ""
        if kind == "shape":
            self.reads_sizes |= name not in _NO_SIZES and self.memory.depends((args, kwargs))
            return self._run(func, name, args, kwargs)
        tensors, memory = tensors_in((args, kwargs)), self.memory
        if func in _BACKWARD or any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors)):
            what = "it takes gradients in forward" if func in _BACKWARD else "it runs inside a transform of torch.func"
            why = (f"{what} (vmap, grad), which cannot be recorded; write it as a loop over slices, or use a method "
                   "that needs no record (saliency, integrated_gradients)")  # fmt: skip
            raise UnsupportedLayerError(f"operation {name!r}, {line_of_the_user(Recorder.run.__code__)[0]}: {why}")
        followed, writes = memory.follows(tensors), may_write(func, kwargs)
        inner = DECOMPOSITIONS.get(name) or (None if kind else opened(func))
        if inner is not None and followed:
            home = kwargs.pop("out", args[0] if name in DECOMPOSITIONS and writes else None)
            if name in ("addmm", "baddbmm") and any(shares_memory(home, t) for t in tensors_in((args[1:], kwargs))):
                why = (
                    "it writes into what its matrix product reads, and what torch makes of that depends on the sizes; "
                    "write out of place there"
                )
                raise UnsupportedLayerError(f"operation {name!r}, {line_of_the_user(Recorder.run.__code__)[0]}: {why}")
            with self:
                found = inner(*args, **kwargs)
                return found if home is None else home.copy_(found)
        if kind == "random" or (("dropout" in name or name == "rrelu") and _training(args, kwargs, func)):
            output = self._run(func, name, args, kwargs)
            node = memory.node("call_function", func, (), {}, "random")
            node.meta["depends"] = True
            for tensor in tensors_in(output):
                memory.made(tensor, node)
            return output
        if not tensors or not (followed or writes):
            return self._run(func, name, args, kwargs)
        given: Any = fx.node.map_aggregate(args, memory.argument)
        named: Any = fx.node.map_aggregate(kwargs, memory.argument)
        if writes:
            for tensor in tensors:
                memory.keep(tensor)
        before = [version_of(t) for t in tensors]
        output = self._run(func, name, args, kwargs)
        changed = [t for t, version in zip(tensors, before, strict=True) if version_of(t) != version]
        written = memory.only_written(changed, tensors_in(kwargs.get("out")) or tensors[:1])
        found = tensors_in(output)
        if written or any(not any(t is other for other in tensors) for t in found):
            if name == "view" and not any(isinstance(v, torch.dtype) for v in (*args, *kwargs.values())):
                # a value, whose strides are whatever the methods' own calls give it, has no memory to be viewed
                func = _reshape
            elif isinstance(named.get("out"), fx.Node):  # where it is written, not what
                named = {key: value for key, value in named.items() if key != "out"}
            elif writes or written:
                func = OutOfPlace(func)
            named = {key: (False if key == "inplace" else value) for key, value in named.items()}
            node = memory.node("call_function", func, given, named, name)
            for tensor in written:
                memory.wrote(tensor, node)
            self._outputs(node, output, tensors)
        elif not found and memory.depends(tensors):
            self.reads_sizes |= name not in _NO_SIZES
            if kind == "values" and not self.of_one_scan:
                node = memory.node("call_function", func, given, named, name)
                self.of_one_scan = at_line(node)
                memory.graph.erase_node(node)
        return output

    def _run(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        try:
            with torch.no_grad():  # here alone, so that the network's own no_grad is seen
                if not (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")):
                    return func(*args, **kwargs)
                with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                    return func(*args, **kwargs)
        except Exception:  # noted for the message, and raised on
            running = self.memory.running
            what = f"layer {running[-1][0]!r} ({type(running[-1][1]).__name__})" if running else "the network"
            self.misfit = f"{what}: {misfit(name, args, kwargs)}"
            raise

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


def _reshape(x: Tensor, *size: Any, **named: Any) -> Tensor:
    return x.reshape(*size, *named.values())


def _same(x: Any) -> Any:
    return x


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
