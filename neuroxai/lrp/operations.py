"""Tables: what the engine knows of torch's layers, functions and tensor methods."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
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
# Activation modules outside torch, by their full names, so that nothing is imported for them.
_FOREIGN_SIGNS = {
    "monai.networks.blocks.activation.Swish": "any",  # its factor may be negative
    "monai.networks.blocks.activation.MemoryEfficientSwish": "keeps",
    "monai.networks.blocks.activation.Mish": "keeps",
}
_FOREIGN_INACTIVE = {
    "monai.networks.layers.drop_path.DropPath",
    "timm.layers.drop.DropPath",
    "torchvision.ops.stochastic_depth.StochasticDepth",
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


def foreign(module: nn.Module) -> str | None:
    """Return the sign that a known module from outside torch gives ("keeps" where it is inactive), or None."""
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    return "keeps" if name in _FOREIGN_INACTIVE else _FOREIGN_SIGNS.get(name)


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
    "prelu": "any",
    "clamp": "any",
    "clamp_min": "any",
}


def _both(names: Iterable[str]) -> dict[Callable[..., Any], str]:
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
CASTS = {"to", "type_as", "float", "double"}
SIZES = {"size", "dim", "numel", "ndimension", "new_zeros", "new_ones", "new_full"}
LIKES = _both(["zeros_like", "ones_like", "full_like"])  # of x they read the shape only
ATTRIBUTES = {"shape", "ndim", "dtype", "device"}
ADD_FUNCTIONS = {operator.add, operator.iadd, torch.add}
ADDS = {"add", "add_", "__add__", "__radd__"}
PICKS = {
    "narrow",
    "select",
    "index_select",
    "expand",
    "expand_as",
    "broadcast_to",
    "repeat",
    "tile",
    "repeat_interleave",
}
PICKS |= {
    "flip",
    "roll",
    "unfold",
    "pixel_shuffle",
    "pixel_unshuffle",
    "swapaxes",
    "diagonal",
}  # values copied or moved
PIECES = {"chunk", "split", "tensor_split", "unbind", "split_with_sizes"}  # tuples of such
ARITHMETIC = {"add", "sub", "rsub", "mul", "multiply", "div", "divide", "true_divide", "neg", "negative"}
AVERAGES = {f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)}
MAXIMA = {f"adaptive_max_pool{n}d": n for n in (1, 2, 3)}
NORMS = {"layer_norm", "group_norm", "instance_norm", "rms_norm"}
GATES = {"sigmoid", "hardsigmoid", "softmax"}
_OPERATORS: dict[Callable[..., Any], str] = {
    operator.add: "add", operator.iadd: "add", operator.sub: "sub", operator.isub: "sub", operator.mul: "mul",
    operator.imul: "mul", operator.truediv: "div", operator.itruediv: "div", operator.neg: "neg",
    operator.getitem: "getitem",
}  # fmt: skip
_SAME_OPERATION = {"multiply": "mul", "divide": "div", "true_divide": "div", "negative": "neg", "concat": "cat"}
_SAME_OPERATION |= {"concatenate": "cat", "subtract": "sub", "upsample": "interpolate"}
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
NAMED: dict[Callable[..., Any], str] = {
    **_both(sorted({
        *_FUNCTIONS, *RESHAPES, *PERMUTES, *SAME, *PICKS, *PIECES, *ARITHMETIC, *AVERAGES, *MAXIMA, *NORMS, *GATES,
        *_SAME_OPERATION, "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
        "max_pool1d", "max_pool2d", "max_pool3d", "cat", "stack", "interpolate", "mean", "sum", "pad",
    })),
    **_OPERATORS,
}  # fmt: skip


def operation(node: Any) -> str | None:
    """Return the one name of a function or tensor method of torch ("relu" for ``F.relu_``, too), or None."""
    if node.op == "call_method":
        name: str | None = str(node.target).strip("_")
    else:
        found = NAMED.get(node.target) if node.op == "call_function" else None
        name = None if found is None else found
    return None if name is None else _SAME_OPERATION.get(name, name)


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
