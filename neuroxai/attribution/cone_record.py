"""Run a traced network once and remember what its receptive cones need."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from neuroxai.attribution.cone import Cones, Head, Step
from neuroxai.attribution.cone_steps import Geometry, evaluate, pointwise, reads_size, sliding
from neuroxai.lrp import operations as known


def record(graph: fx.Graph, modules: dict[str, nn.Module], result: fx.Node, x: Tensor) -> tuple[Any, Cones]:
    """Run a traced network on one input.

    Parameters
    ----------
    graph : torch.fx.Graph
        The network.
    modules : dict
        Its layers by the names that the nodes use, "" for the root.
    result : torch.fx.Node
        The node whose value are the scores.
    x : torch.Tensor, shape (1, channels, *grid)
        The input.

    Returns
    -------
    output
        What the result node puts out.
    Cones
        For inputs that differ from `x` in boxes.
    """
    nodes = _reached(graph, result)
    run = _Run(modules, x.ndim)
    readers = {node: [u for u in node.users if u in nodes] for node in nodes}
    left = {node: set(users) for node, users in readers.items()}
    for node in nodes:
        run.step(node, x)
        run.find_head(node, readers)
        for source in node.all_input_nodes:  # free what nobody reads any more
            left[source].discard(node)
            if not left[source]:
                run.values.pop(source, None)
    output = run.values[result]
    if result in run.grids:
        run.maps[result] = output[0]
    return output, run.cones(result)


class _Run:
    """What is known so far; see `neuroxai.attribution.cone.Cones`."""

    def __init__(self, modules: dict[str, nn.Module], dims: int) -> None:
        self.modules, self.dims = modules, dims
        self.values: dict[fx.Node, Any] = {}
        self.steps: list[Step] = []
        self.rest: list[fx.Node] = []
        self.maps: dict[fx.Node, Tensor] = {}
        self.heads: dict[fx.Node, Head] = {}
        self.shapes: dict[fx.Node, Tensor] = {}
        self.static: dict[fx.Node, Any] = {}
        self.grids: dict[fx.Node, Geometry] = {}
        self.costs: dict[fx.Node, int] = {}

    def step(self, node: fx.Node, x: Tensor) -> None:
        """Run one node and sort it into local, static or rest."""
        inputs = node.all_input_nodes
        if node.op == "placeholder":
            self.values[node], self.grids[node], self.source = x.clone(), tuple(x.shape[1:]), node
            return
        sources = {i: self.values[i][0] for i in inputs if i in self.grids}
        value = self.values[node] = evaluate(node, self.values, self.modules)
        if all(i in self.static for i in inputs):
            self.static[node] = value
            return
        self.costs[node] = self._work(node) * (value.numel() if isinstance(value, Tensor) else 0)
        if len(sources) == len(inputs):
            slide = sliding(node, self.modules, self.dims - 2)
            if slide is not None:
                padded = {i: slide.padded(map_, tuple(value.shape[2:])) for i, map_ in sources.items()}
                self._local(Step(node, slide, padded), value)
                return
            if self._voxelwise(node, value, [*sources.values()]):
                self._local(Step(node, None, sources if len(inputs) > 1 else {}), value)
                return
        self.rest.append(node)
        for i, map_ in sources.items():
            if reads_size(node):
                self.shapes[i] = map_.new_empty(1).expand(map_.shape)
            else:
                self.maps[i] = map_

    def find_head(self, node: fx.Node, readers: dict[fx.Node, list[fx.Node]]) -> None:
        """If a node is a linear layer that alone reads a flattened map, let it read the map itself."""
        layer = self.modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, nn.Linear) or node not in self.rest or self.values[node].ndim != 2:
            return
        between: list[fx.Node] = []
        at: Any = node.args[0]
        while isinstance(at, fx.Node) and at in self.rest and len(readers[at]) == 1:
            between.append(at)
            if known.reshapes(at, self.modules):
                break
            if at.op != "call_module" or not isinstance(self.modules[str(at.target)], known.INACTIVE):
                return
            at = at.args[0]
        source: Any = between[-1].args[0] if between else None
        map_ = self.maps.get(source)
        others = [u for u in readers[source] if u is not at and not reads_size(u)] if map_ is not None else []
        if map_ is None or others or map_.numel() != layer.in_features or not known.reshapes(at, self.modules):
            return
        self.heads[source] = Head(node, layer, self.values[node].clone())  # it may be written into
        self.rest = [other for other in self.rest if other not in (node, *between)]

    def cones(self, result: fx.Node) -> Cones:
        """Return all that was found."""
        self._cut()
        steps = [s for s in self.steps if s.node in self.grids]
        shapes = {
            node: stand_in for node, stand_in in self.shapes.items() if node not in self.maps or node in self.heads
        }
        return Cones(
            self.modules,
            self.source,
            result,
            steps,
            self.rest,
            self.maps,
            self.heads,
            shapes,
            self.static,
            self.grids,
            self.costs,
        )

    def _local(self, step: Step, value: Tensor) -> None:
        self.steps.append(step)
        self.grids[step.node] = tuple(value.shape[1:])

    def _voxelwise(self, node: fx.Node, value: Any, sources: list[Tensor]) -> bool:
        grids = {map_.shape[1:] for map_ in sources}
        same = isinstance(value, Tensor) and value.ndim == self.dims and grids == {value.shape[2:]}
        return same and pointwise(node, self.modules, self.dims)

    def _work(self, node: fx.Node) -> int:
        weight: Any = getattr(self.modules[str(node.target)], "weight", None) if node.op == "call_module" else None
        return weight[0].numel() if isinstance(weight, Tensor) and weight.ndim > 1 else 1

    def _cut(self) -> None:
        """Cut the grids to what is read of them, and drop what nobody reads."""
        read: dict[fx.Node, Geometry] = {node: tuple(map_.shape[1:]) for node, map_ in self.maps.items()}
        for step in reversed(self.steps):
            size = read.get(step.node)
            if size is None:
                del self.grids[step.node]
                self.costs.pop(step.node)
                continue
            for source in step.node.all_input_nodes:
                wanted = size if step.slide is None else step.slide.needed(size)
                before = read.get(source, (1,) * len(wanted))
                grid = self.grids[source][1:]
                read[source] = tuple(min(g, max(w, b)) for g, w, b in zip(grid, wanted, before, strict=True))
            self.grids[step.node] = (self.grids[step.node][0], *size)


def _reached(graph: fx.Graph, result: fx.Node) -> list[fx.Node]:
    """Return the nodes that the result needs, in the order they run."""
    wanted = {result}
    for node in reversed(graph.nodes):
        if node in wanted:
            wanted.update(node.all_input_nodes)
    return [node for node in graph.nodes if node in wanted]
