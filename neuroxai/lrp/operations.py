"""Tables: what the engine knows of torch's layers, functions and tensor methods."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

# Elementwise functions that pass relevance, with what is known of their output's sign:
# "nonnegative", "keeps" (>= 0 wherever the input is) or "any".
_SIGNS = {
    "ReLU": "nonnegative",
    "ReLU6": "nonnegative",
    "Sigmoid": "nonnegative",
    "Hardsigmoid": "nonnegative",
    "Softplus": "nonnegative",
    "ELU": "keeps",
    "SELU": "keeps",
    "CELU": "keeps",
    "LeakyReLU": "keeps",
    "RReLU": "keeps",
    "GELU": "keeps",
    "SiLU": "keeps",
    "Mish": "keeps",
    "Tanh": "keeps",
    "Hardswish": "keeps",
    "Softsign": "keeps",
    "Hardtanh": "any",
    "PReLU": "any",
    "LogSigmoid": "any",
}
ACTIVATIONS: dict[type[nn.Module], str] = {getattr(nn, name): sign for name, sign in _SIGNS.items()}
INACTIVE: tuple[type[nn.Module], ...] = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_FUNCTIONS = {
    "relu": "nonnegative",
    "relu6": "nonnegative",
    "sigmoid": "nonnegative",
    "hardsigmoid": "nonnegative",
    "softplus": "nonnegative",
    "elu": "keeps",
    "selu": "keeps",
    "celu": "keeps",
    "leaky_relu": "keeps",
    "gelu": "keeps",
    "silu": "keeps",
    "mish": "keeps",
    "tanh": "keeps",
    "hardswish": "keeps",
    "softsign": "keeps",
    "hardtanh": "any",
    "logsigmoid": "any",
}


def _both(names: dict[str, str] | list[str]) -> dict[Callable[..., Any], str]:
    """Find functions by name in torch and torch.nn.functional, with their in-place twins."""
    found = {}
    for name in names:
        for home in (torch, F):
            for spelling in (name, name + "_"):
                if hasattr(home, spelling):
                    found[getattr(home, spelling)] = name
    return found


ACTIVATION_FUNCTIONS: dict[Callable[..., Any], str] = _both(_FUNCTIONS)  # function -> name in ACTIVATION_NAMES
ACTIVATION_NAMES = _FUNCTIONS  # name -> sign; also the names of tensor methods
DROPOUT_FUNCTIONS = _both(["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"])
POOL_FUNCTIONS: dict[Callable[..., Any], int] = {F.max_pool1d: 1, F.max_pool2d: 2, F.max_pool3d: 3}
RESHAPES = {"flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten"}
RESHAPE_FUNCTIONS = _both(["flatten", "reshape", "squeeze", "unsqueeze", "unflatten"])
RESHAPE_MODULES: tuple[type[nn.Module], ...] = (nn.Flatten, nn.Unflatten)
PERMUTES = {"permute", "transpose", "movedim"}
PERMUTE_FUNCTIONS = _both(["permute", "transpose", "movedim"])
SAME = {"contiguous", "clone", "detach"}
SIZES = {"size", "dim", "numel", "ndimension"}
ADD_FUNCTIONS = {operator.add, operator.iadd, torch.add}
ADDS = {"add", "add_", "__add__", "__radd__"}
CAT_FUNCTIONS = {torch.cat, torch.concat, torch.concatenate}
PROBABILITY_MODULES: dict[type[nn.Module], str] = {
    nn.Softmax: "softmax",
    nn.LogSoftmax: "softmax",
    nn.Sigmoid: "sigmoid",
    nn.LogSigmoid: "sigmoid",
}
PROBABILITY_FUNCTIONS: dict[Callable[..., Any], str] = {
    torch.softmax: "softmax",
    F.softmax: "softmax",
    torch.log_softmax: "softmax",
    F.log_softmax: "softmax",
    torch.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid",
    F.logsigmoid: "sigmoid",
}
PROBABILITY_METHODS = {"softmax": "softmax", "log_softmax": "softmax", "sigmoid": "sigmoid"}


def probability(node: Any, modules: dict[str, nn.Module]) -> str | None:
    """Return "softmax" or "sigmoid" where a node makes probabilities of scores, else None."""
    if node.op == "call_module":
        for kind, link in PROBABILITY_MODULES.items():
            if isinstance(modules[node.target], kind):
                return link
        return None
    table: dict[Any, str] = PROBABILITY_FUNCTIONS if node.op == "call_function" else PROBABILITY_METHODS
    return table.get(node.target)


def reshapes(node: Any, modules: dict[str, nn.Module]) -> bool:
    """Whether a node only gives its input another shape."""
    if node.op == "call_module":
        return isinstance(modules[node.target], RESHAPE_MODULES)
    return node.target in (RESHAPE_FUNCTIONS if node.op == "call_function" else RESHAPES)
