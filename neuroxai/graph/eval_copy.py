"""An evaluation-mode copy of a model that shares its parameters.

Explaining must leave the model bit-identical: its training flag, hooks and in-place switches stay untouched because
only the copy is switched, hooked or recorded. Parameters and buffers are the model's own (the very dictionaries), so
weights loaded or moved later are seen. What wraps a model or a part of it (``torch.compile``, DataParallel,
DistributedDataParallel, accelerate) is left out of the copy.
"""

from __future__ import annotations

import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from neuroxai.errors import InputError, UnsupportedLayerError, warn

HALF = (torch.float16, torch.bfloat16)
_HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
          "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks")  # fmt: skip
_TENSORS_AND_PARTS = {"_modules", "_parameters", "_buffers", *_HOOKS}
_HOLDERS = (nn.Module, dict, list, tuple)
_WEIGHTS_BY_HOOK = (WeightNorm, SpectralNorm, BasePruningMethod)  # in evaluation mode they only make the weights


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


def own_buffers(copy: nn.Module) -> dict[nn.Module, dict[str, Tensor | None]]:
    """Give a copy buffers of its own, as the model has them, for a forward that writes into them; returns the model's.

    Called before each run, so that what one run writes does not reach the next.
    """
    before = {
        module: module.__dict__.setdefault("_buffers_of_the_model", module._buffers)
        for module in copy.modules()
        if not isinstance(module, torch.jit.ScriptModule)
    }
    for module, buffers in before.items():
        module.__dict__["_buffers"] = buffers
    _replace(copy, torch.clone, "_buffers")
    return before


def _replace(copy: nn.Module, function: Callable[[Tensor], Tensor], *homes: str) -> None:
    """Give a copy other tensors in place of its own; one that is used twice stays one."""
    made: dict[int, Tensor] = {}
    for module in copy.modules():
        for home in () if isinstance(module, torch.jit.ScriptModule) else homes:
            own = module.__dict__[home]
            made |= {id(t): function(t) for t in own.values() if t is not None and id(t) not in made}
            module.__dict__[home] = {name: None if t is None else made[id(t)] for name, t in own.items()}


