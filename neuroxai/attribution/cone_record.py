"""Run a recorded network once and remember what its receptive cones need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx

from neuroxai.attribution.cone import Cones, Geometry, Head, Slide, Step, Values
from neuroxai.graph.execute import call_of
from neuroxai.graph.operations import arguments, kind_of
from neuroxai.graph.receptive_field import window_of
from neuroxai.graph.record import Record

_VOXELWISE = {"activation", "same", "cast", "sum", "product"}


def cones_of(record: Record, scores: fx.Node, inputs: Sequence[Tensor], place: int) -> tuple[Tensor, Tensor, Cones]:
    """Run a record on one sample.

    Parameters
    ----------
    record : Record
        The network, recorded on one sample.
    scores : torch.fx.Node
        The call whose value are the scores.
    inputs : sequence of torch.Tensor
        The record's inputs.
    place : int
        Which of them changes, of shape (1, channels, *grid).

    Returns
    -------
    scores, output : torch.Tensor
        The scores, and what the network puts out.
    Cones
        For inputs that differ from this one in boxes.
    """
    needed = {scores}
    for node in reversed(record.graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    run = _Run(record, record.inputs[place], needed, inputs[place].ndim)
    left = {node: set(node.users) for node in record.graph.nodes}
    kept = {scores, record.result}
    given = dict(zip(record.inputs, inputs, strict=True))
    for node in record.graph.nodes:
        if node.op == "output":
            continue
        run.step(node, given.get(node))
        for source in node.all_input_nodes:  # free what nobody reads any more
            left[source].discard(node)
            if not left[source] and source not in kept:
                run.values.pop(source, None)
    return run.values[scores], run.values[record.result], run.cones(scores)


class _Run:
    """What is known so far; see `neuroxai.attribution.cone.Cones`."""

    def __init__(self, record: Record, source: fx.Node, needed: set[fx.Node], dims: int) -> None:
        self.record, self.source, self.needed, self.dims = record, source, needed, dims
        self.values: Values = {}
        self.steps: list[Step] = []
        self.rest: list[tuple[fx.Node, Callable[..., Any]]] = []
        self.maps: dict[fx.Node, Tensor] = {}
        self.heads: dict[fx.Node, Head] = {}
        self.static: Values = {}
        self.grids: dict[fx.Node, Geometry] = {}
        self.costs: dict[fx.Node, int] = {}

    def step(self, node: fx.Node, given: Tensor | None) -> None:
        """Run one node and sort it into local, static or rest."""
        if node is self.source and given is not None:
            self.values[node], self.grids[node] = given, tuple(given.shape[1:])
            return
        value = self.values[node] = self._value(node, given)
        if all(i in self.static for i in node.all_input_nodes):
            self.static[node] = value
            return
        if node not in self.needed:
            return  # behind the scores
        self.costs[node] = self._work(node) * (value.numel() if isinstance(value, Tensor) else 0)
        reads = tuple(i for i in node.all_input_nodes if i not in self.static)
        sources = {i: self.values[i][0] for i in reads if i in self.grids}
        if len(sources) == len(reads) and isinstance(value, Tensor) and value.ndim == self.dims:
            slide = self._slide(node)
            if slide is not None and len(reads) == 1:
                padded = {i: slide.padded(map_, tuple(value.shape[2:])) for i, map_ in sources.items()}
                self._local(Step(node, reads, slide.call, slide, padded), value)
                return
            if self._voxelwise(node, value, [*sources.values()]):
                self._local(Step(node, reads, self._call(node, reads), None, sources if len(reads) > 1 else {}), value)
                return
        self.rest.append((node, call_of(self.record, node)))
        self.maps.update(sources)
        self._find_head(node)

    def cones(self, result: fx.Node) -> Cones:
        """Return all that was found."""
        if result in self.grids:
            self.maps[result] = self.values[result][0]
        self._cut()
        steps = [s for s in self.steps if s.node in self.grids]
        return Cones(self.source, result, steps, self.rest, self.maps, self.heads, self.static, self.grids, self.costs)

    def _value(self, node: fx.Node, given: Tensor | None) -> Any:
        if given is not None:
            return given
        if node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            return getattr(self.record.root.get_submodule(owner), name)
        return call_of(self.record, node)(*(self.values[i] for i in node.all_input_nodes))

    def _call(self, node: fx.Node, reads: tuple[fx.Node, ...]) -> Callable[..., Tensor]:
        """Return a node as a function of the changing values that it reads."""
        call, inputs, static = call_of(self.record, node), node.all_input_nodes, self.static

        def changing(*values: Tensor) -> Tensor:
            of = dict(zip(reads, values, strict=True))
            out: Tensor = call(*(of[i] if i in of else static[i] for i in inputs))
            return out

        return changing

    def _slide(self, node: fx.Node) -> Slide | None:
        """Return the geometry of a convolution, pooling or constant padding; None for anything else."""
        window = window_of(node)
        if window is None:
            return None
        given, operation = arguments(node), node.meta["operation"]
        function: Any = getattr(F, operation, None)
        if kind_of(node) == "pad":
            return Slide(window, lambda x: x)
        if kind_of(node) == "filter":
            if any(isinstance(given.get(k), fx.Node) and given[k] not in self.static for k in ("weight", "bias")):
                return None
            weight, bias = (self.static.get(given.get(k)) for k in ("weight", "bias"))  # type: ignore[arg-type]
            options = {"stride": window.stride, "dilation": window.dilation, "groups": given.get("groups", 1)}
            return Slide(window, partial(function, weight=weight, bias=bias, **options))
        if kind_of(node) == "max":
            if given.get("return_indices"):
                return None
            return Slide(
                window, partial(function, kernel_size=window.kernel, stride=window.stride, dilation=window.dilation)
            )
        if given.get("ceil_mode") or (any(window.padding) and not given.get("count_include_pad", True)):
            return None  # what a window is divided by depends on where it lies
        divisor = given.get("divisor_override")
        options = {} if divisor is None else {"divisor_override": divisor}
        return Slide(window, partial(function, kernel_size=window.kernel, stride=window.stride, **options))

    def _voxelwise(self, node: fx.Node, value: Tensor, sources: list[Tensor]) -> bool:
        """Whether a node treats each voxel on its own, all on one grid."""
        if {map_.shape[1:] for map_ in sources} != {value.shape[2:]}:
            return False
        kind = kind_of(node)
        given = arguments(node) if kind in ("norm", "cat") else {}
        static = [self.static[i] for i in node.all_input_nodes if i in self.static]
        if node.meta["operation"] == "batch_norm":
            return not given.get("training") and given.get("running_mean") is not None
        if kind == "cat":
            return node.meta["operation"] == "cat" and not static and given.get("dim", 0) in (1, 1 - self.dims)
        plain = node.meta["operation"] == "prelu" or all(_no_grid(t, self.dims) for t in static)
        return kind in _VOXELWISE and plain and (len(sources) == 1 or kind in ("sum", "product"))

    def _find_head(self, node: fx.Node) -> None:
        """If a node is a linear layer that alone reads a flattened map, let it read the map itself."""
        if node.meta["operation"] != "linear" or self.values[node].ndim != 2:
            return
        given = arguments(node)
        weight, bias = (self.static.get(given.get(k)) for k in ("weight", "bias"))  # type: ignore[arg-type]
        rest = {other for other, _ in self.rest}
        between, at = [], given["input"]
        while at in rest and len(at.users) == 1 and kind_of(at) in ("reshape", "same"):
            between.append(at)
            at = at.all_input_nodes[0]
        map_ = self.maps.get(at)
        if map_ is None or weight is None or not between or len(at.users) > 1 or map_.numel() != weight.shape[1]:
            return
        self.heads[at] = Head(node, weight, bias, self.values[node])
        self.rest = [(other, call) for other, call in self.rest if other not in (node, *between)]

    def _local(self, step: Step, value: Tensor) -> None:
        self.steps.append(step)
        self.grids[step.node] = tuple(value.shape[1:])

    def _work(self, node: fx.Node) -> int:
        if node.op == "call_module":
            weight: Any = self.record.root.get_submodule(str(node.target)).weight
        elif kind_of(node) == "bilinear":
            return int(node.all_input_nodes[0].meta["shape"][-1])
        else:
            weight = self.static.get(arguments(node).get("weight")) if kind_of(node) == "filter" else None  # type: ignore[arg-type]
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
            for source in step.reads:
                wanted = size if step.slide is None else step.slide.needed(size)
                before = read.get(source, (1,) * len(wanted))
                grid = self.grids[source][1:]
                read[source] = tuple(min(g, max(w, b)) for g, w, b in zip(grid, wanted, before, strict=True))
            self.grids[step.node] = (self.grids[step.node][0], *size)


def _no_grid(tensor: Any, dims: int) -> bool:
    """Whether a constant is the same at each voxel."""
    if not isinstance(tensor, Tensor):
        return False
    return tensor.numel() == 1 or (tensor.ndim == dims and all(n == 1 for n in (tensor.shape[0], *tensor.shape[2:])))
