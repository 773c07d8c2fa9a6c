"""What heatmaps are called: labels of methods and starts, names of results over a group."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from neuroxai.errors import InputError
from neuroxai.io.names import BidsName

NETWORK, ORIGINAL = "network", "orig"
"""Spaces of heatmaps: the network's grid and the scan's own; that of a scanner bears its contrast's name."""
_LONGEST = 60  # letters of a start's label; whole names must stay below 255


def method_label(method: str) -> str:
    """Return a method as BIDS label, letters and digits alone: ``lrp_alpha_beta`` becomes ``lrpAlphaBeta``."""
    first, *rest = method.split("_")
    return first + "".join(word.capitalize() for word in rest)


def group_name(method: str, start: str, ending: str) -> str:
    """Return the path of a result over a group of scans, relative to its derivative's folder.

    >>> group_name("lrp_alpha_beta", "PifP03F1", "heatmap.nii.gz")
    'group/group_space-network_desc-lrpAlphaBetaPifP03F1_heatmap.nii.gz'
    """
    entities = {"group": "", "space": NETWORK, "desc": method_label(method) + start}
    suffix, dot, extension = ending.partition(".")
    return f"group/{BidsName('', '', entities, suffix, dot + extension)}"


def start_label(layer: str | None, neuron: Any = None, conditions: Mapping[str, Sequence[int]] | None = None) -> str:
    """Return where relevance starts and through what it goes as part of a BIDS label; empty for a class alone.

    Parameters
    ----------
    layer : str, optional
        Hidden layer; a leading ``features.`` is left out.
    neuron : int, sequence of int or dict, optional
        As `neuroxai.lrp.LRP.attribute` takes it.
    conditions : dict of str to sequence of int, optional
        Layers and the channels that keep their relevance.

    Raises
    ------
    InputError
        For anything that cannot be a neuron.

    Examples
    --------
    >>> start_label("features.pif", {"patch": 3, "filter": 1}), start_label("features.conv4", 12)
    ('PifP03F1', 'Conv4F12')
    >>> start_label(None, None, {"features.conv4": [3, 5]})
    'ViaConv4F3F5'
    """
    label = "" if layer is None else _layer(layer) + _neuron(neuron)
    for name, channels in (conditions or {}).items():
        label += f"Via{_layer(name)}" + "".join(f"F{channel}" for channel in channels)
    if len(label) > _LONGEST:
        label = label[: _LONGEST - 8] + hashlib.sha256(label.encode()).hexdigest()[:8]
    return label


def _layer(name: str) -> str:
    words = re.findall("[A-Za-z0-9]+", name.removeprefix("features."))
    return "".join(word[0].upper() + word[1:] for word in words)


def _neuron(neuron: Any) -> str:
    if neuron is None:
        return ""
    pair = isinstance(neuron, Mapping)
    numbers = [neuron.get("patch"), neuron.get("filter")] if pair else neuron
    numbers = [numbers] if isinstance(numbers, int) else numbers
    whole = isinstance(numbers, list | tuple) and all(type(n) is int and n >= 0 for n in numbers)
    if not whole or not numbers or (pair and len(neuron) != 2):
        raise InputError(
            f'neuron is {neuron!r}, expected a channel, a list [channel, x, y, z] or {{"patch": p, "filter": f}}'
        )
    first, *others = numbers
    if pair:
        return f"P{first:02d}F{others[0]}"
    return f"F{first}" + ("At" + "x".join(map(str, others)) if others else "")