def eval_copy(model: nn.Module, inplace: bool = True) -> nn.Module:
    """Make an evaluation-mode copy of a model; tensors are shared, everything else is its own.

    Parameters
    ----------
    model : torch.nn.Module
        Left untouched, in whatever mode it is.
    inplace : bool
        False: activations of the copy never write into their input.

    Returns
    -------
    torch.nn.Module
        The copy, in evaluation mode, without hooks, but for those that make a layer's weights (weight and spectral
        norm, pruning).

    Raises
    ------
    InputError
        If `model` is no module or has uninitialised (lazy) parameters.
    UnsupportedLayerError
        If a part's forward was replaced by one that would run the model in training mode, or a scripted part is in
        training mode.

    Warns
    -----
    UserWarning
        If the model has forward hooks: the copy does not run them.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}, expected a torch.nn.Module")
    hooked, training = [], False
    for name, module in model.named_modules():
        if any(is_lazy(p) for p in module._parameters.values()):
            raise InputError(f"layer {name!r} has uninitialised parameters; run the model once before explaining it")
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        checks = [str(getattr(hook, "__module__", "")).startswith("torch.export") for hook in hooks]
        if any(not isinstance(hook, _WEIGHTS_BY_HOOK) and not known for hook, known in zip(hooks, checks, strict=True)):
            hooked.append(name or "the model itself")
        training = training or (module.training and unwrapped(module) is module)
    if hooked:
        what = f"the forward hooks of {', '.join(hooked)} are not run in the explanation"
        warn(f"{what}; remove those that change values")
    return _Copier(inplace, training).copy(model, "")


class _Copier:
    def __init__(self, inplace: bool, training: bool) -> None:
        self.inplace, self.training = inplace, training
        self.done: dict[int, nn.Module] = {}

    def copy(self, module: nn.Module, name: str) -> nn.Module:
        module = unwrapped(module)
        if id(module) in self.done:  # a layer used twice stays one layer
            return self.done[id(module)]
        if isinstance(module, torch.jit.ScriptModule):
            if module.training:
                raise UnsupportedLayerError(
                    f"part {name!r} is a scripted module in training mode and cannot be copied; call .eval() on it"
                )
            self.done[id(module)] = module
            return module
        copy = object.__new__(module.__class__)  # some classes make another class for each instance
        own = copy.__dict__
        own.update(module.__dict__)
        self.done[id(module)] = copy
        makes = [(key, hook) for key, hook in module._forward_pre_hooks.items() if isinstance(hook, _WEIGHTS_BY_HOOK)]
        own.update({hooks: OrderedDict() for hooks in _HOOKS}, _forward_pre_hooks=OrderedDict(makes), training=False)
        own["_compiled_call_impl"] = None  # of module.compile(), which runs in place
        if not self.inplace and "inplace" in own:
            own["inplace"] = False
        if isinstance(module, nn.TransformerEncoder):
            own["use_nested_tensor"] = False  # without gradients alone it would put out zeros where padding is masked
        self._forward_of(module, copy, name)
        own["_modules"] = {
            key: None if child is None else self.copy(child, f"{name}.{key}" if name else key)
            for key, child in module._modules.items()
        }
        for attribute, value in module.__dict__.items():  # layers that the model keeps in lists of its own
            if isinstance(value, _HOLDERS) and attribute not in _TENSORS_AND_PARTS:
                own[attribute] = self._held(value, f"{name}.{attribute}" if name else attribute)
        return copy

    def _held(self, value: Any, name: str) -> Any:
        """Return an attribute with copies of the layers in it; the attribute itself where there are none."""
        if isinstance(value, nn.Module):
            return self.copy(value, name)
        if type(value) not in (list, tuple) and not isinstance(value, dict):
            return value
        items = value if isinstance(value, dict) else dict(enumerate(value))
        if not any(isinstance(v, nn.Module) for v in items.values()):
            return value
        held = {key: self._held(v, f"{name}.{key}") for key, v in items.items()}
        return held if isinstance(value, dict) else type(value)(held.values())

    def _forward_of(self, module: nn.Module, copy: nn.Module, name: str) -> None:
        """Settle a forward that was set on the instance, which goes before its class's."""
        forward = module.__dict__.get("forward")
        if forward is None:
            return
        if hasattr(module, "_hf_hook") and hasattr(module, "_old_forward"):  # accelerate's
            forward = module._old_forward
        if isinstance(forward, types.MethodType) and forward.__self__ is module:
            copy.__dict__["forward"] = types.MethodType(forward.__func__, copy)
        elif self.training and list(module.children()):
            raise UnsupportedLayerError(
                f"the forward of {name or 'the model'!r} ({type(module).__name__}) was replaced on the instance, and "
                "would run the model in training mode; call model.eval() first"
            )


def warn_if_training(model: nn.Module) -> None:
    """Warn that a model in training mode is explained as it predicts in evaluation mode."""
    if model.training and "eval" not in vars(model):  # an exported program has no modes: its own eval() refuses
        warn(
            "the model is in training mode; it is explained as in evaluation mode (no dropout, running statistics) and "
            "its mode is left as it is. Call model.eval() to silence this"
        )


def in_single(copy: nn.Module) -> nn.Module:
    """Give an evaluation-mode copy parameters and buffers in single precision: a half map would lose small values.

    Parameters
    ----------
    copy : torch.nn.Module
        Changed: its parameters are copies from now on. The model that it was made of keeps its own.

    Returns
    -------
    torch.nn.Module
        `copy`.
    """

    def single(tensor: Tensor) -> Tensor:
        if tensor.dtype not in HALF:
            return tensor
        made = tensor.detach().float()
        return nn.Parameter(made, requires_grad=False) if isinstance(tensor, nn.Parameter) else made

    _replace(copy, single, "_parameters", "_buffers")
    return copy
