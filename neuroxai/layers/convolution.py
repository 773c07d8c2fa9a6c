"""Convolution of single scans by oneDNN, where torch takes a path of its own that is several times slower.

On a processor torch leaves a convolution to oneDNN from two scans a batch on, or where scans x channels x the first two
axes come to more than 20,480 (``use_mkldnn`` in ATen's Convolution.cpp, which weighs images, not volumes): never in the
first layer of a network that takes one scan of one channel, and at 2 mm not in the second either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Convolve over 1, 2 or 3 axes as ``torch.convolution`` does, but for rounding; options have a number per axis.

    oneDNN runs what has three axes, is in single precision on the processor, and needs no gradient.
    """
    tensors = [one for one in (x, weight, bias) if one is not None]
    if _suits(x, weight, bias) and not (torch.is_grad_enabled() and any(one.requires_grad for one in tensors)):
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups)
    return torch.convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)


class FastConvolutions(TorchFunctionMode):
    """Within ``with``, networks that this thread runs convolve by `convolve`, and so does autograd behind them.

    It is made for explanations: the layers' own weights are taken for constants and get no gradient.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        if func is torch.conv3d:
            return _conv3d(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv3d(
    func: Callable[..., Tensor],
    input: Tensor,  # torch's name
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    def as_it_is() -> Tensor:
        return func(input, weight, bias, stride, padding, dilation, groups)

    plain = all(type(one) in (Tensor, nn.Parameter) for one in (input, weight))
    if not plain or input.ndim != 5 or not _suits(input, weight, bias):
        return as_it_is()
    steps, reach = ((n,) * 3 if isinstance(n, int) else tuple(n) for n in (stride, dilation))
    sides = (padding,) * 3 if isinstance(padding, int) else padding
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(reach, weight.shape[2:], strict=True)]
        if any(t % 2 for t in total) or (padding == "same" and max(steps) > 1):
            return as_it_is()
        sides = [t // 2 for t in total]
    options = (steps, tuple(sides), reach, groups)
    parameters = [one for one in (weight, bias) if one is not None and one.requires_grad]
    if not torch.is_grad_enabled() or not (input.requires_grad or parameters):
        return convolve(input, weight, bias, *options)
    if any(not isinstance(one, nn.Parameter) for one in parameters):  # made from the scan, maybe
        return as_it_is()
    constant = None if bias is None else bias.detach()
    found: Tensor = _OfConstants.apply(input, weight.detach(), constant, *options)  # type: ignore[no-untyped-call]
    return found


class _OfConstants(torch.autograd.Function):
    """A convolution by `convolve` and the gradient of its input, which autograd's own would take the slow path for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.options = x.shape[2:], options
        return convolve(x, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Any:
        (gradient,), (weight,) = given, ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        sizes = zip(ctx.shape, gradient.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
        # what the stride never reached
        left_over = [n - ((m - 1) * s - 2 * p + d * (k - 1) + 1) for n, m, k, s, p, d in sizes]
        found = torch.convolution(gradient, weight, None, stride, padding, dilation, True, left_over, groups)
        return found, *(None,) * 6


def _suits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN takes these tensors, and is faster than torch's own path: not with filters of one voxel."""
    tensors = [one for one in (x, weight, bias) if one is not None]
    return bool(
        x.ndim == 5
        and x.numel()
        and max(weight.shape[2:]) > 1
        and all(one.device.type == "cpu" and one.dtype == torch.float32 for one in tensors)
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.enabled
    )
