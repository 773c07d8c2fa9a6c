"""Run a network and an attribution method on scans: logits and heatmap of one class, or of hidden neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neuroxai import attribution
from neuroxai.atlas import Atlas
from neuroxai.attribution.baselines import FROM_CONTROLS
from neuroxai.errors import InputError
from neuroxai.explain.options import ExplainOptions
from neuroxai.explain.predict import probabilities
from neuroxai.layers.convolution import FastConvolutions


@dataclass(frozen=True)
class Attributed:
    """What came of a batch.

    Parameters
    ----------
    logits : torch.Tensor, shape (batch, outputs)
    heatmap : torch.Tensor, shape (batch, 1, x, y, z)
    target : torch.Tensor, shape (batch,)
        The class explained.
    activation : torch.Tensor or None, shape (batch,)
        At a hidden layer what the neuron put out, summed over its positions.
    """

    logits: Tensor
    heatmap: Tensor
    target: Tensor
    activation: Tensor | None = None


class Attributor:
    """One way to explain, for one batch after another.

    Relevance propagation runs the network by itself, so that the logits of a class are those of its own forward pass:
    a scan goes through the network once. Where the network's output is no logits, which the first batch shows, and for
    other methods, the network is run apart.

    Parameters
    ----------
    options : ExplainOptions
        With the target as an index, or ``"predicted"``.
    regions : Atlas, optional
        On the network's grid, for methods about regions, whose own option ``labels`` goes before, and for controls
        fitted to a scan.
    controls : callable, optional
        Returns the reference of controls; called where the method's baselines are to come from it.
    """

    def __init__(
        self,
        options: ExplainOptions,
        regions: Atlas | None = None,
        controls: Callable[[], attribution.ControlReference] | None = None,
    ) -> None:
        self.options = options
        self._regions, self._controls = regions, controls
        self._call: dict[str, Any] = {"conditions": options.conditions} if options.conditions else {}
        self._network: nn.Module | None = None
        self._method: Any = None
        self._once: bool | None = None  # whether the method's scores are the network's logits; None: not known yet

    def __call__(self, scans: Tensor, network: nn.Module) -> Attributed:
        """Explain a batch (batch, channels, x, y, z), a plain tensor or one with metadata."""
        scans = self._ready(scans, network)
        if self.options.layer is not None:
            logits = _logits(network, scans)
            (found,) = self._hidden(scans, [self.options.neuron])
            return Attributed(logits, found.relevance, self._targets(logits), found.activation)
        if not self.options.takes_start or self._once is False:
            return self._apart(scans, network)
        reference = _logits(network, scans) if self._once is None else None
        found = self._at_once(scans)
        if reference is not None:
            same = reference.shape == found.logits.shape and reference.dtype == found.logits.dtype
            self._once = same and torch.allclose(reference, found.logits, rtol=1e-3, atol=1e-4)
        return found if self._once else self._apart(scans, network)

    @property
    def start(self) -> str | None:
        """Where relevance of a class starts: as asked, or, once a batch was explained, as the network has it."""
        return self.options.start or getattr(self._method, "usual_start", None)

    def neurons(
        self, scans: Tensor, network: nn.Module, neurons: Sequence[Any] | None
    ) -> tuple[Tensor, Tensor, Iterator[Any]]:
        """Explain many neurons of the hidden layer by one forward pass; None: all there are.

        Returns
        -------
        logits, target : torch.Tensor
        hidden : iterator
            Of what `neuroxai.lrp.LRP.attribute_neurons` yields; it works as it is consumed, so that the heatmaps of one
            neuron are held at a time.
        """
        scans = self._ready(scans, network)
        logits = _logits(network, scans)
        return logits, self._targets(logits), self._hidden(scans, neurons)

    def _ready(self, scans: Tensor, network: nn.Module) -> Tensor:
        if self._network is not network:
            asked = completed_options(self.options.method, self.options.options, self._regions, self._controls)
            self._method = attribution.create(self.options.method, network, **asked)
            self._network, self._once = network, None
        # a plain tensor: MONAI's MetaTensor would follow through every operation
        return scans.as_tensor() if hasattr(scans, "as_tensor") else scans

    def _hidden(self, scans: Tensor, neurons: Sequence[Any] | None) -> Iterator[Any]:
        found: Iterator[Any] = self._method.attribute_neurons(
            scans, layer=self.options.layer, neurons=neurons, **self._call
        )
        return found

    def _apart(self, scans: Tensor, network: nn.Module) -> Attributed:
        logits = _logits(network, scans)
        target = self._targets(logits)
        start = {} if self.options.start is None else {"start": self.options.start}
        with torch.enable_grad():
            heatmap = self._method.attribute(scans, target=_output(target, logits), **self._call, **start)
        return Attributed(logits, heatmap.detach(), target)

    def _at_once(self, scans: Tensor) -> Attributed:
        kept: list[Tensor] = []

        def start(logits: Tensor) -> Tensor:
            kept[:] = [logits.detach().clone()]
            values = logits if self.start == "logit" else _shares(logits)
            chosen = _output(self._targets(logits), logits)[:, None]
            return torch.zeros_like(logits).scatter_(1, chosen, values.gather(1, chosen))

        heatmap = self._method.attribute(scans, start=start, **self._call)
        (logits,) = kept
        chosen = logits.gather(1, _output(self._targets(logits), logits)[:, None])
        from neuroxai.lrp.starts import warn_if_turned  # as late as the method itself

        warn_if_turned(str(self.start), self._method.usual_start, chosen)
        return Attributed(logits, heatmap.detach(), self._targets(logits))

    def _targets(self, logits: Tensor) -> Tensor:
        target, classes = self.options.target, max(logits.shape[1], 2)
        if target == "predicted":
            if logits.shape[1] == 1:
                raise InputError("a network with one logit explains class 1 alone; set target to 1, got 'predicted'")
            return logits.argmax(dim=1)
        if not isinstance(target, int) or not 0 <= target < classes:
            raise InputError(f"target is {target!r}, expected 'predicted' or a class index from 0 to {classes - 1}")
        if logits.shape[1] == 1 and target != 1:
            raise InputError(f"a network with one logit explains class 1 alone; got target {target}")
        return torch.full((len(logits),), target, device=logits.device)


def completed_options(
    method: str,
    options: Mapping[str, Any],
    regions: Atlas | None = None,
    controls: Callable[[], attribution.ControlReference] | None = None,
) -> dict[str, Any]:
    """Return a method's options with the labels that regions give and the baselines that controls give.

    Parameters
    ----------
    method, options
        As `neuroxai.attribution.create` takes them; baselines may be named.
    regions : Atlas, optional
        On the network's grid; an option ``labels`` goes before.
    controls : callable, optional
        Returns the reference of controls; called where the baselines are to come from it.

    Raises
    ------
    InputError
        If baselines are to come from controls, and there are none.
    """
    found = dict(options)
    if attribution.takes_regions(method) and regions is not None:
        found.setdefault("labels", regions)
    asked = attribution.complete(method, found).get("baselines")
    if not isinstance(asked, str) or asked not in FROM_CONTROLS:
        return found
    if controls is None:
        raise InputError(
            f"baselines are {asked!r}, but the bundle's explain.json names no 'controls'; take the configs/ of "
            "this version"
        )
    return {**found, "baselines": controls().baselines(asked, None if regions is None else regions.positions())}


def _output(target: Tensor, logits: Tensor) -> Tensor:
    """Return the output of a class: that of a network with one logit is the first."""
    return torch.zeros_like(target) if logits.shape[1] == 1 else target


def _shares(logits: Tensor) -> Tensor:
    """Return the probability of each output."""
    return torch.sigmoid(logits) if logits.shape[1] == 1 else probabilities(logits)


def _logits(network: nn.Module, scans: Tensor) -> Tensor:
    with torch.no_grad(), FastConvolutions():
        logits: Tensor = network(scans)
    return logits
