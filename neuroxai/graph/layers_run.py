"""Which layer runs while a network is recorded, and what it put out: the forwards of the copy that is recorded."""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch import fx, nn

from neuroxai.errors import SpaceError
from neuroxai.graph.writes import Memory, tensors_in
from neuroxai.layers import PatchIndividualFilter

LEAVES = (PatchIndividualFilter,)  # layers that are one operation


class Layers:
    """The layers of a run."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.outputs: list[tuple[str, fx.Node]] = []  # which call made the output of which layer, as the layers end
        self.opaque: list[str] = []  # layers whose output cannot be followed back to their input, the innermost first
        self.misfit = ""  # which layer failed, and at what

    def watch(self, copy: nn.Module) -> None:
        """Note what the layers of a copy of the model take and put out; a leaf runs as one call."""
        for name, module in copy.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                module.__dict__["forward"] = self._watched(name, module)

    def _watched(self, name: str, module: nn.Module) -> Any:
        own, running = module.forward, self._memory.running
        leaf, shown = isinstance(module, LEAVES), f"layer {name!r} ({type(module).__name__})"

        @wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            running.append((name, module))
            try:
                with torch._C.DisableTorchFunction():
                    tracked = self._memory.follows(args)
                    if leaf:
                        output = own(*args, **kwargs)
                if not leaf:
                    output = own(*args, **kwargs)
            except Exception as error:  # noted for the message, the innermost layer first, and raised on
                self.misfit = self.misfit or shown
                if leaf and isinstance(error, SpaceError):
                    raise SpaceError(f"layer {name!r}: {error}") from error
                raise
            finally:
                running.pop()
            self.misfit = ""
            with torch._C.DisableTorchFunction():
                if leaf and tracked:
                    self._call(name, module, f"model.{name}" if name else "model", args, output)
                self._ended(name, module, args, output, tracked)
            return output

        return forward

    def _ended(self, name: str, module: nn.Module, inputs: Any, output: Any, tracked: bool) -> None:
        made, leaf = tensors_in(output), not module._modules
        nodes = [self._memory.made_by(tensor) for tensor in made]
        if tracked and made and not any(nodes):
            self.opaque.append(f"layer {name!r} ({type(module).__name__})")
        if len(made) != 1 or nodes[0] is None:
            return
        node = nodes[0]
        if leaf and node.meta["layer"] != name and any(made[0] is given for given in tensors_in(inputs)):
            node = self._call(name, module, _same, made, made[0])  # handed on (dropout): a call, to be named by
        if leaf and node.meta["layer"] == name and node.op.startswith("call_"):
            node.meta["label"] = name or "model"
        self.outputs.append((name, node))

    def _call(self, name: str, module: nn.Module, target: Any, inputs: Any, output: Any) -> fx.Node:
        """Add a call that makes a layer's output."""
        self._memory.running.append((name, module))
        kind = ("call_function", "identity") if target is _same else ("call_module", "patch_individual_filter")
        node = self._memory.node(kind[0], target, [self._memory.argument(x) for x in inputs], {}, kind[1])
        self._memory.running.pop()
        self._memory.made(output, node)
        return node


def _same(x: Any) -> Any:
    return x
