"""Many neurons of one hidden layer explained by one way forward: each patch x filter, each filter of a convolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp.plan import Plan
from neuroxai.lrp.run import backward
from neuroxai.lrp.starts import Neuron, Start


class Hidden(NamedTuple):
    """One neuron of a hidden layer and what explains it.

    Attributes
    ----------
    neuron : int, tuple of int, dict or None
        As `neuroxai.lrp.LRP.attribute` takes it.
    activation : torch.Tensor
        (batch,): what the neuron put out, summed over its positions; relevance starts from it.
    relevance : torch.Tensor
        Shaped like the inputs.
    """

    neuron: Neuron
    activation: Tensor
    relevance: Tensor


def all_neurons(module: nn.Module | None, channels: int) -> list[Neuron]:
    """Return the neurons that share weights: each patch x filter of a `PatchIndividualFilter`, else each channel.

    Parameters
    ----------
    module : torch.nn.Module or None
        The layer.
    channels : int
        Channels of its output.
    """
    if isinstance(module, PatchIndividualFilter):
        return [{"patch": p, "filter": f} for p in range(module.patches) for f in range(module.out_channels)]
    return list(range(channels))


def explained_each(
    plan: Plan, x: Tensor, output: Tensor, kept: dict[str, Any], layer: str, neurons: Sequence[Neuron] | None,
    model: nn.Module,
) -> Iterator[Hidden]:  # fmt: skip
    """Take the relevance of one neuron after the other back; `kept` is left whole.

    Parameters
    ----------
    plan, x, output, kept
        The plan that ends at the layer, its input, its result, and what the way back needs (see `run.forward`).
    layer, neurons, model
        As given to `neuroxai.lrp.LRP.attribute_each`.
    """
    if neurons is None:
        modules = dict(model.named_modules(remove_duplicate=False))
        neurons = all_neurons(modules.get(layer.partition(":")[0]), output.shape[1])
    for neuron in neurons:
        # a network may stack the patches of each scan in the batch
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            seed = Start(layer=layer, neuron=neuron).seed(output, None, None, model)
            hidden = Hidden(neuron, seed.reshape(len(x), -1).sum(1), backward(plan, dict(kept), seed, (x,))[0])
        yield hidden
