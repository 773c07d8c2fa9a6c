"""In-place writes and views while a network is recorded.

A record has no memory, only values: a write makes a new value, and whoever reads the tensor, a view of it or what it is
a view of afterwards must read the new one. Each storage has a clock that writes advance; a tensor whose value is older
than its storage's clock is read again out of the tensor that was written.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakIdKeyDictionary

from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.operations import describe, in_own_function, line_of_the_user

Geometry = tuple[list[int], list[int], int]  # size, stride and offset


class OutOfPlace:
    """A function that writes into its first argument, run on a copy of it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = str(getattr(function, "__name__", "function")).strip("_")

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Return what would have been written."""
        own = x.clone()
        found = self.function(own, *args, **kwargs)
        return own if found is None else found


@dataclass
class _Whole:
    """The first tensor in a storage, which others are views of; it may be gone while they are read."""

    tensor: Any
    storage: StorageWeakRef  # while it is held, no other storage gets the number
    geometry: Geometry
    covers: bool
    node: fx.Node


class Memory:
    """The graph that is made of a copy's run, and which of its nodes holds the value of which tensor.

    Attributes
    ----------
    graph, root
        As of `neuroxai.graph.record.Record`.
    nodes : WeakIdKeyDictionary
        For each tensor its node, and the clock and version of when it was read.
    sources : list of torch.fx.Node
        The nodes of the inputs.
    running : list of (str, torch.nn.Module)
        The layers that run now, the innermost last.
    """

    def __init__(self, copy: nn.Module, last: types.CodeType) -> None:
        self.graph, self.root = fx.Graph(), nn.Module()
        self.root.model = copy
        self.nodes: Any = WeakIdKeyDictionary()
        self.names = {id(tensor): name for name, tensor in _tensors_of(copy)}
        self.sources: list[fx.Node] = []
        self.running: list[tuple[str, nn.Module]] = []
        self._last, self._constants = last, 0
        self.clocks: dict[int, int] = {}
        self.wholes: dict[int, _Whole] = {}

    def given(self, value: Any) -> Any:
        """Return an argument of the network, a tensor as a copy that the network may write into."""
        if not isinstance(value, Tensor):
            return value
        own, name = value.detach().clone(), f"input_{len(self.sources)}" if self.sources else "x"
        self.sources.append(self.graph.placeholder(name))
        self.sources[-1].meta = {
            "operation": "input", "label": "input", "depends": True, "carries": True, "layer": "", "type": None
        }  # fmt: skip
        self.made(own, self.sources[-1])
        return own

    def node(self, op: str, target: Any, args: Any, kwargs: Any, operation: str) -> fx.Node:
        """Add a call to the graph."""
        node = self.graph.create_node(op, target, tuple(args), dict(kwargs), name=operation or None)
        name, module = self.running[-1] if self.running else ("", None)
        node.meta = {
            "operation": operation,
            "layer": name,
            "type": None if module is None else type(module),
            "line": line_of_the_user(self._last),
            "own_gradient": operation == "detach" or in_own_function(self._last),
            "depends": any(n.meta["depends"] for n in node.all_input_nodes),
            "carries": any(n.meta["carries"] for n in node.all_input_nodes),
        }
        node.meta["label"] = f"{node.meta['layer']}.{node.name}" if node.meta["layer"] else node.name
        return node

    def follows(self, values: Any) -> bool:
        """Whether any tensor among these is an input, a parameter, or made of such."""
        return any(t in self.nodes or id(t) in self.names for t in tensors_in(values))

    def argument(self, value: Any) -> Any:
        """Return what stands for an argument: a tensor's node, or the value itself."""
        return self.node_of(value) if isinstance(value, Tensor) else value

    def _stored(self, tensor: Tensor) -> fx.Node:
        """Return the node of a parameter, a buffer or a constant."""
        name = self.names.get(id(tensor))
        if name is None:
            name, self._constants = f"constant_{self._constants}", self._constants + 1
            self.root.register_buffer(name, tensor.detach(), persistent=False)
        else:
            name = f"model.{name}"
        node = self.graph.create_node("get_attr", name, (), {}, name=name.replace(".", "_"))
        node.meta = {"operation": "get_attr", "layer": "", "type": None, "depends": False, "carries": False, "line": "",
                     "label": name.removeprefix("model."), "constant": not name.startswith("model.")}  # fmt: skip
        return node

    def made(self, tensor: Tensor, node: fx.Node) -> None:
        """Note a tensor that a call put out."""
        storage = _storage(tensor)
        known = self.wholes.get(storage)
        if known is None or (known.tensor() is None and not known.covers):
            held = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
            self.wholes[storage] = _Whole(weakref.ref(tensor), held, _geometry(tensor), _covers(tensor), node)
        self._set(tensor, node)

    def only_written(self, changed: list[Tensor], first: list[Tensor]) -> list[Tensor]:
        """Return which of the tensors that a call changed it wrote into: views of `first`, its target, change along."""
        targets = [t for t in first if any(t is other for other in changed)]
        along = {_storage(t) for t in targets}
        return targets + [t for t in changed if _storage(t) not in along]

    def keep(self, tensor: Tensor) -> None:
        """Give a constant a memory of its own before it is written into."""
        node, *_ = self.nodes[tensor]
        if node.op == "get_attr" and node.meta["constant"]:
            self.root._buffers[str(node.target)] = tensor.detach().clone()

    def node_of(self, tensor: Tensor) -> fx.Node:
        """Return the node of a tensor's present value."""
        nodes = self.nodes
        if tensor not in nodes:
            if self._whole(tensor) is None:
                self.made(tensor, self._stored(tensor))
            else:
                nodes[tensor] = (None, -1, 0)  # an alias that no call was seen to make
        node: fx.Node
        node, clock, version = nodes[tensor]
        if clock != self.clocks.get(_storage(tensor), 0):
            node = self._read_again(tensor)
            self._set(tensor, node)
        elif version != version_of(tensor):
            raise UnsupportedLayerError(
                f"what {describe(node)} put out was written into by something that cannot be seen (a scripted part or "
                "an operation from outside torch); write out of place there"
            )
        return node

    def _set(self, tensor: Tensor, node: fx.Node) -> None:
        storage = _storage(tensor)
        self.nodes[tensor] = (node, self.clocks.get(storage, 0), version_of(tensor))
        floats = tensor.is_floating_point()
        node.meta.update(shape=tuple(tensor.shape), rank=tensor.ndim, floats=floats)
        node.meta["carries"] = node.meta["carries"] and (floats or tensor.is_complex())
        whole = self.wholes.get(storage)
        if whole is not None and whole.tensor() is tensor:
            whole.node = node

    def wrote(self, tensor: Tensor, node: fx.Node) -> None:
        """Note that a call wrote into a tensor."""
        storage, whole = _storage(tensor), self._whole(tensor)
        self.clocks[storage] = self.clocks.get(storage, 0) + 1
        if whole is not None:
            if whole.geometry == _geometry(tensor):
                whole.node = node
            else:
                flat = self._flat(whole)
                options = (flat, node, *_geometry(tensor))
                flat = self.node("call_function", _write, options, {}, "as_strided_scatter")
                whole.node = self.node("call_function", _view, (flat, *whole.geometry), {}, "as_strided")
            alive = whole.tensor()
            if alive is not None:
                self._set(alive, whole.node)
        self._set(tensor, node)

    def _read_again(self, tensor: Tensor) -> fx.Node:
        whole = self._whole(tensor)
        if whole is None:
            raise UnsupportedLayerError(
                "the network reads a view of a tensor that it wrote into and let go; write out of place there"
            )
        if whole.geometry == _geometry(tensor):
            return whole.node
        return self.node("call_function", _view, (self._flat(whole), *_geometry(tensor)), {}, "as_strided")

    def _whole(self, tensor: Tensor) -> _Whole | None:
        """Return what is known of the storage that a tensor is a view of."""
        known = self.wholes.get(_storage(tensor))
        if known is None or known.covers:
            return known
        base = tensor._base
        if base is None or base not in self.nodes:
            return None
        held = StorageWeakRef(base.untyped_storage())  # type: ignore[no-untyped-call]
        node = self.nodes[base][0]
        self.wholes[_storage(base)] = _Whole(weakref.ref(base), held, _geometry(base), _covers(base), node)
        return self.wholes[_storage(base)]

    def _flat(self, whole: _Whole) -> fx.Node:
        size, strides, _ = whole.geometry
        order = sorted(range(len(size)), key=lambda axis: (-strides[axis], axis))
        return self.node("call_function", _memory, (whole.node, order), {}, "as_memory")


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Give the tensors in a call's arguments or results."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        for value in values.values():
            yield from tensors_in(value)


