"""The published networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from neuroxai.errors import InputError, one_of
from neuroxai.networks.eitel2021 import model_a, model_a_pif, model_b, model_b_pif, patch_cnn
from neuroxai.networks.presets import ad_cnn, ms_cnn

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "ad_cnn": ad_cnn,
    "ms_cnn": ms_cnn,
    "model_a": model_a,
    "model_b": model_b,
    "model_a_pif": model_a_pif,
    "model_b_pif": model_b_pif,
    "patch_cnn": patch_cnn,
}
_PASSED_ON: dict[str, Callable[..., nn.Module]] = {"model_b": model_a, "model_b_pif": model_a_pif}  # take its options


def names() -> tuple[str, ...]:
    """Return the names of all published networks, sorted."""
    return tuple(sorted(NETWORKS))


def create(
    name: str, in_shape: Sequence[int], in_channels: int = 1, num_classes: int | None = None, **options: Any
) -> nn.Module:
    """Build a published network; its weights are drawn anew.

    Parameters
    ----------
    name : str
        One of `names()`.
    in_shape : sequence of int
        Voxels along the three axes.
    in_channels : int
        Channels of the input.
    num_classes : int, optional
        Logits; by default the paper's number.
    **options
        Options of the network, for example ``overlap="half"`` for ``model_a_pif``.

    Returns
    -------
    torch.nn.Module
        Takes (batch, in_channels, *in_shape) and returns logits, (batch, num_classes).

    Raises
    ------
    InputError
        If the name or an option is unknown, or an option's value does not fit.
    SpaceError
        If the grid is too small for the network.

    Examples
    --------
    >>> import torch
    >>> from neuroxai import networks
    >>> model = networks.create("ad_cnn", (96, 114, 96), checkpointing=True)
    >>> sum(p.numel() for p in model.parameters())
    89922
    """
    if name not in NETWORKS:
        raise one_of("network", name, NETWORKS)
    signature = inspect.signature(_PASSED_ON.get(name, NETWORKS[name]))
    allowed = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY and p.name != "name"]
    for option in options:
        if option not in allowed:
            raise InputError(f"network {name!r} has no option {option!r}; its options are: {', '.join(allowed)}")
    if num_classes is not None:
        options["num_classes"] = num_classes
    return NETWORKS[name](in_shape, in_channels, **options)
