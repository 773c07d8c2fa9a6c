"""DeepLIFT by the rescale rule, for any elementwise activation, any maximum over windows or axes, and products."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuroxai.attribution.base import Method, Recorded
from neuroxai.attribution.baselines import Baselines, baselines_for, check_baselines
from neuroxai.attribution.gradient.gradients import Found, GradientMethod, averaged
from neuroxai.errors import UnsupportedLayerError
from neuroxai.graph.checks import check_scores
from neuroxai.graph.execute import call_of
from neuroxai.graph.operations import arguments, kind_of
from neuroxai.lrp.given import Given, class_scores

_WAY_OUT = (
    "deep_lift has no rule for it: it knows linear layers, batch norm with running statistics, elementwise "
    "activations, maxima, products and sums; anything else would break the sum of the contributions. Use "
    "integrated_gradients for this network"
)
_SMALLEST = {torch.float32: 1e-6, torch.float64: 1e-10}  # below it a quotient of differences is rounding
# takes what a call reads and puts out for the baselines, and what it reads for the scans; returns what it puts out for
# the scans, with the rule's multipliers for gradients
Rule = Callable[..., Any]


def deep_lift(model: nn.Module, *, baselines: Baselines = 0.0) -> GradientMethod:
    """DeepLIFT's rescale rule (Shrikumar 2017): what each value contributes to the difference from a baseline.

    The contributions add up to the score of the scan minus that of the baseline; where they do not, the network is
    refused. A softmax or sigmoid at the very end is looked through (Shrikumar 2017, section 3.6). Where an activation's
    input does not differ from the baseline's, its gradient stands in for the quotient, the mean of both. A product
    gives each factor the mean of the other one.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    baselines : float, str, torch.Tensor, list, callable or tuple of these
        As `neuroxai.attribution.gradient.gradients.integrated_gradients` takes them.

    Raises
    ------
    InputError
        If `baselines` is not a finite number or image.
    UnsupportedLayerError
        When called, if the network has a call without a rule, or the contributions do not add up.
    """
    check_baselines(baselines)

    def run(method: Method, copy: nn.Module, given: Given) -> Found:
        return averaged([lifted(method, copy, given, start) for start in baselines_for(given.inputs, baselines)])

    def lifted(method: Method, copy: nn.Module, given: Given, start: tuple[Tensor, ...]) -> Found:
        network = method.recorded(given)
        rules = {node: rule for node in network.calls if (rule := _rule(network, node)) is not None}
        with torch.no_grad():
            others = given.tensors[len(start) :]
            read = {source for node in rules for source in node.all_input_nodes}
            before, kept = network.run(*start, *others, keep=read | set(rules))
            if network.record.of_one_scan:  # the baselines may take another branch
                theirs = class_scores(copy(*start, *given.more))
                check_scores(class_scores(kept[network.record.result]), theirs)
        replaced = {node: partial(rule, [kept[n] for n in node.all_input_nodes], kept[node])
                    for node, rule in rules.items()}  # fmt: skip
        after, _ = network.run(*given.tensors, replaced=replaced, check=True)
        gradients = given.gradients(after)
        found = tuple(g * (x - x0) for g, x, x0 in zip(gradients, given.inputs, start, strict=True))
        ends = [scores.gather(1, given.indices[:, None])[:, 0].detach() for scores in (after, before)]
        total = Found(found, *ends)
        worst = total.missed()
        if worst:
            raise UnsupportedLayerError(
                f"deep_lift's contributions {worst}: a call of the network mixes samples, or breaks the rule of the "
                "sum otherwise. Use integrated_gradients for this network"
            )
        return total

    return GradientMethod(model, run, complete=True)


def _rule(network: Recorded, node: fx.Node) -> Rule | None:
    """Return the rule of a call; None for one that is linear."""
    kind, sources, reads = kind_of(node), network.sources(node), node.all_input_nodes
    call = call_of(network.record, node)
    if node.meta["operation"] == "detach":  # contributions pass it
        return lambda values, out, x: x
    if network.is_linear(node):
        return None
    square = node.meta["operation"] == "mul" and len(sources) == 1
    if square or (kind == "activation" and len(sources) == 1 and sources[0] is arguments(node)["input"]):
        return partial(_rescaled, call, reads.index(sources[0]))
    if kind in ("product", "bilinear") and len(sources) == 2 and "div" not in node.meta["operation"]:
        return partial(_shared, call, [reads.index(n) for n in sources])
    if kind == "max" and len(sources) == len(reads) == 1:
        return partial(_pooled, call, bool(node.meta.get("many")))
    raise network.refuse(node, _WAY_OUT)


def _linearised(out: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """Return values whose gradient by each x is its multiplier, of pairs (multiplier, x)."""
    return sum((m * (x - x.detach()) for m, x in terms), start=out.detach())


def _quotient(difference: Tensor, over: Tensor, instead: Any) -> Tensor:
    near = over.abs() < _SMALLEST.get(over.dtype, 1e-6)
    return torch.where(near, instead, difference / torch.where(near, torch.ones_like(over), over))


def _rescaled(call: Any, place: int, values: list[Any], start: Tensor, *now: Any) -> Tensor:
    """Rescale rule: the quotient of an activation's differences."""
    x, x0 = now[place].detach(), values[place]

    def slope(at: Tensor) -> Tensor:
        leaf = at.detach().clone().requires_grad_(True)
        return torch.autograd.grad(call(*now[:place], leaf, *now[place + 1 :]).sum(), leaf)[0]

    out = call(*now[:place], x, *now[place + 1 :])
    multiplier = _quotient(out - start, x - x0, (slope(x) + slope(x0)) / 2)
    return _linearised(out, (multiplier, now[place]))


def _pooled(call: Any, many: bool, values: list[Any], start: Any, x: Tensor) -> Any:
    """Share each window's difference between the scan's winner and the baseline's, by who is larger."""
    if many:  # it also puts out where they lie
        out = _pooled(lambda v: call(v)[0], False, values, start[0], x)
        return (out, *call(x.detach())[1:])

    def at_winners(x: Tensor, values: Tensor) -> Tensor:
        """Return `values` where `x` has its maxima: the derivative of a maximum, by its transpose's transpose.

        PyTorch's forward-mode derivatives are one for all threads of a process, which would take each other's levels.
        """
        with torch.enable_grad():
            out = call(leaf := x.detach().requires_grad_(True))
            weights = torch.zeros_like(out, requires_grad=True)
            (back,) = torch.autograd.grad(out, leaf, weights, create_graph=True)
            (read,) = torch.autograd.grad(back, weights, values, create_graph=True)
        return read

    winner, x0 = call(x), values[0]
    scan, theirs = winner.detach(), at_winners(x0, x)
    larger, half = torch.maximum(scan, start), torch.full_like(scan, 0.5)
    first = _quotient(larger - start, scan - at_winners(x.detach(), x0), half)
    second = _quotient(scan - larger, theirs.detach() - start, half)
    return _linearised(scan, (first, winner), (second, theirs))


def _shared(call: Any, places: list[int], values: list[Any], start: Tensor, *now: Any) -> Any:
    """Give each factor of a product the mean of the other, for the scan and for the baseline."""
    means = [(now[i].detach() + values[i]) / 2 for i in places]
    linear = 0.0
    for index, place in enumerate(places):
        terms = list(now)
        terms[place] = now[place] - now[place].detach()
        terms[places[1 - index]] = means[1 - index]
        linear = linear + call(*terms)
    return call(*(v.detach() if isinstance(v, Tensor) else v for v in now)) + linear
