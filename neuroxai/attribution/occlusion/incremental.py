"""A network's scores for an input of which only a box has changed, without running the whole network again.

A convolution or pooling behind a changed box changes a box that is a little larger, and so on. Only these boxes are
computed, each from a window of its input: the values of the unchanged input, with the box before it pasted in. At the
first operation that is not local (flatten, linear layer, global pooling, instance normalisation) whole maps are put
together, and the rest of the network runs on them as it is recorded, one item after the other: what it does with one
scan does not depend on how many share a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from neuroxai.attribution.base import Recorded, has_fixed_statistics
from neuroxai.attribution.occlusion.boxes import Boxes, paste, span, windows
from neuroxai.graph.execute import Executor, call_of
from neuroxai.graph.operations import arguments, kind_of
from neuroxai.graph.receptive_field import Window, window_of

Places = dict[fx.Node, Boxes]
_VOXELWISE = {"activation", "same", "cast", "sum", "product"}


@dataclass(frozen=True)
class _Local:
    """An operation whose output at a voxel depends on a window of its input, or on that voxel alone."""

    node: fx.Node
    reads: tuple[fx.Node, ...]  # the changing values that it reads
    call: Callable[..., Tensor]  # takes these values, or windows of them with their padding
    window: Window | None  # of a convolution or pooling; None where each voxel is treated on its own
    # unchanged maps (channels, *grid), padded where a window slides; none of one that is read voxel by voxel
    whole: dict[fx.Node, Tensor]

    def boxes(self, places: Places, limit: Sequence[int]) -> Boxes:
        """Return what differs behind the operation, from what differs before it."""
        before = [places[source] for source in self.reads]
        if self.window is not None:
            return before[0].behind(self.window, limit)
        return before[0] if len(before) == 1 else Boxes.around(before, limit)

    def run(self, places: Places, changed: dict[fx.Node, Tensor]) -> Tensor:
        """Return what the boxes behind the operation hold."""
        boxes, window = places[self.node], self.window
        start, origin, size = boxes.start, boxes.start, boxes.size
        if window is not None:
            start, size = start * torch.tensor(window.stride), span(window, size)
            origin = start - torch.tensor(window.padding)
        inputs = []
        for source in self.reads:
            value = changed[source]
            if window is not None or not places[source].same_place(boxes):
                value = windows(self.whole[source], start, size)
                paste(value, origin, changed[source], places[source])
            inputs.append(value)
        return self.call(*inputs)

    def keep(self, places: Places, changed: dict[fx.Node, Tensor]) -> None:
        """Let what is read hold from now on what one item's boxes hold."""
        for source, map_ in self.whole.items():
            before = (0,) * (map_.ndim - 1) if self.window is None else self.window.padding
            paste(map_[None], -torch.tensor([before]), changed[source], places[source])


@dataclass(frozen=True)
class _Head:
    """A linear layer that reads a whole map, flattened: only the columns of its weight that a box meets matter."""

    node: fx.Node
    weight: Tensor  # (outputs, channels * grid)
    bias: Tensor | None
    output: Tensor  # for the unchanged input, (1, outputs)

    def weights(self, size: Sequence[int], channels: int) -> int:
        """Return how many weights one item's box meets."""
        return len(self.weight) * channels * math.prod(size)

    def run(self, map_: Tensor, values: Tensor, boxes: Boxes) -> Tensor:
        """Return the outputs for each item, (items, outputs), where boxes of the map hold other values."""
        if self.weights(boxes.size, len(map_)) * 2 > map_.numel():
            return F.linear(_put_together(map_, values, boxes).flatten(1), self.weight, self.bias)
        columns = windows(self.weight.reshape(-1, *map_.shape[1:]), boxes.start, boxes.size)
        change = (values - windows(map_, boxes.start, boxes.size)).flatten(1)
        return self.output + (columns.view(len(change), -1, change.shape[1]) @ change[:, :, None])[:, :, 0]


