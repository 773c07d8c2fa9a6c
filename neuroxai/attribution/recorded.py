"""A recorded network of which some calls are run in another way: what DeepLIFT and guided back-propagation stand on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, fx, nn

from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.checks import check_scores
from neuroxai.graph.execute import Executor
from neuroxai.graph.names import describe
from neuroxai.graph.operations import arguments, kind_of
from neuroxai.graph.output_activation import scores_of
from neuroxai.graph.record import Record, record
from neuroxai.lrp.given import Given, Records, class_scores

_LINEAR = {"reshape", "permute", "pick", "pieces", "cat", "pad", "same", "cast", "resize", "average", "sum"}
_MEMORY = {"as_memory", "as_strided_scatter"}


@dataclass
class Recorded:
    """What a network does with a batch, up to its scores."""

    record: Record
    scores: fx.Node  # in front of a softmax or sigmoid that ends the network
    link: str | None  # that output activation
    calls: tuple[fx.Node, ...]  # from the inputs that are explained to the scores, in the order they run
    reached: frozenset[fx.Node]  # all values that depend on the inputs that are explained
    keep: Callable[[], None] | None = None  # what keeps a record once it was held against the model

    @classmethod
    def of(cls, copy: nn.Module, given: Given, records: Records[Recorded]) -> Recorded:
        """Return what is known of a model, or record a copy of it, of no other use afterwards."""
        known = records.find(given)
        if known is not None:
            return known
        found = record(copy, given.arguments)
        given.scores(found.output)
        scores, link, _ = scores_of(found)
        made = cls(found, scores, link, *_between(found, found.inputs[: len(given.inputs)], scores))
        return replace(made, keep=partial(records.keep, given, found, made))

    def of_input(self, source: fx.Node) -> Recorded:
        """Return the same as seen from one input."""
        calls, reached = _between(self.record, [source], self.scores)
        return replace(self, calls=calls, reached=reached)

    def sources(self, node: fx.Node) -> list[fx.Node]:
        """Return the calls that a call reads and that depend on the inputs explained."""
        return [n for n in node.all_input_nodes if n in self.reached]

    def is_linear(self, node: fx.Node) -> bool:
        """Whether a call is linear (but for a constant) in what depends on the inputs."""
        kind, sources = kind_of(node), self.sources(node)
        if not all(n.meta.get("floats", True) for n in sources):
            return False  # where something lies, or a mask, depends on them
        if kind in _LINEAR or node.meta["operation"] in _MEMORY or node.op == "call_module":
            return True
        places = [v for v in (*node.args, *node.kwargs.values()) if isinstance(v, fx.Node) and v in self.reached]
        if len(places) != 1:
            return False
        if kind == "norm":
            return has_fixed_statistics(node)
        if kind == "product":
            return node.meta["operation"] == "mul" or (node.meta["operation"] == "div" and places[0] is node.args[0])
        return kind == "bilinear" or (kind == "filter" and places[0] is arguments(node)["input"])

    def refuse(self, node: fx.Node, why: str) -> UnsupportedLayerError:
        """Return the error that names a call."""
        line = f" ({node.meta['line']})" if node.meta.get("line") else ""
        return UnsupportedLayerError(f"{describe(node)}: {why}{line}")

    def verify(self, output: Tensor) -> None:
        """Hold the output for the inputs that were recorded against the model's, and keep a record that holds."""
        if self.keep is not None:
            check_scores(class_scores(output.detach()), class_scores(self.record.output))
            self.keep()
            self.keep = None

    def run(
        self, *inputs: Tensor, replaced: Mapping[fx.Node, Callable[..., Any]] | None = None,
        keep: Collection[fx.Node] = (), check: bool = False,
    ) -> tuple[Tensor, dict[fx.Node, Any]]:  # fmt: skip
        """Run the record up to its scores: these and the values of the calls to be kept.

        `replaced` and `keep` are those of `neuroxai.graph.execute.Executor`; `check`: the inputs are those that were
        recorded, so that the output can be verified.
        """
        executor = Executor(self.record, replaced, {*keep, self.scores, self.record.result})
        executor.run(*inputs)
        if check:
            self.verify(executor.kept[self.record.result])
        return class_scores(executor.kept[self.scores]), executor.kept


def has_fixed_statistics(node: fx.Node) -> bool:
    """Whether a normalisation is by running statistics."""
    given = arguments(node)
    return node.meta["operation"] == "batch_norm" and not given.get("training") and bool(given.get("running_mean"))


def _between(
    record: Record, sources: Sequence[fx.Node], scores: fx.Node
) -> tuple[tuple[fx.Node, ...], frozenset[fx.Node]]:
    """Return the calls that lead from inputs to the scores, and all values that depend on the inputs."""
    needed, reached = {scores}, set(sources)
    for node in reversed(record.graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    for node in record.graph.nodes:
        if node.op.startswith("call_") and not reached.isdisjoint(node.all_input_nodes):
            reached.add(node)
    calls = (node for node in record.graph.nodes if node in reached and node in needed and node.op != "placeholder")
    return tuple(calls), frozenset(reached)
