"""Functions of torch that do several things at once, opened up into those that the methods know.

Written from the documented formulas of torch 2.13. What they call is recorded in their place.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroxai.graph.recurrent import RECURRENT


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Scaled dot-product attention (Vaswani 2017, equation 1)."""
    factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    scores = query @ key.transpose(-2, -1) * factor
    if is_causal:
        allowed = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool, device=query.device).tril()
        scores = scores.masked_fill(~allowed, -math.inf)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    weights = torch.softmax(scores, -1)
    if attn_mask is not None:  # a query that may read nothing gets 0
        weights = weights.masked_fill(torch.isneginf(scores).all(-1, keepdim=True), 0.0)
    return (F.dropout(weights, dropout_p) if dropout_p else weights) @ value


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    signal, gate = x.chunk(2, dim)
    return signal * torch.sigmoid(gate)


def _addmm(x: Tensor, first: Tensor, second: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = first @ second
    return (x if beta == 1 else x * beta) + (product if alpha == 1 else product * alpha)


def _mean_beside(x: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    return x.mean(dim, keepdim=bool(keepdim))


def _bilinear(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = torch.einsum("...i,oij,...j->...o", first, weight, second)
    return product if bias is None else product + bias


def _cosine(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    first, second = (x / x.norm(dim=dim, keepdim=True).clamp_min(eps) for x in (x1, x2))
    product: Tensor = first * second
    return product.sum(dim)


def _diff(x: Tensor, n: int = 1, dim: int = -1) -> Tensor:
    for _ in range(n):
        size = x.shape[dim] - 1
        x = x.narrow(dim, 1, size) - x.narrow(dim, 0, size)
    return x


def _broadcast(*tensors: Tensor) -> tuple[Tensor, ...]:
    shape = torch.broadcast_shapes(*(x.shape for x in tensors))  # type: ignore[no-untyped-call]
    return tuple(x.expand(shape) for x in tensors)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Any:
    """Convolve as ``torch.ops.aten.convolution`` does."""
    stride, padding, dilation, transposed, output_padding, groups = options
    convolve = getattr(F, f"conv{'_transpose' if transposed else ''}{x.ndim - 2}d")
    rest = (output_padding, groups, dilation) if transposed else (dilation, groups)
    return convolve(x, weight, bias, stride, padding, *rest)


def _with_statistics(norm: Callable[..., Tensor]) -> Callable[..., Any]:
    """Return a normalisation of ATen, which puts out statistics beside its result; nobody reads them."""
    return lambda x, *args: (norm(x, *args), x.new_empty(0), x.new_empty(0))


DECOMPOSITIONS: dict[str, Callable[..., Any]] = {
    **RECURRENT,
    "scaled_dot_product_attention": attention,
    "glu": _glu,
    "bilinear": _bilinear,
    "cosine_similarity": _cosine,
    "cdist": lambda x, y, p=2.0, compute_mode=None: (x.unsqueeze(-2) - y.unsqueeze(-3)).norm(p, -1),
    "linalg_vecdot": lambda x, y, *, dim=-1: (x * y).sum(dim),
    "diff": _diff,
    "heaviside": lambda x, values: torch.where(x == 0, values, (x > 0).to(x.dtype)),
    "addmm": _addmm,
    "baddbmm": _addmm,
    "addcmul": lambda x, tensor1, tensor2, *, value=1: x + tensor1 * tensor2 * value,
    "addcdiv": lambda x, tensor1, tensor2, *, value=1: x + tensor1 / tensor2 * value,
    "lerp": lambda start, end, weight: start + (end - start) * weight,
    "square": lambda x: x * x,
    "std_mean": lambda x, *args, **kwargs: (x.std(*args, **kwargs), _mean_beside(x, *args, **kwargs)),
    "var_mean": lambda x, *args, **kwargs: (x.var(*args, **kwargs), _mean_beside(x, *args, **kwargs)),
    "reciprocal": lambda x: 1 / x,
    "broadcast_tensors": _broadcast,
    "convolution": _convolution,
    "_native_batch_norm_legit_no_training": _with_statistics(
        lambda x, weight, bias, mean, var, momentum, eps: F.batch_norm(x, mean, var, weight, bias, False, momentum, eps)
    ),
    "native_layer_norm": _with_statistics(F.layer_norm),
    "native_group_norm": _with_statistics(
        lambda x, weight, bias, n, c, size, groups, eps: F.group_norm(x, groups, weight, bias, eps)
    ),
}


def lent(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return a call with a tensor of which only the shape or the type is read replaced by these."""
    name = str(getattr(function, "__name__", ""))
    if name in ("expand_as", "view_as", "reshape_as"):
        other = args[1] if len(args) > 1 else kwargs["other"]
        return getattr(Tensor, name.removesuffix("_as")), (args[0], other.shape), {}
    if name in ("type_as", "to"):
        at = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, Tensor)]
        rest = {key: value for key, value in kwargs.items() if not isinstance(value, Tensor)}
        if at:
            return Tensor.to, (args[0], at[0].device, at[0].dtype, *args[2:]), rest
    return function, args, kwargs


def opened(function: Any) -> Callable[..., Any] | None:
    """Return a Python function of torch with its body laid open to a function mode, or None if it has none.

    Such a function asks first whether somebody wants to run it in its place; this copy of it does not ask.
    """
    if not isinstance(function, types.FunctionType):
        return None
    if function.__globals__.get("__name__") not in (F.__name__, "torch.functional"):
        return None
    asks = {name: lambda *_: False for name in function.__globals__ if name.startswith("has_torch_function")}
    copy = types.FunctionType(
        function.__code__, {**function.__globals__, **asks}, function.__name__, function.__defaults__,
        function.__closure__,
    )  # fmt: skip
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
