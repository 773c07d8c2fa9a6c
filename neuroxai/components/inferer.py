"""Inferers that return the logits and the heatmap of one class or of hidden neurons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer

from neuroxai.atlas import Atlas
from neuroxai.errors import InputError


class AttributionInferer(Inferer):
    """Logits and heatmap in one call.

    Returns a dict of ``logits`` (batch, classes), ``heatmap`` (batch, 1, x, y, z), ``target`` (batch,) and, where
    relevance starts at a hidden layer, ``activation`` (batch,), what the neuron put out, summed over its positions.

    Parameters
    ----------
    method : str
        A name of `neuroxai.attribution.names()`.
    options : dict, optional
        Passed to `neuroxai.attribution.create`.
    target : int or "predicted"
        Class to explain: an index (1, the patients', as in Boehle 2019), or each scan's predicted class.
    start : {"logit", "probability"}, optional
        Where layer-wise relevance propagation starts, the probability by default; other methods have no start.
    layer : str, optional
        Explain neurons of this hidden layer instead of a class; ``lrp_`` methods and deep_taylor.
    neuron : int, sequence of int or dict, optional
        Neuron of `layer`: a filter, one position [filter, x, y, z], or ``{"patch": p, "filter": f}`` of a
        patch-individual layer. None: all of it.
    conditions : dict of str to int or sequence of int, optional
        Keep relevance of these channels of these layers alone (Achtibat 2023); same methods.
    regions : Atlas, optional
        Regions on the network's grid, for ``region_occlusion``; its option `labels` goes before.

    Raises
    ------
    InputError
        For a method that cannot start at a layer, and a neuron without its layer.
    """

    def __init__(
        self,
        method: str = "lrp_alpha_beta",
        options: Mapping[str, Any] | None = None,
        target: int | str = 1,
        start: str | None = None,
        layer: str | None = None,
        neuron: Any = None,
        conditions: Mapping[str, Any] | None = None,
        regions: Atlas | None = None,
    ) -> None:
        from neuroxai import attribution

        super().__init__()
        self.method = method
        self.options = dict(options or {})
        if method == "region_occlusion" and regions is not None:
            self.options.setdefault("labels", regions)
        self.target = target
        check_start(method, layer, neuron, conditions)
        self.layer, self.neuron = layer, neuron
        self.call: dict[str, Any] = {}
        if conditions:
            self.call["conditions"] = conditions
        self.start = attribution.start_of(method, start) if layer is None else None
        if self.start is not None:
            self.call["start"] = self.start
        self._attribution: Any = None
        self._network: torch.nn.Module | None = None

    def __call__(
        self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Run the network and the attribution on a batch."""
        scans, logits, target = self._run(inputs, network)
        if self.layer is not None:
            (hidden,) = self._attribution.attribute_neurons(scans, layer=self.layer, neurons=[self.neuron], **self.call)
            return {
                "logits": logits,
                "heatmap": hidden.relevance,
                "target": target,
                "activation": hidden.activation,
            }
        output = torch.zeros_like(target) if logits.shape[1] == 1 else target
        with torch.enable_grad():
            heatmap = self._attribution.attribute(scans, target=output, **self.call)
        return {"logits": logits, "heatmap": heatmap.detach(), "target": target}

    def _run(self, inputs: torch.Tensor, network: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the scans as a plain tensor, their logits and targets."""
        from neuroxai import attribution

        if self._network is not network:
            self._attribution, self._network = attribution.create(self.method, network, **self.options), network
        # a plain tensor: MONAI's MetaTensor would follow through every operation
        scans = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        with torch.no_grad():
            logits = network(scans)
        return scans, logits, self._targets(logits)

    def _targets(self, logits: torch.Tensor) -> torch.Tensor:
        classes = max(logits.shape[1], 2)
        if self.target == "predicted":
            if logits.shape[1] == 1:
                raise InputError("a network with one logit explains class 1 alone; set target to 1, got 'predicted'")
            return logits.argmax(dim=1)
        if not isinstance(self.target, int) or not 0 <= self.target < classes:
            raise InputError(f"target is {self.target!r}, wanted 'predicted' or a class index from 0 to {classes - 1}")
        if logits.shape[1] == 1 and self.target != 1:
            raise InputError(f"a network with one logit explains class 1 alone; got target {self.target}")
        return torch.full((len(logits),), self.target, device=logits.device)


class FilterInferer(AttributionInferer):
    """Logits, and the heatmaps of many neurons of one hidden layer by one forward pass.

    Returns a dict of ``logits``, ``target`` and ``hidden``, an iterator of `neuroxai.lrp.api.NeuronAttribution` that
    works as it is consumed, so that the heatmaps of one neuron are held at a time.

    Parameters
    ----------
    layer : str
        The hidden layer.
    neurons : "all" or sequence
        As `AttributionInferer` takes them; "all": each patch x filter of a patch-individual layer, each filter of any
        other.
    method, options, conditions
        As for `AttributionInferer`.
    """

    def __init__(
        self,
        layer: str,
        neurons: str | Sequence[Any] = "all",
        method: str = "lrp_alpha_beta",
        options: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> None:
        if neurons != "all" and (isinstance(neurons, str) or not neurons):
            raise InputError(f"neurons are {neurons!r}, wanted 'all' or a list of neurons")
        super().__init__(method, options, layer=layer, conditions=conditions)
        self.neurons = None if neurons == "all" else list(neurons)

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the network on a batch; the explanations run as they are asked for."""
        scans, logits, target = self._run(inputs, network)
        hidden: Iterator[Any] = self._attribution.attribute_neurons(
            scans, layer=self.layer, neurons=self.neurons, **self.call
        )
        return {"logits": logits, "target": target, "hidden": hidden}


def check_start(method: str, layer: str | None, neuron: Any, conditions: Mapping[str, Any] | None) -> None:
    """Refuse a hidden start that a method does not have.

    Raises
    ------
    InputError
        Saying which methods do.
    """
    from neuroxai import attribution

    if layer is None and neuron is not None:
        raise InputError(f"neuron is {neuron!r} but layer is None; name the layer that the neuron is in")
    if (layer is not None or conditions) and not attribution.takes_start(method):
        able = ", ".join(name for name in attribution.names() if attribution.takes_start(name))
        what = f"start at layer {layer!r}" if layer is not None else "go through chosen channels"
        raise InputError(f"method {method!r} cannot {what}; use one of: {able}")
