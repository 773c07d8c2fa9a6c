"""Which layer runs while a network is recorded, and what it put out: hooks on the copy that is recorded."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuroxai.errors import SpaceError
from neuroxai.graph.writes import Memory, tensors_in
from neuroxai.layers import PatchIndividualFilter

LEAVES = (PatchIndividualFilter,)  # layers that are one operation


class Layers:
    """The layers of a run.

    Attributes
    ----------
    outputs : list of (str, torch.fx.Node)
        Which call made the output of which layer, in the order the layers end.
    opaque : list of str
        Layers whose output cannot be followed back to their input, the innermost first.
    misfit : str
        Which layer failed, and at what.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.outputs: list[tuple[str, fx.Node]] = []
        self.opaque: list[str] = []
        self.misfit = ""
        self._tracked: list[bool] = []  # of each layer that runs: whether what it was given is followed

    def watch(self, copy: nn.Module) -> None:
        """Set hooks on a copy of the model."""
        for name, module in copy.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            if isinstance(module, LEAVES):
                self._make_leaf(name, module)
                continue
            module.register_forward_pre_hook(partial(self._entered, name), prepend=True)
            module.register_forward_hook(partial(self._left, name), always_call=True)

    def _entered(self, name: str, module: nn.Module, inputs: Any) -> None:
        with torch._C.DisableTorchFunction():
            self._memory.running.append((name, module))
            self._tracked.append(self._memory.follows(inputs))

    def _left(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        with torch._C.DisableTorchFunction():
            self._memory.running.pop()
            self._ended(name, module, inputs, output, self._tracked.pop())

    def _ended(self, name: str, module: nn.Module, inputs: Any, output: Any, tracked: bool) -> None:
        if output is None and sys.exc_info()[0] is not None:  # it failed, the innermost first
            self.misfit = self.misfit or f"layer {name!r} ({type(module).__name__})"
            return
        self.misfit = ""
        made, leaf = list(tensors_in(output)), not module._modules
        if leaf and len(made) == 1 and any(made[0] is given for given in tensors_in(inputs)):
            self._passed(name, module, made[0])
        if tracked and made and not any(t in self._memory.nodes for t in made):
            self.opaque.append(f"layer {name!r} ({type(module).__name__})")
        node = self._memory.nodes[made[0]][0] if len(made) == 1 and made[0] in self._memory.nodes else None
        if node is not None:
            if leaf and node.meta["layer"] == name and node.op == "call_function":
                node.meta["label"] = name or "model"
            self.outputs.append((name, node))

    def _passed(self, name: str, module: nn.Module, tensor: Tensor) -> None:
        """Give a layer that hands its very input on (dropout) a call, so that it can be named."""
        if tensor not in self._memory.nodes:
            return
        self._memory.running.append((name, module))
        node = self._memory.node("call_function", _same, (self._memory.argument(tensor),), {}, "identity")
        self._memory.running.pop()
        node.meta["label"] = name or "model"
        self._memory.made(tensor, node)

    def _make_leaf(self, name: str, module: nn.Module) -> None:
        """Let a layer run as one call."""
        own = type(module).forward

        def forward(x: Tensor) -> Any:
            with torch._C.DisableTorchFunction():
                try:
                    output = own(module, x)
                except SpaceError as error:
                    raise SpaceError(f"layer {name!r}: {error}") from error
                if x not in self._memory.nodes:
                    return output
                self._memory.running.append((name, module))
                target, given = f"model.{name}" if name else "model", self._memory.argument(x)
                node = self._memory.node("call_module", target, (given,), {}, "patch_individual_filter")
                self._memory.running.pop()
                node.meta["label"] = name or "model"
                self._memory.made(output, node)
                self.outputs.append((name, node))
                return output

        module.__dict__["forward"] = forward


def _same(x: Any) -> Any:
    return x
