"""z+, gamma and alpha-beta on whole networks, written a second time: each linear call as a dense matrix.

Knows nothing of records or steps: the model runs as it is, under a function mode that puts into the place of each
gradient the relevance. What is linear (layers with weights, with the normalisation by running statistics behind them;
means, which belong to the layer in front of them if nothing but they make the scores of it; sums, with constants as
their bias) becomes a matrix by differentiating it, to which `oracles.lrp.relevance`
applies the paper's formula. Activations pass relevance on, maxima give it to the winner, and what moves values takes it
back along. Anything else raises NotImplementedError. In float64, for small networks.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from oracles import lrp

_WEIGHTED = {"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"}
_MEANS = {"mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
          "adaptive_avg_pool3d"}  # fmt: skip
_PASS = {"relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh", "hardswish", "prelu"}
_MOVE = {"flatten", "view", "reshape", "permute", "transpose", "movedim", "squeeze", "unsqueeze", "cat", "stack",
         "chunk", "split", "getitem", "unbind", "flip", "contiguous", "max_pool1d", "max_pool2d", "max_pool3d",
         "pixel_shuffle", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "max",
         "dropout", "narrow", "pixel_unshuffle", "size", "dim", "get", "len", "numel", "unfold", "repeat", "expand",
         "clone"}  # fmt: skip
_LARGEST = 3e7  # entries of a matrix


def _name(function):
    return str(getattr(function, "__name__", "")).strip("_").partition(".")[0]


class _Shared(torch.autograd.Function):
    """The output of a call; in the place of the gradient, relevance goes back by a rule, or unchanged."""

    @staticmethod
    def forward(ctx, run, rule, *tensors):
        ctx.run, ctx.rule = run, rule
        ctx.save_for_backward(*tensors)
        return run(*tensors).clone()

    @staticmethod
    def backward(ctx, relevance):
        tensors = ctx.saved_tensors
        if ctx.rule is None:  # one tensor, place by place
            return None, None, relevance
        with torch.enable_grad():
            matrices = torch.autograd.functional.jacobian(ctx.run, tensors, vectorize=True)
            y = ctx.run(*tensors)
        matrix = torch.cat([m.reshape(y.numel(), -1) for m in matrices], 1).detach().numpy()
        x = torch.cat([t.reshape(-1) for t in tensors]).detach().numpy()
        bias = y.detach().reshape(-1).numpy() - matrix @ x
        bias[abs(bias) < 1e-12 * (1 + abs(matrix * x).sum(1))] = 0  # rounding is no bias
        kind, options = ctx.rule
        found = torch.from_numpy(lrp.relevance(kind, options, matrix, bias, x, relevance.reshape(-1).numpy()))
        pieces = found.split([t.numel() for t in tensors])
        return None, None, *(piece.view(t.shape) for piece, t in zip(pieces, tensors, strict=True))


class LrpRules(TorchFunctionMode):
    """`layers` and `sums` are rules as `oracles.lrp.relevance` takes them: a name and options."""

    def __init__(self, layers, sums, calls=None):
        super().__init__()
        self.layers, self.sums = layers, sums
        self.calls, self.made = calls, 0  # layers and activations that the network has, where known, and had so far
        self.maps = WeakIdKeyDictionary()  # of the outputs of layers: the layer as a function, and its input

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), _name(func)
        tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]
        signals = [t for t in tensors if t.requires_grad]
        listed = [t for v in args if isinstance(v, list | tuple) for t in v if isinstance(t, torch.Tensor)]
        if not signals and not any(t.requires_grad for t in listed):
            return func(*args, **kwargs)
        if name.startswith("i") and name[1:] in ("add", "sub", "mul"):
            raise NotImplementedError(name)
        writes = str(getattr(func, "__name__", "")).endswith("_") and not name.startswith("get")
        kwargs.pop("inplace", None)
        if getattr(func, "__self__", None) is torch.Tensor.data:
            raise NotImplementedError("data")
        if name in ("add", "radd") and any(isinstance(v, int | float) and v == 0 for v in args):
            return func(*args, **kwargs)  # sum() begins with 0
        if name in _MOVE and not writes:
            return func(*args, **kwargs)

        def run(*values):
            new = dict(zip(map(id, signals), values, strict=True))
            with torch._C.DisableTorchFunction():
                return func(*(new.get(id(v), v) for v in args), **{k: new.get(id(v), v) for k, v in kwargs.items()})

        if writes or len({id(t) for t in signals}) != len(signals) or name not in (
            _WEIGHTED | _MEANS | _PASS | {"batch_norm", "add", "radd", "sub", "rsub", "mul", "rmul", "matmul", "mv",
                                          "einsum", "div", "truediv", "neg"}):  # fmt: skip
            raise NotImplementedError(name)
        self.made += name in _WEIGHTED | _PASS | {"batch_norm", "matmul", "mv", "einsum"}
        ends = name in _MEANS and self.made == self.calls
        if (ends or name == "batch_norm") and signals[0] in self.maps:
            inner, x = self.maps[signals[0]]
            return self._layer(lambda value: run(inner(value)), x)
        if name in {"matmul", "mv", "einsum"} and len(signals) == 1:
            return self._layer(run, signals[0])
        if name in _WEIGHTED | {"batch_norm"} and len(signals) == 1 and signals[0] is args[0]:
            return self._layer(run, signals[0])
        if name in _PASS | {"mul", "rmul", "div", "truediv", "neg"} and len(signals) == 1 and signals[0] is args[0]:
            return _Shared.apply(run, None, *signals)
        if name in _MEANS | {"add", "radd", "sub", "rsub"}:
            self._check(run, signals)
            return _Shared.apply(run, self.sums, *signals)
        raise NotImplementedError(name)

    def _layer(self, run, x):
        self._check(run, [x])
        out = _Shared.apply(run, self.layers, x)
        self.maps[out] = (run, x)
        return out

    def _check(self, run, signals):
        with torch.no_grad():
            size = run(*signals).numel() * sum(t.numel() for t in signals)
        if size > _LARGEST:
            raise NotImplementedError("a matrix too large")


def lrp_rules(model, inputs, target, layers, sums):
    """Return the relevance of each input for one logit; NotImplementedError where the model does more than is known."""
    fixed = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in fixed:
        parameter.requires_grad_(False)
    leaves = [x.detach().clone().requires_grad_(True) for x in inputs]
    try:
        with torch.enable_grad(), LrpRules(layers, sums) as first:
            model(*(x.clone() for x in leaves))
        with torch.enable_grad(), LrpRules(layers, sums, first.made):
            out = model(*(x.clone() for x in leaves))
        chosen = out[:, target]
        return torch.autograd.grad(chosen, leaves, chosen.detach(), materialize_grads=True)
    finally:
        for parameter in fixed:
            parameter.requires_grad_(True)
