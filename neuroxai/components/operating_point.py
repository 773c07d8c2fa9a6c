"""The operating point: chosen on validation scans alone, and put into the network's last layer.

A network's scores may all lie on one side of one half though their order is right. After Platt scaling on the
validation part one half is where both classes are told apart best. The scaling is part of the weights that are kept, so
that prediction, explanation and report agree on it without knowing of it.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.networks import eval_mode
from torch import Tensor, nn

from neuroxai.errors import InputError
from neuroxai.evaluation.calibration import operating_point

POINTS = ("validation", "half")


def at_operating_point(
    network: nn.Module, logits: Tensor, labels: Tensor, scans: Tensor
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a network's weights with the operating point at one half, and what was done.

    Parameters
    ----------
    network : torch.nn.Module
        Of two classes, with one logit or two; it is left as it is.
    logits, labels : torch.Tensor, shape (scans, 1 or 2) and (scans,)
        Of the validation scans.
    scans : torch.Tensor, shape (batch, channels, x, y, z)
        One or more, on which the new weights are tried.

    Returns
    -------
    state : dict of str to torch.Tensor
        The network's own where the point is not moved.
    record : dict
        ``chosen_on``, ``scans``, ``slope`` and ``intercept``; or ``moved`` false and the ``reason``.
    """
    state = dict(network.state_dict())
    try:
        slope, intercept = operating_point(labels.numpy() == 1, _odds(logits).numpy())
        name = _last(network, logits.shape[1])
    except InputError as error:
        return state, {"moved": False, "reason": str(error)}
    share = torch.tensor([1.0]) if logits.shape[1] == 1 else torch.tensor([-0.5, 0.5])
    moved = dict(state)
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    moved[f"{name}.weight"] = weight * slope
    moved[f"{name}.bias"] = bias * slope + intercept * share.to(bias)
    before, after = (_odds(_run(network, one, scans)) for one in (state, moved))
    if not torch.allclose(after, slope * before + intercept, rtol=1e-3, atol=1e-3):
        return state, {"moved": False, "reason": f"the layer {name} is not what the network returns"}
    return moved, {
        "moved": True,
        "chosen_on": "validation",
        "scans": len(labels),
        "slope": slope,
        "intercept": intercept,
    }


def _last(network: nn.Module, outputs: int) -> str:
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1][1].bias is None or linear[-1][1].out_features != outputs:
        raise InputError(f"the network ends in no linear layer of {outputs} outputs with a bias")
    return str(linear[-1][0])


def _odds(logits: Tensor) -> Tensor:
    values = logits.detach().double().cpu()
    return values[:, 0] if values.shape[1] == 1 else values[:, 1] - values[:, 0]


def _run(network: nn.Module, state: dict[str, Tensor], scans: Tensor) -> Tensor:
    where = next(network.parameters()).device
    with eval_mode(network):  # its handlers may have it in training mode between validations; without gradients
        found: Tensor = torch.func.functional_call(network, state, (scans.to(where),))
    return found
