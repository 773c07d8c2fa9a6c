"""LRP-0 written a second time: gradient times input, with gates, deviations and activation ratios held constant.

Knows nothing of records, steps or rules: the model runs as it is, under a function mode that replaces nonlinear
functions by ones of the same value whose gradient is that of LRP-0. In float64.
"""

import copy

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

_ACTIVATIONS = {"relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh", "hardswish",
                "softsign", "hardtanh", "prelu", "threshold", "softplus", "logsigmoid", "log_sigmoid", "clamp",
                "clamp_min", "clamp_max", "clip", "pow", "square", "expm1", "erf", "sin", "tan", "log1p", "sinh",
                "tanhshrink", "softshrink", "hardshrink", "rrelu", "nan_to_num"}  # fmt: skip
_HELD = {"softmax", "std", "var", "norm", "rsqrt", "linalg_vector_norm", "vector_norm", "sqrt"}


def _name(function):
    return str(getattr(function, "__name__", "")).strip("_").partition(".")[0]


def _plain(function, *args, **kwargs):
    with torch._C.DisableTorchFunction():
        return function(*args, **kwargs)


def _ratio(x, y, offset):
    ratio = torch.where(x == 0, 0, (y - offset) / x).detach()
    return x * ratio + (y - x * ratio).detach()


class LrpZero(TorchFunctionMode):
    """`gates`: whether sigmoids and softmaxes are gates (held constant), or activations and read out by gradient."""

    def __init__(self, gates=True):
        super().__init__()
        self.gates = gates

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, _name(func)
        writes = str(getattr(func, "__name__", "")).endswith("_") or bool(kwargs.get("inplace"))
        if kwargs.get("inplace"):
            kwargs = {**kwargs, "inplace": False}
        gate = name in ("sigmoid", "hardsigmoid")
        if name == "softmax" and not self.gates:
            return func(*args, **kwargs)
        if name in _HELD or (gate and self.gates):
            return func(*args, **kwargs).detach()
        if name in _ACTIVATIONS or gate:
            x = args[0]
            y = func(x.clone(), *args[1:], **kwargs)
            y = _ratio(x.clone() if writes else x, y, func(torch.zeros_like(x), *args[1:], **kwargs))
            return x.copy_(y) if writes else y
        if name == "logsumexp":  # the softmax is held, and its entropy is a bias
            x = args[0]
            held = (torch.softmax(x, args[1]).detach() * x).sum(args[1])
            return held + (func(*args, **kwargs) - held).detach()
        if name == "get" and getattr(func, "__self__", None) is torch.Tensor.data:
            return args[0] * 1
        if name == "glu":
            signal, gate = args[0].chunk(2, args[1] if len(args) > 1 else kwargs.get("dim", -1))
            return signal * gate.sigmoid().detach()
        if name == "multi_head_attention_forward":
            return self._attention(*args, **kwargs)
        if name == "bilinear":
            a, b, *rest = args
            return (func(a, b.detach(), *rest) + func(a.detach(), b, *rest)) / 2
        if name == "scaled_dot_product_attention":
            q, k, v = args[:3]
            eye = torch.eye(v.shape[-2], dtype=v.dtype).expand(*v.shape[:-1], v.shape[-2])
            weights = func(q, k, eye, *args[3:], **kwargs).detach()
            return weights @ v
        tracked = args[5] if len(args) > 5 else kwargs.get("use_input_stats", True)
        if name in ("layer_norm", "group_norm") or (name == "instance_norm" and tracked):
            return self._norm(func, name, args, kwargs)
        if name in ("rms_norm", "normalize", "local_response_norm"):  # a product with a deviation
            x = args[0]
            return x * torch.where(x == 0, 0, func(*args, **kwargs) / x).detach()
        if name in ("mul", "rmul", "matmul", "bmm", "einsum") and self._two_signals(args):
            a, b = args[-2:]
            lead = args[:-2]
            return (func(*lead, a, b.detach()) + func(*lead, a.detach(), b)) / 2
        if name in ("div", "truediv") and isinstance(args[1], torch.Tensor):
            return func(args[0], args[1].detach(), **kwargs)
        return func(*args, **kwargs)

    def _attention(self, q, k, v, width, heads, w, b, _bk, _bv, _zero, _p, out_w, out_b, **_):
        batch = q.shape[1]  # (places, batch, width)
        q, k, v = (
            F.linear(q, *self._third(w, b, 0)),
            F.linear(k, *self._third(w, b, 1)),
            F.linear(v, *self._third(w, b, 2)),
        )
        q, k, v = (t.reshape(len(t), batch * heads, width // heads).transpose(0, 1) for t in (q, k, v))
        weights = torch.softmax(q @ k.transpose(1, 2) / (width // heads) ** 0.5, -1).detach()
        mixed = (weights @ v).transpose(0, 1).reshape(-1, batch, width)
        return F.linear(mixed, out_w, out_b), None

    def _third(self, w, b, number):
        return w.chunk(3)[number], b.chunk(3)[number]

    def _two_signals(self, args):
        return all(isinstance(a, torch.Tensor) and a.grad_fn is not None for a in args[-2:]) and len(args) >= 2

    def _norm(self, func, name, args, kwargs):
        x = args[0]
        y = func(*args, **kwargs)
        if name == "instance_norm":
            axes, groups = tuple(range(2, x.ndim)), x
        elif name == "group_norm":
            groups, axes = x.reshape(len(x), args[1], -1), (2,)
        else:
            shape = args[1] if len(args) > 1 else kwargs["normalized_shape"]
            groups, axes = x, tuple(range(x.ndim - len(shape), x.ndim))
        centred = (groups - groups.mean(axes, keepdim=True)).reshape(x.shape)
        plain = func(*args, **{**kwargs, **({"bias": None} if "bias" in kwargs else {})})
        if "bias" not in kwargs and len(args) > 3:
            plain = func(*args[:3], None, *args[4:], **kwargs)
        scale = torch.where(centred == 0, 0, plain / centred).detach()
        return centred * scale + (y - centred * scale).detach()


def lrp_zero(model, x, target, gates=True, scores=lambda y: y, before=(), more=()):
    """Return the relevance of each input value for one logit; in float64, of a copy of the model.

    `before` and `more` are what the model takes in front of this input, and behind it.
    """
    model = copy.deepcopy(model).double().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    x = x.detach().double().requires_grad_(True)
    # what comes out of another input is a signal, too
    before, more = ([y * y.new_ones(()).requires_grad_(True) for y in others] for others in (before, more))
    with torch.enable_grad(), LrpZero(gates):
        out = scores(model(*before, x * 1, *more))
    (gradient,) = torch.autograd.grad(out[:, target].sum(), x, materialize_grads=True)
    return (gradient * x).detach()
