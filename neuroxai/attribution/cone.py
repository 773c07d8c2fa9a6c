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
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from neuroxai.attribution.cone_boxes import Boxes, paste, windows
from neuroxai.graph.receptive_field import Window

Places = dict[fx.Node, Boxes]
Values = dict[fx.Node, Any]
Geometry = tuple[int, ...]


@dataclass(frozen=True)
class Slide:
    """A convolution, pooling or padding, without its padding.

    Attributes
    ----------
    window : Window
        Its geometry.
    call : callable
        Takes the windows (items, channels, *span) and slides over them without padding.
    """

    window: Window
    call: Callable[[Tensor], Tensor]

    def reach(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs, first and one past the last, that read any input from ``low`` to ``high - 1``."""
        stride, padding = torch.tensor(self.window.stride), torch.tensor(self.window.padding)
        first = -(-(low + padding - torch.tensor(self._extent()) + 1) // stride)  # rounded up
        return first, (high - 1 + padding) // stride + 1

    def origin(self, start: Tensor) -> Tensor:
        """Return the first input that the outputs from `start` read; negative within the padding."""
        return start * torch.tensor(self.window.stride) - torch.tensor(self.window.padding)

    def span(self, size: Geometry) -> Geometry:
        """Return how many inputs, the padding counted, `size` outputs in a row read."""
        return tuple((n - 1) * s + e for n, s, e in zip(size, self.window.stride, self._extent(), strict=True))

    def needed(self, size: Geometry) -> Geometry:
        """Return how many inputs, from the first of the grid, the first `size` outputs read."""
        return tuple(n - p for n, p in zip(self.span(size), self.window.padding, strict=True))

    def padded(self, full: Tensor, size: Geometry) -> Tensor:
        """Return a whole input (channels, *grid) with all the padding that `size` outputs read."""
        pads: list[int] = []
        for grid, span, before in zip(full.shape[1:], self.span(size), self.window.padding, strict=True):
            pads = [before, max(span - before - grid, 0), *pads]  # F.pad begins with the last axis
        return F.pad(full, pads, value=self.window.fill) if any(pads) else full

    def _extent(self) -> Geometry:
        return tuple((k - 1) * d + 1 for k, d in zip(self.window.kernel, self.window.dilation, strict=True))


@dataclass(frozen=True)
class Step:
    """A local operation.

    Attributes
    ----------
    node : torch.fx.Node
        The operation.
    reads : tuple of torch.fx.Node
        The changing values that it reads.
    call : callable
        Takes these values, or their windows, and returns its own.
    slide : Slide or None
        The geometry of a convolution or pooling; None for an operation that treats each voxel on its own.
    sources : dict
        By each value that it reads: the unchanged input's whole map (channels, *grid), padded where it slides. Empty
        where one map is read voxel by voxel, for then no window is cut.
    """

    node: fx.Node
    reads: tuple[fx.Node, ...]
    call: Callable[..., Tensor]
    slide: Slide | None
    sources: dict[fx.Node, Tensor]

    def boxes(self, places: Places, limit: Geometry) -> Boxes:
        """Return what differs behind the operation, from what differs before it."""
        before = [places[i] for i in self.reads]
        if self.slide is not None:
            return Boxes.within(*self.slide.reach(before[0].low, before[0].high), limit)
        if len(before) == 1:
            return before[0]
        low = torch.stack([b.low for b in before]).amin(0)
        return Boxes.within(low, torch.stack([b.high for b in before]).amax(0), limit)

    def run(self, places: Places, changed: Values) -> Tensor:
        """Return what the boxes behind the operation hold."""
        boxes = places[self.node]
        if self.slide is not None:
            (source,) = self.sources
            origin, padding = self.slide.origin(boxes.start), torch.tensor(self.slide.window.padding)
            window = windows(self.sources[source], origin + padding, self.slide.span(boxes.size))
            paste(window, origin, changed[source], places[source])
            return self.slide.call(window)
        inputs = []
        for source in self.reads:
            value = changed[source]
            if not places[source].same_place(boxes):
                value = windows(self.sources[source], boxes.start, boxes.size)
                paste(value, boxes.start, changed[source], places[source])
            inputs.append(value)
        return self.call(*inputs)


@dataclass(frozen=True)
class Head:
    """A linear layer that reads a whole map, flattened: only the columns of its weight that a box meets matter.

    Attributes
    ----------
    node : torch.fx.Node
        The linear layer.
    weight, bias : torch.Tensor or None
        Of it; the weight is (outputs, channels * grid).
    output : torch.Tensor
        What it puts out for the unchanged input, (1, outputs).
    """

    node: fx.Node
    weight: Tensor
    bias: Tensor | None
    output: Tensor

    def weights(self, size: Geometry, channels: int) -> int:
        """Return how many weights one item's box meets."""
        return len(self.weight) * channels * math.prod(size)

    def run(self, map_: Tensor, values: Tensor, boxes: Boxes) -> Tensor:
        """Return the outputs for each item, (items, outputs), where boxes of the map hold other values."""
        if self.weights(boxes.size, len(map_)) * 2 > map_.numel():
            whole = map_.expand(len(values), *map_.shape).clone()
            paste(whole, torch.zeros_like(boxes.start), values, boxes)
            return F.linear(whole.flatten(1), self.weight, self.bias)
        columns = windows(self.weight.reshape(-1, *map_.shape[1:]), boxes.start, boxes.size)
        change = (values - windows(map_, boxes.start, boxes.size)).flatten(1)
        return self.output + (columns.view(len(change), -1, change.shape[1]) @ change[:, :, None])[:, :, 0]


@dataclass(frozen=True)
class Cones:
    """What one unchanged input leaves in a network, and what follows from changing boxes of it.

    Attributes
    ----------
    source, result : torch.fx.Node
        The input, and the node whose value are the scores.
    steps : list of Step
        Local operations in the order they run.
    rest : list of (torch.fx.Node, callable)
        All others that depend on the input, in the order they run, as functions of all that a node reads.
    maps : dict
        Whole maps (channels, *grid) that the rest reads.
    heads : dict
        By the local node whose whole map it reads: a linear layer at the beginning of the rest.
    static : dict
        Values that do not depend on the input.
    grids : dict
        (channels, *grid) of each local value, the grid cut to what is read of it.
    costs : dict
        Multiplications of each operation for the whole input.
    """

    source: fx.Node
    result: fx.Node
    steps: list[Step]
    rest: list[tuple[fx.Node, Callable[..., Any]]]
    maps: dict[fx.Node, Tensor]
    heads: dict[fx.Node, Head]
    static: Values
    grids: dict[fx.Node, Geometry]
    costs: dict[fx.Node, int]

    def places(self, boxes: Boxes) -> Places:
        """Return what differs in each local value once boxes of the input do."""
        places = {self.source: boxes}
        for step in self.steps:
            places[step.node] = step.boxes(places, self.grids[step.node][1:])
        return places

    def share(self, places: Places) -> float:
        """Return the operations for one item over those of the whole network."""
        total, ours = 0, 0.0
        for node, cost in self.costs.items():
            total += cost
            grid = self.grids.get(node)
            ours += cost if grid is None else cost * math.prod(places[node].size) / math.prod(grid[1:])
        return ours / max(total, 1)

    def numbers(self, places: Places) -> int:
        """Return how many numbers one item needs in memory at most."""
        most = 0
        for step in self.steps:
            size = places[step.node].size
            put_out = self.grids[step.node][0] * math.prod(size)
            read = put_out
            if step.slide is not None:
                read = next(iter(step.sources.values())).shape[0] * math.prod(step.slide.span(size))
            most = max(most, put_out + read)
        whole = 0
        for node, map_ in self.maps.items():
            head = self.heads.get(node)
            met = map_.numel() if head is None else head.weights(places[node].size, len(map_))
            whole += min(map_.numel(), met)
        return max(most, whole)

    def scores(self, places: Places, values: Tensor) -> Tensor:
        """Run the network where it differs.

        Parameters
        ----------
        places : dict
            From `places`.
        values : torch.Tensor, shape (items, channels, *size)
            What the input's boxes hold.

        Returns
        -------
        torch.Tensor
            What the network puts out for each item, (items, ...).
        """
        changed, last = {self.source: values}, _last_readers(self.steps)
        whole: Values = {}

        def settle(node: fx.Node) -> None:
            if node in self.heads:
                whole[self.heads[node].node] = self.heads[node].run(self.maps[node], changed[node], places[node])
            elif node in self.maps:
                map_ = self.maps[node]
                whole[node] = map_.expand(len(values), *map_.shape).clone()
                paste(whole[node], torch.zeros_like(places[node].start), changed[node], places[node])

        settle(self.source)
        for index, step in enumerate(self.steps):
            changed[step.node] = step.run(places, changed)
            settle(step.node)
            for node in [n for n in changed if last.get(n, -1) <= index]:
                del changed[node]
        return whole[self.result] if not self.rest else torch.cat([self._rest(whole, n) for n in range(len(values))])

    def _rest(self, whole: Values, item: int) -> Tensor:
        """Run what is not local, for one item."""
        known = {**self.static, **{node: value[item : item + 1] for node, value in whole.items()}}
        for node, call in self.rest:
            known[node] = call(*(known[source] for source in node.all_input_nodes))
        result: Tensor = known[self.result]
        return result


def _last_readers(steps: Sequence[Step]) -> dict[fx.Node, int]:
    return {source: index for index, step in enumerate(steps) for source in step.reads}
