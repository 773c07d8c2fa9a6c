"""What all methods here share: captum's way of being called, an evaluation-mode copy of the model, and its record.

The copy shares the parameters but has its own hooks and training flags, so that nothing reaches the model, BatchNorm's
running statistics never move, and one instance serves many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import captum.attr
import torch
from torch import Tensor, fx, nn

from neuroxai.checks import Check
from neuroxai.errors import InputError, NeuroxaiError, UnsupportedLayerError
from neuroxai.graph.checks import check_scores, exported, out_of_memory
from neuroxai.graph.eval_copy import eval_copy, own_buffers
from neuroxai.graph.execute import Executor
from neuroxai.graph.operations import arguments, at_line, kind_of
from neuroxai.graph.output_activation import scores_of
from neuroxai.graph.record import Record, record
from neuroxai.layers.convolution import FastConvolutions
from neuroxai.lrp.given import Given, Records, class_scores

MOST = 100_000  # passes of a network for one scan: days
_LINEAR = {"reshape", "permute", "pick", "pieces", "cat", "pad", "same", "cast", "resize", "average", "sum"}
_MEMORY = {"as_memory", "as_strided_scatter"}


class Method(captum.attr.Attribution):  # type: ignore[misc]  # captum is untyped
    """An attribution method that leaves the model as it is.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    """

    def __init__(self, model: nn.Module) -> None:
        eval_copy(model)  # refuse what cannot be copied now, not at the first call
        super().__init__(model)
        self.model = model
        self._records: Records[Recorded] = Records(model)

    def recorded(self, given: Given) -> Recorded:
        """Return what the network does with inputs of this shape; recorded once, weights are read at each run."""
        known = self._records.find(given)
        if known is not None:
            return known
        found = record(eval_copy(self.model), given.arguments)
        given.scores(found.output)
        scores, link, _ = scores_of(found)
        made = Recorded(found, scores, link, *_between(found, found.inputs[: len(given.inputs)], scores))
        return replace(made, keep=partial(self._records.keep, given, found, made))


class Scores(nn.Module):
    """The scores of a copy, (batch, classes), with the target held against their number."""

    def __init__(self, copy: nn.Module, given: Given) -> None:
        super().__init__()
        self.network, self._given = copy, given

    def forward(self, *args: Any) -> Tensor:
        """Return the scores."""
        batch = len(args[0])
        own_buffers(self.network)

        def run() -> Tensor:
            own = [v.clone() if isinstance(v, Tensor) else v for v in args]  # the network may write into them
            return self._given.scores(run_network(self.network, own))

        drawn = _random_state(args)
        scores = run()
        if not torch.equal(drawn, _random_state(args)):  # or another thread drew
            with torch.no_grad():
                if not torch.equal(scores, run()):
                    raise UnsupportedLayerError(
                        "the network draws random numbers in evaluation mode, so that no two calls explain the same "
                        "network; give its dropout training=self.training, or take the noise out"
                    )
        if len(scores) != batch:
            raise InputError(f"the network makes {len(scores)} scores of {batch} samples; (batch, classes) is expected")
        return scores


def _random_state(args: Sequence[Any]) -> Tensor:
    """Return the state of the generator that a network draws from."""
    on = args[0].device
    return torch.cuda.get_rng_state(on) if on.type == "cuda" else torch.get_rng_state()


def run_network(network: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Run a network; what it cannot take is an error of the input."""
    try:
        with FastConvolutions():
            return network(*args)
    except NeuroxaiError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
        if out_of_memory(error):
            raise
        shapes = ", ".join(str(tuple(x.shape)) for x in args if isinstance(x, Tensor))
        told = exported(network, error, args) or f"the network cannot take an input of shape {shapes}: {error}"
        raise InputError(told) from error


def check_option(name: str, value: object, check: Check) -> None:
    """Refuse an option's value that is not what `neuroxai.checks` says, naming the option."""
    fits, expected = check
    if not fits(value):
        raise InputError(f"{name} is {value!r}; {expected} is expected")


@dataclass
class Recorded:
    """What a network does with a batch, up to its scores."""

    record: Record
    scores: fx.Node  # in front of a softmax or sigmoid that ends the network
    link: str | None  # that output activation
    calls: tuple[fx.Node, ...]  # from the inputs that are explained to the scores, in the order they run
    reached: frozenset[fx.Node]  # all values that depend on the inputs that are explained
    keep: Callable[[], None] | None = None  # what keeps a record once it was held against the model

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
        if kind == "linear":
            return node.meta["operation"] != "grid_sampler" or places[0] is node.args[0]
        if kind == "norm":
            return has_fixed_statistics(node)
        if kind == "product":
            return node.meta["operation"] == "mul" or (node.meta["operation"] == "div" and places[0] is node.args[0])
        return kind == "bilinear" or (kind == "filter" and places[0] is arguments(node)["input"])

    def refuse(self, node: fx.Node, why: str) -> UnsupportedLayerError:
        """Return the error that names a call."""
        return UnsupportedLayerError(f"{at_line(node)}: {why}")

    def verify(self, output: Tensor) -> None:
        """Hold the output for the inputs that were recorded against the model's, and keep a record that holds."""
        if self.keep is not None:
            check_scores(class_scores(output.detach()), class_scores(self.record.output))
            self.keep()
            self.keep = None

    def check_gradient(self, copy: nn.Module, given: Given) -> None:
        """Refuse a network whose own gradient is not that of its calls, which a method is about to read."""
        own = next((node for node in self.calls if node.meta.get("own_gradient")), None)
        if self.keep is None or own is None:
            return
        _, kept = self.run(*given.tensors)
        outputs = kept[self.record.result], Scores(copy, given)(*given.arguments)
        chosen = [given.scores(each).gather(1, given.indices[:, None]).sum() for each in outputs]
        slopes = ([torch.zeros_like(x) for x in given.inputs] if not one.requires_grad else torch.autograd.grad(
            one, given.inputs, allow_unused=True, materialize_grads=True) for one in chosen)  # fmt: skip
        for ours, theirs in zip(*slopes, strict=True):
            if float((ours - theirs).abs().max()) > 1e-3 * float(theirs.abs().max()):
                why = (
                    "the network's gradient is not that of what it computes (an autograd function with a backward of "
                    "its own, a write through .data); use saliency or integrated_gradients, which take the network's "
                    "own gradient, or an lrp method or occlusion, which need none"
                )
                raise self.refuse(own, why)

    def run(
        self, *inputs: Tensor, replaced: Mapping[fx.Node, Callable[..., Any]] | None = None,
        keep: Collection[fx.Node] = (), check: bool = False,
    ) -> tuple[Tensor, dict[fx.Node, Any]]:  # fmt: skip
        """Run the record up to its scores: these and the values of the calls to be kept.

        `replaced` and `keep` are those of `neuroxai.graph.execute.Executor`; `check`: the inputs are those that were
        recorded, so that the output can be verified.
        """
        executor = Executor(self.record, replaced, {*keep, self.scores, self.record.result})
        with FastConvolutions():
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
