"""Which layer Grad-CAM explains by: the last with a grid, or a transformer's last tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from neuroxai.attribution.base import Recorded
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.graph.checks import refuse_quantised
from neuroxai.graph.operations import MOVES, is_gate, kind_of, label

_COUNTS = {"activation", "norm", "sum", "product", "same", "cast"}  # calls whose output is the layer's features, still
_ADVICE = "name one that puts out (batch, channels, *grid) with layer=, or use another method"


@dataclass(frozen=True)
class CamLayer:
    """What Grad-CAM explains by."""

    name: str  # qualified
    node: fx.Node  # the call that makes its output
    cells: fx.Node  # the call (or input) whose grid the map is on: the same where the layer has one, else the patches
    embedding: fx.Node | None = None  # the call that first puts out a transformer's tokens; None of a layer with a grid

    def on_grid(self, values: Tensor, tokens: Tensor | None) -> Tensor:
        """Return values of the layer as (batch, channels, *grid); `tokens` are those of the cells, from `token_of`."""
        return values if tokens is None else values[:, tokens].movedim(-1, 1)

    def token_of(self, cells: Tensor, embedding: Tensor) -> Tensor:
        """Find which token each cell went into, (*grid), by the gradient of the tokens' numbers; refuse several."""
        weights = torch.rand(embedding.shape[-1], generator=torch.Generator().manual_seed(0)).to(embedding) + 0.5
        each = (embedding[:1] * weights).sum(-1)
        number = torch.arange(1, each.shape[1] + 1).to(each)
        ones, found = (torch.autograd.grad(v.sum(), cells, retain_graph=True)[0][0] for v in (each, each * number))
        place = (found / ones).nan_to_num(-1.0)
        index = place.mean(0).round()
        if bool((index < 1).any()) or bool(((place - index).abs() > 0.01).any()):
            raise UnsupportedLayerError(f"layer {self.name!r}: its tokens are not patches of the input; {_ADVICE}")
        return index.long() - 1


def cam_layer(network: Recorded, x: Tensor, name: str | None = None) -> CamLayer:
    """Return the layer to explain by: the one named, or the last with the grid of the last convolution that has one.

    A convolution whose output, pooled over its places, is the scores is a head; what it reads is explained.

    In a transformer, whose last convolution only cuts the patches, it is the last normalisation of tokens in front of
    an attention.

    Raises
    ------
    InputError
        If the layer named does not run once and put out a grid or tokens, or there is no grid behind any convolution.
    UnsupportedLayerError
        If a transformer's tokens do not stand for patches.
    """
    model: Any = network.record.root.model
    calls, features = list(network.calls), _features(network)
    filters = [n for n in calls if kind_of(n) == "filter" and n in features]
    convolutions = [n for n in filters if n.meta["operation"] != "linear" and math.prod(_grid(n, x)) > 1]
    head = convolutions.pop() if len(convolutions) > 1 and _scores_places(network, convolutions[-1]) else None
    anchor = convolutions[-1] if convolutions else None
    attentions = [n for n in calls if _attends(network, n)]
    if name is not None:
        layer = model.get_submodule(name)
        names = {known for known, module in model.named_modules(remove_duplicate=False) if module is layer}
        runs = [node for known, node in network.record.layers if known in names]
        if len(runs) != 1:
            times_run = f"runs {len(runs)} times on the way to the scores"
            raise InputError(f"layer {name!r} {times_run}; one that runs once is expected")
        node = runs[0]
        if _grid(node, x):
            return CamLayer(name, node, node)
        tokens = _tokens(network, calls, anchor, [node], name) if attentions else None
        if tokens is None:
            raise InputError(
                f"layer {name!r} puts out {node.meta.get('shape')}; (batch, channels, *grid of {x.ndim - 2} axes) is "
                "expected"
            )
        return tokens
    if attentions and (anchor is None or anchor is filters[0]):
        before = calls[: calls.index(attentions[-1])]
        tokens = _tokens(network, calls, anchor, [n for n in before if n.meta["operation"] == "layer_norm"])
        if tokens is None:
            raise UnsupportedLayerError(f"Grad-CAM finds no layer of {type(model).__name__} with a grid: {_ADVICE}")
        return tokens
    if anchor is None:
        refuse_quantised(model)
        raise InputError(
            f"no convolution of {type(model).__name__} has a grid of more than one cell for inputs of shape "
            f"{tuple(x.shape)}; Grad-CAM needs one. Use another method, or larger inputs"
        )
    times = Counter(known for known, _ in network.record.layers)
    behind = features.intersection(calls[calls.index(anchor) : None if head is None else calls.index(head)])
    once = [(known, n) for known, n in network.record.layers if known and times[known] == 1]
    once = once or [(label(n), n) for n in calls]  # a network of functions
    # what the anchor puts out goes through it, whole, on the same grid
    whole = {n for n in behind if _grid(n, x) == _grid(anchor, x) and _all_through(n, anchor, features)}
    fits = [(known, n) for known, n in once if n in whole]
    if not fits and times[anchor.meta["layer"]] <= 1:  # a function of the model's, with layers elsewhere
        fits = [(label(anchor), anchor)]
    if not fits:
        raise InputError("the last convolution with a grid runs several times; name another layer with layer=")
    name, node = fits[-1]
    if any(n.meta.get("own_gradient") for n in calls[calls.index(node) :]):
        return CamLayer(name, node, node)  # the network's own gradient is known at layers alone
    for later in calls[calls.index(node) :]:  # its activation, a sum with it or a gate may be no layer
        beside = kind_of(later) == "cat" and later.meta["shape"][0] == node.meta["shape"][0]
        if later in whole and (beside or kind_of(later) in _COUNTS) and node in later.all_input_nodes:
            node, name = later, label(later)
    return CamLayer(name, node, node)


