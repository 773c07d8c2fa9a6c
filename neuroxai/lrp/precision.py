"""Models in half precision are explained in single precision: a half map would lose its small values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HALF = (torch.float16, torch.bfloat16)


def in_single(double: nn.Module) -> nn.Module:
    """Give an evaluation-mode double (`neuroxai.lrp.shadow.shadow`) parameters and buffers in single precision.

    Parameters
    ----------
    double : torch.nn.Module
        Changed: its parameters are copies from now on. The model that it was made of keeps its own.

    Returns
    -------
    torch.nn.Module
        `double`.
    """
    cast: dict[int, Tensor] = {}  # a tensor used twice stays one tensor

    def single(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or tensor.dtype not in HALF:
            return tensor
        if id(tensor) not in cast:
            copy: Tensor = tensor.detach().float()
            cast[id(tensor)] = nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy
        return cast[id(tensor)]

    for module in double.modules():
        for home in ("_parameters", "_buffers"):
            tensors = module.__dict__[home]
            module.__dict__[home] = {name: single(tensor) for name, tensor in tensors.items()}
    return double
