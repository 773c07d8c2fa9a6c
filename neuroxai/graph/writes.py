"""In-place writes and views while a network is recorded.

A record has no memory, only values: a write makes a new value, and whoever reads the tensor, a view of it or what it is
a view of afterwards must read the new one. Each storage has a clock that writes advance; a tensor whose value is older
than its storage's clock is read again out of the tensor that was written.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.names import describe

if TYPE_CHECKING:
    from neuroxai.graph.record import Recorder


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


class Memory:
    """Which node holds the value of which tensor."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.clocks: dict[int, int] = {}
        self.roots: dict[int, Any] = {}  # of each storage: a weak reference to the tensor that covers it

    def made(self, tensor: Tensor, node: fx.Node) -> None:
        """Note a tensor that a call put out."""
        storage = _storage(tensor)
        root = self.roots.get(storage)
        alive = None if root is None else root()
        if alive is None or _storage(alive) != storage:  # the memory of one that is gone may be used again
            self.roots[storage] = weakref.ref(tensor)
        self._set(tensor, node)

    def only_written(self, changed: list[Tensor], first: list[Tensor]) -> list[Tensor]:
        """Return which of the tensors that a call changed it wrote into: views of `first`, its target, change along."""
        targets = [t for t in first if any(t is other for other in changed)]
        along = {_storage(t) for t in targets}
        return targets + [t for t in changed if _storage(t) not in along]

    def keep(self, tensor: Tensor) -> None:
        """Give a constant a memory of its own before it is written into."""
        node, *_ = self.recorder.nodes[tensor]
        if node.op == "get_attr" and node.meta["constant"]:
            self.recorder.root._buffers[str(node.target)] = tensor.detach().clone()

    def node_of(self, tensor: Tensor, just_written: bool = False) -> fx.Node:
        """Return the node of a tensor's present value; of the value before, where a call has `just_written` into it."""
        nodes = self.recorder.nodes
        storage = _storage(tensor)
        if tensor not in nodes:
            root = self._root(tensor)
            if root is not None and root in nodes and root is not tensor:
                nodes[tensor] = (None, -1, 0)  # an alias that no call was seen to make
            else:
                self.made(tensor, self.recorder.stored(tensor))
        node: fx.Node
        node, clock, version = nodes[tensor]
        if clock != self.clocks.get(storage, 0):
            node = self._read_again(tensor)
            self._set(tensor, node)
        elif version != version_of(tensor) and not just_written:
            raise UnsupportedLayerError(
                f"what {describe(node)} put out was written into by something that cannot be seen (a scripted part or "
                "an operation from outside torch); write out of place there"
            )
        return node

    def _set(self, tensor: Tensor, node: fx.Node) -> None:
        self.recorder.nodes[tensor] = (node, self.clocks.get(_storage(tensor), 0), version_of(tensor))
        node.meta.update(shape=tuple(tensor.shape), rank=tensor.ndim, floats=tensor.is_floating_point())

    def wrote(self, tensor: Tensor, node: fx.Node) -> None:
        """Note that a call wrote into a tensor."""
        storage = _storage(tensor)
        root = self._root(tensor)
        whole = None
        if root is not None and root is not tensor:
            whole = node
            if _geometry(root) != _geometry(tensor):
                flat = self._flat(root, self.node_of(root, just_written=True))
                options = (flat, node, *_geometry(tensor))
                flat = self.recorder.node("call_function", _write, options, {}, "as_strided_scatter")
                whole = self.recorder.node("call_function", _view, (flat, *_geometry(root)), {}, "as_strided")
        self.clocks[storage] = self.clocks.get(storage, 0) + 1
        if root is not None and whole is not None:
            self._set(root, whole)
        self._set(tensor, node)

    def _read_again(self, tensor: Tensor) -> fx.Node:
        root = self._root(tensor)
        if root is None or root is tensor:
            raise UnsupportedLayerError(
                "the network reads a view of a tensor that it wrote into and let go; write out of place there"
            )
        flat = self._flat(root, self.recorder.nodes[root][0])
        return self.recorder.node("call_function", _view, (flat, *_geometry(tensor)), {}, "as_strided")

    def _root(self, tensor: Tensor) -> Tensor | None:
        """Return the tensor that covers the storage of another."""
        known = self.roots.get(_storage(tensor))
        alive: Tensor | None = None if known is None else known()
        if alive is not None and _storage(alive) == _storage(tensor) and _covers(alive):
            return alive
        base = tensor._base
        return tensor if base is None else base

    def _flat(self, tensor: Tensor, node: fx.Node) -> fx.Node:
        strides = tensor.stride()
        order = sorted(range(tensor.ndim), key=lambda axis: (-strides[axis], axis))
        return self.recorder.node("call_function", _memory, (node, order), {}, "as_memory")


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


def _geometry(tensor: Tensor) -> tuple[list[int], list[int], int]:
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