def _signals(network: Recorded, node: fx.Node) -> list[fx.Node]:
    """Return what a call reads that depends on the input, without gates: factors that come out of a sigmoid."""
    sources = network.sources(node)
    if kind_of(node) not in ("product", "bilinear"):
        return sources
    return [source for source in sources if not is_gate(source)] or sources


def _features(network: Recorded) -> set[fx.Node]:
    """Return the scores and what they are made of, but for what only gates are made of."""
    found, ahead = set[fx.Node](), [network.scores]
    while ahead:
        node = ahead.pop()
        if node not in found:
            found.add(node)
            ahead += _signals(network, node)
    return found


def _all_through(node: fx.Node, start: fx.Node, features: set[fx.Node]) -> bool:
    """Whether all features that are made of a value go through another one."""
    seen, ahead = {node}, {start}
    while ahead := (ahead & features) - seen:
        one = ahead.pop()
        if features.isdisjoint(one.users):  # the scores
            return False
        seen.add(one)
        ahead |= set(one.users)
    return True


def _scores_places(network: Recorded, node: fx.Node) -> bool:
    """Whether a convolution puts out the classes' scores of each place, which are pooled: they are no features."""
    if node.meta["shape"][1] != network.record.result.meta["shape"][-1]:
        return False
    calls = list(network.calls)
    behind = [kind_of(call) for call in calls[calls.index(node) + 1 :]]
    pooled = next((kind for kind in behind if kind not in MOVES), "")
    return pooled in ("average", "max", "soft_max", "chosen") and {"filter", "bilinear"}.isdisjoint(behind)


def _tokens(
    network: Recorded, calls: list[fx.Node], anchor: fx.Node | None, norms: Sequence[fx.Node], name: str | None = None
) -> CamLayer | None:
    """Return the last of some calls that puts out tokens (batch, tokens, channels), with where they come from."""
    cells = next(n for n in network.reached if n.op == "placeholder") if anchor is None else anchor
    behind = calls[calls.index(cells) + 1 if cells in calls else 0 :]
    mixing = (n for n, call in enumerate(behind) if call.meta["operation"] == "layer_norm" or _attends(network, call))
    early = behind[: next(mixing, None)]  # what is normalised or attended to is no longer of one patch
    for node in reversed(norms):
        shape = node.meta.get("shape", ())
        alike = [n for n in early if n.meta.get("rank") == len(shape) == 3 and n.meta["shape"][:2] == shape[:2]]
        if alike and (anchor is None or shape[1] >= math.prod(anchor.meta["shape"][2:])):
            named = [known for known, n in network.record.layers if n is node and known]
            return CamLayer(name or (named[0] if named else label(node)), node, cells, alike[-1])
    return None


def _attends(network: Recorded, node: fx.Node) -> bool:
    """Whether a call is a product of two values for several queries: an attention, but no pooling by attention."""
    shape = node.meta.get("shape", ())
    return kind_of(node) == "bilinear" and len(network.sources(node)) == 2 and len(shape) > 2 and shape[-2] > 1


def _grid(node: fx.Node, x: Tensor) -> tuple[int, ...]:
    shape = node.meta.get("shape", ())
    return tuple(shape[2:]) if len(shape) == x.ndim and x.ndim > 2 and node.meta.get("floats", True) else ()
