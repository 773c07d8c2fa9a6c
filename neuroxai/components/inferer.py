"""An inferer that returns the logits and the heatmap of one class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.inferers import Inferer

from neuroxai.atlas import Atlas
from neuroxai.errors import InputError


class AttributionInferer(Inferer):
    """Logits and heatmap in one call.

    Returns a dict of ``logits`` (batch, classes), ``heatmap`` (batch, 1, x, y, z) and ``target`` (batch,).

    Parameters
    ----------
    method : str
        A name of `neuroxai.attribution.names()`.
    options : dict, optional
        Passed to `neuroxai.attribution.create`.
    target : int or "predicted"
        Class to explain: an index (1, the patients', as in Boehle 2019), or each scan's predicted class.
    start : {"logit", "probability"}, optional
        Where layer-wise relevance propagation starts; other methods have no start.
    regions : Atlas, optional
        Regions on the network's grid, for ``region_occlusion``; its option `labels` goes before.
    """

    def __init__(
        self,
        method: str = "lrp_alpha_beta",
        options: Mapping[str, Any] | None = None,
        target: int | str = 1,
        start: str | None = None,
        regions: Atlas | None = None,
    ) -> None:
        from neuroxai import attribution

        super().__init__()
        self.method = method
        self.options = dict(options or {})
        if method == "region_occlusion" and regions is not None:
            self.options.setdefault("labels", regions)
        self.target = target
        self.call = {"start": start} if start is not None and attribution.takes_start(method) else {}
        self._attribution: Any = None
        self._network: torch.nn.Module | None = None

    def __call__(
        self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Run the network and the attribution on a batch."""
        from neuroxai import attribution

        if self._network is not network:
            self._attribution, self._network = attribution.create(self.method, network, **self.options), network
        # a plain tensor: MONAI's MetaTensor would follow through every operation
        scans = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        with torch.no_grad():
            logits = network(scans)
        target = self._targets(logits)
        output = torch.zeros_like(target) if logits.shape[1] == 1 else target
        with torch.enable_grad():
            heatmap = self._attribution.attribute(scans, target=output, **self.call)
        return {"logits": logits, "heatmap": heatmap.detach(), "target": target}

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
