"""The one table of torch's operations: what kind each is, for all methods, and how calls are named for people.

A layer, a function, a tensor's method, an operator, a method that writes in place and an ATen call of the same name are
one operation here: ``nn.ReLU()(x)``, ``F.relu(x)``, ``x.relu_()`` and ``torch.ops.aten.relu(x)`` are "relu".
"""

from __future__ import annotations

import functools
import inspect
import linecache
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from neuroxai.errors import UnsupportedLayerError


@dataclass(frozen=True)
class Operation:
    """What is known of one operation.

    Attributes
    ----------
    kind : str
        Operations of one kind are treated alike: "filter" (convolutions, linear layers), "bilinear" (matrix products),
        "linear" (sums of values), "norm", "activation", "softmax", "max", "soft_max", "average", "resize", "reshape",
        "permute", "pick" (values copied or moved), "chosen" (values copied by their order), "pieces" (tuples of
        such), "cat", "pad", "same" (the values as they are), "cast", "sum", "product", "deviation" (of a sample:
        standard deviations, lengths and their like), "values" (what is taken out of a tensor into Python), "shape"
        (of a tensor its shape or type alone is read) and "random".
    arguments : str
        Names of the arguments by place, separated by blanks.
    sign : {"nonnegative", "keeps", "any"}
        Sign of the output: >= 0, >= 0 wherever the input is, or not known.
    """

    kind: str
    arguments: str = "input"
    sign: str = "any"


_ACTIVATIONS = {
    "nonnegative": "relu relu6 sigmoid hardsigmoid softplus abs",
    "keeps": "elu selu celu leaky_relu gelu silu mish tanh hardswish softsign atan asinh sinh expm1 tanhshrink "
    "softshrink hardshrink rrelu erf log1p nan_to_num sign round trunc",
    "any": "hardtanh logsigmoid prelu clamp clamp_min clamp_max clip threshold sin tan asin floor ceil",
}
_CONVOLUTION = "input weight bias stride padding dilation groups"
_TRANSPOSED = "input weight bias stride padding output_padding groups dilation"
_WINDOWS = "input kernel_size stride padding"
_SAMPLE_NORM = "input weight bias running_mean running_var use_input_stats momentum eps"
_BATCH_NORM = "input weight bias running_mean running_var training momentum eps"


def _table() -> dict[str, Operation]:
    table: dict[str, Operation] = {}

    def add(kind: str, names: str, arguments: str = "input", sign: str = "any") -> None:
        table.update({name: Operation(kind, arguments, sign) for name in names.split()})

    for axes in (1, 2, 3):
        add("filter", f"conv{axes}d", _CONVOLUTION)
        add("filter", f"conv_transpose{axes}d", _TRANSPOSED)
        add("max", f"max_pool{axes}d", f"{_WINDOWS} dilation ceil_mode return_indices", "keeps")
        add("max", f"adaptive_max_pool{axes}d", "input output_size return_indices", "keeps")
        add("average", f"avg_pool{axes}d", f"{_WINDOWS} ceil_mode count_include_pad divisor_override", "keeps")
        add("average", f"adaptive_avg_pool{axes}d", "input output_size", "keeps")
    add("filter", "linear", "input weight bias")
    add("filter", "patch_individual_filter")
    add("bilinear", "matmul bmm mm mv einsum tensordot inner outer", "input other")
    add("linear", "scatter_add index_add cumsum col2im grid_sampler")  # in all real values that they read
    add("norm", "batch_norm", _BATCH_NORM)
    add("norm", "instance_norm", _SAMPLE_NORM)
    add("norm", "group_norm", "input num_groups weight bias eps")
    add("norm", "layer_norm", "input normalized_shape weight bias eps")
    add("norm", "rms_norm", "input normalized_shape weight eps")
    for sign, names in _ACTIVATIONS.items():
        add("activation", names, "input", sign)
    add("softmax", "softmax log_softmax softmin", "input dim", "nonnegative")
    add("average", "mean sum", "input dim keepdim dtype", "keeps")
    add("max", "amax", "input dim keepdim", "keeps")
    add("soft_max", "logsumexp", "input dim keepdim", "keeps")
    add("max", "max", "input dim keepdim", "keeps")
    add("max", "maximum", "input other", "keeps")
    add("chosen", "min amin sort msort median nanmedian cummax cummin", "input dim keepdim", "keeps")
    add("chosen", "quantile", "input q dim keepdim", "keeps")
    add("chosen", "topk kthvalue", "input k dim", "keeps")
    add("chosen", "minimum fmin fmax", "input other", "keeps")
    add("resize", "interpolate upsample", "input size scale_factor mode align_corners recompute_scale_factor antialias")
    add("reshape", "flatten", "input start_dim end_dim", "keeps")
    add("reshape", "view reshape squeeze unsqueeze unflatten ravel", "input", "keeps")
    add("permute", "permute transpose movedim moveaxis swapaxes swapdims t T mT H mH adjoint", "input", "keeps")
    add(
        "pick",
        "getitem narrow select index_select expand broadcast_to repeat tile repeat_interleave flip roll rot90 unfold "
        "pixel_shuffle pixel_unshuffle channel_shuffle diagonal gather take_along_dim slice zero tril triu as_strided "
        "diag_embed as_memory im2col take masked_select",
        "input",
        "keeps",
    )
    add(
        "pick",
        "select_scatter slice_scatter index_put setitem masked_fill where fill copy as_strided_scatter index_fill "
        "index_copy masked_scatter max_unpool1d max_unpool2d max_unpool3d scatter",
        "input",
        "any",
    )
    add("pieces", "chunk split tensor_split split_with_sizes unsafe_chunk unsafe_split", "input size dim")
    add("pieces", "unbind", "input dim")
    add("pieces", "hsplit vsplit dsplit")
    add("cat", "cat stack hstack vstack", "tensors dim", "keeps")
    add("pad", "pad constant_pad_nd", "input pad mode value")
    add(
        "same",
        "contiguous clone detach alias dropout dropout1d dropout2d dropout3d feature_dropout alpha_dropout "
        "feature_alpha_dropout same lift_fresh requires_grad cpu cuda identity",
        "input p training",
        "keeps",
    )
    add("cast", "to float double half bfloat16 type", "input", "keeps")
    add("sum", "add sub rsub", "input other alpha")
    add("sum", "neg")
    add("product", "mul div rdiv", "input other")
    add("power", "pow float_power", "input exponent")
    add("deviation", "std var norm linalg_norm linalg_vector_norm vector_norm rsqrt sqrt", "input dim")
    add("values", "item tolist numpy bool int float_ index_ is_nonzero equal allclose nonzero unique array contains "
        "argwhere", "input")  # fmt: skip
    add(
        "shape",
        "zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_tensor dim ndim size "
        "shape numel len stride device dtype layout is_floating_point is_complex is_cuda is_contiguous",
    )
    add("random", "rand_like randn_like randint_like rand randn randint randperm normal bernoulli multinomial poisson "
        "uniform exponential cauchy geometric log_normal random")  # fmt: skip
    return table


