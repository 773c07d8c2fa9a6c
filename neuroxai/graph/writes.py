"""In-place writes and views while a network is recorded.

A record has no memory, only values: a write makes a new value, and whoever reads the tensor, a view of it or what it is
a view of afterwards must read the new one. Each storage has a clock that writes advance; a tensor whose value is older
than its storage's clock is read again out of the tensor that was written.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, UntypedStorage, fx, nn

from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.operations import describe, line_of_the_user

_SEVERAL = (tuple, list, dict)  # made once: this runs for each call
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
class _Storage:
    """What is known of a storage: the first tensor in it, which others are views of, and how often it was written."""

    tensor: Any  # a weak reference: it may be gone while its views are read
    geometry: Geometry
    covers: bool
    node: fx.Node
    clock: int = 0


class Memory:
    """The graph that is made of a copy's run, and which of its nodes holds the value of which tensor."""

    def __init__(self, copy: nn.Module, last: types.CodeType) -> None:
        self.graph, self.root = fx.Graph(), nn.Module()
        self.root.model = copy
        self._held: dict[int, tuple[weakref.ref[Tensor], fx.Node, int, int]] = {}  # with clock and version
        self.names = {
            id(tensor): f"{name}.{key}" if name else key
            for name, module in copy.named_modules()
            for key, tensor in (*module._parameters.items(), *module._buffers.items())
        }
        self.sources: list[fx.Node] = []  # the nodes of the inputs
        self.running: list[tuple[str, nn.Module]] = []  # the layers that run now, the innermost last
        self._last, self._constants = last, 0
        self._storages: weakref.WeakKeyDictionary[UntypedStorage, _Storage] = weakref.WeakKeyDictionary()

    def given(self, value: Any) -> Any:
        """Return an argument of the network, a tensor as a copy that the network may write into."""
        if not isinstance(value, Tensor):
            return value
        own, name = value.detach().clone(), f"input_{len(self.sources)}" if self.sources else "x"
        self.sources.append(self.graph.placeholder(name))
        given = {"operation": "input", "label": "input", "depends": True, "carries": True, "layer": "", "type": None}
        self.sources[-1].meta.update(given)
        self.made(own, self.sources[-1])
        return own

    def node(self, op: str, target: Any, args: Any, kwargs: Any, operation: str) -> fx.Node:
        """Add a call to the graph."""
        node = self.graph.create_node(op, target, name=operation or None)
        node.args = tuple(args)  # given to create_node, it would be searched for symbols
        if kwargs:
            node.kwargs = dict(kwargs)
        name, module = self.running[-1] if self.running else ("", None)
        line, own = line_of_the_user(self._last)
        node.meta.update(
            operation=operation, layer=name, type=None if module is None else type(module), line=line,
            label=f"{name}.{node.name}" if name else node.name, own_gradient=own or operation == "detach",
            depends=any(n.meta["depends"] for n in node.all_input_nodes),
            carries=any(n.meta["carries"] for n in node.all_input_nodes),
        )  # fmt: skip
        return node

    def follows(self, values: Any) -> bool:
        """Whether any tensor among these is an input, a parameter, or made of such."""
        return any(id(t) in self.names or self.known(t) for t in tensors_in(values))

    def known(self, tensor: Tensor) -> bool:
        """Whether a tensor was made here; ``as_subclass`` makes an alias that no function mode sees."""
        return self.made_by(tensor) is not None or (type(tensor) is not Tensor and self._whole(tensor) is not None)

    def depends(self, values: Any) -> bool:
        """Whether any tensor among these is made of an input."""
        known = (t for t in tensors_in(values) if self.made_by(t) is not None or self._whole(t) is not None)
        return any(self.node_of(tensor).meta["depends"] for tensor in known)

    def made_by(self, tensor: Tensor) -> fx.Node | None:
        """Return the node that a tensor's value was last known to be of, if any."""
        held = self._held.get(id(tensor))
        return None if held is None or held[0]() is not tensor else held[1]

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
        node = self.graph.create_node("get_attr", name, name=name.rpartition(".")[2])
        known = {"operation": "get_attr", "layer": "", "type": None, "depends": False, "carries": False, "line": ""}
        node.meta.update(known, label=name.removeprefix("model."), constant=not name.startswith("model."))
        return node

    def made(self, tensor: Tensor, node: fx.Node) -> None:
        """Note a tensor that a call put out."""
        known = self._known_storage(tensor)
        if known is None or (known.tensor() is None and not known.covers):
            self._first(tensor, node, 0 if known is None else known.clock)
        self._set(tensor, node)

    def _first(self, tensor: Tensor, node: fx.Node, clock: int) -> _Storage:
        """Note a tensor as the one that others in its storage are views of."""
        storage = tensor.untyped_storage()
        covers = tensor.storage_offset() == 0 and tensor.numel() * tensor.element_size() == storage.nbytes()
        known = self._storages[storage] = _Storage(weakref.ref(tensor), _geometry(tensor), covers, node, clock)
        return known

    def only_written(self, changed: list[Tensor], first: list[Tensor]) -> list[Tensor]:
        """Return which of the tensors that a call changed it wrote into: views of `first`, its target, change along."""
        targets = [t for t in first if any(t is other for other in changed)]
        return targets + [t for t in changed if not any(shares_memory(t, other) for other in targets)]

    def keep(self, tensor: Tensor) -> None:
        """Give a constant a memory of its own before it is written into."""
        node = self.node_of(tensor)
        if node.op == "get_attr" and node.meta["constant"]:
            self.root._buffers[str(node.target)] = tensor.detach().clone()

    def node_of(self, tensor: Tensor) -> fx.Node:
        """Return the node of a tensor's present value."""
        if self.made_by(tensor) is None:
            whole = self._whole(tensor)
            node = self._stored(tensor) if whole is None else self._read_again(tensor)  # of an alias nobody saw made
            self.made(tensor, node)
            return node
        _, node, clock, version = self._held[id(tensor)]
        known = self._known_storage(tensor)
        if known is not None and clock != known.clock:
            node = self._read_again(tensor)
            self._set(tensor, node)
        elif version != version_of(tensor):
            unseen = "something that cannot be seen (a scripted part or an operation from outside torch)"
            why = f"what {describe(node)} put out was written into by {unseen}; write out of place there"
            raise UnsupportedLayerError(why)
        return node

    def wrote(self, tensor: Tensor, node: fx.Node) -> None:
        """Note that a call wrote into a tensor."""
        whole, geometry = self._whole(tensor), _geometry(tensor)
        self._storages[tensor.untyped_storage()].clock += 1
        if whole is not None:
            new, alive = node, whole.tensor()
            if whole.geometry != geometry:
                flat = self.node(
                    "call_function", _write, (self._flat(whole), node, *geometry), {}, "as_strided_scatter"
                )
                new = self.node("call_function", _view, (flat, *whole.geometry), {}, "as_strided")
            whole.node = new
            if alive is not None:
                self._set(alive, new)
        self._set(tensor, node)

    def _set(self, tensor: Tensor, node: fx.Node) -> None:
        known = self._known_storage(tensor)
        clock = 0 if known is None else known.clock
        self._held[id(tensor)] = (weakref.ref(tensor), node, clock, version_of(tensor))
        floats, meta = tensor.is_floating_point(), node.meta
        meta.update(shape=tuple(tensor.shape), rank=tensor.ndim, floats=floats)
        meta["carries"] = meta["carries"] and (floats or tensor.is_complex())
        if known is not None and known.tensor() is tensor:
            known.node = node

    def _read_again(self, tensor: Tensor) -> fx.Node:
        whole, geometry = self._whole(tensor), _geometry(tensor)
        if whole is None:
            why = "the network reads a view of a tensor that it wrote into and let go; write out of place there"
            raise UnsupportedLayerError(why)
        if whole.geometry == geometry:
            return whole.node
        return self.node("call_function", _view, (self._flat(whole), *geometry), {}, "as_strided")

    def _whole(self, tensor: Tensor) -> _Storage | None:
        """Return what is known of the storage that a tensor is a view of."""
        known, base = self._known_storage(tensor), tensor._base
        if known is None or known.covers:
            return known
        node = None if base is None else self.made_by(base)
        return None if base is None or node is None else self._first(base, node, known.clock)

    def _known_storage(self, tensor: Tensor) -> _Storage | None:
        try:
            return self._storages.get(tensor.untyped_storage())
        except NotImplementedError as error:
            line = line_of_the_user(self._last)[0]
            why = (
                f"{line}: a tensor without a memory of its own (sparse, or within a transform of torch.func) cannot be "
                "recorded; use dense tensors there, or a method that needs no record (saliency, integrated_gradients)"
            )
            raise UnsupportedLayerError(why) from error

    def _flat(self, whole: _Storage) -> fx.Node:
        size, strides, _ = whole.geometry
        order = sorted(range(len(size)), key=lambda axis: (-strides[axis], axis))
        return self.node("call_function", _memory, (whole.node, order), {}, "as_memory")


def tensors_in(values: Any) -> list[Tensor]:
    """Return the tensors in a call's arguments or results."""
    if isinstance(values, Tensor):
        return [values]
    found: list[Tensor] = []
    for value in values.values() if isinstance(values, dict) else values if isinstance(values, _SEVERAL) else ():
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, _SEVERAL):
            found += tensors_in(value)
    return found


def shares_memory(first: Tensor | None, second: Tensor) -> bool:
    """Whether two tensors, if there are two, lie in the same storage."""
    return first is not None and first.untyped_storage() is second.untyped_storage()


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written into; tensors of an inference mode do not count, and refuse writes."""
    return 0 if tensor.is_inference() else tensor._version


def may_write(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether a function writes into an argument, by its name or options."""
    name = str(getattr(func, "__name__", "")).partition(".")[0]
    if kwargs.get("inplace") is True or kwargs.get("out") is not None:
        return True
    if name.startswith("__"):
        return (name.startswith("__i") and name not in ("__int__", "__index__", "__invert__")) or name == "__setitem__"
    return name.endswith("_")


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
