"""What the optimiser needs beyond torch: Keras' penalty on single layers and Keras' decay of the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from ignite.engine import Engine, Events

from neuroxai.errors import InputError


def parameter_groups(
    network: torch.nn.Module, weight_decay: float = 0.0, l2: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Return an optimiser's parameter groups with an L2 penalty on the weights of single layers.

    A penalty of lambda adds lambda * sum(w^2) to the loss, as Keras' ``kernel_regularizer=l2(lambda)`` does (Eitel
    2019: .01 on the third and fourth convolution). Its gradient is 2 * lambda * w, which is what `torch.optim.Adam` and
    `torch.optim.SGD` add for a weight decay of 2 * lambda. Biases carry no penalty. Not for `torch.optim.AdamW`, whose
    decay is no gradient. The penalty is no part of the loss that is reported.

    Parameters
    ----------
    network : torch.nn.Module
        The network.
    weight_decay : float
        Of all parameters, biases included, as the optimiser's own option; a layer's penalty comes on top.
    l2 : mapping of str to float, optional
        Penalty by layer: a layer's name (``conv3``), qualified name (``features.conv3``) or a pattern (``conv*``).

    Returns
    -------
    list of dict
        ``params`` and ``weight_decay``, for ``torch.optim.Adam(params=...)``.

    Raises
    ------
    InputError
        If a pattern matches no layer with weights, two match the same layer, or a penalty is negative.
    """
    layers = {
        name: module.weight
        for name, module in network.named_modules()
        if isinstance(getattr(module, "weight", None), torch.nn.Parameter) and module.weight.ndim > 1
    }
    chosen: dict[str, str] = {}
    groups = []
    for pattern, penalty in (l2 or {}).items():
        if not penalty >= 0:
            raise InputError(f"L2 penalty of {pattern!r} is {penalty}, expected 0 or more")
        names = [name for name in layers if fnmatchcase(f".{name}", f"*.{pattern}")]
        if not names:
            raise InputError(f"L2 penalty: no layer is named {pattern!r}; those with weights are {', '.join(layers)}")
        for name in names:
            if chosen.setdefault(name, pattern) != pattern:
                raise InputError(f"L2 penalty: {chosen[name]!r} and {pattern!r} both name {name}, expected one of them")
        groups.append({"params": [layers[name] for name in names], "weight_decay": weight_decay + 2 * penalty})
    taken = {id(layers[name]) for name in chosen}
    others = [parameter for parameter in network.parameters() if id(parameter) not in taken]
    return [{"params": others, "weight_decay": weight_decay}, *groups]


class InverseTimeDecay:
    """Lower the learning rate with every iteration: lr = lr0 / (1 + decay * iterations done), as Keras' ``decay``.

    It depends on the trainer's count of iterations alone, so that a resumed run goes on exactly. Eitel 2019 fine-tunes
    with lr0 5e-4 and decay .002 (half of the rate after 500 iterations).

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its learning rates, as they are now, are lr0.
    decay : float
        Per iteration; 0 for a constant rate.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, decay: float = 0.0) -> None:
        if not decay >= 0:
            raise InputError(f"decay of the learning rate is {decay}, expected 0 (none) or more")
        self.optimizer = optimizer
        self.decay = decay
        # kept here: a resumed optimiser brings the rate of its last iteration
        self.initial = [float(group["lr"]) for group in optimizer.param_groups]

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._set)

    def _set(self, engine: Engine) -> None:
        done = engine.state.iteration - 1  # the counter rises before this event
        for group, rate in zip(self.optimizer.param_groups, self.initial, strict=True):
            group["lr"] = rate / (1 + self.decay * done)