def shares_memory(first: Tensor | None, second: Tensor) -> bool:
    """Whether two tensors, if there are two, lie in the same storage."""
    return first is not None and _storage(first) == _storage(second)


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written into; tensors of an inference mode do not count, and refuse writes."""
    return 0 if tensor.is_inference() else tensor._version


def may_write(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether a function writes into an argument, by its name or options."""
    name = str(getattr(func, "__name__", ""))
    name = name.partition(".")[0]
    if kwargs.get("inplace") is True or kwargs.get("out") is not None:
        return True
    if name.startswith("__"):
        return (name.startswith("__i") and name not in ("__int__", "__index__", "__invert__")) or name == "__setitem__"
    return name.endswith("_")


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _covers(tensor: Tensor) -> bool:
    """Whether a tensor is all of its memory."""
    return tensor.storage_offset() == 0 and tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def _geometry(tensor: Tensor) -> Geometry:
    return list(tensor.shape), list(tensor.stride()), int(tensor.storage_offset())


def _memory(x: Tensor, order: Sequence[int]) -> Tensor:
    """Return a tensor's values in the order of its memory, flat."""
    return x.permute(*order).reshape(-1).clone()


def _places(flat: Tensor, size: Sequence[int], stride: Sequence[int], offset: int) -> Tensor:
    """Return where in a flat tensor the values of a view stand."""
    return torch.arange(flat.numel(), device=flat.device).as_strided(size, stride, offset).reshape(-1)


def _view(flat: Tensor, size: Sequence[int], stride: Sequence[int], offset: int) -> Tensor:
    """Return a view of a flat tensor."""
    return flat[_places(flat, size, stride, offset)].reshape(size)


def _write(flat: Tensor, value: Tensor, size: Sequence[int], stride: Sequence[int], offset: int) -> Tensor:
    """Return a flat tensor with a view of it replaced (the gradient of torch's as_strided_scatter is wrong in 2.13)."""
    return flat.index_copy(0, _places(flat, size, stride, offset), value.expand(size).reshape(-1))


def _tensors_of(copy: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, module in copy.named_modules():
        for home in (module._parameters, module._buffers):
            for key, tensor in home.items():
                if tensor is not None:
                    yield (f"{name}.{key}" if name else key), tensor