class Incremental(Executor):
    """One sample run through a record of one sample, and what follows from changing boxes of one of its inputs.

    `source` is that input, (1, channels, *grid); `scores` and `whole_output` are those of the unchanged inputs.
    """

    def __init__(self, network: Recorded, inputs: Sequence[Tensor], place: int) -> None:
        record, result = network.record, network.scores
        super().__init__(record, keep=(result, record.result))
        self.source, self._record, self._result = record.inputs[place], record, result
        self._needed, self._dims = set(network.calls), inputs[place].ndim
        self._local: list[_Local] = []  # in the order they run
        self._rest: dict[fx.Node, Callable[..., Any]] = {}  # all others that depend on the input, in that order
        self._maps: dict[fx.Node, Tensor] = {}  # whole maps (channels, *grid) that the rest reads
        self._heads: dict[fx.Node, _Head] = {}  # by the map that it reads
        self._static: dict[fx.Node, Any] = {}  # what does not depend on the input
        self._grids: dict[fx.Node, tuple[int, ...]] = {}  # (channels, *grid) of each local value
        self._costs: dict[fx.Node, int] = {}  # multiplications of each operation for the whole input
        self.run(*inputs)
        self.scores, self.whole_output = self.kept[result], self.kept[record.result]
        if result in self._grids:
            self._maps[result] = self.scores[0]
        self._last = {source: index for index, step in enumerate(self._local) for source in step.reads}

    # what one item costs

    def places(self, boxes: Boxes) -> Places:
        """Return what differs in each local value once boxes of the input do."""
        places = {self.source: boxes}
        for step in self._local:
            places[step.node] = step.boxes(places, self._grids[step.node][1:])
        return places

    def share(self, places: Places) -> float:
        """Return the operations for one item over those of the whole network."""
        parts = {node: math.prod(boxes.size) / math.prod(self._grids[node][1:]) for node, boxes in places.items()}
        ours = sum(cost * parts.get(node, 1) for node, cost in self._costs.items())
        return ours / max(sum(self._costs.values()), 1)

    def numbers(self, places: Places) -> int:
        """Return how many numbers one item needs in memory at most."""
        whole, most = 0, 0
        for node, map_ in self._maps.items():
            head = self._heads.get(node)
            whole += min(map_.numel(), head.weights(places[node].size, len(map_)) if head else map_.numel())
        for step in self._local:
            size = places[step.node].size
            read = size if step.window is None else span(step.window, size)
            made = self._grids[step.node][0] * math.prod(size)
            most = max(most, made + self._grids[step.reads[0]][0] * math.prod(read))
        return max(most, whole)

    # the scores of changed inputs

    def changed(self, places: Places, values: Tensor, keep: bool = False) -> Tensor:
        """Return the scores, (items, ...), where the input's boxes hold `values`, (items, channels, *size).

        `keep`: the change, of one item, stays, and what is changed next comes on top of it.
        """
        changed, whole = {self.source: values}, self._whole(self.source, values, places, keep)
        for index, step in enumerate(self._local):
            changed[step.node] = step.run(places, changed)
            if keep:
                step.keep(places, changed)
            whole |= self._whole(step.node, changed[step.node], places, keep)
            for node in [n for n in changed if self._last.get(n, -1) <= index]:
                del changed[node]
        if not self._rest:
            return whole[self._result]
        scores = []
        for item in range(len(values)):  # what is not local, one after the other
            known = self._static | {node: value[item : item + 1] for node, value in whole.items()}
            for node, call in self._rest.items():
                known[node] = call(*(known[source] for source in node.all_input_nodes))
            scores.append(known[self._result])
        return torch.cat(scores)

    def _whole(self, node: fx.Node, values: Tensor, places: Places, keep: bool) -> dict[fx.Node, Tensor]:
        """Return what the rest reads of a local value, if anything."""
        if node not in self._maps:
            return {}
        map_, head = self._maps[node], self._heads.get(node)
        found = _put_together(map_, values, places[node]) if head is None else head.run(map_, values, places[node])
        if keep:
            paste(map_[None], torch.zeros_like(places[node].start), values, places[node])
            if head is not None:
                self._heads[node] = replace(head, output=found)
        return {node if head is None else head.node: found}

    # what is local

    def run_node(self, n: fx.Node) -> Any:
        """Run one call, and sort it into local, static or rest."""
        value = super().run_node(n)
        if n is self.source:
            self._grids[n] = tuple(value.shape[1:])
        elif all(source in self._static for source in n.all_input_nodes):
            self._static[n] = value
        elif n in self._needed:
            self._costs[n] = self._work(n) * (value.numel() if isinstance(value, Tensor) else 0)
            maps = {source: self.env[source][0] for source in n.all_input_nodes if source in self._grids}
            step = self._step(n, maps, value)
            if step is None:
                self._rest[n] = call_of(self._record, n)
                self._maps.update(maps)
                self._find_head(n, value)
            else:
                self._local.append(step)
                self._grids[n] = tuple(value.shape[1:])
        return value

    def _step(self, node: fx.Node, maps: dict[fx.Node, Tensor], value: Any) -> _Local | None:
        """Return an operation as a local one; None for any other."""
        reads = tuple(source for source in node.all_input_nodes if source not in self._static)
        if len(maps) < len(reads) or not isinstance(value, Tensor) or value.ndim != self._dims:
            return None
        window = window_of(node)
        slide = None if window is None or len(reads) > 1 else self._sliding(node, window, reads[0])
        if slide is not None and window is not None:
            padded = {source: _padded(map_, window, value.shape[2:]) for source, map_ in maps.items()}
            return _Local(node, reads, slide, window, padded)
        if not self._voxelwise(node, value, maps):
            return None
        call = call_of(self._record, node)

        def changing(*values: Tensor) -> Any:
            known = self._static | dict(zip(reads, values, strict=True))
            return call(*(known[source] for source in node.all_input_nodes))

        return _Local(node, reads, changing, None, maps if len(reads) > 1 else {})

    def _sliding(self, node: fx.Node, window: Window, source: fx.Node) -> Callable[[Tensor], Tensor] | None:
        """Return a convolution, pooling or padding as a function of its padded input."""
        if kind_of(node) == "pad":
            return lambda x: x
        given = arguments(node)
        include = given.get("count_include_pad", True) or not any(window.padding)
        if kind_of(node) == "average" and (given.get("ceil_mode") or not include):
            return None  # what a window is divided by depends on where it lies
        if given.pop("input") is not source or given.get("return_indices"):
            return None
        given = {name: self._static[v] if isinstance(v, fx.Node) else v for name, v in given.items()}
        given = {name: v for name, v in given.items() if name != "ceil_mode"} | {"stride": window.stride, "padding": 0}
        return partial(getattr(F, node.meta["operation"]), **given)

    def _voxelwise(self, node: fx.Node, value: Tensor, maps: dict[fx.Node, Tensor]) -> bool:
        """Whether a node treats each voxel on its own, all on one grid."""
        if {map_.shape[1:] for map_ in maps.values()} != {value.shape[2:]}:
            return False
        kind, operation = kind_of(node), node.meta["operation"]
        static = [self._static[source] for source in node.all_input_nodes if source in self._static]
        if kind == "norm":
            return has_fixed_statistics(node)
        if kind == "cat":
            return operation == "cat" and not static and arguments(node).get("dim", 0) in (1, 1 - self._dims)
        plain = operation == "prelu" or all(  # the same at each voxel
            isinstance(v, Tensor) and v.numel() in (1, v.shape[1] if v.ndim == self._dims else 1) for v in static
        )
        return kind in _VOXELWISE and plain and (len(maps) == 1 or kind in ("sum", "product"))

    def _find_head(self, node: fx.Node, value: Any) -> None:
        """If a node is a linear layer that alone reads a flattened map, let it read the map itself."""
        if node.meta["operation"] != "linear" or value.ndim != 2:
            return
        given = arguments(node)
        weight, bias = (self._static.get(given.get(name)) for name in ("weight", "bias"))  # type: ignore[arg-type]
        between, at = [], given["input"]
        while at in self._rest and len(at.users) == 1 and kind_of(at) in ("reshape", "same"):
            between.append(at)
            at = at.all_input_nodes[0]
        map_ = self._maps.get(at)
        if map_ is None or weight is None or not between or len(at.users) > 1 or map_.numel() != weight.shape[1]:
            return
        self._heads[at] = _Head(node, weight, bias, value)
        self._rest = {other: call for other, call in self._rest.items() if other not in (node, *between)}

    def _work(self, node: fx.Node) -> int:
        """Return the multiplications for each number that a call puts out: the weights of one of its filters."""
        if kind_of(node) == "bilinear":
            return int(node.all_input_nodes[0].meta["shape"][-1])
        if kind_of(node) != "filter":
            return 1
        module = node.op == "call_module"
        weight: Any = self._static.get(arguments(node)["weight"]) if not module else self._record.root.get_submodule(
            str(node.target)).weight  # fmt: skip
        return 1 if weight is None else weight[0].numel()


def _padded(full: Tensor, window: Window, size: Sequence[int]) -> Tensor:
    """Return a whole input (channels, *grid) with all the padding that `size` outputs read."""
    pads: list[int] = []
    for grid, reads, before in zip(full.shape[1:], span(window, size), window.padding, strict=True):
        pads = [before, max(reads - before - grid, 0), *pads]  # F.pad begins with the last axis
    return F.pad(full, pads, value=window.fill) if any(pads) else full


def _put_together(map_: Tensor, values: Tensor, boxes: Boxes) -> Tensor:
    """Return a map for each item, (items, channels, *grid), in which boxes hold other values."""
    whole = map_.expand(len(values), *map_.shape).clone()
    paste(whole, torch.zeros_like(boxes.start), values, boxes)
    return whole