OPERATIONS = _table()
GATES = {"sigmoid", "hardsigmoid", "softmax", "sign"}
#: Kinds of calls that put out the values that they read, elsewhere or as another type.
MOVES = {"reshape", "permute", "same", "cast"}
#: Kinds of calls that leave a gate a gate.
THROUGH = {*MOVES, "pick", "pieces", "resize", "average", "sum", "product", "cat", "chosen"}
_SAME_OPERATION = {
    "multiply": "mul", "divide": "div", "true_divide": "div", "truediv": "div", "negative": "neg", "subtract": "sub",
    "concat": "cat", "concatenate": "cat", "radd": "add", "rmul": "mul", "rtruediv": "rdiv", "iadd": "add",
    "isub": "sub", "imul": "mul", "itruediv": "div", "idiv": "div", "data": "detach", "_unsafe_view": "view",
    "_softmax": "softmax", "_log_softmax": "log_softmax", "upsample": "interpolate", "float": "float_",
    "special_softmax": "softmax", "special_expit": "sigmoid", "expit": "sigmoid", "_adaptive_avg_pool2d":
    "adaptive_avg_pool2d", "_adaptive_avg_pool3d": "adaptive_avg_pool3d", "row_stack": "vstack", "log_sigmoid":
    "logsigmoid", "arctan": "atan", "arcsinh": "asinh", "_to_copy": "to", "constant_pad_nd": "pad",
    "resolve_conj": "same", "resolve_neg": "same",
}  # fmt: skip


