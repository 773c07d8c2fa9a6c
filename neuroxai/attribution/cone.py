"""A network's scores for an input of which only a box has changed, without running the whole network again.

A convolution or pooling behind a changed box changes a box that is a little larger, and so on. Only these boxes are
computed, each from a window of its input: the values of the unchanged input, with the box before it pasted in. At the
first operation that is not local (flatten, linear layer, global pooling, instance normalisation) whole maps are put
together, and the rest of the network runs on them as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuroxai.attribution.cone_boxes import Boxes, paste, windows
from neuroxai.attribution.cone_steps import Geometry, Sliding, evaluate

Places = dict[fx.Node, Boxes]
Changed = dict[fx.Node, Tensor]


@dataclass(frozen=True)
class Step:
    """A local operation.

    Attributes
    ----------
    node : torch.fx.Node
        The operation.
    slide : Sliding or None
        The geometry of a convolution or pooling; None for an operation that treats each voxel on its own.
    sources : dict
        By each node that it reads: the unchanged input's whole map (channels, *grid), padded where it slides. Empty
        where one map is read voxel by voxel, for then no window is cut.
    """

    node: fx.Node
    slide: Sliding | None
    sources: dict[fx.Node, Tensor]

    def boxes(self, places: Places, limit: Geometry) -> Boxes:
        """Return what differs behind the operation, from what differs before it."""
        before = [places[i] for i in self.node.all_input_nodes]
        if self.slide is not None:
            return Boxes.within(*self.slide.reach(before[0].low, before[0].high), limit)
        if len(before) == 1:
            return before[0]
        low = torch.stack([b.low for b in before]).amin(0)
        return Boxes.within(low, torch.stack([b.high for b in before]).amax(0), limit)

    def run(self, places: Places, changed: Changed, modules: Mapping[str, nn.Module]) -> Tensor:
        """Return what the boxes behind the operation hold."""
        boxes = places[self.node]
        if self.slide is not None:
            (source,) = self.sources
            origin, padding = self.slide.origin(boxes.start), torch.tensor(self.slide.padding)
            window = windows(self.sources[source], origin + padding, self.slide.span(boxes.size))
            paste(window, origin, changed[source], places[source])
            return self.slide.call(window)
        inputs = {}
        for source in self.node.all_input_nodes:
            inputs[source] = changed[source]
            if not places[source].same_place(boxes):
                inputs[source] = windows(self.sources[source], boxes.start, boxes.size)
                paste(inputs[source], boxes.start, changed[source], places[source])
        out: Tensor = evaluate(self.node, inputs, modules)
        return out


@dataclass(frozen=True)
class Head:
    """A linear layer that reads a whole map, flattened: only the columns of its weight that a box meets matter.

    Attributes
    ----------
    node : torch.fx.Node
        The linear layer.
    layer : torch.nn.Linear
        Its weight is (outputs, channels * grid).
    output : torch.Tensor
        What it puts out for the unchanged input, (1, outputs).
    """

    node: fx.Node
    layer: nn.Linear
    output: Tensor

    def weights(self, size: Geometry, channels: int) -> int:
        """Return how many weights one item's box meets."""
        return self.layer.out_features * channels * math.prod(size)

    def run(self, map_: Tensor, values: Tensor, boxes: Boxes) -> Tensor:
        """Return the outputs for each item, (items, outputs), where boxes of the map hold other values."""
        if self.weights(boxes.size, len(map_)) * 2 > map_.numel():
            whole = map_.expand(len(values), *map_.shape).clone()
            paste(whole, torch.zeros_like(boxes.start), values, boxes)
            out: Tensor = self.layer(whole.flatten(1))
            return out
        columns = windows(self.layer.weight.reshape(-1, *map_.shape[1:]), boxes.start, boxes.size)
        change = (values - windows(map_, boxes.start, boxes.size)).flatten(1)
        return self.output + (columns.view(len(change), -1, change.shape[1]) @ change[:, :, None])[:, :, 0]


@dataclass(frozen=True)
class Cones:
    """What one unchanged input leaves in a network, and what follows from changing boxes of it.

    Attributes
    ----------
    modules : mapping
        The network's layers by the names that the nodes use.
    source, result : torch.fx.Node
        The input, and the node whose value are the scores.
    steps : list of Step
        Local operations in the order they run.
    rest : list of torch.fx.Node
        All others that depend on the input, in the order they run.
    maps : dict
        Whole maps (channels, *grid) that the rest reads.
    heads : dict
        By the local node whose whole map it reads: a linear layer at the beginning of the rest.
    shapes : dict
        Stand-ins (channels, *grid), one number of memory each, for maps of which the rest reads the shape only.
    static : dict
        Values that do not depend on the input.
    grids : dict
        (channels, *grid) of each local value, the grid cut to what is read of it.
    costs : dict
        Multiplications of each operation for the whole input.
    """

    modules: Mapping[str, nn.Module]
    source: fx.Node
    result: fx.Node
    steps: list[Step]
    rest: list[fx.Node]
    maps: dict[fx.Node, Tensor]
    heads: dict[fx.Node, Head]
    shapes: dict[fx.Node, Tensor]
    static: dict[fx.Node, Any]
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

    def scores(self, places: Places, values: Tensor) -> Any:
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
        whole: dict[fx.Node, Any] = dict(self.static)
        count = len(values)
        for node in (self.source, *(step.node for step in self.steps)):
            if node in self.shapes:
                whole[node] = self.shapes[node].expand(count, *self.shapes[node].shape)

        def settle(node: fx.Node) -> None:
            if node in self.heads:
                whole[self.heads[node].node] = self.heads[node].run(self.maps[node], changed[node], places[node])
            elif node in self.maps:
                map_ = self.maps[node]
                whole[node] = map_.expand(count, *map_.shape).clone()
                paste(whole[node], torch.zeros_like(places[node].start), changed[node], places[node])

        settle(self.source)
        for index, step in enumerate(self.steps):
            changed[step.node] = step.run(places, changed, self.modules)
            settle(step.node)
            for node in [n for n in changed if last.get(n, -1) <= index]:
                del changed[node]
        for node in self.rest:
            whole[node] = evaluate(node, whole, self.modules)
        return whole[self.result]


def _last_readers(steps: Sequence[Step]) -> dict[fx.Node, int]:
    return {source: index for index, step in enumerate(steps) for source in step.node.all_input_nodes}
