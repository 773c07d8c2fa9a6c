"""An evaluation-mode double of a model that shares its parameters.

Explaining must leave the model bit-identical: its training flag, hooks and in-place switches stay untouched because
only the double is switched, hooked or traced. Parameters and buffers are the model's own (the very dictionaries), so
weights loaded or moved later are seen.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict

from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from neuroxai.errors import InputError, UnsupportedLayerError

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside ``torch.compile``, DataParallel or DistributedDataParallel wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(inner, nn.Module):
            model = inner
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def shadow(model: nn.Module, inplace: bool = True) -> nn.Module:
    """Make an evaluation-mode double of a model; tensors are shared, everything else is its own.

    Parameters
    ----------
    model : torch.nn.Module
        Left untouched, in whatever mode it is.
    inplace : bool
        False: activations of the double never write into their input.

    Returns
    -------
    torch.nn.Module
        The double, in evaluation mode, without hooks.

    Raises
    ------
    InputError
        If `model` is no module or has uninitialised (lazy) parameters.
    UnsupportedLayerError
        If a layer's weights are made by a hook (old-style weight or spectral norm, pruning).

    Warns
    -----
    UserWarning
        If the model has forward hooks: the double does not run them.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; a torch.nn.Module is wanted")
    hooked = []
    for name, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm | SpectralNorm | BasePruningMethod):
                raise UnsupportedLayerError(
                    f"layer {name!r} ({type(module).__name__}) makes weights in a hook ({type(hook).__name__}); use "
                    "torch.nn.utils.parametrizations, or make them permanent with its remove function"
                )
        if any(is_lazy(p) for p in module._parameters.values()):
            raise InputError(f"layer {name!r} has uninitialised parameters; run the model once before explaining it")
        if module._forward_hooks or module._forward_pre_hooks:
            hooked.append(name or "the model itself")
    if hooked:
        warnings.warn(
            f"the forward hooks of {', '.join(hooked)} are not run in the explanation; remove those that change values",
            UserWarning,
            stacklevel=3,
        )
    return _double(model, inplace, {})


def _double(module: nn.Module, inplace: bool, done: dict[int, nn.Module]) -> nn.Module:
    if id(module) in done:  # a layer used twice stays one layer
        return done[id(module)]
    double = module.__class__.__new__(module.__class__)
    double.__dict__.update(module.__dict__)
    done[id(module)] = double
    for name in _HOOKS:
        double.__dict__[name] = OrderedDict()
    double.__dict__["training"] = False
    if not inplace and "inplace" in double.__dict__:
        double.__dict__["inplace"] = False
    double.__dict__["_modules"] = {
        name: None if child is None else _double(child, inplace, done) for name, child in module._modules.items()
    }
    return double


def warn_if_training(model: nn.Module) -> None:
    """Warn that a model in training mode is explained as it predicts in evaluation mode."""
    if model.training:
        warnings.warn(
            "the model is in training mode; it is explained as in evaluation mode (no dropout, running statistics) and "
            "its mode is left as it is. Call model.eval() to silence this",
            UserWarning,
            stacklevel=3,
        )
