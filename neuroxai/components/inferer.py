"""MONAI's inferers that explain: thin adapters of `neuroxai.explain.attribute`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from neuroxai.atlas import Atlas
from neuroxai.attribution import ControlReference
from neuroxai.errors import InputError
from neuroxai.explain.attribute import Attributor
from neuroxai.explain.options import ExplainOptions


class AttributionInferer(Inferer):
    """Logits and heatmap in one call.

    Returns a dict of ``logits`` (batch, classes), ``heatmap`` (batch, 1, x, y, z), ``target`` (batch,) and, where
    relevance starts at a hidden layer, ``activation`` (batch,), what the neuron put out, summed over its positions.

    Parameters
    ----------
    options : ExplainOptions
        Method, class or neurons.
    regions : Atlas, optional
        Regions on the network's grid, for methods about regions; their option `labels` goes before.
    controls : callable, optional
        Returns the reference of controls, where baselines are to come from it.
    """

    def __init__(
        self,
        options: ExplainOptions,
        regions: Atlas | None = None,
        controls: Callable[[], ControlReference] | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self.attributor = Attributor(self.options, regions, controls)

    def __call__(
        self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Run the network and the attribution on a batch."""
        found = self.attributor(inputs, network)
        hidden = {} if found.activation is None else {"activation": found.activation}
        return {"logits": found.logits, "heatmap": found.heatmap, "target": found.target, **hidden}


class FilterInferer(Inferer):
    """Logits, and the heatmaps of many neurons of one hidden layer by one forward pass.

    Returns a dict of ``logits``, ``target`` and ``hidden``, an iterator that works as it is consumed, so that the
    heatmaps of one neuron are held at a time (`neuroxai.explain.attribute.Attributor.neurons`).

    Parameters
    ----------
    options : ExplainOptions
        Method, hidden layer, conditions.
    neurons : "all" or sequence
        As `ExplainOptions` has one; "all": each patch x filter of a patch-individual layer, each filter of any other.

    Raises
    ------
    InputError
        For other neurons.
    """

    def __init__(self, options: ExplainOptions, neurons: str | Sequence[Any] = "all") -> None:
        if neurons != "all" and (isinstance(neurons, str) or not neurons):
            raise InputError(f"neurons are {neurons!r}, expected 'all' or a list of neurons")
        super().__init__()
        self.attributor = Attributor(options)
        self.neurons = None if neurons == "all" else list(neurons)

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the network on a batch; the explanations run as they are asked for."""
        logits, target, hidden = self.attributor.neurons(inputs, network, self.neurons)
        return {"logits": logits, "target": target, "hidden": hidden}