@functools.lru_cache(maxsize=4096)
def name_of(function: Callable[..., Any]) -> str:
    """Return the one name of an operation, however it is called."""
    if isinstance(function, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        name = str(function.overloadpacket if isinstance(function, torch._ops.OpOverload) else function)
        name = name.rpartition(".")[2]
    else:
        name = str(getattr(function, "__name__", type(function).__name__))
        if name == "__get__":  # a tensor's attribute
            name = str(getattr(getattr(function, "__self__", None), "__name__", name))
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        name = {"float": "float_", "index": "index_"}.get(name, name)
    elif name == "float" and function is torch.Tensor.float:
        return "float"
    else:
        name = name.rstrip("_") or name
    name = name.removesuffix("_with_indices")
    return _SAME_OPERATION.get(name, name)


def kind_of(node: fx.Node) -> str:
    """Return the kind of a recorded call, or "" if it is not known."""
    known = OPERATIONS.get(node.meta.get("operation", ""))
    return "" if known is None else known.kind


def is_gate(node: fx.Node) -> bool:
    """Whether a value that depends on the input only scales: it comes out of a sigmoid or softmax."""
    while node.meta["operation"] not in GATES:
        sources = [source for source in node.all_input_nodes if source.meta["carries"]]
        if len(sources) != 1 or kind_of(node) not in THROUGH:
            return False
        node = sources[0]
    return True


def arguments(node: fx.Node) -> dict[str, Any]:
    """Return a recorded call's arguments by their names: "input", "weight", "dim", ..."""
    names = _names(node.target) or tuple(OPERATIONS[node.meta["operation"]].arguments.split())
    found = dict(zip(names, node.args, strict=False))
    found.update(node.kwargs)
    return {_RENAMED.get(name, name): value for name, value in found.items() if not name.startswith("cudnn")}


_RENAMED = {"self": "input", "axis": "dim", "tensor": "input", "vec2": "other", "mat2": "other", "x": "input"}


@functools.lru_cache(maxsize=4096)
def _names(function: Any) -> tuple[str, ...] | None:
    """Return the names of a function's arguments by place, where it tells them."""
    function = getattr(function, "function", function)  # one that writes into no tensor
    if isinstance(function, torch._ops.OpOverload):
        return tuple(argument.name for argument in function._schema.arguments)
    if not inspect.isfunction(function):
        return None
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a wrapper about a built-in function
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return tuple(p.name for p in parameters)


# how calls are named for people: the layer, the operation, the line of the user's code

_NOT_THE_USERS = ("/torch/", "/neuroxai/graph/", "/neuroxai/lrp/", "/neuroxai/attribution/")
COMPILED = (
    "a function compiled by torch.compile runs in forward, and cannot be recorded; take the decorator off (compiled "
    "modules are unwrapped), or use a gradient method"
)
_APPLY = torch.autograd.Function.apply.__func__.__code__  # type: ignore[attr-defined]


def describe(node: fx.Node) -> str:
    """Name a call for a message: what it is and where it stands."""
    layer, kind, operation = node.meta["layer"], node.meta["type"], node.meta["operation"]
    if node.meta["label"] == layer and layer:
        return f"layer {layer!r} ({kind.__name__})"
    if operation == "get_attr":
        return f"tensor {node.meta['label']!r}"
    kind = "the network" if kind is None else kind.__name__
    return f"operation {operation!r} (node {node.name!r}) in {f'module {layer!r} ({kind})' if layer else kind}"


def at_line(node: fx.Node) -> str:
    """Name a call for a message, with the line of the user's code that makes it."""
    return f"{describe(node)}, {node.meta['line']}" if node.meta.get("line") else describe(node)


def label(node: fx.Node) -> str:
    """Return the user's name for a call: the layer's qualified name, or the call's name inside its module."""
    return str(node.meta["label"])


def line_of_the_user(last: types.CodeType) -> tuple[str, bool]:
    """Return the line of code outside torch and the package that runs now, within a call of the function `last`.

    And whether the gradient may be another than that of what is computed there: in an autograd function that is not
    torch's own, or where the network takes none (``torch.no_grad``).

    Raises
    ------
    UnsupportedLayerError
        If it runs in a function that `torch.compile` was put on.
    """
    frame, line, own = sys._getframe(1), "", False
    without = not torch.is_grad_enabled() or torch.is_inference_mode_enabled()
    while frame is not None and frame.f_code is not last:
        if frame.f_code is _APPLY:
            torchs = str(frame.f_locals["cls"].__module__).startswith("torch.")
            own, without = own or not torchs, without and not torchs  # a checkpoint takes gradients when it runs again
        elif frame.f_code.co_name == "compile_wrapper" and compiles(frame.f_code):
            raise UnsupportedLayerError(COMPILED)
        elif not line and _of_the_user(frame.f_code.co_filename):
            file = frame.f_code.co_filename
            text = linecache.getline(file, frame.f_lineno).strip()
            line = f"line {frame.f_lineno} of {file.rpartition('/')[2]}: {text}" if text else " "
        frame = frame.f_back  # type: ignore[assignment]
    return line.strip(), own or without


@functools.lru_cache(maxsize=4096)
def _of_the_user(file: str) -> bool:
    return not any(part in file for part in _NOT_THE_USERS) and not file.startswith("<")


def compiles(code: types.CodeType) -> bool:
    """Whether code runs a function that `torch.compile` was put on."""
    return code.co_name == "compile_wrapper" and "_dynamo" in code.co_filename
