"""What is asked of an explanation: one frozen record, checked once, however it was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neuroxai import attribution, io
from neuroxai._version import __version__
from neuroxai.derivatives.heatmap_names import start_label
from neuroxai.derivatives.heatmaps import Provenance, Run
from neuroxai.errors import InputError, NeuroxaiError, one_of
from neuroxai.explain.provenance import atlas_noted
from neuroxai.space import Space

SCORE_SPACES = ("network", "scan")


@dataclass(frozen=True)
class ExplainOptions:
    """How scans are explained.

    Parameters
    ----------
    method, options
        As `neuroxai.attribution.create` takes them.
    target : int, str or None
        Class to explain: its index or name, or ``"predicted"``; the second one by default.
    start : {"logit", "probability"}, optional
        Initial relevance of a class, by default what the rule of the network's last layer asks for, see `settled`.
    layer : str, optional
        Explain neurons of this hidden layer instead of a class; relevance propagations alone.
    neuron : int, sequence of int or dict, optional
        Neuron of `layer`: a filter, one position [filter, x, y, z], or ``{"patch": p, "filter": f}`` of a
        patch-individual layer. None: all of it.
    conditions : mapping of str to int or sequence of int, optional
        Keep relevance of these channels of these layers alone (Achtibat 2023); same methods.
    atlas : str or None
        Regions to score, and to occlude by: "builtin" or another name of `neuroxai.atlas.NAMES`, the path of a label
        image, or None for no scores.
    labels : str, optional
        Path of the label image's names.
    native : bool
        Heatmaps in the scan's own space too, and that of a prepared scan on the grid that the scanner gave it.
    maps : bool
        False: no maps, only tables and sidecars.
    score_space : {"network", "scan"}
        Where regions are summed up: on the network's grid, where nothing is interpolated, or on the scan's own.
    accept_unfit : bool
        Explain a scan that is far from the training scans too; it stays flagged.

    Raises
    ------
    InputError
        For an unknown value, a method that cannot start at a layer, and a neuron without its layer.
    """

    method: str = "lrp_alpha_beta"
    options: Mapping[str, Any] = field(default_factory=dict)
    target: int | str | None = 1
    start: str | None = None
    layer: str | None = None
    neuron: Any = None
    conditions: Mapping[str, Sequence[int]] | None = None
    atlas: str | None = "builtin"
    labels: str | None = None
    native: bool = True
    maps: bool = True
    score_space: str = "network"
    accept_unfit: bool = False

    def __post_init__(self) -> None:
        if self.start not in (None, "logit", "probability"):
            raise one_of("start", str(self.start), ["logit", "probability"])
        if self.score_space not in SCORE_SPACES:
            raise one_of("space of the scores", self.score_space, SCORE_SPACES)
        if self.layer is None and self.neuron is not None:
            raise InputError(f"neuron is {self.neuron!r} but layer is None; name the layer that the neuron is in")
        if (self.layer is not None or self.conditions) and not attribution.takes_start(self.method):
            able = ", ".join(name for name in attribution.names() if attribution.takes_start(name))
            what = f"start at layer {self.layer!r}" if self.layer is not None else "go through chosen channels"
            raise InputError(f"method {self.method!r} cannot {what}; use one of: {able}")
        settled = {
            "options": dict(self.options or {}),
            "target": 1 if self.target is None else self.target,
            "start": self.start if attribution.takes_start(self.method) and self.layer is None else None,
            "neuron": plain_neuron(self.neuron),
            "conditions": _channels(self.conditions),
            "native": self.native and self.maps,
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)
        start_label(self.layer, self.neuron, self.conditions)  # refuses what can be no neuron

    @property
    def takes_start(self) -> bool:
        """Whether relevance starts at a class's logit or probability."""
        return self.layer is None and attribution.takes_start(self.method)

    def settled(self, network: nn.Module, shape: Sequence[int]) -> ExplainOptions:
        """Return the options with the start that a network has by default, where none is named.

        What the network refuses is left to the explanation, which tells.

        Parameters
        ----------
        network : torch.nn.Module
        shape : sequence of int
            Of the scans that it takes, (channels, x, y, z).
        """
        if self.start is not None or not self.takes_start:
            return self
        try:
            method: Any = attribution.create(self.method, network, **self.options)
            return replace(self, start=method.start_for((1, *shape)))
        except NeuroxaiError:
            return self

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ExplainOptions:
        """Make options of a mapping, from JSON, a study or a request.

        Raises
        ------
        InputError
            If it has another key.
        """
        known = [one.name for one in fields(cls)]
        for key in values:
            if key not in known:
                raise one_of("option of an explanation", key, known)
        return cls(**values)

    def for_classes(self, classes: Sequence[str]) -> ExplainOptions:
        """Return the options with the target as an index (or ``"predicted"``).

        Raises
        ------
        InputError
            If it names none of the classes.
        """
        if not isinstance(self.target, str) or self.target == "predicted":
            return self
        if self.target not in classes:
            raise one_of("class", self.target, [*classes, "predicted"])
        return replace(self, target=list(classes).index(self.target))

    def provenance(self, checkpoint: str, bundle: str, space: Space) -> Provenance:
        """Return what every explanation notes of network and method."""
        return Provenance(
            self.method,
            dict(self.options),
            io.sha256(checkpoint) if checkpoint and Path(checkpoint).is_file() else None,
            bundle,
            atlas_noted(self.atlas),
            space.to_dict(),
            {"neuroxai": __version__, "torch": torch.__version__},
        )

    def run(self, checkpoint: str, bundle: str, space: Space) -> Run:
        """Return what the scans of one call have in common."""
        return Run(
            **vars(self.provenance(checkpoint, bundle, space)),
            start=self.start,
            explained=None if self.layer is not None else self.target,
            layer=self.layer,
            neuron=self.neuron,
            conditions=self.conditions,
            native=self.native,
            maps=self.maps,
            score_space=self.score_space,
        )


def plain_neuron(neuron: Any) -> Any:
    """Return a neuron as JSON gives it back."""
    if isinstance(neuron, Mapping):
        return dict(neuron)
    return list(neuron) if isinstance(neuron, list | tuple) else neuron


def _channels(conditions: Mapping[str, Any] | None) -> dict[str, list[int]] | None:
    found = {
        str(name): [int(c) for c in (channels if isinstance(channels, list | tuple) else [channels])]
        for name, channels in (conditions or {}).items()
    }
    return found or None
